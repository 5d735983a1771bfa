//! Which pointers of an object the dynamic linker binds to functions that the object itself defines.

use std::collections::BTreeMap;

use object::LittleEndian;
use object::elf::{self, FileHeader64};
use object::read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _};

use super::Object;
use super::source::Bounded;

/// More of one table is not read; a browser's relocations have some 10 MiB.
const MAX_TABLE: u64 = 64 << 20;
/// Bytes of an `Elf64_Rela`.
const RELOCATION: usize = 24;
/// Bytes of an `Elf64_Sym`.
const SYMBOL: u64 = 24;

/// What a slot of the global offset table is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// The function at this address of the object, unless another object comes first by its name (interposition).
    Function(u64),
    /// What a resolver of the object picks at load time (GNU_IFUNC): only the slot in memory tells.
    AtLoad,
}

/// Address and size in bytes of the tables that the dynamic linker uses.
#[derive(Default)]
struct DynamicTables {
    plt: (u64, u64),
    data: (u64, u64),
    symbols: u64,
}

impl Object {
    /// Slots of the global offset table by address, as far as the object itself has what they are bound to.
    pub fn bound_slots(&self) -> BTreeMap<u64, Binding> {
        let Some(tables) = self.dynamic_tables() else { return BTreeMap::new() };
        let named: Vec<(u64, Option<u64>)> = [tables.plt, tables.data]
            .into_iter()
            .filter_map(|(at, size)| self.bytes_at(at, size.min(MAX_TABLE) as usize))
            .flat_map(|table| table.chunks_exact(RELOCATION).filter_map(slot_of).collect::<Vec<_>>())
            .collect();
        let last = named.iter().filter_map(|(_, symbol)| *symbol).max().unwrap_or(0);
        let wanted = last.saturating_add(1).saturating_mul(SYMBOL).min(MAX_TABLE) as usize;
        let symbols = self.bytes_at(tables.symbols, wanted).unwrap_or_default();
        let bound = |(slot, symbol): (u64, Option<u64>)| match symbol {
            Some(symbol) => Some((slot, binding_of(&symbols, symbol)?)),
            None => Some((slot, Binding::AtLoad)),
        };
        named.into_iter().filter_map(bound).collect()
    }

    /// What `PT_DYNAMIC` says; sections are not needed to run a file, so they are not trusted to be there.
    fn dynamic_tables(&self) -> Option<DynamicTables> {
        let cache = self.source.cache();
        let data = Bounded(&cache);
        let header = FileHeader64::<LittleEndian>::parse(data).ok()?;
        let endian = header.endian().ok()?;
        let mut segments = header.program_headers(endian, data).ok()?.iter().take(super::MAX_SEGMENTS);
        let entries = segments.find_map(|segment| segment.dynamic(endian, data).ok().flatten())?;
        let mut tables = DynamicTables::default();
        for entry in entries {
            let value = entry.val(endian);
            match entry.tag(endian) {
                elf::DT_NULL => break,
                elf::DT_JMPREL => tables.plt.0 = value,
                elf::DT_PLTRELSZ => tables.plt.1 = value,
                elf::DT_RELA => tables.data.0 = value,
                elf::DT_RELASZ => tables.data.1 = value,
                elf::DT_SYMTAB => tables.symbols = value,
                _ => {}
            }
        }
        Some(tables)
    }
}

/// Slot and number of the symbol, of a relocation that stores a symbol's plain address; no symbol where a resolver
/// picks it.
fn slot_of(relocation: &[u8]) -> Option<(u64, Option<u64>)> {
    let slot = word(relocation, 0)?;
    let info = word(relocation, 8)?;
    match info as u32 {
        elf::R_X86_64_JUMP_SLOT | elf::R_X86_64_GLOB_DAT => Some((slot, Some(info >> 32))),
        elf::R_X86_64_IRELATIVE => Some((slot, None)),
        _ => None,
    }
}

/// What is bound by a symbol, if it is a function that is defined here.
fn binding_of(symbols: &[u8], number: u64) -> Option<Binding> {
    let start = usize::try_from(number.checked_mul(SYMBOL)?).ok()?;
    let symbol = symbols.get(start..)?.get(..SYMBOL as usize)?;
    let kind = symbol.get(4)? & 0xf;
    let section = u16::from_le_bytes(*symbol.get(6..)?.first_chunk()?);
    let address = word(symbol, 8)?;
    match kind {
        _ if section == elf::SHN_UNDEF || address == 0 => None,
        elf::STT_FUNC => Some(Binding::Function(address)),
        elf::STT_GNU_IFUNC => Some(Binding::AtLoad),
        _ => None,
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
