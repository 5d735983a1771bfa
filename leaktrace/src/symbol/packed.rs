//! Function names that a stripped file carries packed (`.gnu_debugdata`). blazesym built without xz gives such a file no
//! name at all, and with xz would unpack it without a bound.

use std::fs::File;
use std::ops::ControlFlow;

use crate::target::elf::{Object, Segment, SymbolSource};

/// Functions beyond are not kept; a browser has a million.
const MAX_FUNCTIONS: usize = 1 << 20;

/// A function of the file.
#[derive(Debug)]
struct Function {
    start: u64,
    size: u64,
    /// As the linker knows it.
    name: Box<str>,
}

/// All functions of a file that has packed ones.
#[derive(Debug)]
pub(super) struct PackedNames {
    segments: Vec<Segment>,
    /// Ascending by their start, one a start.
    functions: Vec<Function>,
}

impl PackedNames {
    /// The functions of the file, exported ones too; `None` if it packs none.
    pub(super) fn of(file: &File) -> Option<Self> {
        let object = Object::of_file(file.try_clone().ok()?).ok()?;
        let mut functions = Vec::new();
        let mut has_packed = false;
        object.symbols(|symbol| {
            has_packed |= symbol.source == SymbolSource::Packed;
            if let Ok(name) = std::str::from_utf8(symbol.name) {
                functions.push(Function { start: symbol.vaddr, size: symbol.size, name: name.into() });
            }
            if functions.len() < MAX_FUNCTIONS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        if !has_packed {
            return None;
        }
        // Of several names for one place, the one that says how far it reaches.
        functions.sort_by_key(|function| (function.start, function.size == 0));
        functions.dedup_by_key(|function| function.start);
        Some(Self { segments: object.segments, functions })
    }

    /// The linker's name of the function at an offset of the file, and the bytes from its start.
    pub(super) fn at(&self, offset: u64) -> Option<(&str, u64)> {
        let code = self.segments.iter().filter(|segment| segment.executable);
        let segment = code.into_iter().find(|segment| segment.holds(offset))?;
        let address = segment.vaddr.checked_add(offset - segment.offset)?;
        let behind = self.functions.partition_point(|function| function.start <= address);
        let function = self.functions.get(behind.checked_sub(1)?)?;
        let within = address - function.start;
        // A function of unknown size reaches to the next one.
        (function.size == 0 || within < function.size).then_some((&*function.name, within))
    }
}
