//! Attaching to one process: its allocators are found, the probes planned and put in place.

mod attached;
mod told;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    num::NonZeroU32,
    sync::Arc,
};

pub(super) use attached::Attached;
pub(super) use told::{costs, hit_record};

use super::stack_choice::{StackChoice, code_records};
use crate::{
    cli::Only,
    error::{ExitCode, Failure},
    output::record,
    probe::{
        calibration,
        links::{AttachPoint, Link, LinkError},
        plan::{Circumstances, Plan, PlannedProbe, Returns, plan},
        prices::Prices,
        programs::Programs,
    },
    target::{
        allocator::{
            Allocator, AllocatorKind, DiscoverOptions, Discovery, FoundFunction, discover, in_charge,
        },
        elf::Object,
        maps::{FileId, Mapping},
        memory::Memory,
        process::Process,
        runtime::Runtime,
        v8::{FoundBy, V8},
    },
};

/// What an object turned out to hold. Processes of one tree map the same files, so this is asked once a file.
#[derive(Clone, Debug, Default)]
struct Known {
    allocators: Vec<Allocator>,
    linker: Option<(Arc<Object>, FoundFunction)>,
    v8: Vec<V8>,
}

/// Finds allocators and places probes, for all processes of a trace.
pub(super) struct Attacher {
    pub(super) programs: Programs,
    /// What hits cost.
    pub(super) prices: Prices,
    options: DiscoverOptions,
    nop5_is_cheap: bool,
    only: Only,
    pub(super) stacks: StackChoice,
    known: HashMap<FileId, Known>,
    /// Files and offsets at which probes were placed.
    placed: HashSet<(FileId, u64)>,
}

/// The links of probes that were placed together, or why they were not.
type Placed = Result<Vec<Box<dyn Link>>, LinkError>;

/// What one look at a process brought.
#[derive(Default)]
pub(super) struct Found {
    /// Allocators that are probed now and were not before.
    pub(super) allocators: Vec<Allocator>,
    /// The one that malloc is of, of all that are mapped; `None` where nothing new is.
    pub(super) in_charge: Option<AllocatorKind>,
    /// The probes put in place.
    pub(super) probes: Vec<PlannedProbe>,
    /// Runtimes with a heap of their own.
    pub(super) runtimes: Vec<Runtime>,
    /// V8, and its version where it is known.
    pub(super) v8: Vec<(V8, Option<String>)>,
    /// The files of code, also those that were known before.
    pub(super) code: Vec<record::CodeFile>,
    /// What the reader should know: code and sentence.
    pub(super) notices: Vec<(&'static str, String)>,
}

impl Attacher {
    pub(super) fn new(
        programs: Programs,
        options: DiscoverOptions,
        nop5_is_cheap: bool,
        only: Only,
        stacks: StackChoice,
    ) -> Self {
        let (known, placed) = (HashMap::new(), HashSet::new());
        let prices = Prices::ESTIMATES;
        Self { programs, prices, options, nop5_is_cheap, only, stacks, known, placed }
    }

    /// Measures what hits cost, before anything is probed that is not ours. V8's collections are few; what they cost is
    /// known well enough.
    pub(super) fn calibrate(&mut self, returns: Returns) {
        if self.only != Only::V8 {
            self.prices = calibration::prices(&mut self.programs, returns);
        }
    }

    /// Looks at the process's mappings and probes what is new in them; where they are settled, what is mapped no more
    /// is let go. An error says why a process without any
    /// probe cannot be traced; one that has probes already just keeps them.
    pub(super) fn look(
        &mut self,
        process: &Process,
        index: u16,
        returns: Returns,
        maps: &[Mapping],
        is_settled: bool,
        attached: &mut Attached,
    ) -> Result<Found, Failure> {
        let mapped: BTreeSet<FileId> =
            maps.iter().filter(|one| one.executable).filter_map(Mapping::file_id).collect();
        if is_settled {
            attached.drop_unmapped(&mapped);
        }
        let new: BTreeSet<FileId> = mapped.difference(&attached.seen).copied().collect();
        let mut found = Found::default();
        if new.is_empty() {
            return Ok(found);
        }
        if self.only != Only::V8 {
            attached.copies_stacks = self.stacks.are_copied(process.pid, maps);
            found.code = code_records(self.stacks.trust(process.pid, maps));
            self.programs.copy_stacks(index, attached.copies_stacks)?;
        }
        let discovered = self.discover(process, maps, &new, &mut found);
        attached.seen.extend(&new);
        let known: Vec<Known> = new.iter().filter_map(|file| self.known.get(file).cloned()).collect();
        let mut targets = Targets {
            allocators: known.iter().flat_map(|one| one.allocators.clone()).collect(),
            v8: known.iter().flat_map(|one| one.v8.clone()).collect(),
            linker: known.iter().find_map(|one| one.linker.clone()),
        };
        if self.only == Only::V8 {
            targets.allocators.clear();
        }
        if self.only == Only::Heap {
            targets.v8.clear();
        }
        let memory = memory_of(process)?;
        let plan = self.plan(&memory, returns, maps, &targets);
        self.put_in_place(process, index, plan, &targets, attached, &mut found)?;
        for v8 in &targets.v8 {
            match v8.found_by {
                FoundBy::Symbols => {}
                FoundBy::CallOrder => found.notices.push(("v8_sizes_only", sizes_only_sentence(v8))),
                FoundBy::Nothing => found.notices.push(("v8_unreadable", unreadable_sentence(v8))),
            }
            attached.v8.push(v8.clone());
            found.v8.push((v8.clone(), v8.version(maps, &memory)));
        }
        // Also where only the dynamic linker was found: it will tell when the allocator's library is mapped.
        attached.sees_calls |= found.probes.iter().any(|probe| probe.program.sees_calls());
        if !attached.sees_calls {
            discovered?;
            self.demand_v8(process, attached)?;
        }
        found.allocators = targets.allocators;
        found.in_charge = self.in_charge(&mapped);
        Ok(found)
    }

    /// The allocator that malloc is of, among those of all mapped files.
    fn in_charge(&self, mapped: &BTreeSet<FileId>) -> Option<AllocatorKind> {
        let known = mapped.iter().filter_map(|file| self.known.get(file));
        Some(in_charge(&known.flat_map(|one| &one.allocators).collect::<Vec<_>>())?.kind)
    }

    /// Where only V8 is to be watched, there must be one.
    fn demand_v8(&self, process: &Process, attached: &Attached) -> Result<(), Failure> {
        if self.only != Only::V8 {
            return Ok(());
        }
        let message = match attached.v8.first() {
            Some(v8) => unreadable_sentence(v8),
            None => format!(
                "no V8 found in process {} ({}): --only v8 has nothing to watch there",
                process.pid, process.comm
            ),
        };
        Err(Failure::new(ExitCode::Unsupported, message))
    }

    /// Learns what the new files hold, as far as no other process's look has taught it.
    fn discover(
        &mut self,
        process: &Process,
        maps: &[Mapping],
        new: &BTreeSet<FileId>,
        found: &mut Found,
    ) -> Result<(), Failure> {
        let unknown: Vec<Mapping> = maps
            .iter()
            .filter(|one| {
                one.file_id().is_some_and(|file| new.contains(&file) && !self.known.contains_key(&file))
            })
            .cloned()
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let discovery = discover(process, &unknown, &self.options);
        for file in unknown.iter().filter_map(Mapping::file_id) {
            self.known.entry(file).or_default();
        }
        let Discovery { allocators, linker, runtimes, v8, notices } = discovery?;
        found.runtimes = runtimes;
        found.notices.extend(notices.into_iter().map(|sentence| ("discovery", sentence)));
        for allocator in allocators {
            self.known.entry(allocator.object.identity).or_default().allocators.push(allocator);
        }
        for v8 in v8 {
            self.known.entry(v8.object.identity).or_default().v8.push(v8);
        }
        if let Some(linker) = linker {
            let file = linker.0.identity;
            self.known.entry(file).or_default().linker = Some(linker);
        }
        Ok(())
    }

    fn plan(&self, memory: &Memory, returns: Returns, maps: &[Mapping], targets: &Targets) -> Plan {
        let (nop5_is_cheap, sessions) = (self.nop5_is_cheap, self.programs.has_sessions());
        plan(
            &targets.allocators,
            &targets.v8,
            targets.linker.as_ref(),
            &Circumstances { maps, memory, returns, sessions, nop5_is_cheap, own: &self.placed },
        )
    }

    /// Puts probes in place that are alike: by one link, or, where one of them is refused, each by itself. So one that
    /// the kernel does not take does not cost the others.
    fn attach<'a>(
        &mut self,
        alike: &'a [(AttachPoint, PlannedProbe)],
    ) -> Vec<(&'a [(AttachPoint, PlannedProbe)], Placed)> {
        let points: Vec<AttachPoint> = alike.iter().map(|(point, _)| point.clone()).collect();
        match self.programs.attach(&points) {
            Err(error) if alike.len() > 1 => {
                tracing::debug!("probes that are alike are placed one by one: {error}");
                let each = points.iter().zip(alike.chunks(1));
                each.map(|(point, probe)| (probe, self.programs.attach(std::slice::from_ref(point))))
                    .collect()
            }
            result => vec![(alike, result)],
        }
    }

    fn put_in_place(
        &mut self,
        process: &Process,
        index: u16,
        plan: Plan,
        targets: &Targets,
        attached: &mut Attached,
        found: &mut Found,
    ) -> Result<(), Failure> {
        let Some(pid) = NonZeroU32::new(process.pid) else { return Ok(()) };
        let linker = targets.linker.as_ref().map(|(object, _)| object);
        let allocators = targets.allocators.iter().map(|one| &one.object);
        let objects = allocators.chain(targets.v8.iter().map(|one| &one.object)).chain(linker);
        let files: HashMap<_, _> =
            objects.map(|object| (object.open_path.clone(), object.identity)).collect();
        found.notices.extend(plan.left_out.into_iter().map(|sentence| ("not_traced", sentence)));
        found.notices.extend(plan.other_probes.into_iter().map(|sentence| ("other_tracer", sentence)));
        let points: Vec<(AttachPoint, PlannedProbe)> =
            plan.probes.into_iter().map(|probe| (attach_point(&probe, index, pid), probe)).collect();
        let mut last_error = None;
        for alike in points.chunk_by(|(a, _), (b, _)| a.is_like(b)) {
            for (probes, links) in self.attach(alike) {
                let Some((_, first)) = probes.first() else { continue };
                let file = files.get(&first.path).copied().unwrap_or_default();
                match links {
                    Ok(links) => {
                        let points = probes.iter().map(|(point, _)| point.clone()).collect();
                        attached.hold(file, points, links);
                        self.placed.extend(probes.iter().map(|(point, _)| (file, point.file_offset)));
                        found.probes.extend(probes.iter().map(|(_, probe)| probe.clone()));
                    }
                    // An exec has replaced the mapping by which the file was to be found: a look that follows finds it.
                    Err(_) if !first.path.exists() && process.is_alive() => {
                        attached.forget(file);
                    }
                    Err(error) => {
                        let sentence = format!(
                            "{} of {} is not traced: the kernel refused the probe ({error})",
                            first.symbol, first.module
                        );
                        last_error = Some(sentence.clone());
                        found.notices.push(("not_traced", sentence));
                    }
                }
            }
        }
        match last_error {
            Some(sentence)
                if !found.probes.iter().any(|probe| probe.program.sees_calls()) && attached.is_empty() =>
            {
                if process.is_alive() {
                    Err(Failure::new(ExitCode::Unsupported, sentence))
                } else {
                    let message = format!("process {} exited while probes were being placed", process.pid);
                    Err(Failure::new(ExitCode::NoSuchProcess, message))
                }
            }
            _ => Ok(()),
        }
    }
}

fn attach_point(probe: &PlannedProbe, index: u16, pid: NonZeroU32) -> AttachPoint {
    let mut cookie = probe.cookie;
    cookie.process = index;
    AttachPoint {
        program: probe.program,
        path: probe.path.clone(),
        file_offset: probe.file_offset,
        cookie: cookie.to_bits(),
        pid,
    }
}

/// What is to be probed in the files that are new.
struct Targets {
    allocators: Vec<Allocator>,
    v8: Vec<V8>,
    linker: Option<(Arc<Object>, FoundFunction)>,
}

fn memory_of(process: &Process) -> Result<Memory, Failure> {
    Memory::open(process.pid).map_err(|error| {
        let pid = process.pid;
        let message = format!("cannot read the memory of process {pid} to check its code: {error}");
        Failure::new(ExitCode::NoPermission, message)
    })
}

fn sizes_only_sentence(v8: &V8) -> String {
    format!(
        "the names of V8's functions in {} were stripped: collections are seen by their sizes alone, without kind and \
         reason, after the first few; and there is no verdict on the heap",
        v8.object.display_path
    )
}

fn unreadable_sentence(v8: &V8) -> String {
    format!(
        "V8 is in {}, but its heap cannot be read: the names of its functions were stripped, and its code is not as \
         expected",
        v8.object.display_path
    )
}
