//! Which frame of a stack is the program's own: the first that is not the allocator's or its wrappers'.

use super::Frame;

/// File names of allocators and of the C and C++ runtimes, up to the first `.so` or version.
const ALLOCATOR_MODULES: &[&str] = &[
    "ld-linux",
    "ld-musl",
    "libc",
    "libc++",
    "libc++abi",
    "libjemalloc",
    "libmimalloc",
    "libmimalloc-secure",
    "libsnmalloc",
    "libstdc++",
    "libtcmalloc",
    "libtcmalloc_minimal",
];

/// Whole names of allocation functions, without arguments.
const ALLOCATOR_FUNCTIONS: &[&str] = &[
    "aligned_alloc",
    "calloc",
    "je_calloc",
    "je_malloc",
    "je_realloc",
    "malloc",
    "memalign",
    "mi_calloc",
    "mi_malloc",
    "mi_realloc",
    "posix_memalign",
    "pvalloc",
    "realloc",
    "reallocarray",
    "strdup",
    "strndup",
    "tc_malloc",
    "tc_new",
    "valloc",
];

/// Beginnings of the names of wrappers around allocation functions.
const ALLOCATOR_PREFIXES: &[&str] = &[
    "operator new",
    "void* operator new",
    "__libc_malloc",
    "__libc_calloc",
    "__libc_realloc",
    "__libc_memalign",
    "__GI___libc_",
    "_int_malloc",
    "__rust_alloc",
    "__rust_realloc",
    "__rdl_alloc",
    "__rdl_realloc",
    "__rg_alloc",
    "__rg_realloc",
    "__rustc::__rust_alloc",
    "__rustc::__rust_realloc",
    "__rustc::__rdl_",
    "__rustc::__rg_",
    "alloc::alloc::",
    "alloc::raw_vec::",
    "alloc::boxed::Box<T>::new",
    "alloc::vec::Vec<T>::with_capacity",
    "alloc::vec::Vec<T>::reserve",
    "<alloc::alloc::Global as ",
    "<alloc::raw_vec::RawVec",
    "alloc::slice::hack::",
    "std::alloc::",
    "<std::alloc::System as ",
    "std::sys::alloc::",
    "hashbrown::raw::",
    "hashbrown::map::make_",
    "std::allocator<",
    "std::__new_allocator<",
    "std::allocator_traits<",
    "std::__allocate_guarded<",
    "std::_Vector_base<",
    "std::__detail::_Hashtable_alloc<",
    "std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> >::_M_create",
    "__gnu_cxx::new_allocator<",
    "__gnu_cxx::__alloc_traits<",
];

/// Whether a frame belongs to an allocator, or to what only carries a request to one.
pub fn is_allocator_frame(frame: &Frame) -> bool {
    frame.module.as_deref().is_some_and(is_allocator_module)
        || frame.function.as_deref().is_some_and(is_allocator_function)
}

/// Index of the innermost frame that is the program's own; none when there is no such frame.
pub fn culprit(frames: &[Frame]) -> Option<usize> {
    let own = |frame: &Frame| !is_allocator_frame(frame);
    // A function with a name says more than an address, even when the address is nearer.
    frames
        .iter()
        .position(|frame| own(frame) && frame.function.is_some())
        .or_else(|| frames.iter().position(|frame| own(frame) && frame.module.is_some()))
        .or_else(|| frames.iter().position(own))
}

fn is_allocator_module(path: &str) -> bool {
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = file.split(".so").next().unwrap_or(file);
    // "libc-2.31", "ld-linux-x86-64", "ld-musl-x86_64".
    ALLOCATOR_MODULES.iter().any(|name| {
        stem.strip_prefix(name).is_some_and(|rest| {
            rest.is_empty() || rest.starts_with("-x86") || rest.starts_with("-2.") || rest.starts_with("-aarch64")
        })
    }) && file.len() > stem.len()
}

fn is_allocator_function(name: &str) -> bool {
    let plain = name.split(['(', '@']).next().unwrap_or(name);
    ALLOCATOR_FUNCTIONS.contains(&plain) || returns_from(name, ALLOCATOR_PREFIXES)
}

/// Demangled template functions begin with their return type: "int* std::allocator<int>::allocate(…)".
fn returns_from(name: &str, prefixes: &[&str]) -> bool {
    let starts = |text: &str| prefixes.iter().any(|prefix| text.starts_with(prefix));
    starts(name)
}
