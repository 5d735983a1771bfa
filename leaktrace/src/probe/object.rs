//! The compiled BPF object: embedded, or another one for tests, and checked before anything trusts it.

use std::{borrow::Cow, env, fs};

use leaktrace_common::ABI_VERSION;
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

use crate::error::{ExitCode, Failure};

static EMBEDDED: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/bpf/leaktrace.bpf.o"));

/// Names another object file to load instead of the embedded one; for `cargo xtask bpf check`.
const OVERRIDE: &str = "LEAKTRACE_BPF_OBJECT";

/// The object to load, with its ABI checked.
pub(super) fn bytes() -> Result<Cow<'static, [u8]>, Failure> {
    let bytes = match env::var_os(OVERRIDE) {
        Some(path) => {
            let read = fs::read(&path).map_err(|error| {
                Failure::new(
                    ExitCode::Usage,
                    format!("cannot read the BPF object {} that {OVERRIDE} names: {error}", path.display()),
                )
            })?;
            Cow::Owned(read)
        }
        None => Cow::Borrowed(EMBEDDED),
    };
    let found = abi_version(&bytes);
    if found == Some(ABI_VERSION) {
        Ok(bytes)
    } else {
        Err(Failure::new(
            ExitCode::Internal,
            format!(
                "the BPF object speaks ABI {found:?} and this program ABI {ABI_VERSION}; rebuild it with `cargo xtask bpf build`"
            ),
        ))
    }
}

/// The value of the object's `ABI_VERSION` global.
fn abi_version(bytes: &[u8]) -> Option<u32> {
    let file = object::File::parse(bytes).ok()?;
    let symbol = file.symbols().find(|symbol| symbol.name() == Ok("ABI_VERSION"))?;
    let section = file.section_by_index(symbol.section_index()?).ok()?;
    let data = section.data_range(symbol.address(), 4).ok()??;
    Some(u32::from_le_bytes(data.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::{ABI_VERSION, EMBEDDED, abi_version};

    #[test]
    fn the_embedded_object_speaks_our_abi() {
        assert_eq!(abi_version(EMBEDDED), Some(ABI_VERSION));
    }

    #[test]
    fn garbage_has_no_abi() {
        assert_eq!(abi_version(b"\x7fELF and nothing more"), None);
        assert_eq!(abi_version(&EMBEDDED[..EMBEDDED.len() / 2]), None);
    }
}
