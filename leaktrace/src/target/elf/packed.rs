//! `.gnu_debugdata`: the symbol table that Fedora and its kin leave in a stripped file, as a packed ELF file within it.

use std::io::Read as _;

use lzma_rust2::XzReader;

use super::Object;

/// The packed sections of browsers are some 20 MiB.
const MAX_PACKED: u64 = 64 << 20;
/// A file that unpacks to more is a trap.
const MAX_UNPACKED: u64 = 256 << 20;
/// What the decoder may take beside the result, in KiB: xz's strongest preset wants 64 MiB for its dictionary.
const MAX_DECODER_KIB: u32 = 80 << 10;

impl Object {
    /// The file that is packed into this one: it has a symbol table, addresses are the same, and nothing else is in it.
    pub(super) fn packed(&self) -> Option<Self> {
        let section = self.section(b".gnu_debugdata").filter(|found| found.compression.is_none())?;
        if section.size > MAX_PACKED {
            return None;
        }
        let section = self.source.read_up_to(section.offset, section.size as usize).ok()?;
        let mut bytes = Vec::new();
        let mut reader =
            XzReader::new_mem_limit(section.as_slice(), false, MAX_DECODER_KIB).take(MAX_UNPACKED);
        reader.read_to_end(&mut bytes).ok()?;
        Self::from_bytes(bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::ops::ControlFlow;
    use std::path::Path;
    use std::process::Command;

    use super::super::SymbolSource;
    use super::*;

    fn run(program: &str, arguments: &[&dyn AsRef<OsStr>]) {
        let status = Command::new(program).args(arguments.iter().map(AsRef::as_ref)).status().unwrap();
        assert!(status.success(), "{program}");
    }

    /// A program whose table holds `quiet` alone in packed form, as distributions make them.
    fn program(directory: &Path, packed: impl FnOnce(&Path) -> Vec<u8>) -> Object {
        let at = |name: &str| directory.join(name);
        std::fs::write(at("a.c"), "int quiet(int a) { return a * 3; } int main(int n) { return quiet(n); }")
            .unwrap();
        run("cc", &[&"-O0", &"-o", &at("a"), &at("a.c")]);
        run("objcopy", &[&"--only-keep-debug", &at("a"), &at("symbols")]);
        run("objcopy", &[&"--strip-all", &"--keep-symbol=quiet", &at("symbols"), &at("mini")]);
        std::fs::write(at("mini.xz"), packed(&at("mini"))).unwrap();
        let mut section = std::ffi::OsString::from(".gnu_debugdata=");
        section.push(at("mini.xz"));
        run("objcopy", &[&"--strip-all", &"--add-section", &section, &at("a"), &at("stripped")]);
        Object::from_bytes(std::fs::read(at("stripped")).unwrap()).unwrap()
    }

    fn quiet(object: &Object) -> Option<SymbolSource> {
        let mut found = None;
        object.symbols(|symbol| {
            if symbol.name == b"quiet" {
                found = Some(symbol.source);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        found
    }

    fn packed_by_xz(file: &Path) -> Vec<u8> {
        Command::new("xz").args(["--stdout", "-9"]).arg(file).output().unwrap().stdout
    }

    #[test]
    fn functions_are_found_in_the_packed_table() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(quiet(&program(directory.path(), packed_by_xz)), Some(SymbolSource::Packed));
    }

    #[test]
    fn what_is_damaged_or_unpacks_without_end_is_as_good_as_none() {
        let directory = tempfile::tempdir().unwrap();
        let cut = |file: &Path| {
            let mut bytes = packed_by_xz(file);
            bytes.truncate(bytes.len() / 2);
            bytes
        };
        assert_eq!(quiet(&program(directory.path(), cut)), None);
        assert_eq!(quiet(&program(directory.path(), |_| b"\xfd7zXZ\0nothing".to_vec())), None);
        let bomb = |_: &Path| {
            let command = "head -c 400000000 /dev/zero | xz --stdout -0";
            Command::new("sh").args(["-c", command]).output().unwrap().stdout
        };
        assert_eq!(quiet(&program(directory.path(), bomb)), None);
        // A dictionary of 1 GiB is promised; it must not be reserved.
        let greedy = |file: &Path| {
            let command =
                Command::new("xz").args(["--stdout", "--lzma2=dict=1GiB,mf=hc3"]).arg(file).output();
            command.unwrap().stdout
        };
        assert_eq!(quiet(&program(directory.path(), greedy)), None);
    }
}
