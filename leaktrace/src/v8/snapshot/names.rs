//! The strings of a snapshot: which are needed, and those, cut to a length that still tells.

use std::io::Read;

use super::error::SnapshotError;
use super::source::Source;

/// Longer names are cut: constructor and property names are shorter, contents of strings are nobody's business.
pub(super) const MAX_NAME: usize = 160;
/// A page of the set of needed strings, in words of 64.
const PAGE_WORDS: usize = 256;

/// Numbers of strings that will be asked for.
#[derive(Debug, Default)]
pub(super) struct Needed {
    pages: Vec<Option<Box<[u64; PAGE_WORDS]>>>,
}

impl Needed {
    /// Asks for a string. Its number is below 2^29, so that a set of hostile numbers stays below 64 MiB.
    pub(super) fn add(&mut self, string: u32) {
        let word = string as usize / 64;
        let page = word / PAGE_WORDS;
        if page >= self.pages.len() {
            self.pages.resize_with(page + 1, || None);
        }
        if let Some(page) = self.pages.get_mut(page) {
            let words = page.get_or_insert_with(|| Box::new([0; PAGE_WORDS]));
            if let Some(word) = words.get_mut(word % PAGE_WORDS) {
                *word |= 1 << (string % 64);
            }
        }
    }

    fn has(&self, string: u32) -> bool {
        let word = string as usize / 64;
        let page = self.pages.get(word / PAGE_WORDS).and_then(Option::as_ref);
        page.and_then(|words| words.get(word % PAGE_WORDS)).is_some_and(|word| word >> (string % 64) & 1 == 1)
    }
}

/// The needed strings, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Ascending.
    numbers: Vec<u32>,
    /// Where each begins in `bytes`.
    starts: Vec<u32>,
    bytes: Vec<u8>,
    /// How many strings the snapshot has.
    count: u32,
}

impl Names {
    /// Reads `["…", …]` and keeps what is needed.
    pub(super) fn read<R: Read>(source: &mut Source<R>, needed: &Needed) -> Result<Self, SnapshotError> {
        let mut names = Self::default();
        let mut text = Vec::new();
        source.array(|source| {
            let number = names.count;
            if needed.has(number) {
                text.clear();
                let is_whole = source.string(MAX_NAME, &mut text)?;
                let start =
                    u32::try_from(names.bytes.len()).map_err(|_| source.fault("more than 4 GiB of names"))?;
                names.numbers.push(number);
                names.starts.push(start);
                if is_whole {
                    names.bytes.extend_from_slice(&text);
                } else {
                    // The cut may have gone through a character.
                    let whole = text.utf8_chunks().next().map_or("", |chunk| chunk.valid());
                    names.bytes.extend_from_slice(whole.as_bytes());
                    names.bytes.extend_from_slice("…".as_bytes());
                }
            } else {
                source.string(0, &mut text)?;
            }
            names.count = number.checked_add(1).ok_or_else(|| source.fault("too many strings"))?;
            Ok(())
        })?;
        Ok(names)
    }

    /// How many strings the snapshot has, needed or not.
    pub(super) const fn count(&self) -> u32 {
        self.count
    }

    /// The bytes of a string, with `…` where it was cut; empty if it was not needed.
    pub(super) fn bytes(&self, number: u32) -> &[u8] {
        let Ok(index) = self.numbers.binary_search(&number) else { return &[] };
        let start = self.starts.get(index).map_or(0, |&start| start as usize);
        let end = self.starts.get(index + 1).map_or(self.bytes.len(), |&end| end as usize);
        self.bytes.get(start..end).unwrap_or_default()
    }

    /// The string, with `…` where it was cut.
    pub(super) fn text(&self, number: u32) -> String {
        String::from_utf8_lossy(self.bytes(number)).into_owned()
    }

    /// The kept strings with their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.numbers.iter().map(|&number| (number, self.bytes(number)))
    }
}

impl<R: Read> Source<R> {
    /// Reads a string, appends at most `keep` bytes of it, and tells whether that was all.
    ///
    /// What follows is skipped as fast as its quote can be found.
    pub(super) fn string(&mut self, keep: usize, text: &mut Vec<u8>) -> Result<bool, SnapshotError> {
        self.expect(b'"')?;
        let limit = text.len() + keep;
        let mut is_whole = true;
        loop {
            let waiting = self.waiting()?;
            if waiting.is_empty() {
                return Err(self.cut());
            }
            let plain = memchr::memchr2(b'"', b'\\', waiting);
            let length = plain.unwrap_or(waiting.len());
            let room = limit.saturating_sub(text.len());
            text.extend_from_slice(waiting.get(..length.min(room)).unwrap_or_default());
            is_whole &= length <= room;
            let special = plain.and_then(|at| waiting.get(at).copied());
            self.take(length);
            match special {
                None => {}
                Some(b'"') => {
                    self.take(1);
                    return Ok(is_whole);
                }
                Some(_) => {
                    self.take(1);
                    let c = self.escape()?;
                    let mut utf8 = [0; 4];
                    let encoded = c.encode_utf8(&mut utf8).as_bytes();
                    if text.len() + encoded.len() <= limit {
                        text.extend_from_slice(encoded);
                    } else {
                        is_whole = false;
                    }
                }
            }
        }
    }

    /// The character behind a backslash. Halves of surrogate pairs become U+FFFD; V8 writes none.
    fn escape(&mut self) -> Result<char, SnapshotError> {
        Ok(match self.next()? {
            b'n' => '\n',
            b't' => '\t',
            b'r' => '\r',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            c @ (b'"' | b'\\' | b'/') => char::from(c),
            b'u' => char::from_u32(self.hex4()?).unwrap_or(char::REPLACEMENT_CHARACTER),
            _ => return Err(self.fault("an escape that JSON does not know")),
        })
    }

    fn hex4(&mut self) -> Result<u32, SnapshotError> {
        let mut unit = 0;
        for _ in 0..4 {
            let byte = self.next()?;
            let digit =
                char::from(byte).to_digit(16).ok_or_else(|| self.fault("expected four hex digits"))?;
            unit = unit * 16 + digit;
        }
        Ok(unit)
    }
}
