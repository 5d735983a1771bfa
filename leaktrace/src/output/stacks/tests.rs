//! The three formats, read back as their readers do; and with names that the target made up.

use std::{io::Read as _, sync::Arc};

use flate2::read::GzDecoder;
use proptest::prelude::*;
use prost::Message as _;

use super::{Missing, Profile, StackSample, Values, folded, pprof, profile_proto};
use crate::cli::StackBytes;
use crate::output::fixture;
use crate::output::record::SiteKind;
use crate::symbol::Frame;
use crate::verdict::Verdict;

const EXE: &str = "/srv/shop";
const LIBRARY: &str = "/usr/lib/libz.so.1";

fn frame(function: &str, module: &str, address: u64, line: u32) -> Frame {
    Frame {
        module: Some(module.to_owned()),
        address: format!("{address:#x}"),
        ..fixture::frame(function, "/src/shop.c", line)
    }
}

fn values(live_count: u64, live_bytes: u64, allocs: u64, alloc_bytes: u64) -> Values {
    Values { live_count, live_bytes, allocs, alloc_bytes }
}

fn sample(frames: Vec<Frame>, values: Values) -> StackSample<'static> {
    StackSample {
        pid: 42,
        comm: "shop",
        frames: frames.into_iter().map(Arc::new).collect(),
        values,
        ..StackSample::default()
    }
}

/// A leak behind an inlined function, something bounded in a library, and something that was freed.
fn profile() -> Profile<'static> {
    let main = || frame("main", EXE, 0x1100, 9);
    let inlined = Frame { inlined: true, offset: None, ..frame("push", EXE, 0x1010, 3) };
    let leak = sample(vec![inlined, frame("remember", EXE, 0x1010, 5), main()], values(2, 200, 3, 300));
    let unknown = Frame { function: None, file: None, line: None, ..frame("", LIBRARY, 0x7010, 0) };
    let unknown = Frame { offset: Some(0x10), ..unknown };
    let bounded = sample(vec![unknown, main()], values(1, 64, 1, 64));
    let freed = sample(vec![main()], values(0, 0, 7, 700));
    Profile {
        samples: vec![
            StackSample { verdict: Some(Verdict::Leak), ..leak },
            StackSample { verdict: Some(Verdict::Bounded), ..bounded },
            freed,
        ],
        several: false,
        exe: Some(EXE),
        started_s: Some(1_767_225_599),
        duration_s: 2.5,
        code: [(42, &[(0x1000, 0x2000), (0x7000, 0x8000)][..])].into(),
        build_ids: [(EXE, "beef")].into(),
    }
}

fn folded_text(profile: &Profile<'_>, bytes: StackBytes) -> String {
    String::from_utf8(folded::render(profile, bytes)).unwrap()
}

#[test]
fn folded_stacks_have_a_line_a_site_for_the_bytes_asked_for() {
    let profile = profile();
    let live = "main;remember;push 200\nmain;libz.so.1+0x10 64\n";
    assert_eq!(folded_text(&profile, StackBytes::Live), live);
    let allocated = "main 700\nmain;remember;push 300\nmain;libz.so.1+0x10 64\n";
    assert_eq!(folded_text(&profile, StackBytes::Allocated), allocated);
    assert_eq!(folded_text(&profile, StackBytes::Leaked), "main;remember;push 200\n");
}

#[test]
fn processes_kinds_and_missing_frames_stand_outermost() {
    let mut profile = Profile { several: true, ..profile() };
    profile.samples.truncate(1);
    profile.samples[0].missing = Some(Missing::OuterFrames);
    let js = Frame {
        function: None,
        column: Some(7),
        address: String::new(),
        ..fixture::frame("", "/srv/a.js", 3)
    };
    let js = StackSample { kind: SiteKind::Js, ..sample(vec![js], values(1, 9, 1, 9)) };
    let mapped = StackSample { kind: SiteKind::Mapping, ..sample(Vec::new(), values(1, 4096, 1, 4096)) };
    profile.samples.extend([js, mapped]);
    assert_eq!(
        folded_text(&profile, StackBytes::Live),
        "shop (42);[mapped];[no stack] 4096\n\
         shop (42);[outer frames missing];main;remember;push 200\n\
         shop (42);[JavaScript, sampled];(anonymous) (a.js:3:7) 9\n"
    );
}

fn decoded(profile: &Profile<'_>) -> profile_proto::Profile {
    let mut bytes = Vec::new();
    GzDecoder::new(&pprof::render(profile).unwrap()[..]).read_to_end(&mut bytes).unwrap();
    profile_proto::Profile::decode(&bytes[..]).unwrap()
}

#[test]
fn pprof_has_types_times_and_figures() {
    let read = decoded(&profile());
    let text = |index: i64| read.string_table[index as usize].as_str();
    let types: Vec<_> = read.sample_type.iter().map(|one| (text(one.kind), text(one.unit))).collect();
    assert_eq!(
        types,
        [
            ("inuse_objects", "count"),
            ("inuse_space", "bytes"),
            ("alloc_objects", "count"),
            ("alloc_space", "bytes")
        ]
    );
    assert_eq!((text(0), text(read.default_sample_type)), ("", "inuse_space"));
    assert_eq!((read.time_nanos, read.duration_nanos), (1_767_225_599_000_000_000, 2_500_000_000));
    let period = read.period_type.unwrap();
    assert_eq!((text(period.kind), text(period.unit), read.period), ("space", "bytes", 1));
    assert_eq!(text(read.comment[0]), format!("leaktrace {}", env!("CARGO_PKG_VERSION")));
    let figures: Vec<_> = read.sample.iter().map(|sample| sample.value.as_slice()).collect();
    assert_eq!(figures, [[2, 200, 3, 300], [1, 64, 1, 64], [0, 0, 7, 700]]);
    let labels = |index: usize| -> Vec<_> {
        read.sample[index].label.iter().map(|label| (text(label.key), text(label.text))).collect()
    };
    assert_eq!(labels(0), [("process", "shop (42)"), ("verdict", "leak")]);
    assert_eq!(labels(2), [("process", "shop (42)")]);
}

#[test]
fn pprof_has_a_location_for_each_call_with_what_was_inlined_there() {
    let read = decoded(&profile());
    let text = |index: i64| read.string_table[index as usize].as_str();
    let function = |id: u64| text(read.function.iter().find(|function| function.id == id).unwrap().name);
    let location = |id: u64| read.location.iter().find(|location| location.id == id).unwrap();
    // main's call is one place, whoever it calls.
    assert_eq!(read.location.len(), 3);
    let leak = &read.sample[0].location_id;
    let innermost = location(leak[0]);
    let lines: Vec<_> = innermost.line.iter().map(|line| (function(line.function_id), line.number)).collect();
    assert_eq!((lines, innermost.address), (vec![("push", 3), ("remember", 5)], 0x100f));
    assert_eq!((leak.len(), leak[1]), (2, read.sample[2].location_id[0]));
    let mapping = |id: u64| read.mapping.iter().find(|mapping| mapping.id == id).unwrap();
    let program = mapping(innermost.mapping_id);
    assert_eq!((program.memory_start, program.memory_limit, text(program.filename)), (0x1000, 0x2000, EXE));
    assert_eq!(&read.mapping[0], program);
    assert_eq!(text(program.build_id), "beef");
    let library = location(read.sample[1].location_id[0]);
    assert_eq!(text(mapping(library.mapping_id).filename), LIBRARY);
    assert_eq!(function(library.line[0].function_id), "libz.so.1+0x10");
}

/// What any function, process or file may be called.
fn a_name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-c;# \n\t\u{0}\u{1b}<&>\"'0-9.\u{85}\u{2028}\u{202e}\u{fffd}\u{fffe}\u{ffff}\\]\\[]{0,12}",
        2 => prop::collection::vec(any::<u8>(), 0..12).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        2 => any::<String>(),
        1 => Just("_ZN".repeat(33_000)),
        2 => prop_oneof![Just("f"), Just("f 1"), Just("f(int)"), Just("# f"), Just("#"), Just("-->"), Just("]]>"), Just("")].prop_map(str::to_owned),
    ]
}

fn a_frame() -> impl Strategy<Value = Frame> {
    (prop::option::of(a_name()), a_name(), a_name(), any::<u32>(), any::<bool>(), prop::option::of(0..9_u32))
        .prop_map(|(function, module, file, line, inlined, column)| Frame {
            function,
            module: Some(module),
            file: Some(file),
            line: Some(line),
            column,
            address: format!("{line:#x}"),
            offset: None,
            inlined,
        })
}

fn a_sample() -> impl Strategy<Value = StackSample<'static>> {
    let verdict =
        prop::option::of(prop_oneof![Just(Verdict::Leak), Just(Verdict::Suspect), Just(Verdict::Bounded)]);
    let figure = || prop_oneof![Just(0), 1..1000_u64, any::<u64>()];
    let kind = prop_oneof![Just(SiteKind::Heap), Just(SiteKind::Mapping), Just(SiteKind::Js)];
    let frames = prop::collection::vec(a_frame(), 0..4);
    (a_name(), frames, figure(), figure(), kind, verdict).prop_map(
        |(comm, frames, live, allocated, kind, verdict)| StackSample {
            pid: 7,
            comm: Box::leak(comm.into_boxed_str()),
            kind,
            missing: None,
            frames: frames.into_iter().map(Arc::new).collect(),
            values: values(live, live, allocated, allocated),
            verdict,
        },
    )
}

fn a_profile() -> impl Strategy<Value = Profile<'static>> {
    (prop::collection::vec(a_sample(), 0..8), any::<bool>(), any::<f64>(), any::<i64>()).prop_map(
        |(samples, several, duration_s, started_s)| Profile {
            samples,
            several,
            duration_s,
            started_s: Some(started_s),
            ..Profile::default()
        },
    )
}

fn which_bytes() -> impl Strategy<Value = StackBytes> {
    prop_oneof![Just(StackBytes::Live), Just(StackBytes::Allocated), Just(StackBytes::Leaked)]
}

proptest! {
    #[test]
    fn folded_stacks_can_be_read_whatever_names_hold(profile in a_profile(), bytes in which_bytes()) {
        let text = folded_text(&profile, bytes);
        let mut expected: Vec<_> = profile.samples.iter().filter(|sample| sample.bytes(bytes) > 0).collect();
        expected.sort_by_key(|sample| std::cmp::Reverse(sample.bytes(bytes)));
        let lines: Vec<_> = text.split_terminator('\n').collect();
        prop_assert_eq!(lines.len(), expected.len());
        for (line, sample) in lines.iter().zip(expected) {
            let (stack, count) = line.rsplit_once(' ').unwrap();
            prop_assert_eq!(count.parse::<u64>().unwrap(), sample.bytes(bytes));
            let names: Vec<_> = stack.split(';').collect();
            prop_assert_eq!(names.len(), sample.names(profile.several).len());
            prop_assert!(!line.contains(char::is_control) && !line.starts_with("# "));
            prop_assert!(names.iter().all(|name| !name.is_empty() && name.trim() == *name));
            // No second number.
            let last = stack.rsplit_once(' ').map_or("x", |(_, last)| last);
            prop_assert!(last.bytes().any(|byte| !byte.is_ascii_digit() && byte != b'.'), "{line:?}");
        }
    }

    #[test]
    fn a_profile_holds_together_whatever_names_hold(profile in a_profile()) {
        let read = decoded(&profile);
        prop_assert_eq!(read.sample.len(), profile.samples.iter().filter(|one| one.values != Values::default()).count());
        for sample in &read.sample {
            prop_assert!(!sample.location_id.is_empty() && sample.value.len() == 4);
            prop_assert!(sample.location_id.iter().all(|id| (1..=read.location.len() as u64).contains(id)));
        }
        for location in &read.location {
            prop_assert!(location.mapping_id <= read.mapping.len() as u64 && !location.line.is_empty());
            prop_assert!(location.line.iter().all(|line| (1..=read.function.len() as u64).contains(&line.function_id)));
        }
    }
}

#[cfg(feature = "flamegraph")]
mod svg {
    use super::super::flamegraph;
    use super::*;
    use quick_xml::Reader;
    use quick_xml::events::Event;

    fn drawn(profile: &Profile<'_>, bytes: StackBytes) -> String {
        String::from_utf8(flamegraph::render(profile, bytes).unwrap()).unwrap()
    }

    /// The hints of the frames, `name (1,234 bytes, 5.00%)`; panics where it is no XML.
    fn titles(svg: &str) -> Vec<String> {
        let is_xml = |c: char| matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{fffd}' | '\u{10000}'..);
        assert!(svg.chars().all(is_xml), "characters that XML does not know");
        let mut reader = Reader::from_str(svg);
        let mut titles = Vec::new();
        let (mut depth, mut in_title) = (0, false);
        loop {
            match reader.read_event().unwrap() {
                Event::Start(start) => {
                    start.attributes().for_each(|attribute| drop(attribute.unwrap()));
                    in_title = start.name().as_ref() == b"title";
                    if in_title {
                        titles.push(String::new());
                    }
                    depth += 1;
                }
                Event::End(_) => (depth, in_title) = (depth - 1, false),
                Event::Text(text) if in_title => titles.last_mut().unwrap().push_str(&text.decode().unwrap()),
                Event::GeneralRef(name) if in_title => {
                    let c = quick_xml::escape::resolve_predefined_entity(&name.decode().unwrap());
                    titles.last_mut().unwrap().push_str(c.unwrap_or("?"));
                }
                Event::Eof => break,
                _ => {}
            }
        }
        assert_eq!(depth, 0);
        titles
    }

    #[test]
    fn frames_are_as_wide_as_their_bytes() {
        let svg = drawn(&profile(), StackBytes::Live);
        assert!(svg.contains("live bytes by call site") && svg.contains("shop (42)"));
        let titles = titles(&svg);
        for title in
            ["main (264 bytes, 100.00%)", "push (200 bytes, 75.76%)", "libz.so.1+0x10 (64 bytes, 24.24%)"]
        {
            assert!(titles.iter().any(|one| one == title), "no `{title}` in {titles:?}");
        }
    }

    #[test]
    fn a_function_is_one_frame_whatever_its_neighbours_are_called() {
        let of = |name| {
            sample(vec![fixture::frame("g", "a.c", 1), fixture::frame(name, "a.c", 1)], values(1, 5, 1, 5))
        };
        let alone = |name| sample(vec![fixture::frame(name, "a.c", 1)], values(1, 5, 1, 5));
        let samples = vec![of("f"), alone("f(int)"), alone("f"), alone("f (x)"), of("f")];
        let titles = titles(&drawn(&Profile { samples, ..Profile::default() }, StackBytes::Live));
        assert!(titles.iter().any(|title| title == "f (15 bytes, 60.00%)"), "{titles:?}");
    }

    #[test]
    fn nothing_is_a_picture_too() {
        let svg = drawn(&Profile::default(), StackBytes::Leaked);
        titles(&svg);
        assert!(svg.contains("no live bytes of leaks and suspects"));
    }

    #[test]
    fn only_the_picture_shortens_names() {
        let long = "x".repeat(100_000);
        let profile = Profile {
            samples: vec![sample(vec![fixture::frame(&long, "a.c", 1)], values(1, 5, 1, 5))],
            ..Profile::default()
        };
        assert!(drawn(&profile, StackBytes::Live).len() < 50_000);
        assert!(folded_text(&profile, StackBytes::Live).contains(&long));
        assert!(decoded(&profile).string_table.contains(&long));
    }

    proptest! {
        #[test]
        fn the_picture_is_well_formed_whatever_names_hold(profile in a_profile(), bytes in which_bytes()) {
            titles(&drawn(&profile, bytes));
        }
    }
}
