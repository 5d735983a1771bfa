//! Compares a process's code in memory with the files that it was mapped from.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, ensure};

/// Executable file mappings whose bytes differ from their file: `path+offset`, at most one a mapping.
///
/// While probes are in place they show up here; when a trace has ended, however it ended, the list must be empty.
pub fn altered_code(pid: u32) -> Result<Vec<String>> {
    let maps =
        fs::read_to_string(format!("/proc/{pid}/maps")).with_context(|| format!("no process {pid}"))?;
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let mut altered = Vec::new();
    for line in maps.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [range, flags, offset, _, inode, path, ..] = words[..] else { continue };
        if !flags.contains('x') || inode == "0" {
            continue;
        }
        let (start, end) = range.split_once('-').context("a mapping without a range")?;
        let (from, to) = (u64::from_str_radix(start, 16)?, u64::from_str_radix(end, 16)?);
        let offset = u64::from_str_radix(offset, 16)?;
        // By the mapping, not by the path: the file may be deleted, or in another mount namespace.
        let file = File::open(format!("/proc/{pid}/map_files/{range}"))?;
        let length = file.metadata()?.len().saturating_sub(offset).min(to - from) as usize;
        let (mut live, mut stored) = (vec![0; length], vec![0; length]);
        memory.read_exact_at(&mut live, from).with_context(|| format!("cannot read {path} in {pid}"))?;
        file.read_exact_at(&mut stored, offset)?;
        if let Some(at) = live.iter().zip(&stored).position(|(one, other)| one != other) {
            altered.push(format!("{path}+{:#x}", offset + at as u64));
        }
    }
    Ok(altered)
}

/// Fails where probes are still in place.
pub fn no_probes_in(pid: u32) -> Result<()> {
    let altered = altered_code(pid)?;
    ensure!(altered.is_empty(), "probes stayed behind: {}", altered.join(", "));
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn untraced_code_is_unaltered() {
        // map_files asks for privileges that not everyone who runs the tests has.
        if std::fs::read_dir("/proc/self/map_files").is_ok() {
            let mut altered = super::altered_code(std::process::id());
            if let Ok(list) = &mut altered {
                assert_eq!(list, &Vec::<String>::new());
            }
        }
    }
}
