//! The parts of JSON that a snapshot consists of: objects, long arrays of numbers, strings.

use std::io::Read;

use super::error::SnapshotError;
use super::source::{Source, shown};

/// Keys and short strings are not longer.
const MAX_SHORT: usize = 4096;
/// Values that are skipped are not nested deeper (trace trees of the sampling profiler are deep).
const MAX_DEPTH: u32 = 1 << 20;

impl<R: Read> Source<R> {
    /// Goes through `{"key": value, …}`: `each` takes the value of its key.
    pub(super) fn object(
        &mut self,
        mut each: impl FnMut(&mut Self, &str) -> Result<(), SnapshotError>,
    ) -> Result<(), SnapshotError> {
        self.expect(b'{')?;
        if self.peek_token()? == b'}' {
            self.take(1);
            return Ok(());
        }
        loop {
            let key = self.short_string()?;
            self.expect(b':')?;
            each(self, &key)?;
            if self.comma_or(b'}')? {
                return Ok(());
            }
        }
    }

    /// Goes through `[value, …]`: `each` takes a value.
    pub(super) fn array(
        &mut self,
        mut each: impl FnMut(&mut Self) -> Result<(), SnapshotError>,
    ) -> Result<(), SnapshotError> {
        self.expect(b'[')?;
        if self.peek_token()? == b']' {
            self.take(1);
            return Ok(());
        }
        loop {
            each(self)?;
            if self.comma_or(b']')? {
                return Ok(());
            }
        }
    }

    /// Takes a comma (false) or the end (true).
    fn comma_or(&mut self, end: u8) -> Result<bool, SnapshotError> {
        let found = self.peek_token()?;
        if found == b',' || found == end {
            self.take(1);
            return Ok(found == end);
        }
        Err(self.fault(format!("expected ',' or {}, found {}", shown(end), shown(found))))
    }

    /// A string of bounded length.
    pub(super) fn short_string(&mut self) -> Result<String, SnapshotError> {
        let mut text = Vec::new();
        let is_whole = self.string(MAX_SHORT, &mut text)?;
        if !is_whole {
            return Err(self.fault("a name is too long"));
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Goes through `[1,2,…]`, all numbers whole and not negative. This is where the time goes: one look at each byte.
    pub(super) fn numbers(
        &mut self,
        mut each: impl FnMut(u64) -> Result<(), String>,
    ) -> Result<(), SnapshotError> {
        self.expect(b'[')?;
        if self.peek_token()? == b']' {
            self.take(1);
            return Ok(());
        }
        let mut value = 0_u64;
        let mut state = Number::Awaited;
        loop {
            let waiting = self.waiting()?;
            if waiting.is_empty() {
                return Err(self.cut());
            }
            let count = waiting.len();
            let mut stop = None;
            for (index, &byte) in waiting.iter().enumerate() {
                let digit = byte.wrapping_sub(b'0');
                if digit < 10 {
                    // No figure of a heap has 19 digits; a wrong one must not wrap around.
                    if state == Number::Over || value > u64::MAX / 100 {
                        stop = Some((index, Err(unreadable_number(byte, state))));
                        break;
                    }
                    value = value * 10 + u64::from(digit);
                    state = Number::Begun;
                    continue;
                }
                let outcome = match byte {
                    b',' | b']' if state != Number::Awaited => each(value).map(|()| byte == b']'),
                    b' ' | b'\t' | b'\n' | b'\r' => {
                        if state == Number::Begun {
                            state = Number::Over;
                        }
                        continue;
                    }
                    _ => Err(unreadable_number(byte, state)),
                };
                (value, state) = (0, Number::Awaited);
                if !matches!(outcome, Ok(false)) {
                    stop = Some((index, outcome));
                    break;
                }
            }
            match stop {
                None => self.take(count),
                Some((index, outcome)) => {
                    self.take(index);
                    return match outcome {
                        Ok(_) => {
                            self.take(1);
                            Ok(())
                        }
                        Err(message) => Err(self.fault(message)),
                    };
                }
            }
        }
    }

    /// A whole number.
    pub(super) fn number(&mut self) -> Result<u64, SnapshotError> {
        let mut value = 0_u64;
        let mut digits = 0;
        self.peek_token()?;
        while let Some(byte @ b'0'..=b'9') = self.peek()? {
            if value > u64::MAX / 100 {
                return Err(self.fault("a number is too large"));
            }
            value = value * 10 + u64::from(byte - b'0');
            digits += 1;
            self.take(1);
        }
        if digits == 0 {
            let found = self.next()?;
            return Err(self.fault(format!("expected a number, found {}", shown(found))));
        }
        Ok(value)
    }

    /// Skips a value of any kind.
    pub(super) fn skip_value(&mut self) -> Result<(), SnapshotError> {
        let mut depth = 0_u32;
        loop {
            match self.peek_token()? {
                b'"' => {
                    self.string(0, &mut Vec::new())?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.take(1);
                    if depth > MAX_DEPTH {
                        return Err(self.fault("values are nested too deep"));
                    }
                }
                b'}' | b']' if depth > 0 => {
                    depth -= 1;
                    self.take(1);
                }
                b',' | b':' if depth > 0 => self.take(1),
                byte if byte.is_ascii_alphanumeric() || byte == b'-' => self.skip_scalar()?,
                byte => return Err(self.fault(format!("expected a value, found {}", shown(byte)))),
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    /// Skips a number, `true`, `false` or `null`.
    fn skip_scalar(&mut self) -> Result<(), SnapshotError> {
        loop {
            let waiting = self.waiting()?;
            let length = waiting
                .iter()
                .take_while(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte))
                .count();
            let is_over = length < waiting.len() || waiting.is_empty();
            self.take(length);
            if is_over {
                return Ok(());
            }
        }
    }
}

/// Where the scanner of numbers stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    /// Before the first digit.
    Awaited,
    /// Within the digits.
    Begun,
    /// In white space behind them.
    Over,
}

#[cold]
fn unreadable_number(byte: u8, state: Number) -> String {
    match (byte, state) {
        (b'0'..=b'9', Number::Over) => "a comma is missing between two numbers".to_owned(),
        (b'0'..=b'9', _) => "a number is too large".to_owned(),
        (byte, Number::Awaited) => format!("expected a number, found {}", shown(byte)),
        (byte, _) => format!("expected a digit or ',', found {}", shown(byte)),
    }
}
