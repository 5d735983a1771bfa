//! From allocators to probes: which instruction of which function gets which program, and what is left out.

use std::{
    collections::{BTreeSet, HashSet},
    path::PathBuf,
};

use leaktrace_common::{Argument, Cookie, Role};

use super::{
    code_map::{CodeMap, Live},
    links::Program,
    placement::{
        Code, CostClass, LiveText, Need, Placement, ReturnSite, compare_live, forwards_to, place_entry,
        return_sites,
    },
};
use crate::target::{
    allocator::{Allocator, AllocatorKind, FUNCTIONS, FoundFunction, FunctionSpec},
    elf::Object,
    maps::{FileId, Mapping},
    memory::Memory,
    v8::V8,
};

/// How returns are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returns {
    /// By return probes, where the function cannot throw.
    ReturnProbes,
    /// By plain probes on return instructions only: return probes could hurt this target.
    PlainProbes,
}

/// What a planned probe sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sees {
    /// The call.
    Entry,
    /// The return, by a return probe.
    Return,
    /// Both, by a session.
    Session,
    /// The return, by a plain probe on a return instruction.
    Ret,
}

impl Sees {
    /// The name in the output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Entry => "entry",
            Self::Return => "return",
            Self::Session => "session",
            Self::Ret => "ret",
        }
    }
}

/// One probe to be attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedProbe {
    /// Path of the object as the target sees it.
    pub module: String,
    /// Build-id of the object.
    pub build_id: Option<String>,
    /// A path by which the kernel finds the object.
    pub path: PathBuf,
    /// Symbol of the function.
    pub symbol: String,
    /// Offset of the instruction from the function's start; negative in a part split off before it.
    pub offset: i64,
    /// Offset of the instruction in the file.
    pub file_offset: u64,
    /// What it sees.
    pub sees: Sees,
    /// What a hit costs.
    pub cost: CostClass,
    /// The program that runs.
    pub program: Program,
    /// What it is told; the process is filled in at the attach.
    pub cookie: Cookie,
}

/// What was decided for one process.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// In the order in which they are to be attached.
    pub probes: Vec<PlannedProbe>,
    /// Functions that were left out, and why: sentences for people.
    pub left_out: Vec<String>,
    /// Objects on whose code other tracers have probes: sentences for people.
    pub other_probes: Vec<String>,
}

/// What the plan depends on besides the allocators.
pub struct Circumstances<'a> {
    /// The target's mappings.
    pub maps: &'a [Mapping],
    /// The target's memory.
    pub memory: &'a Memory,
    /// How returns are seen.
    pub returns: Returns,
    /// One link sees a call and its return.
    pub sessions: bool,
    /// This kernel turns probed five-byte nops into calls.
    pub nop5_is_cheap: bool,
    /// Where this trace has placed probes already, in any process: a fork takes them along, and they are no other
    /// tracer's.
    pub own: &'a HashSet<(FileId, u64)>,
}

/// Plans the probes for `allocators` and for V8, and one for the dynamic `linker`'s announcements.
pub fn plan(
    allocators: &[Allocator],
    v8: &[V8],
    linker: Option<&(std::sync::Arc<Object>, FoundFunction)>,
    circumstances: &Circumstances<'_>,
) -> Plan {
    let mut plan = Plan::default();
    if let Some((object, function)) = linker {
        Planner::new(object, std::slice::from_ref(function), circumstances).add_to(&mut plan);
    }
    for allocator in allocators {
        let before = plan.probes.len();
        Planner::new(&allocator.object, &allocator.functions, circumstances).add_to(&mut plan);
        for probe in plan.probes.iter_mut().skip(before) {
            probe.cookie.is_leaf = is_leaf(allocator.kind, probe.cookie.function);
        }
        if allocator.functions.is_empty() {
            plan.left_out
                .push(format!("{} has no function that can be probed", allocator.object.display_path));
        }
    }
    for v8 in v8 {
        Planner::new(&v8.object, &v8.functions, circumstances).add_to(&mut plan);
    }
    // Two functions may end in the same returns, and two allocators share a function: one probe there sees both.
    let mut places = BTreeSet::new();
    plan.probes.retain(|probe| places.insert((probe.path.clone(), probe.file_offset, probe.program.name())));
    // Frees first: a free seen without its allocation is only an unknown one. Returns before entries: an entry whose
    // return is not seen would look like a call that never ends. Reallocations before allocations: one that is not seen
    // would take a block that is.
    let rank = |program| match program {
        Program::ObjectsChanged => 0,
        Program::FreeEnter => 1,
        Program::AllocReturn
        | Program::AllocRet
        | Program::NewRet
        | Program::MeasureReturn
        | Program::MeasureRet => 2,
        Program::AllocEnter | Program::AllocSession | Program::NewEnter | Program::MeasureEnter => 3,
        // Mappings last: those that an allocator makes within a call are known by the call.
        Program::MappingReturn | Program::MappingRet => 4,
        Program::MappingEnter => 5,
        // A collection that is seen is seen whole.
        Program::GcStep => 6,
    };
    plan.probes.sort_by_key(|probe| (rank(probe.program), probe.cookie.role != Role::Reallocate));
    plan
}

/// Whether a function calls none that is probed. Of other allocators than these, and other functions, it is not known.
fn is_leaf(kind: AllocatorKind, function: u8) -> bool {
    let name = FUNCTIONS.get(usize::from(function)).map(|spec| spec.name);
    matches!(kind, AllocatorKind::Glibc | AllocatorKind::Jemalloc)
        && matches!(name, Some("malloc" | "calloc"))
}

/// Plans the probes of one object.
struct Planner<'a> {
    object: &'a Object,
    functions: Vec<(&'a FoundFunction, &'static FunctionSpec)>,
    circumstances: &'a Circumstances<'a>,
    code: CodeMap<'a>,
    /// Addresses of functions that get probes of their own: what only jumps to one of them needs none.
    probed: BTreeSet<u64>,
    /// Those of which the return is seen, too.
    returns_seen: BTreeSet<u64>,
}

impl<'a> Planner<'a> {
    fn new(object: &'a Object, functions: &'a [FoundFunction], circumstances: &'a Circumstances<'a>) -> Self {
        let traced: Vec<_> = functions.iter().filter_map(|one| Some((one, one.spec()?))).collect();
        let live = Live { maps: circumstances.maps, memory: circumstances.memory };
        let returns = traced
            .iter()
            .filter(|(_, spec)| !matches!(spec.role, Role::Free | Role::ObjectsChanged | Role::CollectStep));
        Self {
            object,
            circumstances,
            code: CodeMap::new(object, functions).in_process(live),
            probed: traced.iter().map(|(one, _)| one.vaddr).collect(),
            returns_seen: returns.map(|(one, _)| one.vaddr).collect(),
            functions: traced,
        }
    }

    /// Plans the probes of all functions, and says of which there are none, and why.
    ///
    /// A function that is left out sees no return of those that end in it: they are planned again without it. Each
    /// round leaves out one more function, or is the last.
    fn add_to(mut self, plan: &mut Plan) {
        loop {
            let mut round = Plan::default();
            let mut left_out = false;
            for (function, spec) in &self.functions {
                let Err(why) = self.try_function(function, spec, &mut round) else { continue };
                round.left_out.push(format!(
                    "{} of {} is not traced: {why}",
                    function.symbol, self.object.display_path
                ));
                left_out |= self.probed.remove(&function.vaddr);
                self.returns_seen.remove(&function.vaddr);
            }
            if !left_out {
                plan.probes.append(&mut round.probes);
                plan.left_out.append(&mut round.left_out);
                round.other_probes.retain(|one| !plan.other_probes.contains(one));
                plan.other_probes.append(&mut round.other_probes);
                return;
            }
        }
    }

    fn try_function(
        &self,
        function: &FoundFunction,
        spec: &FunctionSpec,
        plan: &mut Plan,
    ) -> Result<(), String> {
        let code = self.code.starting_at(function.vaddr).ok_or("its code cannot be read from the file")?;
        if forwards_to(&code).is_some_and(|target| self.probed.contains(&target)) {
            return Ok(());
        }
        self.compare(&code, plan)?;
        let null_test = (spec.role == Role::Free).then_some(spec.pointer);
        let need =
            Need { arguments: &arguments(spec), null_test, nop5_is_cheap: self.circumstances.nop5_is_cheap };
        let entry = place_entry(&code, &need).map_err(|error| error.to_string())?;
        let make =
            |program, sees, address: u64, cost| self.probe(function, spec, program, sees, address, cost);
        let at = |place: &Placement| function.vaddr.wrapping_add(place.offset);
        let mut probes = Vec::new();
        let by_return_probe = !spec.throws && self.circumstances.returns == Returns::ReturnProbes;
        match spec.role {
            Role::Free => probes.push(make(Program::FreeEnter, Sees::Entry, at(&entry), entry.cost)?),
            Role::ObjectsChanged => {
                probes.push(make(Program::ObjectsChanged, Sees::Entry, at(&entry), entry.cost)?);
            }
            Role::CollectStep => probes.push(make(Program::GcStep, Sees::Entry, at(&entry), entry.cost)?),
            Role::Allocate | Role::Reallocate | Role::StoreResult
                if by_return_probe && self.circumstances.sessions =>
            {
                probes.push(make(Program::AllocSession, Sees::Session, at(&entry), entry.cost)?);
            }
            _ if by_return_probe => {
                // The return probe's own entry hit shares the instruction, and its trap, with the entry probe.
                let (enters, returns) = match spec.role {
                    Role::Measure => (Program::MeasureEnter, Program::MeasureReturn),
                    role if role.is_mapping() => (Program::MappingEnter, Program::MappingReturn),
                    _ => (Program::AllocEnter, Program::AllocReturn),
                };
                probes.push(make(returns, Sees::Return, at(&entry), entry.cost)?);
                probes.push(make(enters, Sees::Entry, at(&entry), entry.cost)?);
            }
            role => {
                let (enters, returns) = match role {
                    Role::New => (Program::NewEnter, Program::NewRet),
                    Role::Measure => (Program::MeasureEnter, Program::MeasureRet),
                    role if role.is_mapping() => (Program::MappingEnter, Program::MappingRet),
                    _ => (Program::AllocEnter, Program::AllocRet),
                };
                let sites = self.returns(&code, plan)?;
                for site in &sites {
                    probes.push(make(returns, Sees::Ret, site.address, site.cost)?);
                }
                // Without a return of its own each call ends in a function that is probed, and counts there.
                if !sites.is_empty() {
                    probes.push(make(enters, Sees::Entry, at(&entry), entry.cost)?);
                }
            }
        }
        plan.probes.append(&mut probes);
        Ok(())
    }

    /// The code in memory must be the file's, or nothing that was decoded from the file holds.
    fn compare(&self, code: &Code<'_>, plan: &mut Plan) -> Result<(), String> {
        let Some(address) = self.object.address_of(code.address, self.circumstances.maps) else {
            // Not mapped yet (an object that the user named): the kernel will take the file's own bytes.
            return Ok(());
        };
        let mut live = vec![0; code.bytes.len()];
        let read = self.circumstances.memory.read(address, &mut live).map_err(|error| {
            format!("its code in memory cannot be read and compared with the file ({error})")
        })?;
        live.truncate(read);
        match compare_live(code, &live) {
            LiveText::Same => Ok(()),
            LiveText::OtherProbes(offsets) => {
                let is_own = |offset: &u64| {
                    let at = self.object.file_offset(code.address.wrapping_add(*offset));
                    at.is_some_and(|at| self.circumstances.own.contains(&(self.object.identity, at)))
                };
                if offsets.iter().all(is_own) {
                    return Ok(());
                }
                let sentence = format!("another tracer has probes in {}", self.object.display_path);
                if !plan.other_probes.contains(&sentence) {
                    plan.other_probes.push(sentence);
                }
                Ok(())
            }
            LiveText::Different { offset } => Err(format!(
                "its code in memory differs from the file at byte {offset} (patched or hooked), so no probe is safe there"
            )),
        }
    }

    /// The returns of a function; all code that was decoded to find them is compared with the memory.
    fn returns(&self, code: &Code<'_>, plan: &mut Plan) -> Result<Vec<ReturnSite>, String> {
        let returns =
            return_sites(code, &|at| self.code.code_at(at), &|target| self.returns_seen.contains(&target))
                .map_err(|error| format!("its returns cannot be shown complete: {error}"))?;
        for address in &returns.followed {
            let followed = self.code.code_at(*address).ok_or("code that it ends in cannot be read")?;
            self.compare(&followed, plan)?;
        }
        Ok(returns.sites)
    }

    fn probe(
        &self,
        function: &FoundFunction,
        spec: &FunctionSpec,
        program: Program,
        sees: Sees,
        address: u64,
        cost: CostClass,
    ) -> Result<PlannedProbe, String> {
        let file_offset =
            self.object.file_offset(address).ok_or("its address is in no segment of the file")?;
        Ok(PlannedProbe {
            module: self.object.display_path.clone(),
            build_id: self.object.build_id.clone(),
            path: self.object.open_path.clone(),
            symbol: function.symbol.clone(),
            offset: address.wrapping_sub(function.vaddr) as i64,
            file_offset,
            sees,
            cost,
            program,
            cookie: Cookie {
                function: function.function,
                role: spec.role,
                size: spec.size,
                count: spec.count,
                pointer: spec.pointer,
                process: 0,
                is_leaf: false,
            },
        })
    }
}

/// The arguments that the program reads at the entry: of the mapping functions, those of their C prototypes.
fn arguments(spec: &FunctionSpec) -> Vec<Argument> {
    use Argument::{First, Fourth, Second, Third};
    match spec.role {
        Role::Map | Role::Remap => vec![First, Second, Third, Fourth],
        Role::Unmap => vec![First, Second],
        Role::Protect | Role::CollectStep => vec![First, Second, Third],
        _ => {
            let named = [spec.size, spec.count, spec.pointer].into_iter();
            named.filter(|one| *one != Argument::None).collect()
        }
    }
}

#[cfg(test)]
mod tests;
