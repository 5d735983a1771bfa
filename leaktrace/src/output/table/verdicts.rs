//! The verdicts that stand, as the records told them; and what of them the head of the picture says.

use std::collections::BTreeMap;

use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

use super::draw::{Palette, labelled};
use crate::output::escape::{cut_end, width as columns};
use crate::output::leak;
use crate::output::record::Notice;
use crate::output::verdict::{Subject, SubjectKind, VerdictRecord};
use crate::verdict::Verdict;

/// Verdicts that are kept; the session tells no more either.
const MAX_VERDICTS: usize = 10_000;

/// The last verdict on each subject.
#[derive(Clone, Default)]
pub(super) struct Verdicts {
    by_subject: BTreeMap<(u32, Subject), VerdictRecord>,
}

impl Verdicts {
    pub(super) fn apply(&mut self, record: &VerdictRecord) {
        let Some(pid) = record.pid else { return };
        let key = (pid, record.subject);
        if self.by_subject.len() < MAX_VERDICTS || self.by_subject.contains_key(&key) {
            self.by_subject.insert(key, record.clone());
        }
    }

    /// After exec nothing is left of what the verdicts were about.
    pub(super) fn notice(&mut self, notice: &Notice) {
        if notice.code == "target_exec" {
            self.forget(notice.pid);
        }
    }

    /// The process is not shown any more.
    pub(super) fn forget(&mut self, pid: u32) {
        self.by_subject.retain(|(of, _), _| *of != pid);
    }

    /// The verdict on a call site.
    pub(super) fn on_site(&self, pid: u32, site: u32) -> Option<&VerdictRecord> {
        self.by_subject.get(&(pid, Subject { kind: SubjectKind::Site, id: Some(u64::from(site)) }))
    }

    /// What the head says: the worst verdict on a process with how many call sites have which, and the worst call site.
    /// Where there is little room, the one that tells most.
    pub(super) fn lines(&self, palette: Palette, width: usize, is_full: bool) -> Vec<Line<'static>> {
        let worst = self
            .sites()
            .filter(|record| record.verdict <= Verdict::Suspect)
            .min_by(|a, b| leak::worst_first(a, b));
        let site = worst.map(|worst| {
            labelled(leak::verdict(worst.verdict), &leak::found(worst), style(palette, worst.verdict), width)
        });
        if is_full || site.is_none() {
            std::iter::once(self.whole(palette, width)).chain(site).collect()
        } else {
            site.into_iter().collect()
        }
    }

    fn whole(&self, palette: Palette, width: usize) -> Line<'static> {
        let mut parts = Vec::new();
        let processes = || self.by_subject.values().filter(|record| record.subject.kind != SubjectKind::Site);
        match processes().min_by(|a, b| leak::worst_first(a, b)) {
            None => parts.push(("too early to say".to_owned(), Style::new())),
            Some(worst) => {
                parts.push((leak::verdict(worst.verdict).to_owned(), style(palette, worst.verdict)));
                let of = if worst.subject.kind == SubjectKind::Rss { " (resident)" } else { "" };
                let several = processes().any(|record| record.pid != worst.pid);
                let pid =
                    worst.pid.filter(|_| several).map(|pid| format!(" (pid {pid})")).unwrap_or_default();
                parts.push((format!("{of}{pid} {}", leak::says(worst)), Style::new()));
            }
        }
        let mut before = "; call sites: ";
        for verdict in [Verdict::Leak, Verdict::Suspect] {
            let count = self.sites().filter(|record| record.verdict == verdict).count();
            if count > 0 {
                parts.push((before.to_owned(), Style::new()));
                parts.push((format!("{count} {}", leak::verdict(verdict)), style(palette, verdict)));
                before = ", ";
            }
        }
        let mut line = labelled("verdict", "", Style::new(), width);
        let mut room = width.saturating_sub(line.width());
        for (text, style) in parts {
            let text = cut_end(&text, room);
            room = room.saturating_sub(columns(&text));
            line.push_span(Span::styled(text, style));
        }
        line
    }

    fn sites(&self) -> impl Iterator<Item = &VerdictRecord> {
        self.by_subject.values().filter(|record| record.subject.kind == SubjectKind::Site)
    }
}

/// How a verdict looks; its word says the same.
pub(super) fn style(palette: Palette, verdict: Verdict) -> Style {
    match verdict {
        Verdict::Leak => palette.bad(),
        Verdict::Suspect => palette.warn(),
        Verdict::Bounded => palette.good().add_modifier(Modifier::DIM),
        Verdict::InsufficientData => Palette::quiet(),
    }
}

#[cfg(test)]
mod tests {
    use super::Verdicts;
    use crate::output::fixture;
    use crate::output::record::Notice;
    use crate::output::table::draw::Palette;
    use crate::output::table::model::Model;
    use crate::output::verdict::VerdictRecord;
    use crate::verdict::Verdict;

    fn verdicts(records: &[VerdictRecord]) -> Verdicts {
        let mut verdicts = Verdicts::default();
        for record in records {
            verdicts.apply(record);
        }
        verdicts
    }

    fn said(verdicts: &Verdicts, width: usize, is_full: bool) -> Vec<String> {
        let palette = Palette::of(&Model::new(crate::cli::Sort::Live, None, false));
        verdicts.lines(palette, width, is_full).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_head_names_the_worst() {
        let verdicts = verdicts(&fixture::leaks());
        let process =
            " verdict   leak linear +1.6 MiB/s, 91% sure, limit in 1h00m; call sites: 1 leak, 1 suspect";
        let site = " leak      createStringObject (object.c:123) linear +1.6 MiB/s, 97% sure, limit in 1h00m";
        assert_eq!(said(&verdicts, 100, true), [process, site]);
        assert_eq!(said(&verdicts, 100, false), [site]);
        assert_eq!(said(&Verdicts::default(), 40, false), [" verdict   too early to say"]);
        assert!(said(&verdicts, 30, true).iter().all(|line| line.chars().count() <= 30));
    }

    #[test]
    fn the_last_verdict_counts_until_its_process_is_another() {
        let mut records = fixture::leaks();
        records.push(VerdictRecord { verdict: Verdict::Bounded, ..fixture::verdict() });
        let mut verdicts = verdicts(&records);
        assert!(verdicts.on_site(fixture::PID, 1).is_some_and(|record| record.verdict == Verdict::Bounded));
        assert!(verdicts.on_site(fixture::PID + 1, 1).is_none());
        verdicts.notice(&Notice { pid: fixture::PID, code: "target_exec".into(), ..Notice::default() });
        assert_eq!(said(&verdicts, 40, true), [" verdict   too early to say"]);
    }
}
