//! The table where there is no terminal: a line a tick, a line a verdict, notices, and the summary.
//!
//! Data goes to one writer (standard output), notices to another (standard error).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;

use super::escape::visible;
use super::rates::Rates;
use super::record::{Level, Notice, Record, Tick};
use super::sink::{Sink, SinkError};
use super::{leak, summary, text};

/// Writes a line a tick, a line a verdict and the summary; see the module.
pub struct PlainWriter<W, N> {
    data: W,
    notices: N,
    comm: String,
    before: BTreeMap<u32, Tick>,
}

impl<W: Write, N: Write> PlainWriter<W, N> {
    /// Writes ticks and the summary to `data`, notices to `notices`.
    pub fn new(data: W, notices: N) -> Self {
        Self { data, notices, comm: String::new(), before: BTreeMap::new() }
    }

    fn line(&mut self, tick: &Tick) -> String {
        let rates = self.before.get(&tick.pid).and_then(|before| Rates::between(before, tick));
        let mut line = format!(
            "{:>7}  {} {}  live {}{} in {} blocks",
            text::duration(tick.t),
            self.comm,
            tick.pid,
            if tick.samples.is_some() { "about " } else { "" },
            text::bytes(tick.live_bytes),
            text::count(tick.live_count)
        );
        // Writing into a string cannot fail.
        if let Some(rates) = rates {
            let growth = text::rate(rates.growth_bytes);
            let (allocs, frees) = (text::per_second(rates.allocs), text::per_second(rates.frees));
            let _ = write!(line, " ({growth})  allocs {allocs}  frees {frees}");
        }
        if let Some(mapped) = &tick.mapped {
            let _ = write!(
                line,
                "  mapped {} in {}",
                text::bytes(mapped.live_bytes),
                text::count(mapped.live_count)
            );
        }
        if let Some(rss) = tick.rss_bytes {
            let _ = write!(line, "  resident {}", text::bytes(rss));
        }
        if let Some(v8) = tick.v8.as_ref().filter(|v8| !v8.isolates.is_empty()) {
            let used = v8.isolates.iter().fold(0_u64, |sum, one| sum.saturating_add(one.used_bytes));
            let per_s: f64 = v8.isolates.iter().map(|one| one.collections_per_s).sum();
            let _ = write!(line, "  V8 {} ({per_s:.1} GC/s)", text::bytes(used));
        }
        let _ = write!(line, "  lost {}", summary::losses(&tick.losses));
        // A tree may go through thousands of children; of those that are gone nothing follows.
        match tick.rss_bytes {
            Some(_) => self.before.insert(tick.pid, Tick { sites: Vec::new(), ..tick.clone() }),
            None => self.before.remove(&tick.pid),
        };
        line.push('\n');
        line
    }
}

/// A notice as one line.
pub(super) fn notice_line(notice: &Notice) -> String {
    let level = match notice.level {
        Level::Info => "note",
        Level::Warning => "warning",
        Level::Error => "error",
    };
    format!("{level}: {} (pid {}, at {})", visible(&notice.message), notice.pid, text::duration(notice.t))
}

impl<W: Write + Send, N: Write + Send> Sink for PlainWriter<W, N> {
    fn record(&mut self, record: &Record) -> Result<(), SinkError> {
        let text = match record {
            Record::Header(header) => {
                self.comm = visible(&header.comm).into_owned();
                return Ok(());
            }
            Record::Site(_)
            | Record::Gc(_)
            | Record::HeapSnapshot(_)
            | Record::HeapConstructor(_)
            | Record::HeapGrowth(_)
            | Record::HeapObject(_)
            | Record::HeapWalk(_) => return Ok(()),
            Record::Verdict(verdict) => {
                format!("{:>7}  {}\n", text::duration(verdict.t), leak::line(verdict))
            }
            Record::Notice(notice) => {
                let line = notice_line(notice);
                return writeln!(self.notices, "leaktrace: {line}")
                    .map_err(|error| SinkError::from_io("standard error", error));
            }
            Record::Tick(tick) => self.line(tick),
            Record::Summary(summary) => format!("\n{}", summary::render(summary)),
        };
        let written = self.data.write_all(text.as_bytes()).and_then(|()| self.data.flush());
        written.map_err(|error| SinkError::from_io("standard output", error))
    }
}

#[cfg(test)]
mod tests {
    use super::PlainWriter;
    use crate::output::fixture;
    use crate::output::record::{Level, Record, Tick};
    use crate::output::sink::Sink;

    #[test]
    fn mappings_are_told_where_they_are_traced() {
        let mut data = Vec::new();
        let tick = Tick { mapped: Some(fixture::mapped()), ..fixture::tick(0.2, 1 << 20, 0) };
        PlainWriter::new(&mut data, Vec::new()).record(&Record::Tick(tick)).unwrap();
        let line = String::from_utf8(data).unwrap();
        assert!(line.contains("  mapped 12.0 MiB in 3  resident "), "{line}");
    }

    #[test]
    fn estimates_are_marked() {
        let mut data = Vec::new();
        let tick = Tick { samples: Some(7), ..fixture::tick(0.2, 1 << 20, 0) };
        PlainWriter::new(&mut data, Vec::new()).record(&Record::Tick(tick)).unwrap();
        assert!(String::from_utf8(data).unwrap().contains("  live about 1.0 MiB in "));
    }

    #[test]
    fn a_line_a_tick_then_the_summary() {
        let (mut data, mut notices) = (Vec::new(), Vec::new());
        let mut writer = PlainWriter::new(&mut data, &mut notices);
        let hostile = fixture::notice(Level::Warning, "lost \x1b[31mevents");
        let records = [
            Record::Header(fixture::header()),
            Record::Tick(fixture::tick(0.2, 1 << 20, 0)),
            Record::Tick(fixture::tick(1.2, 3 << 20, 41)),
            Record::Verdict(fixture::verdict()),
            Record::Notice(hostile),
            Record::Summary(fixture::summary()),
        ];
        for record in &records {
            writer.record(record).unwrap();
        }
        writer.finish().unwrap();
        assert_eq!(
            String::from_utf8(notices).unwrap(),
            "leaktrace: warning: lost \\x1b[31mevents (pid 4711, at 12s)\n"
        );
        let data = String::from_utf8(data).unwrap();
        let ticks: Vec<_> = data.lines().take(3).collect();
        insta::assert_snapshot!("ticks", ticks.join("\n"));
        assert!(data.contains("ended by the user"));
    }
}
