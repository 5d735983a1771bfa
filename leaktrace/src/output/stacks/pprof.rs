//! A profile for pprof: gzip'd `profile.proto`, with what is in use and what was allocated, in objects and bytes.

use std::{
    collections::HashMap,
    io::{self, Write as _},
    sync::Arc,
};

use flate2::{Compression, write::GzEncoder};
use prost::Message as _;

use super::{
    super::{leak, record::SiteKind},
    Profile, StackSample, Values, name,
    profile_proto::{self as proto, Function, Label, Line, Location, Mapping, Sample, ValueType},
};
use crate::symbol::Frame;

/// In the order of a sample's values, by the names that pprof knows from Go.
const SAMPLE_TYPES: [(&str, &str); 4] = [
    ("inuse_objects", "count"),
    (DEFAULT_SAMPLE_TYPE, "bytes"),
    ("alloc_objects", "count"),
    ("alloc_space", "bytes"),
];
const DEFAULT_SAMPLE_TYPE: &str = "inuse_space";

/// The file's bytes.
pub(super) fn render(profile: &Profile<'_>) -> io::Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&encode(profile).encode_to_vec())?;
    gzip.finish()
}

/// The message.
pub(super) fn encode(profile: &Profile<'_>) -> proto::Profile {
    let mut builder = Builder::new(profile);
    for sample in &profile.samples {
        builder.add(sample);
    }
    builder.finish()
}

struct Builder<'a> {
    profile: &'a Profile<'a>,
    out: proto::Profile,
    /// Indexes and ids of what is written already.
    strings: HashMap<String, i64>,
    functions: HashMap<(i64, i64), u64>,
    mappings: HashMap<(u32, i64, u64), u64>,
    locations: HashMap<(u64, u64, Vec<Line>), u64>,
}

impl<'a> Builder<'a> {
    fn new(profile: &'a Profile<'a>) -> Self {
        let mut builder = Self {
            profile,
            out: proto::Profile::default(),
            strings: HashMap::new(),
            functions: HashMap::new(),
            mappings: HashMap::new(),
            locations: HashMap::new(),
        };
        builder.string("");
        builder.out.sample_type = SAMPLE_TYPES.map(|(kind, unit)| builder.value_type(kind, unit)).into();
        builder.out.default_sample_type = builder.string(DEFAULT_SAMPLE_TYPE);
        // Every byte is seen, not one in so many.
        builder.out.period_type = Some(builder.value_type("space", "bytes"));
        builder.out.period = 1;
        builder.out.time_nanos = profile.started_s.unwrap_or(0).saturating_mul(1_000_000_000);
        builder.out.duration_nanos = (profile.duration_s.max(0.0) * 1e9) as i64;
        let comment = builder.string(concat!("leaktrace ", env!("CARGO_PKG_VERSION")));
        builder.out.comment.push(comment);
        builder
    }

    fn add(&mut self, sample: &StackSample<'_>) {
        if sample.values == Values::default() {
            return;
        }
        // Inlined functions come before the one that contains them, and are one place in the code with it.
        let places = sample.frames.split_inclusive(|frame| !frame.inlined);
        let mut location_id: Vec<u64> = places.map(|place| self.location(sample.pid, place)).collect();
        if let Some(missing) = sample.missing() {
            let line = Line { function_id: self.function(missing, ""), number: 0, column: 0 };
            location_id.push(self.location_at(0, 0, vec![line]));
        }
        let Values { live_count, live_bytes, allocs, alloc_bytes } = sample.values;
        let value = [live_count, live_bytes, allocs, alloc_bytes];
        let value = value.map(|value| i64::try_from(value).unwrap_or(i64::MAX)).into();
        let mut label = vec![self.label("process", &sample.process())];
        match sample.kind {
            SiteKind::Heap | SiteKind::BeforeAttach => {}
            SiteKind::Mapping => label.push(self.label("kind", "mapped")),
            SiteKind::Js => label.push(self.label("kind", "javascript")),
        }
        if let Some(verdict) = sample.verdict {
            label.push(self.label("verdict", leak::verdict(verdict)));
        }
        self.out.sample.push(Sample { location_id, value, label });
    }

    /// The program's own mapping stands first: pprof names the profile after it.
    fn finish(mut self) -> proto::Profile {
        let exe = self.profile.exe.map(|exe| self.string(exe));
        self.out.mapping.sort_by_key(|mapping| Some(mapping.filename) != exe);
        self.out
    }

    fn location(&mut self, pid: u32, place: &[Arc<Frame>]) -> u64 {
        let line = place.iter().map(|frame| self.line(frame)).collect();
        let Some(frame) = place.last() else { return self.location_at(0, 0, line) };
        let address = frame.address.strip_prefix("0x");
        let address = address.and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0);
        // A return address stands behind the call, perhaps in another line or function.
        let call = address.saturating_sub(1);
        let mapping = frame.module.as_deref().map_or(0, |module| self.mapping(pid, module, call));
        self.location_at(mapping, call, line)
    }

    fn location_at(&mut self, mapping_id: u64, address: u64, line: Vec<Line>) -> u64 {
        let next = self.locations.len() as u64 + 1;
        let id = *self.locations.entry((mapping_id, address, line.clone())).or_insert(next);
        if id == next {
            self.out.location.push(Location { id, mapping_id, address, line });
        }
        id
    }

    fn line(&mut self, frame: &Frame) -> Line {
        let function_id = self.function(&name(frame), frame.file.as_deref().unwrap_or(""));
        let known = |number: Option<u32>| number.map_or(0, i64::from);
        Line { function_id, number: known(frame.line), column: known(frame.column) }
    }

    fn function(&mut self, name: &str, file: &str) -> u64 {
        let (name, filename) = (self.string(name), self.string(file));
        let next = self.functions.len() as u64 + 1;
        let id = *self.functions.entry((name, filename)).or_insert(next);
        if id == next {
            self.out.function.push(Function { id, name, system_name: name, filename });
        }
        id
    }

    /// The executable mapping that holds the address. Flags tell pprof that there is nothing left to look up.
    fn mapping(&mut self, pid: u32, module: &str, address: u64) -> u64 {
        let ranges = self.profile.code.get(&pid).copied().unwrap_or_default();
        let behind = ranges.partition_point(|&(start, _)| start <= address);
        let nearest = behind.checked_sub(1).and_then(|index| ranges.get(index));
        let (memory_start, memory_limit) =
            nearest.copied().filter(|&(_, end)| address < end).unwrap_or_default();
        let filename = self.string(module);
        let build_id = self.profile.build_ids.get(module).map_or(0, |id| self.string(id));
        let next = self.mappings.len() as u64 + 1;
        let id = *self.mappings.entry((pid, filename, memory_start)).or_insert(next);
        if id == next {
            self.out.mapping.push(Mapping {
                id,
                memory_start,
                memory_limit,
                filename,
                build_id,
                has_functions: true,
                has_filenames: true,
                has_line_numbers: true,
                has_inline_frames: true,
            });
        }
        id
    }

    fn label(&mut self, key: &str, text: &str) -> Label {
        Label { key: self.string(key), text: self.string(text) }
    }

    fn value_type(&mut self, kind: &str, unit: &str) -> ValueType {
        ValueType { kind: self.string(kind), unit: self.string(unit) }
    }

    fn string(&mut self, text: &str) -> i64 {
        if let Some(&index) = self.strings.get(text) {
            return index;
        }
        let index = self.out.string_table.len() as i64;
        self.out.string_table.push(text.to_owned());
        self.strings.insert(text.to_owned(), index);
        index
    }
}
