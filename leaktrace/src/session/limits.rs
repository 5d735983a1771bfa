//! What the system lets leaktrace itself use.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the number of files we may hold open to what the system allows: each probe takes a descriptor where links
/// are perf events, and each mapped file takes one for its names, while the usual soft limit is 1024.
///
/// The target never gets the limit: a command of ours is started before.
pub(super) fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!("the limit of open files stays at {:?}: {error}", limit.current);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_the_hard_one() {
        allow_many_files();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
