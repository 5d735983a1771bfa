//! Whether a thread may have to wait for a CPU in the middle of code of the kernel.

use std::{
    fs::{self, File},
    io::Read,
};

use flate2::read::GzDecoder;

/// A kernel's configuration has some 300 KiB; more is not read.
const LONGEST_CONFIG: u64 = 4 << 20;

/// `true` where it may, and where that is not known.
pub fn is_possible() -> bool {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let version = read("/proc/sys/kernel/version");
    let scheduler = read("/sys/kernel/debug/sched/preempt");
    is_possible_by(&version, &scheduler, &read("/proc/cmdline"), || config().unwrap_or_default())
}

/// By the version as `uname -v` has it, what the scheduler says (`none voluntary (full) lazy`), the kernel's command line and
/// its configuration; empty where they cannot be read.
fn is_possible_by(
    version: &str,
    scheduler: &str,
    command_line: &str,
    config: impl FnOnce() -> String,
) -> bool {
    let has = |word: &str| version.split_ascii_whitespace().any(|other| other == word);
    if !has("PREEMPT_DYNAMIC") {
        // Without a word, threads leave the kernel where they like.
        return has("PREEMPT") || has("PREEMPT_RT");
    }
    let by_command_line =
        || command_line.split_ascii_whitespace().rev().find_map(|word| word.strip_prefix("preempt="));
    let by_config = || {
        let config = config();
        let is_set = |line: &str| config.lines().any(|other| other == line);
        let modes = [("NONE", "none"), ("VOLUNTARY", "voluntary"), ("LAZY", "lazy")];
        modes.iter().find(|(name, _)| is_set(&format!("CONFIG_PREEMPT_{name}=y"))).map(|(_, mode)| *mode)
    };
    let mode = in_brackets(scheduler).or_else(by_command_line).or_else(by_config);
    // Lazily it is done at the end of a tick only, and by then a program has long ended.
    !matches!(mode, Some("none" | "voluntary" | "lazy"))
}

/// The mode that is chosen, of a list such as `none voluntary (full) lazy`.
fn in_brackets(modes: &str) -> Option<&str> {
    let (_, rest) = modes.split_once('(')?;
    Some(rest.split_once(')')?.0)
}

/// The configuration that the kernel was built with.
fn config() -> Option<String> {
    let mut text = String::new();
    if let Ok(packed) = File::open("/proc/config.gz") {
        GzDecoder::new(packed).take(LONGEST_CONFIG).read_to_string(&mut text).ok()?;
        return Some(text);
    }
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    File::open(format!("/boot/config-{release}"))
        .ok()?
        .take(LONGEST_CONFIG)
        .read_to_string(&mut text)
        .ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const DYNAMIC: &str = "#1 SMP PREEMPT_DYNAMIC Debian 6.1.90-1 (2024-05-03)";
    const NONE: &str = "CONFIG_PREEMPT_BUILD=y\nCONFIG_PREEMPT_NONE=y\n# CONFIG_PREEMPT is not set\n";

    #[rstest]
    #[case::of_a_server("#1 SMP Debian 5.15.1", "", "", "", false)]
    #[case::of_a_desktop("#1 SMP PREEMPT Tue Jan 1", "", "", "", true)]
    #[case::real_time("#1 SMP PREEMPT_RT Tue Jan 1", "", "", "", true)]
    #[case::by_the_scheduler(DYNAMIC, "none (voluntary) full lazy\n", "preempt=full", "", false)]
    #[case::full(DYNAMIC, "none voluntary (full) lazy\n", "preempt=none", NONE, true)]
    #[case::lazy(DYNAMIC, "full (lazy)\n", "", "", false)]
    #[case::by_the_command_line(DYNAMIC, "", "quiet preempt=none preempt=full\n", NONE, true)]
    #[case::as_built(DYNAMIC, "", "quiet\n", NONE, false)]
    #[case::built_for_desktops(DYNAMIC, "", "", "CONFIG_PREEMPT=y\n", true)]
    #[case::unknown(DYNAMIC, "", "", "", true)]
    #[case::nonsense(DYNAMIC, "(", "preempt=", "CONFIG_PREEMPT_NONE=yes", true)]
    fn modes_are_read(
        #[case] version: &str,
        #[case] scheduler: &str,
        #[case] command_line: &str,
        #[case] config: &str,
        #[case] expected: bool,
    ) {
        assert_eq!(is_possible_by(version, scheduler, command_line, || config.to_owned()), expected);
    }
}
