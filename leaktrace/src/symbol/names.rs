//! blazesym, kept at arm's length: files of the target may trip it, and that must cost names, not the run.

use std::path::PathBuf;

use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{CodeInfo, Input, Sym, Symbolized, Symbolizer};

use super::demangle::Demangler;
use super::module::Module;
use super::{Options, bounded};
use crate::panics::catch;

/// Inlined functions reported for one address.
const INLINED_LIMIT: usize = 64;

/// A source file and line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) file: Option<String>,
    pub(super) line: Option<u32>,
}

/// What a file tells about one of its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) function: String,
    pub(super) offset: u64,
    pub(super) location: Location,
    /// Functions inlined here, innermost first.
    pub(super) inlined: Vec<(String, Location)>,
}

/// The parsed symbols and debug information of all modules in use.
pub(super) struct Names {
    blazesym: Symbolizer,
    demangler: Demangler,
    lines: bool,
    debug_directories: Vec<PathBuf>,
}

impl Names {
    pub(super) fn new(options: Options) -> Self {
        let Options { lines, debug_directories } = options;
        let blazesym = symbolizer(lines, &debug_directories);
        Self { blazesym, demangler: Demangler::default(), lines, debug_directories }
    }

    /// Names for file offsets of a module, in their order, and how many times blazesym panicked.
    pub(super) fn find(&mut self, module: &Module, offsets: &[u64]) -> (Vec<Option<Named>>, u64) {
        let mut panics = 0;
        let mut found = vec![None; offsets.len()];
        if self.lines && module.lines.get() {
            match self.ask(module, offsets, true) {
                Ok(Some(answers)) => found = answers,
                // Damaged debug information or a debug file of another build: the symbol table may still do.
                Ok(None) => module.lines.set(false),
                Err(Panicked) => {
                    module.lines.set(false);
                    panics += 1;
                }
            }
        }
        let nameless = |found: &[Option<Named>]| -> Vec<(usize, u64)> {
            let with_offsets = found.iter().zip(offsets).enumerate();
            with_offsets
                .filter(|(_, (name, _))| name.is_none())
                .map(|(at, (_, offset))| (at, *offset))
                .collect()
        };
        let missing = nameless(&found);
        if !missing.is_empty() && module.readable.get() {
            let again: Vec<u64> = missing.iter().map(|(_, offset)| *offset).collect();
            if let Ok(answers) = self.ask(module, &again, false) {
                fill(&mut found, missing.iter().map(|(at, _)| *at).zip(answers.unwrap_or_default()));
            } else {
                module.readable.set(false);
                panics += 1;
            }
        }
        let missing = nameless(&found);
        if !missing.is_empty()
            && let Some(packed) = module.packed()
        {
            fill(&mut found, missing.iter().map(|(at, offset)| (*at, self.named_packed(packed.at(*offset)))));
        }
        (found, panics)
    }

    fn named_packed(&self, function: Option<(&str, u64)>) -> Option<Named> {
        let (name, offset) = function?;
        let function = self.demangler.demangle(name);
        Some(Named { function, offset, location: Location::default(), inlined: Vec::new() })
    }

    /// One call of blazesym; none when it cannot read the file at all.
    fn ask(
        &mut self,
        module: &Module,
        offsets: &[u64],
        debug_information: bool,
    ) -> Result<Option<Vec<Option<Named>>>, Panicked> {
        let mut elf = Elf::new(module.path());
        elf.debug_syms = debug_information;
        let source = Source::Elf(elf);
        let asked = catch(|| {
            let answers = self.blazesym.symbolize(&source, Input::FileOffset(offsets)).ok()?;
            Some(answers.into_iter().map(|symbolized| answer(symbolized, &self.demangler)).collect())
        });
        asked.ok_or_else(|| {
            // Its caches may be half filled.
            self.blazesym = symbolizer(self.lines, &self.debug_directories);
            Panicked
        })
    }

    /// Drops everything parsed, to give the memory of modules no longer in use back.
    pub(super) fn clear(&mut self) {
        self.blazesym = symbolizer(self.lines, &self.debug_directories);
    }
}

fn fill(found: &mut [Option<Named>], answers: impl Iterator<Item = (usize, Option<Named>)>) {
    for (at, answer) in answers {
        if let Some(slot) = found.get_mut(at) {
            *slot = answer;
        }
    }
}

fn symbolizer(lines: bool, debug_directories: &[PathBuf]) -> Symbolizer {
    Symbolizer::builder()
        .enable_code_info(lines)
        .enable_inlined_fns(lines)
        .enable_demangling(false)
        .set_debug_dirs(Some(debug_directories))
        .build()
}

struct Panicked;

/// The answer, free of borrows from blazesym's caches.
fn answer(symbolized: Symbolized<'_>, demangler: &Demangler) -> Option<Named> {
    match symbolized {
        // Nameless entries of debug information would print as nothing.
        Symbolized::Sym(sym) if !sym.name.is_empty() => Some(named(&sym, demangler)),
        Symbolized::Sym(_) | Symbolized::Unknown(_) => None,
    }
}

/// blazesym lists inlined functions outermost first, and has already moved each location into the function it lies in.
fn named(sym: &Sym<'_>, demangler: &Demangler) -> Named {
    let inlined = sym.inlined.iter().rev().filter(|inlined| !inlined.name.is_empty()).take(INLINED_LIMIT);
    Named {
        inlined: inlined
            .map(|inlined| (demangler.demangle(&inlined.name), location(inlined.code_info.as_ref())))
            .collect(),
        location: location(sym.code_info.as_deref()),
        offset: sym.offset as u64,
        function: demangler.demangle(&sym.name),
    }
}

fn location(code: Option<&CodeInfo<'_>>) -> Location {
    code.map_or_else(Location::default, |code| Location {
        file: Some(bounded(code.to_path().to_string_lossy().into_owned())),
        line: code.line.filter(|&line| line > 0),
    })
}
