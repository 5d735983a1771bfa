//! V8 in the node that is installed, where there is one.

use std::sync::Arc;

use super::{FoundBy, Hook, V8, stripped};
use crate::target::elf::Object;

/// The binaries that `cargo xtask packages` fetched, and node of the search path.
fn nodes() -> Vec<std::path::PathBuf> {
    let fetched = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/node");
    let fetched =
        std::fs::read_dir(fetched).into_iter().flatten().flatten().map(|one| one.path().join("bin/node"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path).map(|one| one.join("node"));
    fetched.chain(installed).filter(|path| path.is_file()).collect()
}

/// What is recovered from the order of calls must be what the symbols say.
#[test]
fn call_order_and_symbols_agree() {
    for path in nodes() {
        let Ok(bytes) = std::fs::read(&path) else { continue };
        let Ok(object) = Object::from_bytes(bytes) else { continue };
        let object = Arc::new(object);
        let v8 = V8::find(&object);
        if v8.found_by != FoundBy::Symbols {
            continue;
        }
        let mut statistics = None;
        object.symbols(|symbol| {
            if symbol.name == super::HEAP_STATISTICS.as_bytes() {
                statistics = Some(symbol.vaddr);
                return std::ops::ControlFlow::Break(());
            }
            std::ops::ControlFlow::Continue(())
        });
        let recovered = stripped::recover(&object, statistics.unwrap()).unwrap();
        let by_symbol = |hook: Hook| {
            let number = hook.function().unwrap();
            v8.functions.iter().find(|one| one.function == number).unwrap().vaddr
        };
        assert_eq!(recovered.size_of_objects, by_symbol(Hook::SizeOfObjects), "{}", path.display());
        assert_eq!(recovered.committed_memory, by_symbol(Hook::CommittedMemory), "{}", path.display());
        assert_eq!(recovered.max_reserved, v8.max_reserved, "{}", path.display());
        assert_eq!(v8.functions.len(), 10, "{}: {:?}", path.display(), v8.functions);
    }
}
