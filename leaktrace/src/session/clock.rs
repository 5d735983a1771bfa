//! The clock of a trace, and what leaktrace itself uses.

use rustix::time::{ClockId, clock_gettime};

use crate::{event::clock::monotonic_ns, target::usage::Usage};

/// Time since attach, on the clock that the kernel stamps records with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// The kernel's monotonic clock at the attach, nanoseconds.
    pub(super) start_ns: u64,
}

impl Clock {
    /// Time 0 is now.
    pub(super) fn start() -> Self {
        Self { start_ns: monotonic_ns() }
    }

    /// Seconds since attach, to the microsecond.
    pub(super) fn t(self) -> f64 {
        (monotonic_ns().saturating_sub(self.start_ns) / 1_000) as f64 / 1e6
    }
}

/// CPU seconds that this process used.
pub(super) fn own_cpu_s() -> f64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    used.tv_sec as f64 + used.tv_nsec as f64 / 1e9
}

/// Resident bytes of this process.
pub(super) fn own_rss_bytes() -> u64 {
    Usage::read(std::process::id()).map_or(0, |usage| usage.rss_bytes)
}

/// Largest resident set of this process so far, in bytes.
pub(super) fn own_peak_rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// The current wall time, RFC 3339 in UTC.
pub(super) fn wall_time() -> String {
    let now = clock_gettime(ClockId::Realtime);
    rfc3339(now.tv_sec)
}

/// Seconds since 1970 as a date, by the calendar's 400-year cycle counted from a first of March.
fn rfc3339(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Seconds since 1970 of a date as [`wall_time`] writes it; `None` where it is none.
pub(super) fn seconds_of(date: &str) -> Option<i64> {
    let (day, time) = date.strip_suffix('Z')?.split_once('T')?;
    let [year, month, day] = numbers(day, '-')?;
    let [hour, minute, second] = numbers(time, ':')?;
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// Three numbers of at most four digits.
fn numbers(text: &str, separator: char) -> Option<[i64; 3]> {
    let number = |part: &str| part.parse::<u16>().ok().filter(|&number| number < 10_000).map(i64::from);
    let numbers: Option<Vec<i64>> = text.split(separator).map(number).collect();
    numbers?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::{rfc3339, seconds_of};

    #[rstest]
    #[case(0, "1970-01-01T00:00:00Z")]
    #[case(951_782_399, "2000-02-28T23:59:59Z")]
    #[case(951_782_400, "2000-02-29T00:00:00Z")]
    #[case(1_767_225_599, "2025-12-31T23:59:59Z")]
    #[case(4_107_542_400, "2100-03-01T00:00:00Z")]
    fn seconds_are_dates(#[case] seconds: i64, #[case] date: &str) {
        assert_eq!(rfc3339(seconds), date);
        assert_eq!(seconds_of(date), Some(seconds));
    }

    #[rstest]
    #[case("")]
    #[case("yesterday")]
    #[case("2026-01-02")]
    #[case("2026-01-02T03:04Z")]
    #[case("99999-01-02T03:04:05Z")]
    #[case("2026--1-02T03:04:05Z")]
    fn what_is_no_date_is_none(#[case] date: &str) {
        assert_eq!(seconds_of(date), None);
    }
}
