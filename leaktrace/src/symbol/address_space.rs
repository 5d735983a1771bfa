//! What a process had mapped, kept so that an address still means something after it unmaps, execs or exits.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::module::{Module, Modules};
use super::perf_map::PerfMap;
use super::{Frame, bounded};
use crate::target::maps::{self, FileId, MappedPath, Mapping};

/// Addresses whose frames are kept per process; the cache is emptied when full. About 60 MB.
const CACHE_LIMIT: usize = 200_000;
/// Snapshots kept: stacks of the image before an exec are often asked about after it.
const SNAPSHOTS: usize = 2;
/// Unmapped code that stays known, in mappings.
const CARRIED_LIMIT: usize = 1024;
/// How often an address that is nowhere in the maps, or code without a name, makes us look at the target again.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Where an address lies.
#[derive(Debug)]
pub(super) enum Place {
    /// In a mapped file.
    File { module: Option<Rc<Module>>, name: String, file_offset: u64, image_offset: u64 },
    /// In memory the kernel names: `[vdso]`, `[heap]`, `[uprobes]`.
    Special { name: String, offset: u64 },
    /// In executable anonymous memory.
    Jit,
    /// Anonymous data, or nowhere.
    Nowhere,
}

#[derive(Debug)]
struct Snapshot {
    generation: u32,
    mappings: Vec<Mapping>,
    modules: HashMap<FileId, Option<Rc<Module>>>,
}

/// The snapshots, perf map and known frames of one process.
#[derive(Debug)]
pub(super) struct AddressSpace {
    pub(super) pid: u32,
    snapshots: VecDeque<Snapshot>,
    read: Option<Instant>,
    perf_map: Option<PerfMap>,
    perf_map_read: Option<Instant>,
    frames: HashMap<u64, Rc<[Frame]>>,
}

impl AddressSpace {
    pub(super) fn new(pid: u32) -> Self {
        Self {
            pid,
            snapshots: VecDeque::new(),
            read: None,
            perf_map: None,
            perf_map_read: None,
            frames: HashMap::new(),
        }
    }

    /// Makes sure there is a snapshot for this generation; without a living target the last one stands for it.
    pub(super) fn reach(&mut self, generation: u32, modules: &mut Modules) {
        let newest = self.snapshots.back().map(|snapshot| snapshot.generation);
        if newest.is_none_or(|newest| newest < generation) {
            self.frames.clear();
            self.snapshot(generation, modules);
        }
    }

    /// Reads the maps again, if that was not done just now: the target may have mapped code without our noticing.
    pub(super) fn look_again(&mut self, modules: &mut Modules) {
        if self.read.is_some_and(|read| read.elapsed() < LOOK_AGAIN) {
            return;
        }
        if let Some(generation) = self.snapshots.back().map(|snapshot| snapshot.generation) {
            self.snapshot(generation, modules);
        }
    }

    fn snapshot(&mut self, generation: u32, modules: &mut Modules) {
        self.read = Some(Instant::now());
        let mappings = maps::read(self.pid).ok().filter(|mappings| !mappings.is_empty());
        let Some(mut mappings) = mappings else {
            // Gone, or a zombie, whose maps are empty: do not read for each request.
            if let Some(newest) = self.snapshots.back_mut() {
                newest.generation = generation;
            }
            return;
        };
        let mut opened: HashMap<FileId, Option<Rc<Module>>> = HashMap::new();
        for mapping in mappings.iter().filter(|mapping| mapping.executable) {
            if let (Some(file), MappedPath::File(path)) = (mapping.file_id(), &mapping.path) {
                opened.entry(file).or_insert_with(|| modules.open(self.pid, mapping, path));
            }
        }
        if self.snapshots.back().is_some_and(|newest| newest.generation == generation)
            && let Some(replaced) = self.snapshots.pop_back()
        {
            replaced.carry_over(&mut mappings, &mut opened);
        }
        self.snapshots.push_back(Snapshot { generation, mappings, modules: opened });
        if self.snapshots.len() > SNAPSHOTS {
            self.snapshots.pop_front();
        }
        if self.perf_map.is_none() {
            // Held from now on: the name is gone with the target's root.
            self.perf_map = PerfMap::open(self.pid).ok();
        }
    }

    /// Whether frames of this generation may be remembered: an address of the image before an exec may mean
    /// something else now.
    pub(super) fn is_newest(&self, generation: u32) -> bool {
        self.snapshots.back().is_some_and(|newest| newest.generation <= generation)
    }

    /// Where an address of a generation lies.
    pub(super) fn place(&self, address: u64, generation: u32) -> Place {
        let snapshot = self.snapshots.iter().rev().find(|snapshot| snapshot.generation <= generation);
        snapshot.or(self.snapshots.front()).map_or(Place::Nowhere, |snapshot| snapshot.place(address))
    }

    /// The name a runtime gave to the code at an address, with the offset into it.
    pub(super) fn compiled(&mut self, address: u64) -> Option<(String, u64)> {
        let known = |map: &PerfMap| map.find(address).map(|(name, offset)| (name.to_owned(), offset));
        if let Some(found) = self.perf_map.as_ref().and_then(known) {
            return Some(found);
        }
        if self.perf_map_read.is_some_and(|read| read.elapsed() < LOOK_AGAIN) {
            return None;
        }
        if self.perf_map.is_none() {
            self.perf_map = PerfMap::open(self.pid).ok();
        }
        let map = self.perf_map.as_mut();
        let found = map.and_then(|map| map.refresh().ok().and_then(|()| known(map)));
        self.perf_map_read = Some(Instant::now());
        found
    }

    /// Frames found before.
    pub(super) fn known(&self, address: u64) -> Option<&Rc<[Frame]>> {
        self.frames.get(&address)
    }

    /// Remembers frames for the next stack that holds this address.
    pub(super) fn remember(&mut self, address: u64, frames: Rc<[Frame]>) {
        if self.frames.len() >= CACHE_LIMIT {
            self.frames.clear();
        }
        self.frames.insert(address, frames);
    }
}

impl Snapshot {
    /// Keeps code that has been unmapped since, where nothing else is mapped now: stacks of plugins outlive them.
    fn carry_over(self, mappings: &mut Vec<Mapping>, opened: &mut HashMap<FileId, Option<Rc<Module>>>) {
        let is_free = |old: &Mapping| {
            let next = mappings.partition_point(|mapping| mapping.end <= old.start);
            mappings.get(next).is_none_or(|next| next.start >= old.end)
        };
        let code = |old: &Mapping| old.executable && self.module(old).is_some();
        let kept: Vec<Mapping> = self
            .mappings
            .iter()
            .filter(|old| code(old) && is_free(old))
            .take(CARRIED_LIMIT)
            .cloned()
            .collect();
        for mapping in kept {
            if let Some(file) = mapping.file_id() {
                opened.entry(file).or_insert_with(|| self.module(&mapping).cloned());
            }
            mappings.push(mapping);
        }
        mappings.sort_by_key(|mapping| mapping.start);
    }

    fn place(&self, address: u64) -> Place {
        let index = self.mappings.partition_point(|mapping| mapping.end <= address);
        let Some(mapping) = self.mappings.get(index).filter(|mapping| mapping.start <= address) else {
            return Place::Nowhere;
        };
        let offset = address - mapping.start;
        match &mapping.path {
            MappedPath::File(path) if mapping.inode != 0 => {
                let file_offset = mapping.offset.saturating_add(offset);
                // Objects are mapped in one piece, headers first: the nearest mapping of their first byte is their base.
                let mut below = self.mappings.get(..=index).unwrap_or_default().iter().rev().take(64);
                let base = below.find(|below| below.file_id() == mapping.file_id() && below.offset == 0);
                Place::File {
                    module: self.module(mapping).cloned(),
                    name: bounded(path.to_string_lossy().into_owned()),
                    file_offset,
                    image_offset: base.map_or(file_offset, |base| address - base.start),
                }
            }
            // "[anon:…]" and "[anon_shmem:…]" are names a program gave to its own anonymous memory.
            MappedPath::Special(name) if name.starts_with('[') && !name.starts_with("[anon") => {
                Place::Special { name: bounded(name.clone()), offset }
            }
            _ if mapping.executable => Place::Jit,
            _ => Place::Nowhere,
        }
    }

    fn module(&self, mapping: &Mapping) -> Option<&Rc<Module>> {
        self.modules.get(&mapping.file_id()?)?.as_ref()
    }
}
