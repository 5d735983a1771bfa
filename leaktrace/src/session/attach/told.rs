//! What a look found, as the output and the pipeline have it.

use std::collections::HashMap;

use super::Found;
use crate::{
    output::{record, v8_record::V8 as V8Record},
    probe::{links::Program, plan::PlannedProbe},
    session::input::Fact,
    target::{allocator::Allocator, runtime::Runtime},
};

impl Found {
    /// V8 as the output shows it.
    pub(in crate::session) fn v8_record(&self) -> Option<V8Record> {
        self.v8.first().map(|(v8, version)| V8Record {
            path: v8.object.display_path.clone(),
            build_id: v8.object.build_id.clone(),
            version: version.clone(),
            found_by: v8.found_by.name().to_owned(),
            functions: v8.functions.iter().map(|one| one.symbol.clone()).collect(),
        })
    }

    /// The allocators as the output shows them.
    pub(in crate::session) fn allocator_records(&self) -> Vec<record::Allocator> {
        self.allocators.iter().map(allocator_record).collect()
    }

    /// The probes as the output shows them.
    pub(in crate::session) fn probe_records(&self) -> Vec<record::Probe> {
        self.probes.iter().map(probe_record).collect()
    }

    /// The runtimes as the output shows them.
    pub(in crate::session) fn runtime_records(&self) -> Vec<record::Runtime> {
        self.runtimes.iter().map(runtime_record).collect()
    }

    /// What a call of each function costs the target, in nanoseconds: with a record, and without one.
    pub(in crate::session) fn costs(&self) -> Fact {
        let (mut ns, mut passed_ns) = (HashMap::<u8, u32>::new(), HashMap::<u8, u32>::new());
        for probe in &self.probes {
            let entry = probe.cost.estimated_ns();
            let (record, passed) = match probe.program {
                // The return probe shares its trap with the entry probe; what it adds is the way back, the stack
                // and the record: measured by `cargo xtask bench`, docs/overhead.md.
                // A return without a record is the way back alone.
                Program::AllocReturn | Program::MappingReturn | Program::MeasureReturn => (1_200, 400),
                Program::AllocRet | Program::NewRet | Program::MappingRet | Program::MeasureRet => {
                    (entry + 700, entry)
                }
                // A session skips it.
                Program::AllocSession if probe.cookie.is_leaf => (entry + 1_200, entry),
                Program::AllocSession => (entry + 1_200, entry + 400),
                _ => (entry, entry),
            };
            *ns.entry(probe.cookie.function).or_default() += record;
            *passed_ns.entry(probe.cookie.function).or_default() += passed;
        }
        Fact::Costs { ns: ns.into_iter().collect(), passed_ns: passed_ns.into_iter().collect() }
    }
}

fn allocator_record(allocator: &Allocator) -> record::Allocator {
    record::Allocator {
        name: allocator.kind.name().to_owned(),
        path: allocator.object.display_path.clone(),
        build_id: allocator.object.build_id.clone(),
        functions: allocator.functions.iter().map(|one| one.symbol.clone()).collect(),
        why: allocator.why.clone(),
    }
}

fn probe_record(probe: &PlannedProbe) -> record::Probe {
    record::Probe {
        module: probe.module.clone(),
        build_id: probe.build_id.clone(),
        function: probe.symbol.clone(),
        offset: probe.offset,
        kind: probe.sees.name().to_owned(),
        cost_class: probe.cost.name().to_owned(),
    }
}

fn runtime_record(runtime: &Runtime) -> record::Runtime {
    record::Runtime {
        name: runtime.name.to_owned(),
        visible: runtime.visible.to_owned(),
        not_visible: runtime.not_visible.to_owned(),
    }
}
