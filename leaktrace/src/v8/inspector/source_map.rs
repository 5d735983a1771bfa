//! Source maps that lie beside a script: from compiled JavaScript back to what people wrote.
//!
//! Scripts and maps are files of the target, opened inside of its own root, bounded, and damaged ones are none.

use std::{
    collections::HashMap,
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use sourcemap::{DecodedMap, decode_slice};

use super::sites::{JsFrame, bounded};
use crate::target::elf::open_in_root;

/// The largest map that is read.
const MAX_MAP: u64 = 64 << 20;
/// The reference to a map stands in the last bytes of a script.
const TAIL: u64 = 4096;
/// Scripts whose maps are kept at the same time.
const MAX_SCRIPTS: usize = 512;
/// Maps are kept up to this many bytes of files.
const MAX_KEPT: u64 = 256 << 20;

/// The maps of a process's scripts, each looked for once.
pub(super) struct SourceMaps {
    pid: u32,
    maps: HashMap<String, Option<DecodedMap>>,
    kept: u64,
}

impl SourceMaps {
    pub(super) fn new(pid: u32) -> Self {
        Self { pid, maps: HashMap::new(), kept: 0 }
    }

    /// The frame as its source map tells it, where there is one.
    pub(super) fn resolve(&mut self, frame: JsFrame) -> JsFrame {
        let (Some(line), Some(column)) = (frame.line, frame.column) else { return frame };
        if !frame.file.starts_with('/') {
            return frame;
        }
        if !self.maps.contains_key(&frame.file) {
            if self.maps.len() >= MAX_SCRIPTS || self.kept >= MAX_KEPT {
                return frame;
            }
            let found = self.load(&frame.file);
            self.maps.insert(frame.file.clone(), found);
        }
        let Some(Some(map)) = self.maps.get(&frame.file) else { return frame };
        let Some(token) = map.lookup_token(line - 1, column - 1) else { return frame };
        let Some(source) = token.get_source() else { return frame };
        let directory = Path::new(&frame.file).parent().unwrap_or(Path::new("/"));
        JsFrame {
            function: if frame.function.is_empty() {
                token.get_name().map(bounded).unwrap_or_default()
            } else {
                frame.function.clone()
            },
            file: bounded(&joined(directory, source)),
            line: token.get_src_line().checked_add(1),
            column: token.get_src_col().checked_add(1),
        }
    }

    fn load(&mut self, script: &str) -> Option<DecodedMap> {
        let script = Path::new(script);
        let reference = reference(&tail(self.pid, script)?)?;
        let bytes = if reference.starts_with("data:") {
            return sourcemap::decode_data_url(&reference).ok();
        } else {
            let path = PathBuf::from(joined(script.parent()?, &reference));
            let mut bytes = Vec::new();
            let file = open_in_root(self.pid, &path).ok()?;
            if file.metadata().ok()?.len() > MAX_MAP {
                return None;
            }
            file.take(MAX_MAP).read_to_end(&mut bytes).ok()?;
            bytes
        };
        self.kept += bytes.len() as u64;
        decode_slice(&bytes).ok()
    }
}

/// The end of a script; a map inside of it, as `data:`, may be long.
fn tail(pid: u32, script: &Path) -> Option<String> {
    let mut file: File = open_in_root(pid, script).ok()?;
    let length = file.metadata().ok()?.len();
    let end = read_from(&mut file, length.saturating_sub(TAIL))?;
    if reference(&end).is_some() {
        return Some(end);
    }
    let whole = length <= MAX_MAP && end.trim_end().lines().count() <= 1;
    if whole { read_from(&mut file, 0) } else { None }
}

fn read_from(file: &mut File, from: u64) -> Option<String> {
    file.seek(SeekFrom::Start(from)).ok()?;
    let mut bytes = Vec::new();
    file.take(MAX_MAP).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// What the last `//# sourceMappingURL=` names.
fn reference(text: &str) -> Option<String> {
    let line = text.lines().rev().find_map(|line| {
        let line = line.trim();
        line.strip_prefix("//# sourceMappingURL=").or_else(|| line.strip_prefix("//@ sourceMappingURL="))
    })?;
    let is_path = line.starts_with("data:") || !line.contains("://");
    (!line.is_empty() && is_path).then(|| line.to_owned())
}

/// A path relative to a directory, without `.` and `..`; URLs stay as they are.
fn joined(directory: &Path, relative: &str) -> String {
    if relative.contains("://") {
        return relative.strip_prefix("file://").unwrap_or(relative).to_owned();
    }
    let mut path = PathBuf::new();
    for part in directory.join(relative).components() {
        match part {
            std::path::Component::ParentDir => drop(path.pop()),
            std::path::Component::CurDir => {}
            part => path.push(part),
        }
    }
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Line 1, column 11 of the script is line 3, column 5 of `src/leak.ts`.
    const MAP: &str = r#"{"version":3,"sources":["../src/leak.ts"],"names":[],"mappings":"UAEI"}"#;

    fn frame(file: &Path) -> JsFrame {
        let file = file.to_str().unwrap().to_owned();
        JsFrame { function: "leak".to_owned(), file, line: Some(1), column: Some(15) }
    }

    #[test]
    fn a_map_beside_the_script_is_used() {
        let directory = tempfile::tempdir().unwrap();
        let built = directory.path().join("dist");
        fs::create_dir(&built).unwrap();
        fs::write(built.join("leak.js"), "function leak(){}\n//# sourceMappingURL=leak.js.map\n").unwrap();
        fs::write(built.join("leak.js.map"), MAP).unwrap();
        let resolved = SourceMaps::new(std::process::id()).resolve(frame(&built.join("leak.js")));
        let source = directory.path().join("src/leak.ts");
        assert_eq!(resolved.file, source.to_str().unwrap());
        assert_eq!((resolved.line, resolved.column, resolved.function.as_str()), (Some(3), Some(5), "leak"));
    }

    #[test]
    fn without_a_good_map_the_frame_stays_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("a.js");
        let frame = frame(&script);
        let resolve = || SourceMaps::new(std::process::id()).resolve(frame.clone());
        assert_eq!(resolve(), frame, "no script");
        for (reference, map) in [
            ("", ""),
            ("none.map", ""),
            ("a.map", "{"),
            ("a.map", "[1]"),
            ("http://x/a.map", MAP),
            ("data:,x", ""),
        ] {
            fs::write(&script, format!("x\n//# sourceMappingURL={reference}")).unwrap();
            fs::write(directory.path().join("a.map"), map).unwrap();
            assert_eq!(resolve(), frame, "{reference} {map}");
        }
    }

    #[test]
    fn relative_paths_are_cleaned() {
        assert_eq!(joined(Path::new("/srv/dist"), "../src/./a.ts"), "/srv/src/a.ts");
        assert_eq!(joined(Path::new("/srv"), "/abs/a.ts"), "/abs/a.ts");
        assert_eq!(joined(Path::new("/"), "../../etc/x"), "/etc/x");
        assert_eq!(joined(Path::new("/"), "webpack://app/a.ts"), "webpack://app/a.ts");
    }
}
