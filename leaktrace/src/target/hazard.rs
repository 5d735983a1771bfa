//! The safety gate: whether return probes may be set in a target. Pure decisions, tested as tables.

use std::str::FromStr;

/// Version of a kernel, as far as decisions depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    /// 6 of 6.11.
    pub major: u32,
    /// 11 of 6.11.
    pub minor: u32,
}

/// A release that does not begin with two numbers.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("kernel release {0:?} does not begin with a version")]
pub struct UnknownRelease(String);

impl KernelVersion {
    /// A version from its two numbers.
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }
}

impl FromStr for KernelVersion {
    type Err = UnknownRelease;

    /// Reads the release that `uname` gives, such as `6.1.0-18-amd64` or `6.18-rc1`.
    fn from_str(release: &str) -> Result<Self, UnknownRelease> {
        let mut parts = release.split(|letter: char| !letter.is_ascii_digit());
        let mut number = || parts.next()?.parse().ok();
        match (number(), number()) {
            (Some(major), Some(minor)) => Ok(Self { major, minor }),
            _ => Err(UnknownRelease(release.to_owned())),
        }
    }
}

/// How a return probe in a filtered child of our own went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrialResult {
    /// The child returned through the probe and lived.
    Survived,
    /// The child was killed.
    Died,
    /// The trial could not be made.
    Failed,
}

/// Whether return probes may be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReturnProbes {
    /// They are safe.
    Allowed,
    /// Try one in a filtered child first, and ask again with the result.
    NeedsTrial,
    /// Only probes on instructions are safe.
    PlainOnly {
        /// The reason, for a notice.
        why: &'static str,
    },
}

/// Since 6.11 a return probe comes back through a system call of its own (`uretprobe`).
const URETPROBE_SYSCALL: KernelVersion = KernelVersion::new(6, 11);

/// Decides for a target with seccomp mode `seccomp` (0, 1 or 2) and a user shadow stack or not.
///
/// From 6.11 until a fix that distributions back-port at different times, seccomp filters see the system call of
/// return probes and kill the target, so the version alone does not tell: a trial does. Before 6.11 the kernel
/// returned by rewriting the stack only, which a user shadow stack punishes with SIGSEGV.
pub fn return_probes(
    kernel: KernelVersion,
    seccomp: u8,
    shadow_stack: bool,
    trial: Option<TrialResult>,
) -> ReturnProbes {
    if kernel < URETPROBE_SYSCALL {
        return if shadow_stack {
            ReturnProbes::PlainOnly {
                why: "the target runs with a shadow stack, and kernels before 6.11 end such a process at a return probe",
            }
        } else {
            ReturnProbes::Allowed
        };
    }
    match (seccomp, trial) {
        (0, _) | (_, Some(TrialResult::Survived)) => ReturnProbes::Allowed,
        (_, None) => ReturnProbes::NeedsTrial,
        (_, Some(TrialResult::Died)) => ReturnProbes::PlainOnly {
            why: "the target runs under a seccomp filter, and this kernel ends such a process at a return probe",
        },
        (_, Some(TrialResult::Failed)) => ReturnProbes::PlainOnly {
            why: "the target runs under a seccomp filter, and whether return probes are safe there could not be tried",
        },
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::TrialResult::{Died, Failed, Survived};
    use super::*;

    #[rstest]
    #[case("6.1.0-18-amd64", Some((6, 1)))]
    #[case("6.18.44-fc-v657", Some((6, 18)))]
    #[case("6.18-rc1", Some((6, 18)))]
    #[case("5.15.0", Some((5, 15)))]
    #[case("6", None)]
    #[case("", None)]
    #[case("linux", None)]
    #[case("99999999999.1", None)]
    fn releases_are_read(#[case] release: &str, #[case] expected: Option<(u32, u32)>) {
        let version = release.parse::<KernelVersion>().ok().map(|version| (version.major, version.minor));
        assert_eq!(version, expected);
    }

    #[rstest]
    // kernel, seccomp, shadow stack, trial -> allowed, trial wanted
    #[case((5, 15), 0, false, None, "allowed")]
    #[case((5, 15), 2, false, None, "allowed")]
    #[case((6, 10), 2, false, Some(Died), "allowed")]
    #[case((6, 10), 0, true, None, "plain")]
    #[case((6, 10), 2, true, Some(Survived), "plain")]
    #[case((6, 11), 0, true, None, "allowed")]
    #[case((6, 11), 0, false, Some(Died), "allowed")]
    #[case((6, 11), 1, false, None, "trial")]
    #[case((6, 11), 2, false, None, "trial")]
    #[case((6, 11), 2, true, Some(Survived), "allowed")]
    #[case((6, 18), 2, false, Some(Died), "plain")]
    #[case((6, 18), 1, false, Some(Failed), "plain")]
    #[case((7, 0), 2, false, None, "trial")]
    fn the_gate(
        #[case] (major, minor): (u32, u32),
        #[case] seccomp: u8,
        #[case] shadow_stack: bool,
        #[case] trial: Option<TrialResult>,
        #[case] expected: &str,
    ) {
        let decision = match return_probes(KernelVersion::new(major, minor), seccomp, shadow_stack, trial) {
            ReturnProbes::Allowed => "allowed",
            ReturnProbes::NeedsTrial => "trial",
            ReturnProbes::PlainOnly { why } => {
                assert!(!why.is_empty());
                "plain"
            }
        };
        assert_eq!(decision, expected);
    }
}
