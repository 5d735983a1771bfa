//! The functions an object defines: `.dynsym`, then `.symtab`, else its separate debug file, else what is packed into it.

use std::cell::Cell;
use std::ops::ControlFlow;

use object::elf::{self, FileHeader64, Sym64};
use object::read::elf::{FileHeader as _, SectionHeader as _, Sym as _};
use object::{LittleEndian, SectionIndex};

use super::source::Bounded;
use super::{ElfError, Object};

/// Longer names are not looked at: C++ symbols of a few KiB exist, and no allocation function is among them.
const MAX_NAME: usize = 4096;

/// The table a symbol was found in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SymbolSource {
    /// `.dynsym`: what the object exports.
    Dynamic,
    /// `.symtab`: all of it, unless it was stripped.
    Full,
    /// `.symtab` of the separate debug file.
    DebugFile,
    /// `.symtab` of the file that is packed into the object.
    Packed,
}

impl SymbolSource {
    /// The name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dynamic => ".dynsym",
            Self::Full => ".symtab",
            Self::DebugFile => "the debug file",
            Self::Packed => ".gnu_debugdata",
        }
    }
}

/// A function that an object defines. The name is what the file says: untrusted bytes.
#[derive(Clone, Copy, Debug)]
pub struct Symbol<'a> {
    /// The name, without symbol version.
    pub name: &'a [u8],
    /// Address, as the file names addresses.
    pub vaddr: u64,
    /// Size in bytes; 0 if unknown.
    pub size: u64,
    /// The table it was found in.
    pub source: SymbolSource,
    /// The address is that of a resolver that picks the function at load time (GNU_IFUNC), not of the function.
    pub indirect: bool,
}

impl Object {
    /// Shows every defined function to `visit`, until it breaks. `.dynsym` first, then `.symtab`; without
    /// `.symtab`, that of the separate debug file, or else the one that is packed into the object. The same function is
    /// shown once a table. Damaged tables are skipped. Returns whether there was any full table.
    pub fn symbols(&self, mut visit: impl FnMut(&Symbol<'_>) -> ControlFlow<()>) -> bool {
        let stopped = Cell::new(false);
        let mut watched = |symbol: &Symbol<'_>| {
            let flow = visit(symbol);
            stopped.set(stopped.get() | flow.is_break());
            flow
        };
        // A damaged table is as good as none: what was not found is said by whoever asked.
        let _ = self.table(elf::SHT_DYNSYM, SymbolSource::Dynamic, &mut watched);
        if stopped.get() || self.table(elf::SHT_SYMTAB, SymbolSource::Full, &mut watched).unwrap_or(false) {
            return true;
        }
        let mut beside = |file: Option<Self>, source| {
            file.is_some_and(|file| file.table(elf::SHT_SYMTAB, source, &mut watched).unwrap_or(false))
        };
        beside(self.debug_file(), SymbolSource::DebugFile) || beside(self.packed(), SymbolSource::Packed)
    }

    /// Addresses of the defined variables whose name is wanted, from the same tables as [`Object::symbols`].
    pub fn variables(&self, is_wanted: impl Fn(&[u8]) -> bool) -> Vec<u64> {
        let mut found = Vec::new();
        let mut take = |symbol: &Symbol<'_>| {
            if is_wanted(symbol.name) {
                found.push(symbol.vaddr);
            }
            ControlFlow::Continue(())
        };
        let is_variable = |kind| kind == elf::STT_OBJECT;
        // As for functions: a damaged table is as good as none.
        let _ = self.entries(elf::SHT_DYNSYM, SymbolSource::Dynamic, is_variable, &mut take);
        if !self.entries(elf::SHT_SYMTAB, SymbolSource::Full, is_variable, &mut take).unwrap_or(false)
            && let Some(debug) = self.debug_file()
        {
            let _ = debug.entries(elf::SHT_SYMTAB, SymbolSource::DebugFile, is_variable, &mut take);
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Shows the functions of one table; says whether the object has it.
    fn table(
        &self,
        kind: u32,
        source: SymbolSource,
        visit: &mut dyn FnMut(&Symbol<'_>) -> ControlFlow<()>,
    ) -> Result<bool, ElfError> {
        let is_function = |kind| kind == elf::STT_FUNC || kind == elf::STT_GNU_IFUNC;
        self.entries(kind, source, is_function, visit)
    }

    /// Shows the entries of one table whose type is wanted; says whether the object has it.
    fn entries(
        &self,
        kind: u32,
        source: SymbolSource,
        is_wanted: impl Fn(u8) -> bool,
        visit: &mut dyn FnMut(&Symbol<'_>) -> ControlFlow<()>,
    ) -> Result<bool, ElfError> {
        let cache = self.source.cache();
        let data = Bounded(&cache);
        let header = FileHeader64::<LittleEndian>::parse(data)?;
        let endian = header.endian()?;
        let sections = header.sections(endian, data)?;
        let Some(section) = sections.iter().find(|section| section.sh_type(endian) == kind) else {
            return Ok(false);
        };
        let symbols: &[Sym64<LittleEndian>] = section.data_as_array(endian, data)?;
        // The strings are read whole: looking up 200,000 names one by one in the file costs seconds.
        let strings = sections.section(SectionIndex(section.sh_link(endian) as usize))?.data(endian, data)?;
        for symbol in symbols {
            let kind = symbol.st_type();
            if !is_wanted(kind) || symbol.st_shndx(endian) == elf::SHN_UNDEF || symbol.st_value(endian) == 0 {
                continue;
            }
            let Some(name) = name_at(strings, symbol.st_name(endian)) else { continue };
            let found = Symbol {
                name,
                vaddr: symbol.st_value(endian),
                size: symbol.st_size(endian),
                source,
                indirect: kind == elf::STT_GNU_IFUNC,
            };
            if visit(&found).is_break() {
                break;
            }
        }
        Ok(true)
    }
}

/// The name at `offset`; in tables that carry versions in the name (`malloc@@GLIBC_2.2.5`), without them.
fn name_at(strings: &[u8], offset: u32) -> Option<&[u8]> {
    let rest = strings.get(offset as usize..)?;
    let rest = rest.get(..MAX_NAME).unwrap_or(rest);
    let name = rest.get(..memchr(0, rest)?)?;
    let name = memchr(b'@', name).and_then(|end| name.get(..end)).unwrap_or(name);
    (!name.is_empty()).then_some(name)
}

fn memchr(byte: u8, haystack: &[u8]) -> Option<usize> {
    haystack.iter().position(|candidate| *candidate == byte)
}
