//! A heap as `record_heap.py` records it, and what fuzzing makes of it: a walk must end, and add up.
#![no_main]

use leaktrace::heap::walk::{HeapMemory, PAGE, Roots, find_main_arena, find_parameters, layout_of, walk};

/// More pieces say nothing new.
const MAX_PIECES: u8 = 8;
/// Before each piece: where it stands, and how many bytes of it follow.
const HEAD: usize = 12;

/// Pieces of memory: the library's variables, the main heap, and others.
struct Memory<'a>(Vec<(u64, &'a [u8])>);

impl HeapMemory for Memory<'_> {
    fn read(&mut self, address: u64, buffer: &mut [u8]) -> usize {
        let rest = self.0.iter().find_map(|(start, bytes)| {
            bytes.get(usize::try_from(address.checked_sub(*start)?).ok()?..).filter(|rest| !rest.is_empty())
        });
        let rest = rest.unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        count
    }

    fn resident_pages(&mut self, start: u64, end: u64) -> u64 {
        end.saturating_sub(start) / PAGE
    }
}

libfuzzer_sys::fuzz_target!(init: leaktrace::panics::silence_caught_panics(), |bytes: &[u8]| {
    let Some((memory, brk_end)) = read(bytes) else { return };
    let Some(&(data_start, data)) = memory.0.first() else { return };
    let brk = memory.0.get(1).map(|(start, _)| *start..brk_end.max(*start));
    let others = memory.0.iter().skip(2).map(|(start, bytes)| *start..start.saturating_add(bytes.len() as u64));
    let mut roots = Roots { brk, anonymous: others.collect(), ..Roots::default() };
    let Some(layout) = layout_of((2, 36)) else { return };
    // Where the variables are not to be recognised, a place that fuzzing knows.
    roots.main_arena = find_main_arena(data, data_start, layout, &roots).unwrap_or(data_start);
    roots.parameters = roots.brk.as_ref().and_then(|brk| find_parameters(data, data_start, layout, brk));
    let mut memory = memory;
    let (mut blocks, mut usable) = (0_u64, 0_u64);
    let walked = walk(&mut memory, layout, &roots, &mut |block| {
        blocks += 1;
        usable = usable.saturating_add(block.usable);
    });
    let Ok(found) = walked else { return };
    assert!((0.0..=1.0).contains(&found.coverage()));
    assert_eq!(blocks, found.total(|arena| arena.blocks) + found.mapped.blocks);
    assert_eq!(usable, found.sizes.iter().map(|(_, class)| class.bytes).sum::<u64>());
});

fn read(bytes: &[u8]) -> Option<(Memory<'_>, u64)> {
    let (head, mut rest) = bytes.split_first_chunk::<9>()?;
    let (count, brk_end) = (head[0].min(MAX_PIECES), u64::from_le_bytes(*head.last_chunk()?));
    let mut pieces = Vec::new();
    for _ in 0..count {
        let (piece, behind) = rest.split_first_chunk::<HEAD>()?;
        let start = u64::from_le_bytes(*piece.first_chunk()?);
        let length = u32::from_le_bytes(*piece.last_chunk()?) as usize;
        let (bytes, behind) = behind.split_at(length.min(behind.len()));
        pieces.push((start, bytes));
        rest = behind;
    }
    Some((Memory(pieces), brk_end))
}
