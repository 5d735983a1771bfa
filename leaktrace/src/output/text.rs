//! Figures as people read them: bytes, rates, counts, durations.

/// A figure with at most four digits, and the step (0-based) of its unit.
fn scaled(value: f64, base: f64, steps: usize) -> (String, usize) {
    let mut value = value;
    let mut step = 0;
    // A figure that would be rounded up to the base (1023.96 KiB) belongs to the next unit.
    while step < steps && rounded(value) >= base {
        value /= base;
        step += 1;
    }
    let digits = if step == 0 || value >= 99.95 { format!("{value:.0}") } else { format!("{value:.1}") };
    (digits, step)
}

fn rounded(value: f64) -> f64 {
    if value >= 99.95 { value.round() } else { (value * 10.0).round() / 10.0 }
}

fn bytes_f64(value: f64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let (digits, step) = scaled(value, 1024.0, UNITS.len() - 1);
    format!("{digits} {}", UNITS.get(step).unwrap_or(&"EiB"))
}

/// Bytes: `0 B`, `1.2 KiB`, `412 MiB`.
pub fn bytes(value: u64) -> String {
    bytes_f64(value as f64)
}

/// Signed bytes a second: `+1.2 MiB/s`, `-300 B/s`, `0 B/s`.
pub fn rate(bytes_per_s: f64) -> String {
    if !bytes_per_s.is_finite() {
        return "?".to_owned();
    }
    let sign = match bytes_per_s {
        value if value.abs() < 0.5 => return "0 B/s".to_owned(),
        value if value > 0.0 => "+",
        _ => "-",
    };
    format!("{sign}{}/s", bytes_f64(bytes_per_s.abs()))
}

fn count_f64(value: f64) -> String {
    const UNITS: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
    let (digits, step) = scaled(value, 1000.0, UNITS.len() - 1);
    format!("{digits}{}", UNITS.get(step).unwrap_or(&"E"))
}

/// A count: `999`, `12.3k`, `1.2M`.
pub fn count(value: u64) -> String {
    count_f64(value as f64)
}

/// A count a second: `0/s`, `12.3k/s`.
pub fn per_second(value: f64) -> String {
    if value.is_finite() { format!("{}/s", count_f64(value.max(0.0))) } else { "?".to_owned() }
}

/// A share of one CPU: `0.4%`, `12%`.
pub fn share(value: f64) -> String {
    let percent = value.max(0.0) * 100.0;
    if !percent.is_finite() {
        "?".to_owned()
    } else if percent < 9.95 {
        format!("{percent:.1}%")
    } else {
        format!("{percent:.0}%")
    }
}

/// A duration: `0.4s`, `12s`, `3m12s`, `2h05m`, `2d04h`.
pub fn duration(seconds: f64) -> String {
    let seconds = if seconds.is_finite() { seconds.clamp(0.0, 1e12) } else { return "?".to_owned() };
    if seconds < 9.95 {
        return format!("{seconds:.1}s");
    }
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole}s"),
        60..3600 => format!("{}m{:02}s", whole / 60, whole % 60),
        3600..86_400 => format!("{}h{:02}m", whole / 3600, whole / 60 % 60),
        _ => format!("{}d{:02}h", whole / 86_400, whole / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::{bytes, count, duration, per_second, rate, share};
    use rstest::rstest;

    #[rstest]
    #[case(0, "0 B")]
    #[case(1023, "1023 B")]
    #[case(1024, "1.0 KiB")]
    #[case(1229, "1.2 KiB")]
    #[case(432_013_312, "412 MiB")]
    #[case(1024 * 1024 - 1, "1.0 MiB")]
    #[case(u64::MAX, "16.0 EiB")]
    fn bytes_read_well(#[case] value: u64, #[case] text: &str) {
        assert_eq!(bytes(value), text);
    }

    #[rstest]
    #[case(0.0, "0 B/s")]
    #[case(-0.3, "0 B/s")]
    #[case(1_258_291.0, "+1.2 MiB/s")]
    #[case(-300.0, "-300 B/s")]
    #[case(f64::NAN, "?")]
    fn rates_carry_their_sign(#[case] value: f64, #[case] text: &str) {
        assert_eq!(rate(value), text);
    }

    #[rstest]
    #[case(999, "999")]
    #[case(1000, "1.0k")]
    #[case(12_345, "12.3k")]
    #[case(999_999, "1.0M")]
    #[case(u64::MAX, "18.4E")]
    fn counts_read_well(#[case] value: u64, #[case] text: &str) {
        assert_eq!(count(value), text);
    }

    #[rstest]
    #[case(0.0, "0.0s")]
    #[case(9.96, "10s")]
    #[case(59.6, "1m00s")]
    #[case(192.0, "3m12s")]
    #[case(7500.0, "2h05m")]
    #[case(187_200.0, "2d04h")]
    #[case(f64::INFINITY, "?")]
    fn durations_read_well(#[case] value: f64, #[case] text: &str) {
        assert_eq!(duration(value), text);
    }

    #[test]
    fn shares_and_frequencies() {
        assert_eq!((share(0.004), share(0.5), share(-1.0)), ("0.4%".into(), "50%".into(), "0.0%".into()));
        assert_eq!((per_second(0.0), per_second(12_345.0)), ("0/s".into(), "12.3k/s".into()));
    }
}
