//! What a look found, as the output and the pipeline have it.

use std::collections::HashMap;

use super::Found;
use crate::{
    output::{record, v8_record::V8 as V8Record},
    probe::{links::Program, plan::PlannedProbe, prices::Prices},
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

    /// What a call of each function that was found [costs](costs).
    pub(in crate::session) fn costs(&self, prices: &Prices) -> Fact {
        costs(&self.probes, prices)
    }
}

/// What a call of each function costs the target, in nanoseconds: with a record, and without one.
///
/// A call comes by one of the probes that are alike (it leaves by one `ret`), and by one of each kind. Where two
/// allocators have a function of the same name, the dearer one counts.
pub(in crate::session) fn costs(planned: &[PlannedProbe], prices: &Prices) -> Fact {
    let mut probes = HashMap::<(u8, &str, Program), Cost>::new();
    for probe in planned {
        let key = (probe.cookie.function, probe.module.as_str(), probe.program);
        let cost = probes.entry(key).or_default();
        *cost = cost.max(Cost::of(probe, prices));
    }
    let mut modules = HashMap::<(u8, &str), Cost>::new();
    for ((function, module, _), cost) in probes {
        let sum = modules.entry((function, module)).or_default();
        *sum = sum.plus(cost);
    }
    let mut functions = HashMap::<u8, Cost>::new();
    for ((function, _), cost) in modules {
        let dearest = functions.entry(function).or_default();
        *dearest = dearest.max(cost);
    }
    Fact::Costs {
        ns: functions.iter().map(|(&function, cost)| (function, cost.record_ns())).collect(),
        passed_ns: functions.iter().map(|(&function, cost)| (function, cost.passed_ns())).collect(),
    }
}

/// What one probe costs a call, more than its other probes do.
#[derive(Clone, Copy, Default)]
struct Cost {
    record: i64,
    passed: i64,
}

impl Cost {
    fn of(probe: &PlannedProbe, prices: &Prices) -> Self {
        let hit = i64::from(prices.hit_ns(probe.cost));
        let passed = prices.passed();
        let [free, leaf, inner, returns] =
            [passed.free_ns, passed.leaf_ns, passed.inner_ns, prices.return_ns].map(i64::from);
        let (record, passed) = match probe.program {
            // The return probe shares its trap with the entry probe.
            Program::AllocReturn | Program::MappingReturn | Program::MeasureReturn => (returns, inner),
            Program::AllocRet | Program::NewRet | Program::MappingRet | Program::MeasureRet => {
                (hit + i64::from(prices.ret_ns), hit + free)
            }
            // The session skips the return.
            Program::AllocSession if probe.cookie.is_leaf => (hit + returns, hit + leaf),
            Program::AllocSession => (hit + returns, hit + inner),
            Program::FreeEnter => (hit, hit + free),
            _ => (hit, hit),
        };
        let runs = if probe.program == Program::AllocSession { 2 } else { 1 };
        let longer = runs * prices.longer_ns(probe.program);
        Self { record: record + longer, passed }
    }

    fn max(self, other: Self) -> Self {
        Self { record: self.record.max(other.record), passed: self.passed.max(other.passed) }
    }

    const fn plus(self, other: Self) -> Self {
        Self { record: self.record + other.record, passed: self.passed + other.passed }
    }

    fn record_ns(self) -> u32 {
        u32::try_from(self.record.max(0)).unwrap_or(u32::MAX)
    }

    fn passed_ns(self) -> u32 {
        u32::try_from(self.passed.max(0)).unwrap_or(u32::MAX)
    }
}

/// What hits cost, as the output shows it.
pub(in crate::session) fn hit_record(prices: &Prices) -> record::HitNs {
    record::HitNs {
        calibrated: prices.calibrated,
        nop5: prices.nop5_ns,
        emulated: prices.emulated_ns,
        single_step: prices.single_step_ns,
        return_extra: prices.return_ns,
        ret_extra: prices.ret_ns,
        passed_free_extra: prices.passed.map(|passed| passed.free_ns),
        passed_leaf_extra: prices.passed.map(|passed| passed.leaf_ns),
        passed_inner_extra: prices.passed.map(|passed| passed.inner_ns),
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

#[cfg(test)]
mod tests {
    use leaktrace_common::{Argument, Cookie, Role};

    use super::*;
    use crate::probe::{placement::CostClass, plan::Sees, prices::Passed};

    fn probe(module: &str, function: u8, program: Program, cost: CostClass) -> PlannedProbe {
        let none = Argument::None;
        PlannedProbe {
            module: module.to_owned(),
            build_id: None,
            path: "/proc/1/exe".into(),
            symbol: "malloc".to_owned(),
            offset: 0,
            file_offset: 0,
            sees: Sees::Entry,
            cost,
            program,
            cookie: Cookie {
                function,
                role: Role::Allocate,
                size: none,
                count: none,
                pointer: none,
                process: 0,
                is_leaf: function == 1,
            },
        }
    }

    fn costs(probes: Vec<PlannedProbe>, prices: &Prices) -> (u32, u32) {
        let found = Found { probes, ..Found::default() };
        let Fact::Costs { ns, passed_ns } = found.costs(prices) else { panic!("no costs") };
        (ns[0].1, passed_ns[0].1)
    }

    #[test]
    fn a_call_costs_what_the_probes_on_its_way_cost() {
        use CostClass::{Emulated, SingleStep};
        let prices = Prices {
            passed: Some(Passed { free_ns: -50, leaf_ns: -200, inner_ns: 300 }),
            ..Prices::ESTIMATES
        };
        let one = |function, program| vec![probe("libc", function, program, Emulated)];
        assert_eq!(costs(one(1, Program::FreeEnter), &prices), (800, 750));
        assert_eq!(costs(one(1, Program::AllocSession), &prices), (2000, 600));
        assert_eq!(costs(one(2, Program::AllocSession), &prices), (2000, 1100));
        let pair = |module| {
            vec![
                probe(module, 1, Program::AllocReturn, Emulated),
                probe(module, 1, Program::AllocEnter, Emulated),
            ]
        };
        assert_eq!(costs(pair("libc"), &prices), (2000, 1100));
        // One call of malloc is a call of one of them.
        assert_eq!(costs([pair("libc"), pair("libjemalloc")].concat(), &prices), (2000, 1100));
        let rets = [
            probe("libc", 1, Program::AllocRet, SingleStep),
            probe("libc", 1, Program::AllocRet, SingleStep),
            probe("libc", 1, Program::AllocEnter, Emulated),
        ];
        assert_eq!(costs(rets.to_vec(), &prices), (5800, 5050));
    }
}
