//! On how many CPUs a process may allocate at one time.

use rustix::{process::Pid, thread::sched_getaffinity};

use super::status::Status;

/// CPUs that the threads of a process can be on at one time: no more than it has threads, nor than it may run on. 1 where
/// the kernel does not tell.
pub fn at_once(pid: u32) -> u32 {
    let threads = Status::read(pid).ok().and_then(|status| status.number("Threads")).unwrap_or(1);
    allowed(pid).min(u32::try_from(threads).unwrap_or(u32::MAX))
}

/// CPUs that a process may run on.
pub fn allowed(pid: u32) -> u32 {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.and_then(|pid| sched_getaffinity(Some(pid)).ok()).map_or(1, |set| set.count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_ourselves_may_run_somewhere() {
        let cpus = std::thread::available_parallelism().expect("it is known").get();
        let allowed = allowed(std::process::id());
        assert!((1..=4096).contains(&allowed) && allowed as usize >= cpus, "{allowed} of {cpus}");
        assert!((1..=allowed).contains(&at_once(std::process::id())));
    }

    #[test]
    fn of_no_process_nothing_is_known() {
        assert_eq!((allowed(u32::MAX), at_once(u32::MAX)), (1, 1));
    }
}
