//! Mappings in a trace by hand: figures and sites of their own.

use leaktrace_common::{MappingRecord, RangeRecord};

use super::*;
use crate::output::record::SiteKind;

fn map(ms: u64, address: u64, length: u64, stack: u64) -> Vec<u8> {
    let header = header(Kind::Map, 0, ms);
    let (protection, flags) = (3, 0x22);
    MappingRecord { header, address, length, stack, protection, flags }.as_bytes().to_vec()
}

fn range(kind: Kind, ms: u64, address: u64, length: u64) -> Vec<u8> {
    RangeRecord { header: header(kind, 0, ms), address, length }.as_bytes().to_vec()
}

/// Two mappings of one site, one of them cut, and a block of the same call path.
fn trace_with_mappings(mappings: bool) -> Vec<Input> {
    let mut inputs = start();
    if let Some(Input::Fact(Fact::Start { header, .. })) = inputs.first_mut() {
        header.capture.mappings = mappings;
    }
    let mut mapping_stack = stack(0, 33, &[0x1010, 0x2020]);
    mapping_stack[0] = Kind::MappingStack as u8;
    inputs.extend([
        events(&[
            stack(0, 11, &[0x1010, 0x2020]),
            mapping_stack,
            allocation(0, 100, 0xa000, 100, 11),
            map(100, 0x10_0000, 10 << 12, 33),
            map(3_500, 0x20_0000, 5000, 33),
            range(Kind::UnmapBegin, 300, 0x10_1000, 0x1000),
            range(Kind::UnmapEnd, 300, 0x10_1000, 0x1000),
            range(Kind::UnmapBegin, 400, 0x90_0000, 0x1000),
            range(Kind::UnmapEnd, 400, 0x90_0000, 0x1000),
        ]),
        Input::Fact(Fact::Tick(tick(4.0, &[]))),
        end(5.0, &[]),
    ]);
    inputs
}

#[test]
fn mappings_have_figures_and_sites_of_their_own() {
    let records = run(&trace_with_mappings(true), VIEW);
    let tick = ticks(&records)[0];
    let mapped = tick.mapped.as_ref().unwrap();
    assert_eq!((mapped.live_bytes, mapped.live_count, mapped.maps), (11 << 12, 2, 2));
    assert_eq!((mapped.unmapped_bytes, mapped.unmaps, mapped.unknown_unmaps), (1 << 12, 0, 1));
    assert_eq!((tick.live_bytes, tick.live_count, tick.allocs), (100, 1, 1));
    let sites: Vec<_> =
        tick.sites.iter().map(|site| (site.site, site.kind, site.live_bytes, site.allocs)).collect();
    assert_eq!(sites, [(2, SiteKind::Mapping, 11 << 12, 2), (1, SiteKind::Heap, 100, 1)]);
    assert_eq!(tick.losses.total, 0);
    let Some(Record::Summary(summary)) = records.last() else { panic!("no summary") };
    assert_eq!(summary.processes[0].mapped.as_ref(), Some(mapped));
    assert_eq!(summary.sites.len(), 2);

    let view = View { older_than: Some(std::time::Duration::from_secs(2)), ..VIEW };
    let sites = &ticks(&run(&trace_with_mappings(true), view))[0].sites.clone();
    let old: Vec<_> = sites.iter().map(|site| (site.site, site.live_bytes, site.live_count)).collect();
    assert_eq!(old, [(2, 9 << 12, 1), (1, 100, 1)]);
}

#[test]
fn mappings_that_are_not_traced_have_no_figures() {
    let records = run(&trace_with_mappings(false), VIEW);
    assert_eq!(ticks(&records)[0].mapped, None);
    let Some(Record::Summary(summary)) = records.last() else { panic!("no summary") };
    assert_eq!(summary.processes[0].mapped, None);
}

#[test]
fn the_names_of_mapping_sites_are_wanted_and_their_ranges_dumped() {
    let mut pipeline = Pipeline::new(VIEW, Limits::default());
    for input in &trace_with_mappings(true)[..6] {
        pipeline.step(input, &mut Vec::new());
    }
    assert_eq!(pipeline.unnamed_sites(), [(0, 2, vec![0x1010, 0x2020]), (0, 1, vec![0x1010, 0x2020])]);
    let mut ranges = Vec::new();
    pipeline.for_each_mapped_range(|pid, _, range| ranges.push((pid, range.address, range.size, range.site)));
    assert_eq!(
        ranges,
        [(PID, 0x10_0000, 1 << 12, 2), (PID, 0x10_2000, 8 << 12, 2), (PID, 0x20_0000, 2 << 12, 2)]
    );
}

#[test]
fn a_header_of_an_older_recording_knows_no_mappings() {
    let fact = Fact::Start { header: Box::new(fixture::header()), start_ns: 1 };
    let mut json = serde_json::to_value(&fact).unwrap();
    json["header"]["capture"].as_object_mut().unwrap().remove("mappings").unwrap();
    let payload = serde_json::to_vec(&json).unwrap();
    assert_eq!(Input::from_frame(2, payload).unwrap(), Some(Input::Fact(fact)));
}
