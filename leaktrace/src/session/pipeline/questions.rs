//! What a pipeline is asked between its inputs. Nothing here changes what it prints, but for the order of sites.

use std::collections::HashSet;

use super::{
    super::{input::Tick, ranking, traced::is_code},
    Pipeline, notice,
};
use crate::{
    cli::Sort,
    heap::Block,
    output::record::SiteKind,
    output::{
        record::{Level, Record},
        verdict::VerdictRecord,
    },
};

impl Pipeline {
    /// Sites whose names are wanted: those with a verdict that waits for them, then the largest of each process. Gives
    /// process index, site and return addresses.
    pub fn unnamed_sites(&self) -> Vec<(u16, u32, Vec<u64>)> {
        let mut wanted = self.verdicts.unnamed(&self.processes, &self.names);
        for (&process, traced) in &self.processes {
            let largest = ranking::largest(traced, &self.view, self.now_ns(), &self.names);
            let unnamed = largest.iter().filter(|one| !self.names.contains(one.site));
            wanted.extend(unnamed.map(|one| (process, one.site)));
        }
        let mut seen = HashSet::new();
        let with_frames = |(process, id): (u16, u32)| {
            let site = self.processes.get(&process)?.tracker.site(id)?;
            let frames = site.frames();
            (!frames.is_empty() && seen.insert(id)).then(|| (process, id, frames.to_vec()))
        };
        wanted.into_iter().filter_map(with_frames).collect()
    }

    /// The leaks and suspects that stand, the weightiest first.
    pub fn alarms(&self) -> Vec<VerdictRecord> {
        self.verdicts.alarms(&self.processes, &self.names)
    }

    /// Calls `f` with the process id, age in seconds and kind of every live block.
    pub fn for_each_block(&self, mut f: impl FnMut(u32, f64, SiteKind, Block)) {
        let now = self.now_ns();
        for traced in self.processes.values() {
            let before = traced.tracker.before().map(|(site, _)| site);
            traced.tracker.for_each_block(|block| {
                let age = now.saturating_sub(block.birth_ns) as f64 / 1e9;
                let kind = if before == Some(block.site) { SiteKind::BeforeAttach } else { SiteKind::Heap };
                f(traced.pid, age, kind, block);
            });
        }
    }

    /// Calls `f` with the process id and age in seconds of every range of memory that is mapped.
    pub fn for_each_mapped_range(&self, mut f: impl FnMut(u32, f64, Block)) {
        let now = self.now_ns();
        for traced in self.processes.values() {
            traced.tracker.mappings().for_each_range(|range| {
                let age = now.saturating_sub(range.birth_ns) as f64 / 1e9;
                f(traced.pid, age, range);
            });
        }
    }

    /// Time has come this far: what is asked next is asked at this moment.
    pub fn advance(&mut self, t: f64) {
        self.t = t;
    }

    /// Ranks the sites by something else from now on.
    pub fn sort_by(&mut self, sort: Sort) {
        self.view.sort = sort;
    }

    /// What was seen at the last tick, with the usage of the processes as it was then.
    pub fn last_tick(&self) -> Tick {
        Tick {
            t: self.t,
            losses: self.losses.kernel().to_vec(),
            processes: self.processes.values().filter_map(|traced| traced.usage.clone()).collect(),
            ..Tick::default()
        }
    }

    /// A notice about the trace as a whole, now.
    pub fn notice(&self, level: Level, code: &str, message: &str) -> Record {
        let pid = self.processes.values().next().map_or(0, |traced| traced.pid);
        notice(self.t, pid, level, code, message.to_owned())
    }

    /// Where a process has code, as it was last told.
    pub fn code(&self, process: u16) -> Option<&[(u64, u64)]> {
        self.processes.get(&process).map(|traced| traced.code.as_slice())
    }

    /// Is the address known as code of the process?
    pub fn knows_code(&self, process: u16, address: u64) -> bool {
        self.processes.get(&process).is_none_or(|traced| is_code(&traced.code, address))
    }
}
