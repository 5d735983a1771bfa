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
    // Rust's library: its containers allocate for whoever called them, and most of it is inlined.
    "alloc::alloc::",
    "alloc::borrow::",
    "alloc::boxed::",
    "alloc::collections::",
    "alloc::fmt::",
    "alloc::raw_vec::",
    "alloc::rc::",
    "alloc::slice::",
    "alloc::str::",
    "alloc::string::",
    "alloc::sync::",
    "alloc::vec::",
    "<alloc::",
    "core::iter::",
    "core::option::Option<",
    "core::result::Result<",
    "<core::",
    "hashbrown::",
    "<hashbrown::",
    "std::alloc::",
    "<std::alloc::System as ",
    "std::collections::hash::",
    "std::sys::alloc::",
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
            rest.is_empty()
                || rest.starts_with("-x86")
                || rest.starts_with("-2.")
                || rest.starts_with("-aarch64")
        })
    }) && file.len() > stem.len()
}

fn is_allocator_function(name: &str) -> bool {
    let plain = name.split(['(', '@']).next().unwrap_or(name);
    ALLOCATOR_FUNCTIONS.contains(&plain) || begins_with_wrapper(name)
}

/// Demangled template functions begin with their return type: "int* std::allocator<int>::allocate(…)".
fn begins_with_wrapper(name: &str) -> bool {
    let wrapper = |text: &str| ALLOCATOR_PREFIXES.iter().any(|prefix| text.starts_with(prefix));
    wrapper(name) || name.split_once("* ").is_some_and(|(kind, rest)| !kind.contains('(') && wrapper(rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn frame(function: Option<&str>, module: Option<&str>) -> Frame {
        Frame {
            function: function.map(str::to_owned),
            module: module.map(str::to_owned),
            file: None,
            line: None,
            column: None,
            address: "0x1".to_owned(),
            offset: None,
            inlined: false,
        }
    }

    #[rstest]
    #[case("operator new(unsigned long)", true)]
    #[case("__gnu_cxx::new_allocator<int>::allocate(unsigned long, void const*)", true)]
    #[case(
        "std::__new_allocator<std::pair<int const, void (*)()> >::allocate(unsigned long, void const*)",
        true
    )]
    #[case("std::_Vector_base<int, std::allocator<int> >::_M_allocate(unsigned long)", true)]
    #[case("alloc::alloc::exchange_malloc", true)]
    #[case("hashbrown::raw::RawTableInner::new_uninitialized", true)]
    #[case("__rustc::__rust_alloc", true)]
    #[case("<alloc::alloc::Global>::alloc_impl_runtime", true)]
    #[case("<alloc::vec::Vec<u8>>::with_capacity", true)]
    #[case("<core::iter::adapters::map::Map<I,F> as core::iter::traits::iterator::Iterator>::fold", true)]
    #[case("rust_leak::remember_request", false)]
    #[case("<rust_leak::Requests as core::ops::function::Fn>::call", false)]
    #[case("malloc@plt", true)]
    #[case("malloc_everything", false)]
    #[case("Cache::put(std::allocator<int>&)", false)]
    #[case("node::Malloc(unsigned long)", false)]
    fn function_names(#[case] name: &str, #[case] expected: bool) {
        assert_eq!(is_allocator_frame(&frame(Some(name), Some("/usr/bin/app"))), expected, "{name}");
    }

    #[rstest]
    #[case("/lib/x86_64-linux-gnu/libc.so.6", true)]
    #[case("/lib64/libc-2.17.so", true)]
    #[case("/lib/ld-musl-x86_64.so.1", true)]
    #[case("/usr/lib/libjemalloc.so.2", true)]
    #[case("/usr/lib/libtcmalloc_minimal.so.4.5.9", true)]
    #[case("/usr/lib/libstdc++.so.6.0.30", true)]
    #[case("/usr/lib/libcrypto.so.3", false)]
    #[case("/usr/lib/libc-client.so.2007", false)]
    #[case("/srv/libc", false)]
    fn modules(#[case] path: &str, #[case] expected: bool) {
        assert_eq!(is_allocator_frame(&frame(Some("f"), Some(path))), expected, "{path}");
    }

    #[test]
    fn the_culprit_is_the_first_frame_of_the_program() {
        let libc = frame(Some("malloc"), Some("/lib/libc.so.6"));
        let new = frame(Some("operator new(unsigned long)"), Some("/usr/lib/libstdc++.so.6"));
        let own = frame(Some("Cache::put(int)"), Some("/usr/bin/app"));
        let stripped = frame(None, Some("/usr/lib/libplugin.so"));
        assert_eq!(culprit(&[libc.clone(), new.clone(), own.clone()]), Some(2));
        assert_eq!(culprit(&[libc.clone(), stripped.clone(), own]), Some(2));
        assert_eq!(culprit(&[libc.clone(), stripped]), Some(1));
        assert_eq!(culprit(&[libc, new]), None);
        assert_eq!(culprit(&[]), None);
    }
}
