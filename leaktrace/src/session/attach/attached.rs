//! The probes of one process: held in place, let go for a while, placed again.

use std::collections::{BTreeSet, HashMap};

use crate::{
    probe::{
        detach::{detach_all, detach_aside},
        links::{AttachPoint, Link},
        programs::Programs,
    },
    target::{
        maps::{FileId, Mapping},
        v8::V8,
    },
};

/// Probes that were placed together.
struct Held {
    points: Vec<AttachPoint>,
    /// None while they are away.
    links: Vec<Box<dyn Link>>,
}

impl Held {
    /// Whether they see allocations and frees: these go where they would cost too much.
    fn sees_blocks(&self) -> bool {
        self.points.first().is_some_and(|point| point.program.sees_blocks())
    }
}

/// The probes of one process, by the file they stand in.
#[derive(Default)]
pub(in crate::session) struct Attached {
    held: HashMap<FileId, Vec<Held>>,
    /// Its stacks are copied, and not followed by frame pointers.
    pub(super) copies_stacks: bool,
    /// Some allocation function is probed, so that calls are seen.
    pub(super) sees_calls: bool,
    /// Files that were looked at, with or without an allocator.
    pub(super) seen: BTreeSet<FileId>,
    /// V8, in the files that are mapped.
    pub(super) v8: Vec<V8>,
}

impl Attached {
    /// Whether stacks are copied, and not followed by frame pointers.
    pub(in crate::session) const fn copies_stacks(&self) -> bool {
        self.copies_stacks
    }

    /// How stacks are taken, as the header has it.
    pub(in crate::session) const fn stacks(&self) -> &'static str {
        if self.copies_stacks { "unwind_tables" } else { "frame_pointers" }
    }

    /// Is there code mapped from a file that was not looked at?
    pub(in crate::session) fn has_new(&self, maps: &[Mapping]) -> bool {
        let mut files = maps.iter().filter(|one| one.executable).filter_map(Mapping::file_id);
        files.any(|file| !self.seen.contains(&file))
    }

    /// V8, in the files that are mapped.
    pub(in crate::session) fn v8(&self) -> &[V8] {
        &self.v8
    }

    /// Is any allocation function probed?
    pub(in crate::session) const fn sees_calls(&self) -> bool {
        self.sees_calls
    }

    /// Whether no probe was placed.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Probes were placed together in a file.
    pub(super) fn hold(&mut self, file: FileId, points: Vec<AttachPoint>, links: Vec<Box<dyn Link>>) {
        self.held.entry(file).or_default().push(Held { points, links });
    }

    /// Lets go of the probes in files that are mapped no more.
    pub(super) fn drop_unmapped(&mut self, mapped: &BTreeSet<FileId>) {
        self.seen.retain(|file| mapped.contains(file));
        self.v8.retain(|v8| mapped.contains(&v8.object.identity));
        let held = self.held.extract_if(|file, _| !mapped.contains(file)).collect();
        Self { held, ..Self::default() }.detach();
    }

    /// A file whose probes could not all be placed: none of them stays, and the next look begins anew.
    pub(super) fn forget(&mut self, file: FileId) {
        self.seen.remove(&file);
        let held = self.held.remove_entry(&file).into_iter().collect();
        Self { held, ..Self::default() }.detach();
    }

    /// Takes over the probes of another process, to take all away at once.
    pub(in crate::session) fn absorb(&mut self, other: Self) {
        for (file, held) in other.held {
            self.held.entry(file).or_default().extend(held);
        }
    }

    /// Lets go of the probes on allocations and frees, to be placed again: their links, to be closed.
    pub(in crate::session) fn look_away(&mut self) -> Vec<Box<dyn Link>> {
        let held = self.held.values_mut().flatten().filter(|held| held.sees_blocks());
        held.flat_map(|held| std::mem::take(&mut held.links)).collect()
    }

    /// Places them again, as far as that is possible: a library may be unmapped, or the process gone. Frees first: a block
    /// whose free is missed would seem to live.
    pub(in crate::session) fn look_again(&mut self, programs: &mut Programs) {
        let away = self.held.values_mut().flatten().filter(|held| held.links.is_empty());
        let mut away: Vec<&mut Held> = away.collect();
        away.sort_by_key(|held| held.points.first().is_some_and(|point| point.program.sees_calls()));
        for held in away {
            match programs.attach(&held.points) {
                Ok(links) => held.links = links,
                Err(error) => tracing::debug!("probes cannot be placed again: {error}"),
            }
        }
    }

    /// Takes all probes away, on a thread of its own: it takes the kernel about 100 ms.
    pub(in crate::session) fn detach(self) {
        let _ = detach_aside(self.into_links());
    }

    /// Takes all probes away and waits until they are gone.
    pub(in crate::session) fn detach_now(self) {
        detach_all(self.into_links());
    }

    fn into_links(self) -> Vec<Box<dyn Link>> {
        self.held.into_values().flatten().flat_map(|held| held.links).collect()
    }
}
