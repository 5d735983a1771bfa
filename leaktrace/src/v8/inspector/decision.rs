//! Whether the inspector may be used or opened: a pure function of what is known.

use std::net::SocketAddr;

/// What is known of libuv's own signal handlers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum UserHandler {
    /// The list was read, and SIGUSR1 is not in it.
    No,
    /// JavaScript listens to SIGUSR1.
    Yes,
    /// The list could not be read, and why.
    Unknown(String),
}

/// How the process would take a SIGUSR1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SignalState {
    pub(super) is_caught: bool,
    pub(super) is_ignored: bool,
    /// Every thread blocks it.
    pub(super) is_blocked: bool,
}

/// What is known of a process and its inspector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// An inspector of its own listens here.
    pub(super) open_at: Option<SocketAddr>,
    /// The program contains Node's inspector.
    pub(super) is_node: bool,
    /// `--disable-sigusr1`.
    pub(super) is_disabled: bool,
    pub(super) signal: SignalState,
    pub(super) user_handler: UserHandler,
    /// The port that it would open; 0 is any.
    pub(super) port: u16,
    /// Something else listens on it already.
    pub(super) is_port_taken: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Use the one that is open.
    Use(SocketAddr),
    /// Send SIGUSR1.
    Signal,
    /// Nothing, and why.
    Refuse(String),
}

/// SIGUSR1 starts Node's inspector where Node's own handler is installed, ends a process without a handler, and does
/// whatever it likes in any other. The kernel tells that there is a handler (`SigCgt`), not whose: libuv's list tells
/// that of JavaScript. Where anything is not known, nothing is sent.
pub(super) fn decide(facts: &Facts) -> Decision {
    if let Some(address) = facts.open_at {
        return Decision::Use(address);
    }
    let refusal = if !facts.is_node {
        "the program does not contain Node's inspector, or its symbols were stripped: start it with --inspect"
            .to_owned()
    } else if facts.is_disabled {
        "it was started with --disable-sigusr1: start it with --inspect".to_owned()
    } else if facts.signal.is_ignored || !facts.signal.is_caught {
        "it does not handle SIGUSR1, so that the signal could end it: start it with --inspect".to_owned()
    } else if facts.signal.is_blocked {
        "it blocks SIGUSR1 in every thread: start it with --inspect".to_owned()
    } else {
        match &facts.user_handler {
            UserHandler::Yes => {
                "the program handles SIGUSR1 itself, so that the signal would reach it and not \
                                 Node's inspector: start it with --inspect"
                    .to_owned()
            }
            UserHandler::Unknown(why) => format!(
                "whose handler of SIGUSR1 it has cannot be told ({why}), so no signal is sent: start it with --inspect"
            ),
            UserHandler::No if facts.is_port_taken => format!(
                "its port {} is taken by another process: end that one, or start this one with --inspect-port=0",
                facts.port
            ),
            UserHandler::No => return Decision::Signal,
        }
    };
    Decision::Refuse(refusal)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const CAUGHT: SignalState = SignalState { is_caught: true, is_ignored: false, is_blocked: false };

    fn plain_node() -> Facts {
        Facts {
            open_at: None,
            is_node: true,
            is_disabled: false,
            signal: CAUGHT,
            user_handler: UserHandler::No,
            port: 9229,
            is_port_taken: false,
        }
    }

    #[test]
    fn a_plain_node_is_signalled_and_an_open_inspector_used_whatever_else_holds() {
        assert_eq!(decide(&plain_node()), Decision::Signal);
        let at = "127.0.0.1:9229".parse().unwrap();
        let worst = Facts {
            open_at: Some(at),
            is_node: false,
            is_disabled: true,
            signal: SignalState::default(),
            user_handler: UserHandler::Yes,
            is_port_taken: true,
            ..plain_node()
        };
        assert_eq!(decide(&worst), Decision::Use(at));
    }

    #[rstest]
    #[case(Facts { is_node: false, ..plain_node() }, "does not contain Node")]
    #[case(Facts { is_disabled: true, ..plain_node() }, "--disable-sigusr1")]
    #[case(Facts { signal: SignalState { is_caught: false, ..CAUGHT }, ..plain_node() }, "does not handle")]
    #[case(Facts { signal: SignalState { is_ignored: true, ..CAUGHT }, ..plain_node() }, "does not handle")]
    #[case(Facts { signal: SignalState { is_blocked: true, ..CAUGHT }, ..plain_node() }, "blocks")]
    #[case(Facts { user_handler: UserHandler::Yes, ..plain_node() }, "handles SIGUSR1 itself")]
    #[case(Facts { user_handler: UserHandler::Unknown("no symbols".into()), ..plain_node() }, "no symbols")]
    #[case(Facts { is_port_taken: true, ..plain_node() }, "port 9229 is taken")]
    fn anything_else_is_refused_with_its_reason(#[case] facts: Facts, #[case] says: &str) {
        let Decision::Refuse(why) = decide(&facts) else { panic!("{facts:?} was not refused") };
        assert!(why.contains(says), "{why}");
    }

    /// Of all combinations only one sends a signal.
    #[test]
    fn one_combination_alone_sends_the_signal() {
        let flags = |bits: u32, bit: u32| bits & (1 << bit) != 0;
        let handlers = [UserHandler::No, UserHandler::Yes, UserHandler::Unknown(String::new())];
        let mut signals = 0;
        for bits in 0..64 {
            for user_handler in &handlers {
                let signal = SignalState {
                    is_caught: flags(bits, 2),
                    is_ignored: flags(bits, 3),
                    is_blocked: flags(bits, 4),
                };
                let facts = Facts {
                    open_at: None,
                    is_node: flags(bits, 0),
                    is_disabled: flags(bits, 1),
                    signal,
                    user_handler: user_handler.clone(),
                    port: 9229,
                    is_port_taken: flags(bits, 5),
                };
                signals += u32::from(decide(&facts) == Decision::Signal);
            }
        }
        assert_eq!(signals, 1);
    }
}
