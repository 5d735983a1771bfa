//! The end of a trace in plain text, for people: why, how much, from where, how sure, at what cost.

use std::fmt::{self, Write};

use super::escape::{cut_middle, visible};
use super::record::{EndReason, Losses, Mapped, ProcessSummary, SiteKind, SiteSummary, Summary};
use super::{leak, stack, text};

/// Deeper callers tell less; NDJSON has them all.
const MAX_FRAMES: usize = 24;

/// The summary as it is printed, with a line feed at its end.
pub(super) fn render(summary: &Summary) -> String {
    let mut out = String::new();
    // Writing into a string cannot fail.
    let _ = write_summary(&mut out, summary);
    out
}

fn write_summary(out: &mut String, summary: &Summary) -> fmt::Result {
    let why = match summary.ended {
        EndReason::TargetExited => "ended because the process exited",
        EndReason::Duration => "ended as the asked time was over",
        EndReason::Interrupted => "ended by the user",
        EndReason::RecordingCut => "the recording ends here, cut short: its run did not end properly",
    };
    write_leaks(out, summary)?;
    writeln!(out, "traced {}, {why}", text::duration(summary.t))?;
    for process in &summary.processes {
        write_process(out, process)?;
    }
    writeln!(out)?;
    writeln!(out, "  lost        {}", losses(&summary.losses))?;
    writeln!(
        out,
        "  cost        leaktrace itself used {:.1} s of CPU and {} at its peak, for {} events",
        summary.own_cpu_s,
        text::bytes(summary.own_peak_rss_bytes),
        text::count(summary.events)
    )?;
    if summary.sites.is_empty() {
        return writeln!(out, "\nno call site has live blocks");
    }
    writeln!(out, "\ntop call sites: what they allocated during the trace and did not free")?;
    for (rank, site) in summary.sites.iter().enumerate() {
        write_site(out, rank + 1, site, summary.processes.len() > 1)?;
    }
    Ok(())
}

/// What stands comes first: it is what the reader came for.
fn write_leaks(out: &mut String, summary: &Summary) -> fmt::Result {
    if summary.leaks.is_empty() {
        return Ok(());
    }
    for record in &summary.leaks {
        writeln!(out, "{}", leak::line(record))?;
    }
    let told = summary.leaks.len() as u64;
    match summary.verdicts.leak.saturating_add(summary.verdicts.suspect).saturating_sub(told) {
        0 => {}
        more => writeln!(out, "and {} more leaks and suspects", text::count(more))?,
    }
    writeln!(out)
}

fn write_process(out: &mut String, process: &ProcessSummary) -> fmt::Result {
    let ProcessSummary { pid, comm, .. } = process;
    writeln!(out, "\n{} (pid {pid})", cut_middle(comm, 40))?;
    writeln!(
        out,
        "  live        {} in {} blocks; peak {}",
        text::bytes(process.live_bytes),
        text::count(process.live_count),
        text::bytes(process.peak_live_bytes)
    )?;
    if let Some((low, high)) = process.live_bytes_ci95 {
        let (low, high) = (text::bytes(low), text::bytes(high));
        writeln!(out, "              estimated from samples: {low} to {high}, 19 times of 20")?;
    }
    let mut freed = "freed of them";
    if let (Some(bytes), Some(count)) = (process.found_bytes, process.found_count) {
        writeln!(
            out,
            "  before      {} in {} blocks when the trace began",
            text::bytes(bytes),
            text::count(count)
        )?;
        freed = "freed of all";
    }
    writeln!(
        out,
        "  allocated   {} in {} blocks; {freed}: {} in {}",
        text::bytes(process.alloc_bytes),
        text::count(process.allocs),
        text::bytes(process.free_bytes),
        text::count(process.frees)
    )?;
    if process.unknown_frees > 0 {
        let count = text::count(process.unknown_frees);
        writeln!(out, "  also freed  {count} blocks that are older than the trace, or that it did not see")?;
    }
    if let Some(mapped) = &process.mapped {
        write_mapped(out, mapped)?;
    }
    match process.rss_bytes {
        Some(rss) => writeln!(out, "  resident    {}", text::bytes(rss)),
        None => Ok(()),
    }
}

fn write_mapped(out: &mut String, mapped: &Mapped) -> fmt::Result {
    write!(
        out,
        "  mapped      {} in {} mappings; peak {}",
        text::bytes(mapped.live_bytes),
        text::count(mapped.live_count),
        text::bytes(mapped.peak_live_bytes)
    )?;
    if mapped.reserved_bytes > 0 {
        write!(out, "; {} reserved without access", text::bytes(mapped.reserved_bytes))?;
    }
    writeln!(
        out,
        "\n              {} mappings made, {} of them unmapped; {} unmaps of other ranges",
        text::count(mapped.maps),
        text::count(mapped.unmaps),
        text::count(mapped.unknown_unmaps)
    )
}

fn write_site(out: &mut String, rank: usize, site: &SiteSummary, with_pid: bool) -> fmt::Result {
    let figures = &site.figures;
    let (things, made, ended) = match figures.kind {
        SiteKind::Heap => ("blocks", "allocs", "frees"),
        SiteKind::BeforeAttach => ("blocks", "found", "frees"),
        SiteKind::Mapping => ("mappings", "maps", "unmaps"),
        SiteKind::Js => ("sampled objects", "seen", "collected"),
    };
    write!(
        out,
        "\n{rank:>3}. {}{} in {} {things}",
        if figures.estimated { "about " } else { "" },
        text::bytes(figures.live_bytes),
        text::count(figures.live_count)
    )?;
    if let Some(growth) = figures.growth_bytes_per_s {
        write!(out, ", {}", text::rate(growth))?;
    }
    write!(
        out,
        "; {} {made}, {} {ended}; first seen {} before the end",
        text::count(figures.allocs),
        text::count(figures.frees),
        text::duration(figures.age_s)
    )?;
    if with_pid {
        write!(out, "; pid {}", site.pid)?;
    }
    if let Some(verdict) = site.verdict {
        write!(out, "; {}, {}", leak::verdict(verdict), leak::pattern(site.pattern))?;
    }
    writeln!(out, "  [site {}]", figures.site)?;

    let frames = stack::outwards(&site.stack, figures.function.as_deref());
    if frames.is_empty() {
        let function = figures.function.as_deref().map_or("the stack could not be taken".into(), visible);
        return writeln!(out, "       {function}");
    }
    for frame in frames.iter().take(MAX_FRAMES) {
        let name = stack::shorten(&stack::name(frame), 100);
        let inlined = if frame.inlined { " (inlined)" } else { "" };
        match stack::place(frame, false) {
            Some(place) => writeln!(out, "       {name}{inlined}  {}", cut_middle(&place, 80))?,
            None => writeln!(out, "       {name}{inlined}")?,
        }
    }
    match frames.len().saturating_sub(MAX_FRAMES) {
        0 => Ok(()),
        more => writeln!(out, "       … and {more} more callers"),
    }
}

/// Losses in words: that there are none, or how many by cause, and what that means.
pub(super) fn losses(losses: &Losses) -> String {
    if losses.total == 0 && losses.causes.is_empty() {
        return "nothing".to_owned();
    }
    let mut causes: Vec<_> = losses.causes.iter().filter(|(_, count)| **count > 0).collect();
    causes.sort_by(|a, b| b.1.cmp(a.1));
    let causes: Vec<String> =
        causes.iter().map(|(cause, count)| format!("{} {count}", visible(cause))).collect();
    let meaning = if losses.total == 0 { "figures stay exact" } else { "figures are NOT exact" };
    format!("{} ({}): {meaning}", losses.total, causes.join(", "))
}

#[cfg(test)]
mod tests {
    use super::render;
    use crate::output::fixture;
    use crate::output::record::{Losses, SiteSummary, Summary};

    #[test]
    fn mappings_stand_beside_the_blocks() {
        let mut summary = fixture::summary();
        summary.processes[0].mapped = Some(fixture::mapped());
        let figures = fixture::mapping_site();
        summary.sites = vec![SiteSummary { pid: fixture::PID, figures, ..SiteSummary::default() }];
        let text = render(&summary);
        for line in [
            "  mapped      12.0 MiB in 3 mappings; peak 40.0 MiB; 1.0 GiB reserved without access\n",
            "              17 mappings made, 14 of them unmapped; 5 unmaps of other ranges\n",
            "  1. 12.0 MiB in 3 mappings, +64.0 KiB/s; 17 maps, 14 unmaps; first seen 3m12s before the end  [site 5]\n",
        ] {
            assert!(text.contains(line), "no `{line}` in {text}");
        }
    }

    #[test]
    fn a_summary_tells_why_how_much_and_from_where() {
        insta::assert_snapshot!("summary", render(&fixture::summary()));
    }

    #[test]
    fn a_trace_that_saw_nothing_says_so() {
        let summary = Summary { sites: Vec::new(), losses: Losses::default(), ..fixture::summary() };
        let text = render(&summary);
        assert!(
            text.contains("lost        nothing") && text.ends_with("no call site has live blocks\n"),
            "{text}"
        );
    }
}
