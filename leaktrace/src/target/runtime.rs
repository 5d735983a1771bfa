//! Runtimes with a heap of their own: what leaktrace sees of them, and what it does not.

use super::allocator::Scan;
use super::elf::Object;
use super::v8;

/// A recognised runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// Its name, as users know it.
    pub name: &'static str,
    /// One sentence: what leaktrace sees of its memory.
    pub visible: &'static str,
    /// One sentence: what of its memory is not visible.
    pub not_visible: &'static str,
}

/// By what a runtime is known.
struct Recognition {
    /// It defines one of these functions.
    functions: &'static [&'static str],
    /// Its file is called like this, up to a version.
    file: &'static str,
    runtime: Runtime,
}

const KNOWN: &[Recognition] = &[
    Recognition {
        functions: &["PyObject_Malloc", "_PyObject_Malloc"],
        file: "libpython",
        runtime: Runtime {
            name: "CPython",
            visible: "memory of extension modules and Python objects above 512 bytes",
            not_visible: "Python objects up to 512 bytes come from pymalloc's arenas and are not seen one by one; \
                          PYTHONMALLOC=malloc at start makes them visible",
        },
    },
    Recognition {
        functions: &["runtime.mallocgc"],
        file: "",
        runtime: Runtime {
            name: "Go",
            visible: "memory that C code called through cgo allocates",
            not_visible: "the Go heap is managed by the Go runtime and is not seen; use pprof for it",
        },
    },
    Recognition {
        functions: &[],
        file: "libjvm.so",
        runtime: Runtime {
            name: "JVM",
            visible: "native memory of the JVM, of JNI libraries and of direct buffers",
            not_visible: "the Java heap is managed by the JVM and is not seen; use a heap dump for it",
        },
    },
    Recognition {
        functions: &[],
        file: "libcoreclr.so",
        runtime: Runtime {
            name: ".NET",
            visible: "native memory of the runtime and of native libraries",
            not_visible: "the managed heap is not seen; use dotnet-gcdump for it",
        },
    },
    Recognition {
        functions: &[v8::SIZE_OF_OBJECTS, v8::HEAP_STATISTICS],
        file: "libnode.so",
        runtime: Runtime {
            name: "V8",
            visible: "native memory: buffers, addons and V8's own structures",
            not_visible: "JavaScript objects live in V8's heap and are not seen one by one",
        },
    },
    Recognition {
        functions: &["ruby_xmalloc"],
        file: "libruby",
        runtime: Runtime {
            name: "Ruby",
            visible: "memory of C extensions, and strings and arrays that outgrow their slot",
            not_visible: "objects live in the slots of Ruby's own heap pages and are not seen one by one",
        },
    },
    Recognition {
        functions: &["_emalloc"],
        file: "libphp",
        runtime: Runtime {
            name: "PHP",
            visible: "memory of extensions and libraries that call malloc",
            not_visible: "PHP values come from its own memory manager and are not seen one by one; \
                          USE_ZEND_ALLOC=0 at start makes them visible",
        },
    },
    Recognition {
        functions: &["erts_alloc_n_enomem"],
        file: "beam.smp",
        runtime: Runtime {
            name: "BEAM",
            visible: "memory of native functions and drivers",
            not_visible: "Erlang heaps and binaries come from the runtime's own allocators and are not seen",
        },
    },
];

/// The runtime that an object holds, if any.
pub(super) fn recognise(object: &Object, scan: &Scan) -> Option<Runtime> {
    let file = object.file_name();
    let known = KNOWN.iter().find(|known| {
        known.functions.iter().any(|function| scan.has_mark(function))
            || (!known.file.is_empty() && file.starts_with(known.file))
            || (known.runtime.name == "Go" && object.has_go_buildinfo)
    });
    known.map(|known| known.runtime)
}
