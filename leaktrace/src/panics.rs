//! Panics over files and names of the target: caught where they happen, and not printed.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
}

/// Does work that may panic; `None` if it did. What the work changes must be dropped by the caller then.
pub(crate) fn catch<T>(work: impl FnOnce() -> T) -> Option<T> {
    let was_catching = CATCHING.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    CATCHING.set(was_catching);
    result.ok()
}

/// Keeps panics that this room catches out of standard error. For the whole process, to be called once at its start:
/// all other panics are reported as before.
pub fn silence_caught_panics() {
    let report = take_hook();
    set_hook(Box::new(move |panic| {
        if CATCHING.get() {
            tracing::debug!("caught over what the target made up: {panic}");
        } else {
            report(panic);
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_costs_the_result_only() {
        assert_eq!(catch(|| 3), Some(3));
        assert_eq!(catch(|| assert_eq!(std::hint::black_box(1), 2)), None);
        assert!(!CATCHING.get());
    }
}
