//! One pass over an object's symbols: the allocation functions it may define, and marks of known libraries.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use super::table::{self, Family};
use crate::target::elf::{Object, Symbol, SymbolSource};
use crate::target::v8;

/// The most functions that are kept for one object; a real one has below two hundred.
const MAX_HITS: usize = 2048;
/// The most prefixes of one object; a real one has one or two.
const MAX_PREFIXES: usize = 8;
/// A prefix is short: `je_`, `_rjem_`, `duckdb_je_`.
const MAX_PREFIX: usize = 64;

/// A defined function that may allocate or free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hit {
    /// Number in the table.
    pub(super) function: u8,
    /// What stands before the table's name.
    pub(super) prefix: String,
    /// The whole name.
    pub(super) symbol: String,
    pub(super) vaddr: u64,
    pub(super) size: u64,
    pub(super) source: SymbolSource,
    pub(super) indirect: bool,
}

/// Functions by which libraries and runtimes are known.
const MARKS: &[&str] = &[
    "__libc_start_main",
    "gnu_get_libc_version",
    "_int_malloc",
    "__libc_malloc_impl",
    "__malloc_donate",
    "__malloc_allzerop",
    "TCMallocInternalMalloc",
    "PyObject_Malloc",
    "_PyObject_Malloc",
    "runtime.mallocgc",
    v8::SIZE_OF_OBJECTS,
    v8::HEAP_STATISTICS,
    "ruby_xmalloc",
    "_emalloc",
    "erts_alloc_n_enomem",
];

/// What one pass found.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    pub(super) hits: Vec<Hit>,
    pub(super) prefixes: BTreeSet<String>,
    marks: BTreeSet<&'static str>,
    /// The object still has its full symbol table, or a debug file has it.
    pub(super) complete: bool,
}

impl Scan {
    /// Looks at all functions of an object. `asked` is the prefix the user named.
    pub(super) fn of(object: &Object, asked: Option<&str>) -> Self {
        let mut scan = Self::default();
        scan.prefixes.extend(asked.map(str::to_owned));
        scan.complete = object.symbols(|symbol| {
            scan.look_at(symbol);
            ControlFlow::Continue(())
        });
        // Only an object with a prefixed mallocx (or a prefix that was asked for) is worth a second pass.
        let prefixes: Vec<String> = scan.prefixes.iter().cloned().collect();
        if !prefixes.is_empty() {
            object.symbols(|symbol| {
                for prefix in &prefixes {
                    scan.look_at_prefixed(symbol, prefix);
                }
                ControlFlow::Continue(())
            });
        }
        scan
    }

    /// Whether the object defines a function of this name.
    pub(crate) fn has_mark(&self, name: &str) -> bool {
        self.marks.contains(name)
    }

    fn look_at(&mut self, symbol: &Symbol<'_>) {
        if let Some(function) = table::number_of(symbol.name) {
            self.keep(symbol, function, "");
        } else if let Some(name) = symbol.name.strip_prefix(b"tc_") {
            self.keep_if_prefixable(symbol, name, "tc_");
        } else if let Some(prefix) = symbol.name.strip_suffix(b"mallocx")
            && let Ok(prefix) = std::str::from_utf8(prefix)
            && prefix.len() <= MAX_PREFIX
            && self.prefixes.len() < MAX_PREFIXES
        {
            self.prefixes.insert(prefix.to_owned());
        }
        if let Some(mark) = MARKS.iter().find(|mark| mark.as_bytes() == symbol.name) {
            self.marks.insert(mark);
        }
    }

    fn look_at_prefixed(&mut self, symbol: &Symbol<'_>, prefix: &str) {
        if let Some(name) = symbol.name.strip_prefix(prefix.as_bytes()).filter(|_| !prefix.is_empty()) {
            self.keep_if_prefixable(symbol, name, prefix);
        }
    }

    fn keep_if_prefixable(&mut self, symbol: &Symbol<'_>, name: &[u8], prefix: &str) {
        let Some(number) = table::number_of(name) else { return };
        let family = table::function(number).map(|function| function.family);
        if matches!(family, Some(Family::C | Family::Jemalloc)) {
            self.keep(symbol, number, prefix);
        }
    }

    fn keep(&mut self, symbol: &Symbol<'_>, function: u8, prefix: &str) {
        let Some(spec) = table::function(function).filter(|_| self.hits.len() < MAX_HITS) else { return };
        self.hits.push(Hit {
            function,
            prefix: prefix.to_owned(),
            symbol: format!("{prefix}{}", spec.name),
            vaddr: symbol.vaddr,
            size: symbol.size,
            source: symbol.source,
            indirect: symbol.indirect,
        });
    }
}
