//! The walk over one copy.

use framehop::{FrameAddress, Unwinder as _, x86_64::UnwindRegsX86_64};
use leaktrace_common::{MAX_FRAMES, Rule};

use super::{
    Copied, End, MAX_WAYS, Process,
    modules::{Loaded, Way},
};
use crate::panics::catch;

/// No code is mapped below.
const LOWEST_CODE: u64 = 4096;

/// The next return address outwards; `None` behind the outermost frame.
type Step = Result<Option<u64>, ()>;

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
            match self.step(address, &mut regs, copied) {
                Ok(Some(caller)) if caller >= LOWEST_CODE => frames.push(caller),
                Ok(_) => return (frames, End::Root),
                Err(()) => return (frames, End::Cut),
            }
        }
        (frames, End::Cut)
    }

    /// Leaves the frame of an address.
    fn step(&mut self, address: FrameAddress, regs: &mut UnwindRegsX86_64, copied: &Copied<'_>) -> Step {
        match self.way(address.address_for_lookup()) {
            Way::Nowhere => Err(()),
            Way::Rule(rule) => by_rule(rule, regs, copied),
            Way::Tables => {
                let mut word = |address| copied.word(address).ok_or(());
                let unwind = || self.unwinder.unwind_frame(address, regs, &mut self.cache, &mut word);
                catch(unwind).and_then(Result::ok).ok_or(())
            }
        }
    }

    /// How to come from a return address to the next frame outwards.
    pub fn rule(&mut self, return_address: u64) -> Rule {
        let address = return_address.wrapping_sub(1);
        match self.way(address) {
            Way::Nowhere => Rule::INEXPRESSIBLE,
            Way::Rule(rule) => rule,
            Way::Tables => {
                let rule = |loaded: &Loaded| catch(|| loaded.rule_at(address)).unwrap_or(Rule::INEXPRESSIBLE);
                self.loaded_at(address).map_or(Rule::FRAME_POINTER, rule)
            }
        }
    }

    /// What is to be followed at an address.
    fn way(&mut self, address: u64) -> Way {
        if let Some(&known) = self.ways.get(&address) {
            return known;
        }
        let loaded = self.loaded_at(address);
        let way =
            loaded.map_or(Way::Tables, |loaded| catch(|| loaded.way_at(address)).unwrap_or(Way::Nowhere));
        if self.ways.len() >= MAX_WAYS {
            self.ways.clear();
        }
        self.ways.insert(address, way);
        way
    }
}

/// Leaves a frame as the BPF programs do.
fn by_rule(rule: Rule, regs: &mut UnwindRegsX86_64, copied: &Copied<'_>) -> Step {
    let from = match rule.from {
        Rule::FROM_SP => regs.sp(),
        Rule::FROM_FP => regs.bp(),
        Rule::ROOT => return Ok(None),
        _ => return Err(()),
    };
    let offset = |from: u64, offset: i64| from.checked_add_signed(offset).ok_or(());
    let cfa = offset(from, rule.cfa_offset.into())?;
    if cfa <= regs.sp() {
        return Err(());
    }
    let caller = copied.word(offset(cfa, -8)?).ok_or(())?;
    if rule.fp_offset != 0 {
        regs.set_bp(copied.word(offset(cfa, rule.fp_offset.into())?).ok_or(())?);
    }
    regs.set_sp(cfa);
    regs.set_ip(caller);
    Ok(Some(caller))
}
