//! Values as people write them: durations and sizes.

use std::time::Duration;

use super::MaxOverhead;

/// Shorter intervals would cost more than they show.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

/// No trace lasts longer; the bound keeps all later arithmetic on durations safe.
const MAX_DURATION: Duration = Duration::from_hours(10 * 366 * 24);

/// The most sites that one tick names.
const MAX_TOP: usize = 10_000;

/// `5%`, `0.5`, or `none`: what tracing may take of one CPU.
pub(super) fn max_overhead(text: &str) -> Result<MaxOverhead, String> {
    const LIKE: &str = "write it as 5%, or none";
    if text.eq_ignore_ascii_case("none") {
        return Ok(MaxOverhead(None));
    }
    let number = text.strip_suffix('%').unwrap_or(text).trim_end();
    let percent: f64 = number.parse().map_err(|_| LIKE.to_owned())?;
    if !(0.1..=10_000.0).contains(&percent) {
        return Err("must be from 0.1% to 10000% (of one CPU), or none".to_owned());
    }
    Ok(MaxOverhead(Some(percent / 100.0)))
}

/// `500ms`, `10s`, `2m`, `1h`, `1d`, sums such as `1h30m`, and plain seconds such as `2.5`; more than zero.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let sum = if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        seconds(text, 1.0)?
    } else {
        sum_of_parts(text)?
    };
    if sum <= 0.0 {
        return Err("must be longer than nothing".to_owned());
    }
    Duration::try_from_secs_f64(sum)
        .ok()
        .filter(|duration| *duration <= MAX_DURATION)
        .ok_or_else(|| "is longer than ten years".to_owned())
}

/// A [`duration`] that is long enough between two ticks.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text)?;
    if interval < MIN_INTERVAL {
        return Err("the shortest interval is 100ms".to_owned());
    }
    Ok(interval)
}

fn sum_of_parts(text: &str) -> Result<f64, String> {
    let mut rest = text;
    let mut sum = 0.0;
    while !rest.is_empty() {
        let (number, tail) = split_number(rest);
        let unit_end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let factor = match unit {
            "ms" => 1e-3,
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return Err("write it as 500ms, 10s, 2m, 1h, 1d or 1h30m".to_owned()),
        };
        sum += seconds(number, factor)?;
        rest = tail;
    }
    Ok(sum)
}

fn seconds(number: &str, factor: f64) -> Result<f64, String> {
    number
        .parse::<f64>()
        .map(|value| value * factor)
        .map_err(|_| "write it as 500ms, 10s, 2m, 1h, 1d or 1h30m".to_owned())
}

/// `4096`, `4K`, `4KiB`, `1.5M`, `1GiB` (powers of 1024), `1MB` (powers of 1000), in bytes.
pub(super) fn size(text: &str) -> Result<u64, String> {
    const FORM: &str = "write it as 4096, 4K, 1MiB or 1GB";
    let (number, unit) = split_number(text);
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err(FORM.to_owned()),
    };
    let too_large = || "is larger than any memory".to_owned();
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).ok_or_else(too_large);
    }
    let bytes = number.parse::<f64>().map_err(|_| FORM.to_owned())? * factor as f64;
    if bytes < u64::MAX as f64 { Ok(bytes as u64) } else { Err(too_large()) }
}

/// A size that the kernel accepts for a ring buffer: a power of two of whole pages, at most 1 GiB.
pub(super) fn ring_size(text: &str) -> Result<u32, String> {
    let bytes = size(text)?;
    if bytes.is_power_of_two() && (4096..=1 << 30).contains(&bytes) {
        Ok(bytes as u32)
    } else {
        Err("a ring buffer is a power of two from 4KiB to 1GiB".to_owned())
    }
}

/// An interval of V8's sampling: below 16 bytes nearly everything is noted, above 16 MiB nearly nothing.
pub(super) fn js_interval(text: &str) -> Result<u64, String> {
    let bytes = size(text)?;
    if (16..=16 << 20).contains(&bytes) {
        Ok(bytes)
    } else {
        Err("a sampling interval is from 16 bytes to 16MiB".to_owned())
    }
}

/// An interval of samples: 0 for none, or up to 16 GiB.
pub(super) fn sample(text: &str) -> Result<u64, String> {
    let bytes = size(text)?;
    if bytes <= leaktrace_common::sampling::MAX_INTERVAL {
        Ok(bytes)
    } else {
        Err("at most 16GiB".to_owned())
    }
}

/// How many sites to show: 1 to [`MAX_TOP`].
pub(super) fn top(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(top) if (1..=MAX_TOP).contains(&top) => Ok(top),
        _ => Err(format!("a number from 1 to {MAX_TOP}")),
    }
}

/// A confidence: 0 to 1.
pub(super) fn confidence(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(confidence) if (0.0..=1.0).contains(&confidence) => Ok(confidence),
        _ => Err("a number from 0 to 1, such as 0.9".to_owned()),
    }
}

/// Something that a symbol name can begin with.
pub(super) fn symbol_prefix(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.$".contains(&byte);
    if text.is_empty() || text.len() > 64 || !text.bytes().all(allowed) {
        return Err("a prefix of symbol names: 1 to 64 letters, digits, '_', '.' or '$'".to_owned());
    }
    Ok(text.to_owned())
}

/// The leading digits (with a decimal point), and what follows.
fn split_number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.split_at(end)
}
