//! What a trace said of a victim while it ran, beside the victim's own ledger of its growth.

use std::fmt;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{Leaktrace, Victim};

/// One `verdict` record.
#[derive(Clone, Debug)]
pub struct Said {
    /// Seconds since attach.
    pub t: f64,
    /// `site`, `process`, `rss` or `v8_heap`.
    pub kind: String,
    /// `leak`, `suspect`, `bounded` or `insufficient_data`.
    pub verdict: String,
    /// The pattern; empty where there is none.
    pub pattern: String,
    /// 0..1.
    pub confidence: f64,
    /// Bytes a second; not a number where no rate is given.
    pub growth: f64,
    frames: Vec<Frame>,
}

#[derive(Clone, Debug)]
struct Frame {
    function: String,
    file: String,
    line: Option<u64>,
}

/// A moment in the victim's own ledger.
#[derive(Clone, Debug)]
struct Mark {
    name: String,
    number: u64,
    /// Milliseconds on the kernel's monotonic clock.
    at_ms: f64,
}

/// What was said so far, and what the victim did so far.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// Every verdict, in order.
    pub said: Vec<Said>,
    /// `t` of the first tick: since then events are seen.
    pub begin: f64,
    /// `t` of the last tick.
    pub t: f64,
    marks: Vec<Mark>,
    zero_ms: f64,
}

impl Watched {
    /// Watches a trace, tick by tick, until `is_enough`, and ends it. Fails when leaktrace ends first, or badly.
    pub fn follow(
        mut leaktrace: Leaktrace,
        victim: Option<&Victim>,
        is_enough: impl Fn(&Self) -> bool,
    ) -> Result<Self> {
        let mut watched = Self::default();
        watched.take(&leaktrace, 0, victim)?;
        watched.begin = watched.t;
        while !is_enough(&watched) {
            let known = leaktrace.records().len();
            leaktrace.wait_for("a tick", |record| record["type"] == "tick")?;
            watched.take(&leaktrace, known, victim)?;
        }
        let known = leaktrace.records().len();
        let ended = leaktrace.stop()?;
        ended.expect_success()?;
        ended.summary()?;
        watched.said.extend(ended.records.iter().skip(known).filter_map(Said::of));
        Ok(watched)
    }

    fn take(&mut self, leaktrace: &Leaktrace, known: usize, victim: Option<&Victim>) -> Result<()> {
        for record in leaktrace.records().iter().skip(known) {
            self.said.extend(Said::of(record));
            if record["type"] == "tick" {
                self.t = record["t"].as_f64().context("a tick without a time")?;
            }
        }
        self.zero_ms = leaktrace.attached_at().context("no records yet")?.as_secs_f64() * 1e3;
        for line in victim.into_iter().flat_map(Victim::lines_so_far) {
            self.marks.push(Mark::of(&line).with_context(|| format!("the victim said `{line}`"))?);
        }
        Ok(())
    }

    /// Seconds since the first tick.
    pub fn seconds(&self) -> f64 {
        self.t - self.begin
    }

    /// What was said of call sites with this function on their stack.
    pub fn on<'a>(&'a self, function: &'a str) -> impl DoubleEndedIterator<Item = &'a Said> {
        self.said.iter().filter(move |said| said.kind == "site" && said.frame(function).is_some())
    }

    /// The `t` at which the victim's ledger has this, if it has it yet.
    pub fn mark(&self, name: &str, number: u64) -> Option<f64> {
        let mark = self.marks.iter().find(|mark| mark.name == name && mark.number >= number)?;
        Some((mark.at_ms - self.zero_ms) / 1e3)
    }

    /// Fails unless, by `t`, something was said of a site with this function that fulfils `wanted`.
    pub fn expect_by(
        &self,
        t: f64,
        function: &str,
        what: &str,
        wanted: impl Fn(&Said) -> bool,
    ) -> Result<()> {
        if !self.on(function).any(|said| said.t <= t && wanted(said)) {
            bail!("{function} was not {what} by {t:.1} s; {self}");
        }
        Ok(())
    }

    /// Fails unless what was last said by `t` of a site with this function fulfils `wanted`.
    pub fn expect_at(
        &self,
        t: f64,
        function: &str,
        what: &str,
        wanted: impl Fn(&Said) -> bool,
    ) -> Result<()> {
        let last = self.on(function).rfind(|said| said.t <= t);
        if !last.is_some_and(wanted) {
            bail!("{function} was not {what} at {t:.1} s; {self}");
        }
        Ok(())
    }

    /// Fails if anything, about whatever, fulfils `unwanted`.
    pub fn expect_never(&self, what: &str, unwanted: impl Fn(&Said) -> bool) -> Result<()> {
        if let Some(said) = self.said.iter().find(|said| unwanted(said)) {
            bail!("{what}: {said}; {self}");
        }
        Ok(())
    }

    /// Fails unless a `leak` verdict on the function names a line of this source file.
    pub fn expect_line(&self, function: &str, file: &str) -> Result<()> {
        let has_line = |said: &Said| {
            let frame = said.frame(function);
            frame.is_some_and(|frame| frame.file.ends_with(file) && frame.line.is_some())
        };
        if !self.on(function).any(|said| said.is_leak() && has_line(said)) {
            bail!("no leak of {function} with a line of {file}; {self}");
        }
        Ok(())
    }
}

impl Said {
    fn of(record: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let frames = record["stack"].as_array().into_iter().flatten();
        (record["type"] == "verdict").then(|| Self {
            t: record["t"].as_f64().unwrap_or(f64::NAN),
            kind: text(&record["subject"]["kind"]),
            verdict: text(&record["verdict"]),
            pattern: text(&record["pattern"]),
            confidence: record["confidence"].as_f64().unwrap_or(f64::NAN),
            growth: record["growth_bytes_per_s"].as_f64().unwrap_or(f64::NAN),
            frames: frames
                .map(|frame| Frame {
                    function: text(&frame["function"]),
                    file: text(&frame["file"]),
                    line: frame["line"].as_u64(),
                })
                .collect(),
        })
    }

    /// Whether it is called a leak.
    pub fn is_leak(&self) -> bool {
        self.verdict == "leak"
    }

    /// Whether it is called a leak, or perhaps one.
    pub fn is_alarm(&self) -> bool {
        self.is_leak() || self.verdict == "suspect"
    }

    /// The frame of a function, whatever module, namespace or type it is in.
    fn frame(&self, function: &str) -> Option<&Frame> {
        let is_it = |name: &str| {
            let name = name.split('(').next().unwrap_or(name);
            name == function || name.rsplit("::").next() == Some(function)
        };
        self.frames.iter().find(|frame| is_it(&frame.function))
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The innermost function with a source line is nearly always the program's own.
        let own = self.frames.iter().find(|frame| frame.line.is_some()).or(self.frames.first());
        let function = own.map_or("-", |frame| frame.function.as_str());
        write!(
            f,
            "{:6.1} s  {:7} {function:20} {} {} {:.2}, {:.0} B/s",
            self.t, self.kind, self.verdict, self.pattern, self.confidence, self.growth
        )
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} verdicts in {:.1} s", self.said.len(), self.seconds())?;
        self.said.iter().try_for_each(|said| write!(f, "\n    {said}"))
    }
}

impl Mark {
    /// Reads `mark NAME NUMBER at MILLISECONDS bytes BYTES`.
    fn of(line: &str) -> Result<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        let ["mark", name, number, "at", at, "bytes", _] = words[..] else { bail!("not a mark") };
        Ok(Self { name: name.to_owned(), number: number.parse()?, at_ms: at.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn watched() -> Watched {
        let said = |t: f64, verdict: &str, line: Option<u64>| {
            Said::of(
                &json!({"type": "verdict", "t": t, "subject": {"kind": "site", "id": 3}, "verdict": verdict,
                "pattern": "linear", "confidence": 0.7, "growth_bytes_per_s": 10.0, "stack": [
                    {"function": "malloc", "file": null, "line": null},
                    {"function": "app::Broker::grow(int)", "file": "src/app.c", "line": line}]}),
            )
        };
        Watched {
            said: [said(5.0, "suspect", Some(7)), said(20.0, "leak", Some(7))]
                .into_iter()
                .flatten()
                .collect(),
            begin: 0.5,
            t: 30.0,
            marks: vec![
                Mark::of("mark step 1 at 3000 bytes 0").unwrap(),
                Mark::of("mark step 2 at 9000 bytes 9").unwrap(),
            ],
            zero_ms: 4000.0,
        }
    }

    #[test]
    fn what_was_said_is_found_by_time_and_function() {
        let watched = watched();
        assert!(watched.expect_by(6.0, "grow", "suspect", Said::is_alarm).is_ok());
        assert!(watched.expect_by(4.0, "grow", "suspect", Said::is_alarm).is_err());
        assert!(watched.expect_by(6.0, "shrink", "suspect", Said::is_alarm).is_err());
        assert!(watched.expect_at(19.0, "grow", "suspect", |said| !said.is_leak()).is_ok());
        assert!(watched.expect_at(21.0, "grow", "suspect", |said| !said.is_leak()).is_err());
        assert!(watched.expect_never("leak", Said::is_leak).unwrap_err().to_string().contains("grow"));
        assert!(watched.expect_line("grow", "app.c").is_ok());
        assert!(watched.expect_line("grow", "other.c").is_err());
    }

    #[test]
    fn marks_are_told_in_the_time_of_the_trace() {
        let watched = watched();
        assert_eq!((watched.mark("step", 2), watched.mark("step", 3)), (Some(5.0), None));
        assert!(Mark::of("mark step two at 1 bytes 2").is_err());
    }

    #[test]
    fn other_records_are_no_verdicts() {
        assert!(Said::of(&json!({"type": "tick", "t": 1.0})).is_none());
    }
}
