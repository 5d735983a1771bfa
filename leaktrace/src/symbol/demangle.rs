//! Linker names -> the names people wrote, within bounds that the target's names cannot break.
//!
//! Only what begins as mangled names do is looked at: the demanglers themselves take any text for something, and a C
//! function called `f` for the type `float`.

use std::cell::{Cell, RefCell};
use std::fmt::{self, Write as _};
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::Builder;
use std::time::Duration;

use cpp_demangle::{DemangleOptions, ParseOptions, Symbol};

use super::{NAME_LIMIT, bounded};
use crate::panics::catch;

/// Longer linker names stay as they are: the work of a demangler grows with them, and only their first
/// [`NAME_LIMIT`] bytes would be shown.
const MANGLED_LIMIT: usize = 16 << 10;
/// How deep C++ names may nest: cpp_demangle's own 96 is some ten templates.
const DEPTH_LIMIT: u32 = 192;
/// The most stack that takes.
const STACK_BYTES: usize = 16 << 20;
/// Names take microseconds. One that takes longer than this is made to: cpp_demangle tries one rule after another, and
/// a few hundred bytes can keep it busy for hours, whatever its depth is limited to.
const PATIENCE: Duration = Duration::from_millis(500);
/// Names that may be given up before C++ names stay as the linker knows them.
const GIVEN_UP_LIMIT: u32 = 2;
/// What stands between a name and the end of a Rust symbol of the older kind: the length and the digits of its hash.
const RUST_HASH: (&str, usize) = ("17h", 16);

/// Makes names readable.
#[derive(Debug, Default)]
pub(super) struct Demangler {
    cpp: RefCell<Option<CppThread>>,
    given_up: Cell<u32>,
}

impl Demangler {
    /// The name behind a linker name, cut to [`NAME_LIMIT`]; the linker name itself where it is none of a known kind.
    pub(super) fn demangle(&self, name: &str) -> String {
        let readable = if name.len() > MANGLED_LIMIT {
            None
        } else if name.starts_with("_R") || name.starts_with("__R") || is_older_rust(name) {
            rust(name)
        } else if name.starts_with("_Z") || name.starts_with("__Z") {
            self.cpp_in_time(name)
        } else {
            None
        };
        readable.unwrap_or_else(|| bounded(name.to_owned()))
    }

    fn cpp_in_time(&self, name: &str) -> Option<String> {
        if self.given_up.get() >= GIVEN_UP_LIMIT {
            return None;
        }
        let mut thread = self.cpp.borrow_mut();
        if thread.is_none() {
            *thread = CppThread::start().ok();
        }
        let running = thread.as_ref()?;
        let answer = running.names.send(name.to_owned()).map_err(|_| RecvTimeoutError::Disconnected);
        let answer = answer.and_then(|()| running.answers.recv_timeout(PATIENCE));
        answer.unwrap_or_else(|_| {
            // Still busy. A thread cannot be stopped: it ends with this name, if ever.
            self.given_up.set(self.given_up.get() + 1);
            *thread = None;
            None
        })
    }
}

/// A thread for the parser of C++ names, so that somebody can lose patience with it.
#[derive(Debug)]
struct CppThread {
    names: Sender<String>,
    answers: Receiver<Option<String>>,
}

impl CppThread {
    fn start() -> io::Result<Self> {
        let (names, asked) = channel::<String>();
        let (answer, answers) = channel();
        let work = move || {
            for name in asked {
                if answer.send(catch(|| cpp(&name)).flatten()).is_err() {
                    break;
                }
            }
        };
        Builder::new().name("leaktrace-cpp".to_owned()).stack_size(STACK_BYTES).spawn(work)?;
        Ok(Self { names, answers })
    }
}

fn rust(name: &str) -> Option<String> {
    let symbol = rustc_demangle::try_demangle(name).ok()?;
    // The alternate form leaves the hash out.
    Readable::of(|readable| write!(readable, "{symbol:#}"))
}

fn cpp(name: &str) -> Option<String> {
    let options = ParseOptions::default().recursion_limit(DEPTH_LIMIT);
    let symbol = Symbol::new_with_options(name, &options).ok()?;
    let options = DemangleOptions::new().recursion_limit(DEPTH_LIMIT);
    Readable::of(|readable| symbol.structured_demangle(readable, &options))
}

/// Whether a symbol ends as Rust's older mangling ends, which otherwise looks like a C++ name: `17h<16 digits>E`, and
/// perhaps a suffix that the compiler set behind it.
fn is_older_rust(name: &str) -> bool {
    let (mark, digits) = RUST_HASH;
    let Some((path, hash)) = name.rsplit_once(mark) else { return false };
    let is_hash = hash.split_at_checked(digits).is_some_and(|(hash, end)| {
        hash.bytes().all(|byte| byte.is_ascii_hexdigit()) && (end == "E" || end.starts_with("E."))
    });
    is_hash && (path.starts_with("_ZN") || path.starts_with("__ZN"))
}

/// Takes what is written up to [`NAME_LIMIT`], then refuses: back references let a short name stand for terabytes, and
/// the refusal is what ends the work.
#[derive(Default)]
struct Readable {
    name: String,
    is_cut: bool,
}

impl Readable {
    fn of(write: impl FnOnce(&mut Self) -> fmt::Result) -> Option<String> {
        let mut readable = Self::default();
        match write(&mut readable) {
            Ok(()) => Some(readable.name).filter(|name| !name.is_empty()),
            Err(_) => readable.is_cut.then(|| readable.name + "…"),
        }
    }
}

impl fmt::Write for Readable {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = (NAME_LIMIT - '…'.len_utf8()).saturating_sub(self.name.len());
        self.is_cut |= text.len() > room;
        self.name.push_str(text.get(..text.floor_char_boundary(room)).unwrap_or_default());
        if self.is_cut { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn demangle(name: &str) -> String {
        Demangler::default().demangle(name)
    }

    #[rstest]
    #[case::c_function_that_is_also_a_type("f", "f")]
    #[case::another("i", "i")]
    #[case::and_another("v", "v")]
    #[case::a_type_with_a_name("3foo", "3foo")]
    #[case::plain("main", "main")]
    #[case::nothing("", "")]
    #[case::prefix_alone("_Z", "_Z")]
    #[case::reserved_c_name("_Zebra", "_Zebra")]
    #[case::reserved_c_name_2("_Reset", "_Reset")]
    #[case::cpp("_ZN4shop4fillEi", "shop::fill(int)")]
    #[case::cpp_with_a_second_underscore("__ZN4shop4fillEi", "shop::fill(int)")]
    #[case::cpp_clone("_ZN4shop4fillEi.cold", "shop::fill(int) [clone .cold]")]
    #[case::cpp_variable("_ZN4shop4fillE", "shop::fill")]
    #[case::operator_new("_Znwm", "operator new(unsigned long)")]
    #[case::older_rust("_ZN4core3fmt5write17h0123456789abcdefE", "core::fmt::write")]
    #[case::older_rust_of_one_unit("_ZN4core3fmt5write17h0123456789abcdefE.llvm.8812", "core::fmt::write")]
    #[case::older_rust_generic(
        "_ZN53_$LT$$RF$$u5b$u8$u5d$$u20$as$u20$core..fmt..Debug$GT$3fmt17h0123456789abcdefE",
        "<&[u8] as core::fmt::Debug>::fmt"
    )]
    #[case::rust("_RNvCskwGfYPst2Cb_3foo3bar", "foo::bar")]
    fn names_are_as_people_wrote_them(#[case] linker: &str, #[case] written: &str) {
        assert_eq!(demangle(linker), written);
    }

    #[test]
    fn names_that_stand_for_far_longer_ones_are_cut() {
        // Each type is a function of the one before it, twice.
        let doubling: Vec<String> = (0..60).map(base36).map(|at| format!("PFS{at}_S{at}_E")).collect();
        let cpp = format!("_Z1fP1a{}", doubling.concat());
        let rust = format!("_RMC1a{}", "TNvB_1aB_".repeat(40));
        let tuple = format!("_RIC1a{}uEE", "TB4_".repeat(500));
        for name in
            [cpp, rust, tuple, format!("_Z1f{}v", "PFv".repeat(3000)), format!("_Z{}", "N".repeat(5000))]
        {
            assert!(demangle(&name).len() <= NAME_LIMIT, "{name}");
        }
        let long = format!("_Z1fI{}EvT_", "N1a1bE".repeat(1500));
        let cut = demangle(&long);
        assert!(
            cut.len() <= NAME_LIMIT && cut.starts_with("void f<a::b, a::b") && cut.ends_with('…'),
            "{cut}"
        );
    }

    #[test]
    fn nested_templates_of_real_programs_are_within_the_bounds() {
        let nested = format!("_Z1f{}i{}", "N1b1aI".repeat(20), "EE".repeat(20));
        assert!(demangle(&nested).starts_with("f(b::a<b::a<"), "{}", demangle(&nested));
    }

    /// Found by a search for slow names: it takes seconds, and each further `C1I` doubles that.
    #[test]
    fn names_made_to_be_slow_are_given_up() {
        let demangler = Demangler::default();
        let slow = format!("_ZcvT_{}onpl", "C1I".repeat(22));
        for given_up in 1..=GIVEN_UP_LIMIT {
            assert_eq!(demangler.demangle("_Z1fv"), "f()");
            assert_eq!(demangler.demangle(&slow), slow);
            assert_eq!(demangler.given_up.get(), given_up);
        }
        assert_eq!(demangler.demangle("_Z1fv"), "_Z1fv");
    }

    fn base36(number: usize) -> String {
        match number.checked_sub(1) {
            None => String::new(),
            Some(number) => {
                let digit = |value: usize| char::from(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[value]);
                if number < 36 {
                    digit(number).to_string()
                } else {
                    format!("{}{}", digit(number / 36), digit(number % 36))
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_name_is_survived(
            kind in prop_oneof![Just("_Z"), Just("_ZN"), Just("_R"), Just("__R"), Just("__Z"), Just("")],
            name in prop_oneof!["[A-Za-z0-9_.$]{0,80}", "(N|S[0-9]?_|I|E|1a|P|F|T_|B[0-9]?_|v|C1a|Dp|J|L|X){0,60}", ".{0,40}"],
        ) {
            let name = format!("{kind}{name}");
            prop_assert!(demangle(&name).len() <= NAME_LIMIT);
        }
    }
}
