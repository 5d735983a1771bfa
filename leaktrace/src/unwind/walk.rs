//! The walk over one copy.

use framehop::{FrameAddress, Unwinder as _, x86_64::UnwindRegsX86_64};
use leaktrace_common::{MAX_FRAMES, Rule};

use super::{Copied, End, MAX_CHECKED, Process, modules::Loaded};
use crate::panics::catch;

/// No code is mapped below.
const LOWEST_CODE: u64 = 4096;

impl Process {
    /// The return addresses of a stack, innermost first, and where they end.
    pub fn walk(&mut self, copied: &Copied<'_>) -> (Vec<u64>, End) {
        let head = &copied.head;
        let mut frames = vec![head.caller];
        let mut regs = UnwindRegsX86_64::new(head.caller, head.sp, head.fp);
        while frames.len() < MAX_FRAMES {
            let Some(address) = frames.last().copied().and_then(FrameAddress::from_return_address) else {
                break;
            };
            if !self.may_follow(address.address_for_lookup()) {
                return (frames, End::Cut);
            }
            let mut word = |address| copied.word(address).ok_or(());
            let step = catch(|| self.unwinder.unwind_frame(address, &mut regs, &mut self.cache, &mut word));
            match step {
                Some(Ok(Some(caller))) if caller >= LOWEST_CODE => frames.push(caller),
                Some(Ok(_)) => return (frames, End::Root),
                Some(Err(_)) | None => return (frames, End::Cut),
            }
        }
        (frames, End::Cut)
    }

    /// How to come from a return address to the next frame outwards.
    pub fn rule(&mut self, return_address: u64) -> Rule {
        let address = return_address.wrapping_sub(1);
        if !self.may_follow(address) {
            return Rule::INEXPRESSIBLE;
        }
        let rule = |loaded: &Loaded| catch(|| loaded.rule_at(address)).unwrap_or(Rule::INEXPRESSIBLE);
        self.loaded_at(address).map_or(Rule::FRAME_POINTER, rule)
    }

    /// Whether the tables at an address come to an end.
    fn may_follow(&mut self, address: u64) -> bool {
        if let Some(&known) = self.checked.get(&address) {
            return known;
        }
        let loaded = self.loaded_at(address);
        let is_sane = loaded.is_none_or(|loaded| catch(|| loaded.is_sane_at(address)).unwrap_or(false));
        if self.checked.len() >= MAX_CHECKED {
            self.checked.clear();
        }
        self.checked.insert(address, is_sane);
        is_sane
    }
}
