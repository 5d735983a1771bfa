//! The report of `leaktrace doctor`: what was found, what it means, and what to do.

use std::fmt::{self, Write as _};
use std::io::Write;

use serde::{Deserialize, Serialize};

use super::escape::{cut_middle, visible};
use super::ndjson::NdjsonWriter;
use super::sink::SinkError;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// As it should be.
    Ok,
    /// Tracing works, with less or at more cost.
    Warning,
    /// Tracing does not work.
    Failed,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was looked at: `kernel`, `capabilities`, ….
    pub name: String,
    /// How it ended.
    pub status: Status,
    /// What was found, for people.
    pub found: String,
    /// What to do about it; nothing where all is well.
    pub remedy: Option<String>,
}

/// A probe as a trace would set it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedProbe {
    /// Path of the object, in the target's mount namespace.
    pub module: String,
    /// Symbol of the function.
    pub function: String,
    /// Offset of the probed instruction from the function's start; negative in a part split off before it.
    pub offset: i64,
    /// `entry`, `return` or `ret`.
    pub kind: String,
    /// What a hit costs: `nop5`, `emulated` or `single_step`.
    pub cost_class: String,
}

/// Everything that `leaktrace doctor` found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DoctorReport {
    /// In the order of the looking.
    pub checks: Vec<Check>,
    /// Empty where no process was asked about.
    pub probes: Vec<PlannedProbe>,
}

/// One line of the report as NDJSON.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line<'a> {
    Check(&'a Check),
    Probe(&'a PlannedProbe),
}

impl DoctorReport {
    /// The worst status of all checks.
    pub fn status(&self) -> Status {
        let any = |status| self.checks.iter().any(|check| check.status == status);
        match () {
            () if any(Status::Failed) => Status::Failed,
            () if any(Status::Warning) => Status::Warning,
            () => Status::Ok,
        }
    }

    /// Writes the report as NDJSON: a line with type `check` a check, `probe` a probe.
    pub fn write_ndjson(&self, writer: impl Write) -> Result<(), SinkError> {
        let mut writer = NdjsonWriter::new(writer, "standard output");
        for check in &self.checks {
            writer.write(&Line::Check(check))?;
        }
        self.probes.iter().try_for_each(|probe| writer.write(&Line::Probe(probe)))
    }

    /// Writes the report for people.
    pub fn write_text(&self, mut writer: impl Write, colour: bool) -> Result<(), SinkError> {
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _ = self.render(&mut text, colour);
        let written = writer.write_all(text.as_bytes()).and_then(|()| writer.flush());
        written.map_err(|error| SinkError::from_io("standard output", error))
    }

    fn render(&self, out: &mut String, colour: bool) -> fmt::Result {
        let names = self.checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0).min(24);
        for check in &self.checks {
            let (mark, word, sgr) = match check.status {
                Status::Ok => ("✓", "ok     ", "32"),
                Status::Warning => ("!", "warning", "33"),
                Status::Failed => ("✗", "failed ", "31"),
            };
            let (on, off) = if colour { (format!("\x1b[{sgr}m"), "\x1b[0m") } else { (String::new(), "") };
            let name = cut_middle(&check.name, names.max(8));
            writeln!(out, "{on}{mark} {word}{off}  {name:names$}  {}", visible(&check.found))?;
            if let Some(remedy) = &check.remedy {
                writeln!(out, "{:1$}→ {2}", "", names + 13, visible(remedy))?;
            }
        }
        if !self.probes.is_empty() {
            self.render_probes(out)?;
        }
        let verdict = match self.status() {
            Status::Ok => "everything is ready",
            Status::Warning => "tracing works; the warnings tell what limits it",
            Status::Failed => "tracing does not work yet; the remedies above tell what is missing",
        };
        writeln!(out, "\n{verdict}")
    }

    fn render_probes(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "\n{:<28} {:>8}  {:<7} {:<24} module", "function", "offset", "kind", "cost a hit")?;
        for probe in &self.probes {
            let cost = match probe.cost_class.as_str() {
                "nop5" => "lowest (nop5)".into(),
                "emulated" => "low (emulated)".into(),
                "single_step" => "high (single-stepped)".into(),
                other => visible(other),
            };
            writeln!(
                out,
                "{:<28} {:>8}  {:<7} {:<24} {}",
                cut_middle(&probe.function, 28),
                format!("{:+}", probe.offset),
                visible(&probe.kind),
                cost,
                visible(&probe.module)
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Check, DoctorReport, PlannedProbe, Status};

    fn report() -> DoctorReport {
        let check = |name: &str, status, found: &str, remedy: Option<&str>| Check {
            name: name.into(),
            status,
            found: found.into(),
            remedy: remedy.map(Into::into),
        };
        let probe = |function: &str, offset, kind: &str, cost_class: &str| PlannedProbe {
            module: "/usr/lib/x86_64-linux-gnu/libc.so.6".into(),
            function: function.into(),
            offset,
            kind: kind.into(),
            cost_class: cost_class.into(),
        };
        DoctorReport {
            checks: vec![
                check("kernel", Status::Ok, "6.18.5 on x86_64", None),
                check("frame pointers", Status::Warning, "none in libc.so.6", Some("see docs")),
                check("capabilities", Status::Failed, "CAP_BPF is missing\x1b[2J", Some("run it with sudo")),
            ],
            probes: vec![probe("malloc", 0, "entry", "emulated"), probe("free", 9, "entry", "single_step")],
        }
    }

    #[test]
    fn a_report_for_people() {
        let mut out = Vec::new();
        report().write_text(&mut out, false).unwrap();
        insta::assert_snapshot!("doctor", String::from_utf8(out).unwrap());
        assert_eq!(report().status(), Status::Failed);
    }

    #[test]
    fn colours_only_where_asked() {
        let mut out = Vec::new();
        report().write_text(&mut out, true).unwrap();
        assert!(String::from_utf8(out).unwrap().contains("\x1b[31m✗ failed \x1b[0m"));
    }

    #[test]
    fn a_report_for_programs() {
        let mut out = Vec::new();
        report().write_ndjson(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let types: Vec<_> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["type"].clone())
            .collect();
        assert_eq!(types, ["check", "check", "check", "probe", "probe"]);
    }
}
