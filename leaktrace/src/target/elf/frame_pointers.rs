//! Whether the functions of an object keep frame pointers, as its unwind tables tell.

use gimli::{CallFrameInstruction, CieOrFde, EhFrame, Reader, UnwindSection as _};

use super::{Object, UnwindTables};

/// Number of `rbp` in DWARF's x86-64 register numbering (System V ABI, figure 3.36).
pub(super) const RBP: gimli::Register = gimli::Register(6);
/// Shorter functions are mostly leaves and thunks, which need no frame with or without the compiler's option.
const SHORTEST: u64 = 64;
/// So many functions are a fair sample; large programs have hundreds of thousands.
const SAMPLE: u32 = 4000;
/// Fewer tell nothing.
const FEWEST: u32 = 8;
/// No function's instructions are read beyond this many.
const MAX_INSTRUCTIONS: usize = 256;

/// How far frame pointers lead through the code of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramePointers {
    /// Nearly all functions keep one: stacks through this object are whole.
    Kept,
    /// Some do, as in a program linked from libraries that were compiled differently.
    Mixed,
    /// Compiled without: a walk ends at its first frame here.
    Omitted,
}

impl Object {
    /// Whether the functions keep frame pointers, see [`UnwindTables::frame_pointers`]; `None` also without tables.
    pub fn frame_pointers(&self) -> Option<FramePointers> {
        self.unwind_tables()?.frame_pointers()
    }
}

impl UnwindTables {
    /// Whether the functions keep frame pointers. A function that does says in its unwind table that its frame is
    /// found from `rbp`. `None` where there are too few functions to tell.
    pub fn frame_pointers(&self) -> Option<FramePointers> {
        let (frames, bases) = self.section();
        let mut entries = frames.entries(&bases);
        let (mut looked_at, mut keeps) = (0_u32, 0_u32);
        while let Ok(Some(entry)) = entries.next() {
            let CieOrFde::Fde(partial) = entry else { continue };
            let Ok(entry) = partial.parse(EhFrame::cie_from_offset) else { continue };
            if entry.len() < SHORTEST {
                continue;
            }
            looked_at += 1;
            keeps += u32::from(uses_rbp(entry.instructions(&frames, &bases)));
            if looked_at == SAMPLE {
                break;
            }
        }
        judge(keeps, looked_at)
    }
}

fn uses_rbp<R: Reader>(mut instructions: gimli::CallFrameInstructionIter<'_, R>) -> bool {
    for _ in 0..MAX_INSTRUCTIONS {
        match instructions.next() {
            Ok(Some(
                CallFrameInstruction::DefCfaRegister { register }
                | CallFrameInstruction::DefCfa { register, .. },
            )) if register == RBP => return true,
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return false,
        }
    }
    false
}

/// Code compiled without frame pointers still uses `rbp` as one where the stack grows at run time (`alloca`): under a
/// tenth of the functions of Debian's libraries. Code compiled with them lacks it in leaves and assembly.
fn judge(keeps: u32, looked_at: u32) -> Option<FramePointers> {
    if looked_at < FEWEST {
        return None;
    }
    Some(match f64::from(keeps) / f64::from(looked_at) {
        share if share >= 0.75 => FramePointers::Kept,
        share if share >= 0.2 => FramePointers::Mixed,
        _ => FramePointers::Omitted,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::elf::Object;

    #[test]
    fn the_share_decides() {
        assert_eq!(judge(7, 7), None);
        assert_eq!(judge(8, 8), Some(FramePointers::Kept));
        assert_eq!(judge(30, 100), Some(FramePointers::Mixed));
        assert_eq!(judge(9, 100), Some(FramePointers::Omitted));
    }

    /// The same source, compiled both ways.
    #[test]
    fn a_compiler_that_keeps_them_is_told_from_one_that_does_not() {
        let function = |name: usize| {
            format!(
                "__attribute__((noinline)) int f{name}(int a) {{ int s = a; for (int i = 0; i < a; i++) {{ s += \
                 puts(\"x\") * i; if (s > 99) s ^= puts(\"y\") + a * {name}; }} return s + puts(\"z\"); }}\n"
            )
        };
        let body: String = (0..20).map(function).collect();
        let source =
            format!("#include <stdio.h>\n{body}int main(int c, char **v) {{ (void)v; return f0(c); }}\n");
        for (flag, expected) in [
            ("-fno-omit-frame-pointer", FramePointers::Kept),
            ("-fomit-frame-pointer", FramePointers::Omitted),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let (input, output) = (directory.path().join("f.c"), directory.path().join("f"));
            std::fs::write(&input, &source).unwrap();
            let flags = ["-O2", flag, "-mno-omit-leaf-frame-pointer", "-o"];
            let status =
                std::process::Command::new("cc").args(flags).arg(&output).arg(&input).status().unwrap();
            assert!(status.success());
            let object = Object::from_bytes(std::fs::read(&output).unwrap()).unwrap();
            assert_eq!(object.unwind_tables().unwrap().frame_pointers(), Some(expected), "{flag}");
        }
    }
}
