//! Where each piece of code begins and ends, as the unwind tables (`.eh_frame`) of an object have it.

use std::ops::Range;
use std::sync::Arc;

use gimli::{
    BaseAddresses, CallFrameInstruction, CallFrameInstructionIter, CfaRule, EhFrame, EhFrameHdr, Encoding,
    EndianSlice, FrameDescriptionEntry, LittleEndian, Operation, Reader, Register, RegisterRule,
    UnwindContext, UnwindSection as _, UnwindTableRow,
};
use leaktrace_common::Rule;
use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _};

use super::Object;
use super::frame_pointers::RBP;
use super::source::Bounded;
use crate::panics::catch;

/// More of `.eh_frame` is not read; browsers have some 30 MiB of it.
pub(super) const MAX_TABLES: usize = 64 << 20;
/// Tables without an index are searched from the start each time, so only small ones.
const MAX_UNINDEXED: usize = 4 << 20;
/// Of one piece of code no more instructions are looked at.
const MAX_INSTRUCTIONS: usize = 4096;
/// Addresses have eight bytes.
pub(super) const ADDRESS_SIZE: u8 = 8;

/// The unwind tables of an object. They know every function and cold part that an exception or a debugger may come
/// through, also those without a symbol.
#[derive(Debug)]
pub struct UnwindTables {
    /// Address and bytes of `.eh_frame_hdr`, the index, if there is one.
    index: Option<(u64, Arc<[u8]>)>,
    /// Address and bytes of `.eh_frame`, or of more from its start: it ends by itself.
    frames: (u64, Arc<[u8]>),
    /// Address of the first executable byte, to which some encodings are relative.
    text: u64,
}

impl Object {
    /// The unwind tables, if the object has any.
    pub fn unwind_tables(&self) -> Option<UnwindTables> {
        let text = self.segments.iter().find(|segment| segment.executable)?.vaddr;
        self.indexed_tables(text).or_else(|| self.section_tables(text))
    }

    /// The tables that the program headers lead to: the kernel's loader needs no sections, nor do exceptions.
    fn indexed_tables(&self, text: u64) -> Option<UnwindTables> {
        let (address, size) = self.unwind_index()?;
        let index = self.bytes_at(address, usize::try_from(size).ok()?.min(MAX_TABLES))?;
        let bases = BaseAddresses::default().set_eh_frame_hdr(address).set_text(text);
        let parsed = EhFrameHdr::new(&index, LittleEndian).parse(&bases, ADDRESS_SIZE).ok()?;
        let start = parsed.eh_frame_ptr().direct().ok()?;
        let has_entries = parsed.table().is_some();
        let limit = if has_entries { MAX_TABLES } else { MAX_UNINDEXED };
        // Where sections are told, no more is read than there is.
        let limit = self.section_size(start).map_or(limit, |size| size.min(limit));
        let frames = (start, self.bytes_at(start, limit)?.into());
        let index = has_entries.then(|| (address, index.into()));
        Some(UnwindTables { index, frames, text })
    }

    /// The size of the section at an address.
    fn section_size(&self, address: u64) -> Option<usize> {
        let cache = self.source.cache();
        let data = Bounded(&cache);
        let header = FileHeader64::<object::LittleEndian>::parse(data).ok()?;
        let endian = header.endian().ok()?;
        let sections = header.sections(endian, data).ok()?;
        let section = sections.iter().find(|section| section.sh_addr(endian) == address)?;
        usize::try_from(section.sh_size(endian)).ok().filter(|size| *size > 0)
    }

    /// Address and size of `.eh_frame_hdr`.
    fn unwind_index(&self) -> Option<(u64, u64)> {
        let cache = self.source.cache();
        let data = Bounded(&cache);
        let header = FileHeader64::<object::LittleEndian>::parse(data).ok()?;
        let endian = header.endian().ok()?;
        let mut segments = header.program_headers(endian, data).ok()?.iter().take(super::MAX_SEGMENTS);
        let found = segments.find(|segment| segment.p_type(endian) == elf::PT_GNU_EH_FRAME)?;
        Some((found.p_vaddr(endian), found.p_filesz(endian)))
    }

    /// The tables of static programs, which some linkers give no index.
    fn section_tables(&self, text: u64) -> Option<UnwindTables> {
        let cache = self.source.cache();
        let data = Bounded(&cache);
        let header = FileHeader64::<object::LittleEndian>::parse(data).ok()?;
        let endian = header.endian().ok()?;
        let sections = header.sections(endian, data).ok()?;
        let (_, section) = sections.section_by_name(endian, b".eh_frame")?;
        let length = usize::try_from(section.sh_size(endian)).ok()?.min(MAX_UNINDEXED);
        let start = section.sh_addr(endian);
        Some(UnwindTables { index: None, frames: (start, self.bytes_at(start, length)?.into()), text })
    }

    /// Up to `limit` bytes of the file at an address in any segment.
    pub(super) fn bytes_at(&self, vaddr: u64, limit: usize) -> Option<Vec<u8>> {
        let segment = self.segments.iter().find(|segment| {
            vaddr.checked_sub(segment.vaddr).is_some_and(|within| within < segment.file_size)
        })?;
        let within = vaddr - segment.vaddr;
        let offset = segment.offset.checked_add(within)?;
        // A segment may claim more than the file has, and that much would be reserved.
        let left = self.source.len().ok()?.checked_sub(offset)?.min(segment.file_size - within);
        self.source.read_up_to(offset, left.min(limit as u64) as usize).ok()
    }
}

/// A description of a piece of code, in the tables' own bytes.
type Entry<'a> = FrameDescriptionEntry<EndianSlice<'a, LittleEndian>>;

impl UnwindTables {
    /// The piece of code that an address lies in: a function, or a part that was split off one.
    pub fn extent(&self, address: u64) -> Option<Range<u64>> {
        let entry = self.entry_at(address)?;
        let end = entry.initial_address().checked_add(entry.len())?;
        Some(entry.initial_address()..end).filter(|extent| extent.contains(&address))
    }

    /// Address and bytes of `.eh_frame_hdr`, if there is one.
    pub fn index(&self) -> Option<(u64, Arc<[u8]>)> {
        self.index.clone()
    }

    /// Address and bytes of `.eh_frame`; more bytes may follow.
    pub fn frames(&self) -> (u64, Arc<[u8]>) {
        self.frames.clone()
    }

    /// Address of the first executable byte.
    pub const fn text(&self) -> u64 {
        self.text
    }

    /// Whether the instructions that tell how to unwind at an address come to an end: an expression that jumps may go
    /// round for ever. True where nothing is told.
    pub fn ends_at(&self, address: u64) -> bool {
        let (frames, bases) = self.section();
        self.entry_at(address).is_none_or(|entry| {
            let encoding = entry.cie().encoding();
            end(entry.cie().instructions(&frames, &bases), &frames, encoding)
                && end(entry.instructions(&frames, &bases), &frames, encoding)
        })
    }

    /// How to come from a return address to that of the next frame outwards; `address` is one that the call before it
    /// covers. `None` where the tables say nothing of it.
    pub fn rule_at(&self, address: u64) -> Option<Rule> {
        let (frames, bases) = self.section();
        let entry = self.entry_at(address).filter(|entry| entry.contains(address))?;
        let mut context = UnwindContext::new();
        let row = entry.unwind_info_for_address(&frames, &bases, &mut context, address);
        Some(row.ok().and_then(rule).unwrap_or(Rule::INEXPRESSIBLE))
    }

    /// Whether the tables say something of an address.
    pub fn covers(&self, address: u64) -> bool {
        self.entry_at(address).is_some_and(|entry| entry.contains(address))
    }

    /// The section, and what addresses in it are relative to.
    pub(super) fn section(&self) -> (EhFrame<EndianSlice<'_, LittleEndian>>, BaseAddresses) {
        let (at, bytes) = &self.frames;
        let bases = BaseAddresses::default().set_eh_frame(*at).set_text(self.text);
        (EhFrame::new(bytes, LittleEndian), bases)
    }

    fn entry_at(&self, address: u64) -> Option<Entry<'_>> {
        let (frames, bases) = self.section();
        let Some((index_at, index)) = &self.index else {
            return frames.fde_for_address(&bases, address, EhFrame::cie_from_offset).ok();
        };
        let bases = bases.set_eh_frame_hdr(*index_at);
        let index = EhFrameHdr::new(index, LittleEndian).parse(&bases, ADDRESS_SIZE).ok()?;
        // gimli subtracts what a damaged index says from where the entries begin.
        catch(|| index.table()?.fde_for_address(&frames, &bases, address, EhFrame::cie_from_offset).ok())?
    }
}

/// A row of the tables as a rule; `None` where that cannot be said so shortly.
pub(super) fn rule(row: &UnwindTableRow<usize>) -> Option<Rule> {
    const RSP: Register = Register(7);
    const RETURN_ADDRESS: Register = Register(16);
    match row.register(RETURN_ADDRESS) {
        Some(RegisterRule::Undefined) => return Some(Rule::OUTERMOST),
        Some(RegisterRule::Offset(-8)) => {}
        _ => return None,
    }
    let CfaRule::RegisterAndOffset { register, offset } = *row.cfa() else { return None };
    let from = match register {
        RSP => Rule::FROM_SP,
        RBP => Rule::FROM_FP,
        _ => return None,
    };
    let fp_offset = match row.register(RBP) {
        None | Some(RegisterRule::SameValue | RegisterRule::Undefined) => 0,
        Some(RegisterRule::Offset(offset)) => i16::try_from(offset).ok()?,
        _ => return None,
    };
    Some(Rule { cfa_offset: i32::try_from(offset).ok()?, fp_offset, from, zero: 0 })
}

/// Whether no expression among the instructions jumps.
fn end<R: Reader>(
    mut instructions: CallFrameInstructionIter<'_, R>,
    frames: &EhFrame<R>,
    encoding: Encoding,
) -> bool {
    for _ in 0..MAX_INSTRUCTIONS {
        let expression = match instructions.next() {
            Ok(Some(
                CallFrameInstruction::DefCfaExpression { expression }
                | CallFrameInstruction::Expression { expression, .. }
                | CallFrameInstruction::ValExpression { expression, .. },
            )) => expression,
            Ok(Some(_)) => continue,
            Ok(None) | Err(_) => return true,
        };
        let Ok(expression) = expression.get(frames) else { return true };
        let mut operations = expression.operations(encoding);
        while let Ok(Some(operation)) = operations.next() {
            if matches!(operation, Operation::Bra { .. } | Operation::Skip { .. }) {
                return false;
            }
        }
    }
    // No compiler writes so many.
    false
}
