//! Where there may be code, as the BPF programs are told.

use leaktrace_common::{CODE_WORDS, code_bit};

/// A bit for each page of the ranges, see [`leaktrace_common::CodePages`].
/// Always some: it is an option so that nothing can panic.
pub fn code_pages(ranges: impl IntoIterator<Item = (u64, u64)>) -> Option<Box<[u64; CODE_WORDS]>> {
    const PAGE: u64 = 4096;
    let mut words = vec![0_u64; CODE_WORDS];
    for (start, end) in ranges {
        // More pages than there are bits set all of them.
        let pages = (end.saturating_sub(start) / PAGE).min(64 * CODE_WORDS as u64);
        for page in 0..pages {
            let (word, bit) = code_bit(start.saturating_add(page * PAGE));
            if let Some(word) = words.get_mut(word) {
                *word |= 1 << bit;
            }
        }
    }
    words.into_boxed_slice().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_code_have_their_bit() {
        let pages = code_pages([(0x40_1000, 0x40_3000), (0x7f12_3456_7000, 0x7f12_3456_8000)]).unwrap();
        let is_code = |address| {
            let (word, bit) = code_bit(address);
            pages[word] >> bit & 1 == 1
        };
        let answers = [0x40_0fff, 0x40_1000, 0x40_2fff, 0x40_3000, 0x7f12_3456_7abc].map(is_code);
        assert_eq!(answers, [false, true, true, false, true]);
        let all = code_pages([(0, u64::MAX)]).unwrap();
        assert!(all.iter().all(|&word| word == u64::MAX));
    }
}
