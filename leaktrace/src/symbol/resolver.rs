//! Turns a batch of stacks of one process into frames, reading each module once.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::address_space::{AddressSpace, Place};
use super::module::{Module, Modules};
use super::names::{Location, Named, Names};
use super::{Frame, Options, Request, Resolved};

/// Frames of a stack that are named; the kernel side records fewer.
const DEPTH_LIMIT: usize = 1024;

/// Everything known about the processes of a run.
pub(super) struct Resolver {
    spaces: HashMap<u16, AddressSpace>,
    modules: Modules,
    names: Names,
    /// How many times reading a file of the target panicked.
    pub(super) panics: u64,
}

impl Resolver {
    pub(super) fn new(options: Options) -> Self {
        Self { spaces: HashMap::new(), modules: Modules::default(), names: Names::new(options), panics: 0 }
    }

    /// Forgets a process.
    pub(super) fn forget(&mut self, process: u16) {
        self.spaces.remove(&process);
        if self.spaces.is_empty() {
            self.names.clear();
        }
    }

    /// Names a batch of requests, all of one process and generation.
    pub(super) fn resolve(&mut self, batch: &[Request]) -> Vec<Resolved> {
        let Some(first) = batch.first() else { return Vec::new() };
        let space = self.spaces.entry(first.process).or_insert_with(|| AddressSpace::new(first.pid));
        if space.pid != first.pid {
            *space = AddressSpace::new(first.pid);
        }
        space.reach(first.generation, &mut self.modules);
        let caching = space.is_newest(first.generation);

        let asked = batch.iter().flat_map(|request| request.addresses.iter().take(DEPTH_LIMIT).copied());
        let asked: HashSet<u64> =
            asked.filter(|&address| !caching || space.known(address).is_none()).collect();
        let mut fresh = HashMap::with_capacity(asked.len());
        for (address, frames, settled) in self.name(first, asked) {
            let Some(space) = self.spaces.get_mut(&first.process) else { continue };
            if caching && settled {
                space.remember(address, Rc::clone(&frames));
            }
            fresh.insert(address, frames);
        }

        let space = self.spaces.get(&first.process);
        let frames_of = |address: &u64| {
            let known = || space.filter(|_| caching).and_then(|space| space.known(*address));
            fresh.get(address).or_else(known).map_or_else(
                // Only when the cache was emptied while this batch filled it.
                || vec![bare(*address, None, None)],
                |frames| frames.to_vec(),
            )
        };
        let stack =
            |request: &Request| request.addresses.iter().take(DEPTH_LIMIT).flat_map(frames_of).collect();
        batch
            .iter()
            .map(|request| Resolved { process: request.process, site: request.site, frames: stack(request) })
            .collect()
    }

    /// Frames for each address, and whether a later look could find no more.
    fn name(&mut self, request: &Request, addresses: HashSet<u64>) -> Vec<(u64, Rc<[Frame]>, bool)> {
        let Some(space) = self.spaces.get_mut(&request.process) else { return Vec::new() };
        // A return address is the instruction after the call, perhaps already of the next function or line.
        let call = |address: u64| address.saturating_sub(1);
        let unmapped =
            |address: &u64| matches!(space.place(call(*address), request.generation), Place::Nowhere);
        if addresses.iter().any(unmapped) {
            space.look_again(&mut self.modules);
        }

        let mut named: Vec<(u64, Rc<[Frame]>, bool)> = Vec::with_capacity(addresses.len());
        let mut per_module: HashMap<*const Module, (Rc<Module>, Vec<InFile>)> = HashMap::new();
        for address in addresses {
            match space.place(call(address), request.generation) {
                Place::File { module: Some(module), name, file_offset, image_offset } => {
                    let group = per_module.entry(Rc::as_ptr(&module)).or_insert_with(|| (module, Vec::new()));
                    group.1.push(InFile { address, name, file_offset, image_offset });
                }
                Place::File { module: None, name, image_offset, .. } => {
                    named.push((address, [bare(address, Some(name), Some(image_offset + 1))].into(), true));
                }
                Place::Special { name, offset } => {
                    named.push((address, [bare(address, Some(name), Some(offset + 1))].into(), true));
                }
                Place::Jit => {
                    let frame = compiled(space, address, call(address));
                    let settled = frame.function.is_some();
                    named.push((address, [frame].into(), settled));
                }
                Place::Nowhere => named.push((address, [bare(address, None, None)].into(), false)),
            }
        }
        for (module, places) in per_module.into_values() {
            let offsets: Vec<u64> = places.iter().map(|place| place.file_offset).collect();
            let (answers, panics) = self.names.find(&module, &offsets);
            self.panics += panics;
            for (place, answer) in places.into_iter().zip(answers) {
                named.push((place.address, frames(place, answer), true));
            }
        }
        named
    }
}

/// An address that lies in a file we can read.
struct InFile {
    address: u64,
    name: String,
    file_offset: u64,
    image_offset: u64,
}

fn frames(place: InFile, answer: Option<Named>) -> Rc<[Frame]> {
    let InFile { address, name, image_offset, .. } = place;
    let Some(named) = answer else {
        return [bare(address, Some(name), Some(image_offset + 1))].into();
    };
    let frame = |function: String, location: Location, offset: Option<u64>| Frame {
        function: Some(function),
        module: Some(name.clone()),
        file: location.file,
        line: location.line,
        column: None,
        address: format!("{address:#x}"),
        offset,
        inlined: offset.is_none(),
    };
    let inlined = named.inlined.into_iter().map(|(function, location)| frame(function, location, None));
    let own = frame(named.function, named.location, Some(named.offset.saturating_add(1)));
    inlined.chain([own]).collect()
}

fn compiled(space: &mut AddressSpace, address: u64, call: u64) -> Frame {
    let found = space.compiled(call);
    let offset = found.as_ref().map(|(_, offset)| offset + 1);
    Frame { function: found.map(|(name, _)| name), ..bare(address, Some("[jit]".to_owned()), offset) }
}

/// A frame without a function.
fn bare(address: u64, module: Option<String>, offset: Option<u64>) -> Frame {
    let address = format!("{address:#x}");
    Frame { function: None, module, file: None, line: None, column: None, address, offset, inlined: false }
}
