//! The heap limit that a process was started with, by its command line or `NODE_OPTIONS`.

use std::io::Read as _;

/// More of an environment is not read.
const MAX_ENVIRONMENT: u64 = 1 << 20;

/// The largest old generation that the process was started with, in bytes: `--max-old-space-size` of the command line,
/// else of `NODE_OPTIONS`. What the program sets at run time is not in it.
pub fn old_space_limit(pid: u32, cmdline: &[String]) -> Option<u64> {
    let of_node = || {
        let mut environment = Vec::new();
        let file = std::fs::File::open(format!("/proc/{pid}/environ")).ok()?;
        file.take(MAX_ENVIRONMENT).read_to_end(&mut environment).ok()?;
        let options =
            environment.split(|byte| *byte == 0).find_map(|one| one.strip_prefix(b"NODE_OPTIONS="))?;
        let options = String::from_utf8_lossy(options).into_owned();
        in_arguments(options.split_ascii_whitespace())
    };
    let arguments = cmdline.iter().skip(1).map(String::as_str);
    in_arguments(arguments).or_else(of_node)
}

/// The last such flag counts; behind the script's name they are the script's own.
fn in_arguments<'a>(arguments: impl Iterator<Item = &'a str>) -> Option<u64> {
    const NAME: &str = "--max-old-space-size";
    let (mut megabytes, mut is_next) = (None, false);
    for argument in arguments {
        if std::mem::take(&mut is_next) {
            megabytes = argument.parse().ok();
            continue;
        }
        if !argument.starts_with('-') {
            break;
        }
        let argument = argument.replace('_', "-");
        match argument.strip_prefix(NAME) {
            Some("") => is_next = true,
            Some(value) => megabytes = value.strip_prefix('=').and_then(|value| value.parse::<u64>().ok()),
            None => {}
        }
    }
    megabytes.filter(|megabytes| *megabytes > 0)?.checked_mul(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::in_arguments;

    #[test]
    fn the_flag_is_read_in_all_its_spellings_and_only_before_the_script() {
        let limit = |line: &str| in_arguments(line.split(' '));
        assert_eq!(limit("--max-old-space-size=512 app.js"), Some(512 << 20));
        assert_eq!(limit("--max_old_space_size=100 --max-old-space-size=200 app.js"), Some(200 << 20));
        assert_eq!(limit("--max-old-space-size 300 app.js"), Some(300 << 20));
        assert_eq!(limit("--expose-gc app.js --max-old-space-size=512"), None);
        for line in ["", "--max-old-space-size=x", "--max-old-space-size=0", "--max-old-space-sizes=5"] {
            assert_eq!(limit(line), None, "{line}");
        }
        assert_eq!(limit("--max-old-space-size=18446744073709551615"), None);
    }
}
