//! Links that hold many probes at once (uprobe_multi), beside aya 0.14, which has none.
//!
//! A perf link is closed under a lock of the whole machine, and each waits for a grace period of its own: measured,
//! 24 of them take 2.5 s, and several traces that end together wait for each other. A uprobe_multi link goes away with
//! all its probes after one grace period. A session (Linux 6.13) is such a link whose program runs at a call and at its
//! return, unless it says at the call that it need not.

mod kernel;

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
};

use aya::{
    Ebpf,
    maps::{Map, MapData},
};
use aya_obj::Object;

use self::kernel::When;
use super::{
    links::{AttachPoint, Link, LinkError, Linker, Program},
    run_times::{self, Runs},
};
use crate::target::hazard::KernelVersion;

/// From this kernel on a link for a process covers all its threads (46ba0e49b642, "bpf: fix multi-uprobe PID filtering
/// logic"); before, it covered the one thread.
pub const WHOLE_PROCESSES: KernelVersion = KernelVersion::new(6, 10);

/// uprobe_multi links: one for all places of a program in a file.
pub(super) struct MultiLinks {
    /// The object once more; its programs share the maps of those that aya has.
    object: Object,
    programs: HashMap<Program, OwnedFd>,
    /// The object's type information, as aya loaded it.
    types: OwnedFd,
    /// Calls and returns of allocation functions are seen by sessions.
    sessions: bool,
}

struct MultiLink {
    _fd: OwnedFd,
}

impl Link for MultiLink {}

impl MultiLinks {
    /// Links for the programs of the object that `ebpf` was loaded from, of which at least one must be loaded.
    pub(super) fn new(bytes: &[u8], ebpf: &Ebpf, sessions: bool) -> Result<Self, LinkError> {
        Ok(Self { object: relocated(bytes, ebpf)?, programs: HashMap::new(), types: types(ebpf)?, sessions })
    }
}

/// How a program is run.
const fn when(program: Program) -> When {
    match program {
        Program::AllocSession => When::AtBoth,
        program if program.is_return_probe() => When::AtReturn,
        _ => When::There,
    }
}

impl Linker for MultiLinks {
    fn kind(&self) -> &'static str {
        if self.sessions { "uprobe_session" } else { "uprobe_multi" }
    }

    fn has_sessions(&self) -> bool {
        self.sessions
    }

    fn load(&mut self, _: &mut Ebpf, program: Program) -> Result<(), LinkError> {
        let name = program.name();
        let parsed = self.object.programs.get(name);
        let function = parsed.and_then(|parsed| self.object.functions.get(&parsed.function_key()));
        let function = function.ok_or_else(|| LinkError::Object(format!("it has no program {name}")))?;
        let types = kernel::Types {
            btf: self.types.as_fd(),
            functions: function.func_info.func_info_bytes(),
            record_size: function.func_info_rec_size,
        };
        let (instructions, license) = (&function.instructions, &self.object.license);
        let fd = kernel::load_program(name, instructions, license, &types, when(program))?;
        self.programs.insert(program, fd);
        Ok(())
    }

    fn runs(&self) -> Runs {
        let mut runs = Runs::default();
        for (&program, fd) in &self.programs {
            if let Some(run) = runs.get_mut(program as usize) {
                *run = run_times::of_program(fd.as_fd()).unwrap_or_default();
            }
        }
        runs
    }

    fn attach(&self, _: &mut Ebpf, points: &[AttachPoint]) -> Result<Vec<Box<dyn Link>>, LinkError> {
        let Some(first) = points.first() else { return Ok(Vec::new()) };
        let program = self.programs.get(&first.program).ok_or(io::ErrorKind::NotFound)?;
        let offsets: Vec<u64> = points.iter().map(|point| point.file_offset).collect();
        let cookies: Vec<u64> = points.iter().map(|point| point.cookie).collect();
        let places = (offsets.as_slice(), cookies.as_slice());
        let fd = kernel::create_link(program.as_fd(), &first.path, places, when(first.program), first.pid)?;
        Ok(vec![Box::new(MultiLink { _fd: fd })])
    }
}

/// The type information of a program that aya has loaded: all programs of the object share it.
fn types(ebpf: &Ebpf) -> Result<OwnedFd, LinkError> {
    let mut infos = ebpf.programs().filter_map(|(_, program)| program.info().ok());
    let id = infos.find_map(|info| info.btf_id());
    let id = id.ok_or_else(|| LinkError::Object("no program with type information is loaded".to_owned()))?;
    Ok(kernel::types_by_id(id)?)
}

/// The object with references to maps and calls between functions filled in, as aya does before it loads a program.
fn relocated(bytes: &[u8], ebpf: &Ebpf) -> Result<Object, LinkError> {
    let mut object = Object::parse(bytes).map_err(|error| LinkError::Object(error.to_string()))?;
    let sections = object.functions.keys().map(|(section, _)| *section).collect();
    let maps = std::mem::take(&mut object.maps);
    let mut known = Vec::new();
    for (name, map) in ebpf.maps() {
        let data =
            data(map).ok_or_else(|| LinkError::Object(format!("the map {name} is of a strange kind")))?;
        if let Some(parsed) = maps.get(name) {
            known.push((name, data.fd().as_fd().as_raw_fd(), parsed));
        }
    }
    object
        .relocate_maps(known.into_iter(), &sections)
        .and_then(|()| object.relocate_calls(&sections))
        .map_err(|error| LinkError::Object(format!("{:#}", anyhow::Error::new(error))))?;
    Ok(object)
}

/// What is behind a map of one of the kinds that our object has.
fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data)
        | Map::ArrayOfMaps(data)
        | Map::HashMap(data)
        | Map::PerCpuArray(data)
        | Map::RingBuf(data) => Some(data),
        _ => None,
    }
}
