//! From allocators to probes: which instruction of which function gets which program, and what is left out.

use std::{collections::BTreeSet, path::PathBuf};

use leaktrace_common::{Argument, Cookie, Role};

use super::{
    links::Program,
    placement::{
        Code, CostClass, LiveText, Need, Placement, ReturnSite, compare_live, forwards_to, place_entry,
        return_sites,
    },
};
use crate::target::{
    allocator::{Allocator, FoundFunction, FunctionSpec},
    elf::Object,
    maps::Mapping,
    memory::Memory,
};

/// Code of a function whose size the symbol table does not tell.
const WINDOW: usize = 4096;
/// More code than this is not read for one function.
const MAX_FUNCTION: u64 = 1 << 20;
/// More text than this is not searched for returns.
const MAX_TEXT: u64 = 256 << 20;

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
    /// The return, by a plain probe on a return instruction.
    Ret,
}

impl Sees {
    /// The name in the output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Entry => "entry",
            Self::Return => "return",
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
    /// Offset of the instruction from the function's start; wraps where a `ret` stands in a part split off before it.
    pub offset: u64,
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
    /// This kernel turns probed five-byte nops into calls.
    pub nop5_is_cheap: bool,
}

/// Plans the probes for `allocators`, and one for the dynamic `linker`'s announcements.
pub fn plan(
    allocators: &[Allocator],
    linker: Option<&(std::sync::Arc<Object>, FoundFunction)>,
    circumstances: &Circumstances<'_>,
) -> Plan {
    let mut plan = Plan::default();
    if let Some((object, function)) = linker {
        let planner = Planner::new(object, &[], circumstances);
        planner.function(function, &mut plan);
    }
    for allocator in allocators {
        let planner = Planner::new(&allocator.object, &allocator.functions, circumstances);
        for function in &allocator.functions {
            planner.function(function, &mut plan);
        }
        if allocator.functions.is_empty() {
            plan.left_out.push(format!("{} has no function that can be probed", allocator.object.display_path));
        }
    }
    // Frees first: a free seen without its allocation is only an unknown one. Returns before entries: an entry whose
    // return is not seen would look like a call that never ends.
    plan.probes.sort_by_key(|probe| match probe.program {
        Program::ObjectsChanged => 0,
        Program::FreeEnter => 1,
        Program::AllocReturn | Program::AllocRet | Program::NewRet => 2,
        Program::AllocEnter | Program::NewEnter => 3,
    });
    plan
}

/// Plans the probes of one object.
struct Planner<'a> {
    object: &'a Object,
    circumstances: &'a Circumstances<'a>,
    /// Addresses of the functions that get probes of their own.
    probed: BTreeSet<u64>,
    /// The object's code, where returns have to be searched: pairs of address and bytes.
    text: Vec<(u64, Vec<u8>)>,
}

impl<'a> Planner<'a> {
    fn new(object: &'a Object, functions: &[FoundFunction], circumstances: &'a Circumstances<'a>) -> Self {
        let searches = circumstances.returns == Returns::PlainProbes
            || functions.iter().any(|one| one.spec().is_some_and(|spec| spec.throws));
        let segments = object.segments.iter().filter(|segment| {
            searches && segment.executable && segment.file_size <= MAX_TEXT
        });
        let text = segments
            .filter_map(|segment| Some((segment.vaddr, object.code(segment.vaddr, segment.file_size as usize)?)))
            .collect();
        Self { object, circumstances, probed: functions.iter().map(|one| one.vaddr).collect(), text }
    }

    /// Plans the probes of one function, or says why there are none.
    fn function(&self, function: &FoundFunction, plan: &mut Plan) {
        let Some(spec) = function.spec() else { return };
        // Mappings are not traced yet: a partial munmap needs a map of intervals.
        if matches!(spec.role, Role::Map | Role::Unmap | Role::Remap) {
            return;
        }
        if let Err(why) = self.try_function(function, spec, plan) {
            plan.left_out.push(format!("{} of {} is not traced: {why}", function.symbol, self.object.display_path));
        }
    }

    fn try_function(&self, function: &FoundFunction, spec: &FunctionSpec, plan: &mut Plan) -> Result<(), String> {
        let size_known = function.size > 0;
        let length = if size_known { function.size.min(MAX_FUNCTION) as usize } else { WINDOW };
        let bytes = self.object.code(function.vaddr, length).ok_or("its code cannot be read from the file")?;
        let code = Code { address: function.vaddr, bytes: &bytes, size_known };
        if forwards_to(&code).is_some_and(|target| self.probed.contains(&target)) {
            return Ok(());
        }
        self.compare(&code, plan)?;
        let arguments = [spec.size, spec.count, spec.pointer];
        let null_test = (spec.role == Role::Free).then_some(spec.pointer);
        let need = Need {
            arguments: &arguments.into_iter().filter(|one| *one != Argument::None).collect::<Vec<_>>(),
            null_test,
            nop5_is_cheap: self.circumstances.nop5_is_cheap,
        };
        let entry = place_entry(&code, &need).map_err(|error| error.to_string())?;
        let make = |program, sees, address: u64, cost| self.probe(function, spec, program, sees, address, cost);
        let at = |place: &Placement| function.vaddr.wrapping_add(place.offset);
        let mut probes = Vec::new();
        match spec.role {
            Role::Free => probes.push(make(Program::FreeEnter, Sees::Entry, at(&entry), entry.cost)?),
            Role::ObjectsChanged => {
                probes.push(make(Program::ObjectsChanged, Sees::Entry, at(&entry), entry.cost)?);
            }
            Role::New => {
                for site in self.returns(&code)? {
                    probes.push(make(Program::NewRet, Sees::Ret, site.address, site.cost)?);
                }
                probes.push(make(Program::NewEnter, Sees::Entry, at(&entry), entry.cost)?);
            }
            _ if spec.throws || self.circumstances.returns == Returns::PlainProbes => {
                for site in self.returns(&code)? {
                    probes.push(make(Program::AllocRet, Sees::Ret, site.address, site.cost)?);
                }
                probes.push(make(Program::AllocEnter, Sees::Entry, at(&entry), entry.cost)?);
            }
            _ => {
                // The return probe's own entry hit shares the instruction, and its trap, with the entry probe.
                probes.push(make(Program::AllocReturn, Sees::Return, at(&entry), entry.cost)?);
                probes.push(make(Program::AllocEnter, Sees::Entry, at(&entry), entry.cost)?);
            }
        }
        // Two functions may end in the same returns: one probe there sees both.
        probes.retain(|probe| {
            !plan.probes.iter().any(|known| {
                known.path == probe.path
                    && known.file_offset == probe.file_offset
                    && known.program == probe.program
                    && known.sees == Sees::Ret
            })
        });
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
            LiveText::OtherProbes(_) => {
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

    fn returns(&self, code: &Code<'_>) -> Result<Vec<ReturnSite>, String> {
        let code_at = |address: u64| {
            self.text.iter().find_map(|(start, bytes)| {
                let skip = usize::try_from(address.checked_sub(*start)?).ok()?;
                let bytes = bytes.get(skip..).filter(|rest| !rest.is_empty())?;
                let window = bytes.get(..WINDOW).unwrap_or(bytes);
                Some(Code { address, bytes: window, size_known: false })
            })
        };
        let own = self.text.iter().find_map(|(start, bytes)| {
            let skip = usize::try_from(code.address.checked_sub(*start)?).ok()?;
            bytes.get(skip..)?.get(..code.bytes.len())
        });
        let own = own.ok_or("its code is in no executable segment")?;
        let code = Code { address: code.address, bytes: own, size_known: code.size_known };
        let returns = return_sites(&code, &code_at, &|target| self.probed.contains(&target))
            .map_err(|error| format!("its returns cannot be shown complete: {error}"))?;
        if returns.sites.is_empty() && returns.followed.is_empty() {
            return Err("it has no return of its own".to_owned());
        }
        for site in &returns.sites {
            self.compare_return(site)?;
        }
        Ok(returns.sites)
    }

    fn compare_return(&self, site: &ReturnSite) -> Result<(), String> {
        let Some(address) = self.object.address_of(site.address, self.circumstances.maps) else { return Ok(()) };
        let file = self.object.code(site.address, 1).ok_or("its code cannot be read from the file")?;
        let mut live = [0];
        let read = self.circumstances.memory.read(address, &mut live);
        match read {
            Ok(1) if live[..] == file[..] || live[0] == 0xcc => Ok(()),
            _ => Err("a return of it differs in memory from the file, so no probe is safe there".to_owned()),
        }
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
            offset: address.wrapping_sub(function.vaddr),
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
            },
        })
    }
}
