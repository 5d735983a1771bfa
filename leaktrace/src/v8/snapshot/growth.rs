//! What grew: objects that were there from the first snapshot on and hold more in each, and what they hold now.
//!
//! A leak is a place that lives long and keeps what comes. So new objects are counted at the last old object on the
//! dominator tree above them, their host, and only as far as the host retains more in each snapshot than in the one
//! before. A cache that is full replaces its entries: all of them may be new, but it does not retain more.

use std::cmp::Reverse;

use rustc_hash::FxHashMap;

use super::cause::{Explanation, explain};
use super::classes::is_detached;
use super::edges::NodeSet;
use super::graph::{NONE, NodeKind};
use super::history::History;
use super::paths::Step;
use super::retained::Analysis;

/// New objects whose ways are compared to find the shortest.
const SAMPLES: usize = 8;
/// Ways are not followed further to compare them.
const FAR: usize = 4096;

/// What is too little to be told.
#[derive(Clone, Copy, Debug)]
pub struct GrowthLimits {
    /// Bytes that a host must have gained.
    pub min_bytes: u64,
    /// The same as a share of the whole first snapshot.
    pub min_share: f64,
    /// How many places are told.
    pub top: usize,
}

/// A place that grew.
#[derive(Clone, Debug)]
pub struct Growth {
    /// The constructor of most of the new objects' bytes.
    pub class: String,
    /// New objects directly at the place, all constructors.
    pub count: u64,
    /// Bytes that the place gained, net.
    pub bytes: u64,
    /// New objects of `class` below the place.
    pub class_count: u64,
    /// How many places grew in this way: hosts of one constructor that are too small to be told one by one are added up.
    pub places: u64,
    /// An example: the id of one of the new objects.
    pub example: u32,
    /// Bytes that the example retains.
    pub example_bytes: u64,
    /// The shortest way from the roots to the example.
    pub way: Vec<Step>,
    /// The new objects refer to one another in a circle.
    pub is_circular: bool,
    /// Why, probably, and what to do.
    pub explanation: Explanation,
}

/// What is known of the new objects of a group of hosts.
#[derive(Debug, Default)]
pub(super) struct Gain {
    /// Bytes that the hosts gained, net.
    pub(super) bytes: u64,
    hosts: u64,
    /// The host that gained most, and how much.
    host: (u64, u32),
    /// Own bytes of new objects that a program makes.
    new_bytes: u64,
    /// Own bytes of the hosts, with their backing stores: those of an array of numbers are all there is of it.
    host_bytes: u64,
    /// Of these, what only a function's context holds.
    pub(super) closure_bytes: u64,
    /// Of these, what lies outside of V8's heap.
    pub(super) native_bytes: u64,
    /// Of these, what belongs to detached documents.
    pub(super) detached_bytes: u64,
    /// The topmost new objects by constructor.
    tops: FxHashMap<u32, Tops>,
    /// New objects by constructor.
    counts: FxHashMap<u32, u64>,
}

#[derive(Debug, Default)]
struct Tops {
    count: u64,
    bytes: u64,
    /// The largest ones.
    samples: Vec<(Reverse<u64>, u32)>,
}

/// What grew, most bytes first.
pub(super) fn find(analysis: &Analysis, history: &History, limits: GrowthLimits) -> Vec<Growth> {
    let least = limits.min_bytes.max((analysis.totals().bytes as f64 * limits.min_share) as u64);
    let hosts = Hosts::find(
        analysis,
        history,
        |id| history.retained_at_first(id),
        |id, gained| history.steady_gain(id, gained),
    );
    let mut gains: Vec<Gain> =
        gains(analysis, &hosts, least).into_iter().filter(|gain| gain.credit() >= least).collect();
    gains.sort_by_key(|gain| Reverse(gain.credit()));
    gains.truncate(limits.top);
    // Paths need memory of their own: what is large goes first.
    let old = hosts.into_old(analysis);
    gains.iter().filter_map(|gain| growth(analysis, &old, gain)).collect()
}

/// What old objects gained since the last snapshot that is remembered, by id, without what old ones below them did.
pub(super) fn gains_by_id(analysis: &Analysis, history: &History) -> FxHashMap<u32, u64> {
    let hosts = Hosts::find(analysis, history, |id| history.retained_at_last(id), |_, gained| gained);
    let mut ids = analysis.graph.ids.lookup();
    let mut own: Vec<_> = hosts.own.into_iter().collect();
    own.sort_unstable();
    own.into_iter().map(|(node, gained)| (ids.get(node), gained.unsigned_abs())).collect()
}

impl Gain {
    /// What may be called growth: net, and not of V8's own making.
    fn credit(&self) -> u64 {
        self.bytes.min(self.new_bytes.saturating_add(self.host_bytes))
    }

    /// New objects of a constructor.
    pub(super) fn new_of(&self, class: u32) -> u64 {
        self.counts.get(&class).copied().unwrap_or_default()
    }

    /// Topmost new objects of all constructors.
    fn new_objects(&self) -> u64 {
        self.tops.values().map(|tops| tops.count).sum()
    }

    /// A part of the new bytes, as a share.
    pub(super) fn share(&self, part: u64) -> f64 {
        if self.new_bytes == 0 { 0.0 } else { part as f64 / self.new_bytes as f64 }
    }
}

/// For each node the last old one above it.
struct Hosts {
    /// Itself for an old node.
    of: Vec<u32>,
    /// What old nodes gained, without what old nodes below them did; only those that always grew.
    own: FxHashMap<u32, i64>,
}

impl Hosts {
    /// The hosts by the first snapshot; `before` tells what an object retained then, and `counts` how much of a gain
    /// counts.
    fn find(
        analysis: &Analysis,
        history: &History,
        before: impl Fn(u32) -> Option<u64>,
        counts: impl Fn(u32, u64) -> u64,
    ) -> Self {
        let ids: Vec<u32> = analysis.graph.ids.iter().collect();
        let id_of = |node: u32| ids.get(node as usize).copied().unwrap_or_default();
        let mut of = vec![NONE; ids.len()];
        let mut own: FxHashMap<u32, i64> = FxHashMap::default();
        for &node in &analysis.tree.order {
            let above = of.get(analysis.dominator_of(node) as usize).copied().unwrap_or(NONE);
            let now = analysis.retained_of(node);
            let id = id_of(node);
            let host = match history.retained_at_first(id) {
                None => above,
                Some(first) => {
                    // One that was gone in between does not come back: ids are not used again.
                    let gained = (now as i64).saturating_sub(before(id).unwrap_or(first) as i64);
                    if gained.unsigned_abs() >= 8 {
                        *own.entry(node).or_default() += gained;
                        if above != NONE {
                            *own.entry(above).or_default() -= gained;
                        }
                    }
                    node
                }
            };
            if let Some(place) = of.get_mut(node as usize) {
                *place = host;
            }
        }
        own.retain(|&node, gained| {
            *gained = counts(id_of(node), (*gained).max(0).unsigned_abs()) as i64;
            *gained > 0
        });
        Self { of, own }
    }

    /// The host of a node.
    fn of(&self, node: u32) -> u32 {
        self.of.get(node as usize).copied().unwrap_or(NONE)
    }

    /// The node was there in the first snapshot.
    fn is_old(&self, node: u32) -> bool {
        self.of(node) == node
    }

    /// The nodes that were there in the first snapshot.
    fn into_old(self, analysis: &Analysis) -> NodeSet {
        let mut old = NodeSet::new(analysis.graph.node_count());
        for node in (0..analysis.graph.node_count()).filter(|&node| self.is_old(node)) {
            old.add(node);
        }
        old
    }
}

/// Groups the hosts, and goes through all new objects once.
fn gains(analysis: &Analysis, hosts: &Hosts, least: u64) -> Vec<Gain> {
    let mut gains: Vec<Gain> = Vec::new();
    let mut group_of: FxHashMap<u32, usize> = FxHashMap::default();
    let mut by_class: FxHashMap<u32, usize> = FxHashMap::default();
    let mut own: Vec<_> = hosts.own.iter().map(|(&node, &gained)| (node, gained.unsigned_abs())).collect();
    own.sort_unstable();
    for (host, gained) in own {
        let mut fresh = || {
            gains.push(Gain::default());
            gains.len() - 1
        };
        let group = if gained >= least {
            fresh()
        } else {
            *by_class.entry(analysis.classes.of(host)).or_insert_with(fresh)
        };
        if let Some(gain) = gains.get_mut(group) {
            gain.bytes = gain.bytes.saturating_add(gained);
            gain.hosts += 1;
            gain.host = gain.host.max((gained, host));
            if !analysis.graph.kind(host).is_machinery() {
                gain.host_bytes = gain.host_bytes.saturating_add(analysis.shallow_of(host));
            }
        }
        group_of.insert(host, group);
    }
    // Below the topmost new object that a program makes; below a new context of a function.
    let mut covered = NodeSet::new(analysis.graph.node_count());
    let mut enclosed = NodeSet::new(analysis.graph.node_count());
    for &node in analysis.tree.order.iter().filter(|&&node| !hosts.is_old(node)) {
        let above = analysis.dominator_of(node);
        let kind = analysis.graph.kind(node);
        let (was_covered, was_enclosed) = (covered.has(above), enclosed.has(above));
        if was_covered || !(kind.is_machinery() || kind == NodeKind::Array) {
            covered.add(node);
        }
        let class = analysis.classes.of(node);
        if was_enclosed || is_context(analysis.class_of(node)) {
            enclosed.add(node);
        }
        let Some(gain) = group_of.get(&hosts.of(node)).and_then(|&group| gains.get_mut(group)) else {
            continue;
        };
        if kind.is_machinery() {
            continue;
        }
        let size = analysis.shallow_of(node);
        gain.new_bytes = gain.new_bytes.saturating_add(size);
        if enclosed.has(node) {
            gain.closure_bytes = gain.closure_bytes.saturating_add(size);
        }
        if kind == NodeKind::Native {
            gain.native_bytes = gain.native_bytes.saturating_add(size);
        }
        *gain.counts.entry(class).or_default() += 1;
        if covered.has(node) && !was_covered {
            let retained = analysis.retained_of(node);
            if is_detached(&analysis.graph, node, analysis.class_of(node)) {
                gain.detached_bytes = gain.detached_bytes.saturating_add(retained);
            }
            gain.tops.entry(class).or_default().add(node, retained);
        }
    }
    gains
}

/// The class of a function's context.
pub(super) fn is_context(class: &str) -> bool {
    class == "system / Context"
}

impl Tops {
    fn add(&mut self, node: u32, retained: u64) {
        self.count += 1;
        self.bytes = self.bytes.saturating_add(retained);
        let sample = (Reverse(retained), node);
        let place = self.samples.partition_point(|known| *known < sample);
        if place < SAMPLES {
            self.samples.insert(place, sample);
            self.samples.truncate(SAMPLES);
        }
    }
}

fn growth(analysis: &Analysis, old: &NodeSet, gain: &Gain) -> Option<Growth> {
    let largest = gain.tops.iter().max_by_key(|(class, tops)| (tops.bytes, Reverse(**class)));
    let samples = largest.map_or([].as_slice(), |(_, tops)| tops.samples.as_slice());
    let nearest = samples.iter().min_by_key(|(_, node)| analysis.distance(*node, FAR));
    // Without a new object it is the host itself that grew: an array of numbers.
    let example = nearest.map_or(gain.host.1, |(_, node)| *node);
    let class = largest.map_or(analysis.classes.of(example), |(class, _)| *class);
    Some(Growth {
        class: analysis.class_of(example).to_owned(),
        count: gain.new_objects(),
        bytes: gain.credit(),
        class_count: gain.new_of(class),
        places: gain.hosts,
        example: analysis.id_of(example),
        example_bytes: analysis.retained_of(example),
        way: analysis.way_to(example),
        is_circular: analysis.is_in_a_circle(example),
        explanation: explain(analysis, old, gain, example, class)?,
    })
}
