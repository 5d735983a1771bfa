//! What code lies at an address of an object: the function around it, or the function behind a PLT stub.

use std::{cell::OnceCell, collections::BTreeMap};

use super::placement::{Code, stub_slot};
use crate::target::{
    allocator::FoundFunction,
    elf::{Binding, Object, UnwindTables},
    maps::Mapping,
    memory::Memory,
};

/// Code of a function of which nobody knows where it ends.
const WINDOW: usize = 4096;
/// More code than this is not read for one function.
const MAX_FUNCTION: u64 = 1 << 20;
/// The most functions of one object that are kept; forty allocation functions lead to about a hundred.
const MAX_PIECES: usize = 1024;
/// A stub takes at most `endbr64`, `bnd jmp *slot(%rip)` and padding.
const STUB: usize = 16;
/// A stub that leads to a stub is odd already.
const MAX_STUBS: usize = 4;

/// Memory and mappings of a process that runs the object.
#[derive(Clone, Copy, Debug)]
pub struct Live<'a> {
    /// The mappings.
    pub maps: &'a [Mapping],
    /// The memory.
    pub memory: &'a Memory,
}

/// The code of an object, read piece by piece as it is asked for.
pub struct CodeMap<'a> {
    object: &'a Object,
    live: Option<Live<'a>>,
    /// Functions whose size the symbol table tells, by address.
    sizes: BTreeMap<u64, u64>,
    slots: OnceCell<BTreeMap<u64, Binding>>,
    unwind: OnceCell<Option<UnwindTables>>,
    /// Filled from the front; code that was lent out stays where it is.
    pieces: Vec<OnceCell<Piece>>,
}

/// Bytes of a function.
struct Piece {
    address: u64,
    bytes: Vec<u8>,
    size_known: bool,
}

impl Piece {
    fn code(&self) -> Code<'_> {
        Code { address: self.address, bytes: &self.bytes, size_known: self.size_known }
    }
}

impl<'a> CodeMap<'a> {
    /// The code of `object`, of which `functions` are known.
    pub fn new(object: &'a Object, functions: &[FoundFunction]) -> Self {
        let sizes = functions.iter().filter(|one| one.size > 0).map(|one| (one.vaddr, one.size)).collect();
        let pieces = std::iter::repeat_with(OnceCell::new).take(MAX_PIECES).collect();
        Self { object, live: None, sizes, slots: OnceCell::new(), unwind: OnceCell::new(), pieces }
    }

    /// Lets the slots in a process's memory decide what a stub leads to: another object may define a function of
    /// the same name, and come first.
    #[must_use]
    pub fn in_process(self, live: Live<'a>) -> Self {
        Self { live: Some(live), ..self }
    }

    /// The code around an address, which may begin before it; for a PLT stub that is bound to a function of this
    /// object, the code of that function. `None` where there is no code, or a stub leads out of the object.
    pub fn code_at(&self, address: u64) -> Option<Code<'_>> {
        let mut address = address;
        for _ in 0..MAX_STUBS {
            let bytes = self.object.code(address, STUB)?;
            let Some(slot) = stub_slot(&Code { address, bytes: &bytes, size_known: false }) else {
                return self.function(address);
            };
            address = self.bound_to(slot)?;
        }
        None
    }

    /// The code of the function around an address: exactly, as the symbols or the unwind tables have it, or else a
    /// window that begins at the address.
    pub fn function(&self, address: u64) -> Option<Code<'_>> {
        if let Some((start, size)) = self.symbol_around(address).or_else(|| self.unwound_around(address)) {
            let code = self.piece(start, size.min(MAX_FUNCTION) as usize, size <= MAX_FUNCTION)?;
            // The file may end, or the function be too large, before the address is reached.
            if address - start < code.bytes.len() as u64 {
                return Some(code);
            }
        }
        self.piece(address, WINDOW, false)
    }

    /// The same from exactly this address on.
    pub fn starting_at(&self, address: u64) -> Option<Code<'_>> {
        let code = self.function(address)?;
        let skip = usize::try_from(address.checked_sub(code.address)?).ok()?;
        let bytes = code.bytes.get(skip..).filter(|bytes| !bytes.is_empty())?;
        Some(Code { address, bytes, ..code })
    }

    fn symbol_around(&self, address: u64) -> Option<(u64, u64)> {
        let (&start, &size) = self.sizes.range(..=address).next_back()?;
        (address - start < size).then_some((start, size))
    }

    fn unwound_around(&self, address: u64) -> Option<(u64, u64)> {
        let tables = self.unwind.get_or_init(|| self.object.unwind_tables()).as_ref()?;
        let extent = tables.extent(address)?;
        Some((extent.start, extent.end - extent.start))
    }

    /// The bytes at an address, read once.
    fn piece(&self, address: u64, length: usize, size_known: bool) -> Option<Code<'_>> {
        let same = |piece: &&Piece| piece.address == address && (piece.size_known || !size_known);
        if let Some(known) = self.pieces.iter().map_while(OnceCell::get).find(same) {
            return Some(known.code());
        }
        let bytes = self.object.code(address, length)?;
        let size_known = size_known && bytes.len() == length;
        let free = self.pieces.iter().find(|piece| piece.get().is_none())?;
        Some(free.get_or_init(|| Piece { address, bytes, size_known }).code())
    }

    /// The function of this object that a slot of the PLT is bound to.
    fn bound_to(&self, slot: u64) -> Option<u64> {
        let binding = *self.slots.get_or_init(|| self.object.bound_slots()).get(&slot)?;
        let value = self.live_slot(slot);
        match (binding, value) {
            // What is not mapped, or cannot be read, says nothing against the symbol.
            (Binding::Function(target), None) => Some(target),
            (Binding::Function(target), Some(value)) => {
                let bound = self.own_code(value)?;
                (bound == target || self.is_unbound(bound)).then_some(target)
            }
            (Binding::AtLoad, value) => self.own_code(value?).filter(|bound| !self.is_unbound(*bound)),
        }
    }

    /// The value of a slot in the process.
    fn live_slot(&self, slot: u64) -> Option<u64> {
        let live = self.live.as_ref()?;
        let code = self.object.segments.iter().find(|segment| segment.executable)?;
        let base = self.object.address_of(code.vaddr, live.maps)?.wrapping_sub(code.vaddr);
        let mut value = [0; 8];
        let read = live.memory.read(slot.wrapping_add(base), &mut value).ok()?;
        (read == value.len()).then_some(u64::from_le_bytes(value))
    }

    /// The object's own address of an address in the process, if its code lies there.
    fn own_code(&self, address: u64) -> Option<u64> {
        let mut maps = self.live?.maps.iter();
        let mapping = maps.find(|mapping| mapping.executable && mapping.contains(address))?;
        let is_ours = mapping.file_id() == Some(self.object.identity);
        self.object.vaddr_of(mapping, address).filter(|_| is_ours)
    }

    /// Before its first call a lazily bound slot leads back into the PLT, to a `push` of the relocation's number.
    fn is_unbound(&self, vaddr: u64) -> bool {
        let bytes = self.object.code(vaddr, STUB).unwrap_or_default();
        let bytes = bytes.strip_prefix(&[0xf3, 0x0f, 0x1e, 0xfa]).unwrap_or(&bytes);
        bytes.first() == Some(&0x68)
    }
}

#[cfg(test)]
mod tests;
