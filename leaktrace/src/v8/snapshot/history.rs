//! Several snapshots of one process over time: what of each is remembered until the last one is there.

use rustc_hash::FxHashMap;

use super::classes::{ClassFigures, Totals};
use super::growth::{self, Growth, GrowthLimits};
use super::ids::ById;
use super::retained::Analysis;

/// Retained sizes are remembered in units of this many bytes.
const UNIT: u64 = 8;

/// What the snapshots before the last one leave behind: some bytes for each object, no graph.
#[derive(Debug)]
pub struct History {
    first_totals: Totals,
    first: FxHashMap<String, ClassFigures>,
    /// The figures of the last snapshot, of those constructors that grew in each.
    rising: FxHashMap<String, ClassFigures>,
    /// What each object of the first snapshot retained then.
    objects: ById,
    /// What those that are still there retained in the last snapshot.
    last: Option<ById>,
    /// By the id of an old object: the least that it gained from one snapshot to the next, if it gained in each.
    least_gains: Option<FxHashMap<u32, u64>>,
    /// How many snapshots are remembered.
    snapshots: u64,
    newest_id: u32,
    /// A snapshot has fewer ids than the one before.
    is_out_of_order: bool,
}

/// How the figures of a constructor changed from the first snapshot to the last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassChange {
    /// The figures of the last snapshot.
    pub now: ClassFigures,
    /// Those of the first.
    pub before: ClassFigures,
    /// Objects that were not there in the first snapshot.
    pub new: u64,
    /// Objects of the first snapshot that are gone.
    pub deleted: u64,
    /// Objects of both.
    pub survived: u64,
    /// Count or retained bytes grew from each snapshot to the next, and neither ever fell.
    pub grew_always: bool,
}

/// What became of the first snapshot in the last.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// Totals of the first snapshot.
    pub before: Totals,
    /// The constructors of the first and the last snapshot, largest growth of retained bytes first.
    pub classes: Vec<ClassChange>,
    /// What grew in each snapshot, most bytes first.
    pub growths: Vec<Growth>,
    /// The ids of a snapshot do not go on from those of the one before: they are in the wrong order, or of different
    /// processes.
    pub is_out_of_order: bool,
}

impl History {
    /// Remembers the first snapshot.
    pub fn begin(analysis: &Analysis) -> Self {
        let first: FxHashMap<_, _> = named(analysis).collect();
        Self {
            first_totals: analysis.totals(),
            rising: first.clone(),
            first,
            objects: retained_by_id(analysis, |_| true),
            last: None,
            least_gains: None,
            snapshots: 1,
            newest_id: newest_id(analysis),
            is_out_of_order: false,
        }
    }

    /// Remembers a snapshot between the first and the last.
    pub fn advance(&mut self, analysis: &Analysis) {
        self.note_order(analysis);
        let rising = std::mem::take(&mut self.rising);
        self.rising = named(analysis)
            .filter(|(name, now)| {
                let empty = ClassFigures::default();
                let is_new = !self.first.contains_key(name);
                rising.get(name).or(is_new.then_some(&empty)).is_some_and(|before| grew(before, now))
            })
            .collect();
        self.note_gains(analysis);
        self.last = Some(retained_by_id(analysis, |id| self.objects.get(id).is_some()));
        self.snapshots += 1;
    }

    /// Compares the last snapshot with those that are remembered.
    pub fn compare(mut self, analysis: &Analysis, limits: GrowthLimits) -> Comparison {
        self.note_order(analysis);
        let survived = self.survivors(analysis);
        if self.last.is_some() {
            self.note_gains(analysis);
        }
        let growths = growth::find(analysis, &self, limits);
        let mut first = std::mem::take(&mut self.first);
        let mut classes = Vec::new();
        for (class, survived) in analysis.classes.figures.iter().zip(survived) {
            let before = first.remove(&class.name);
            let grew_always = match (&before, self.rising.get(&class.name)) {
                (_, Some(last)) => grew(last, class),
                (None, None) => self.last.is_none() && class.count > 0,
                (Some(_), None) => false,
            };
            let before = before.unwrap_or_default();
            if class.count == 0 && before.count == 0 {
                continue;
            }
            classes.push(ClassChange {
                new: class.count.saturating_sub(survived),
                deleted: before.count.saturating_sub(survived),
                now: class.clone(),
                before,
                survived,
                grew_always,
            });
        }
        let gone = first.into_values().filter(|before| before.count > 0);
        classes.extend(gone.map(|before| ClassChange {
            now: ClassFigures { name: before.name.clone(), ..ClassFigures::default() },
            deleted: before.count,
            before,
            ..ClassChange::default()
        }));
        classes.sort_by(|a, b| {
            let growth = |class: &ClassChange| {
                i128::from(class.now.retained_bytes) - i128::from(class.before.retained_bytes)
            };
            growth(b).cmp(&growth(a)).then_with(|| a.now.name.cmp(&b.now.name))
        });
        Comparison { before: self.first_totals, classes, growths, is_out_of_order: self.is_out_of_order }
    }

    /// What an object retained in the first snapshot, in bytes; `None` if it was not there.
    pub(super) fn retained_at_first(&self, id: u32) -> Option<u64> {
        self.objects.get(id).map(|units| u64::from(units) * UNIT)
    }

    /// What an object of the first snapshot retained in the last one that is remembered.
    pub(super) fn retained_at_last(&self, id: u32) -> Option<u64> {
        self.last.as_ref().unwrap_or(&self.objects).get(id).map(|units| u64::from(units) * UNIT)
    }

    /// What an object gained in all may count up to: the same gain in each step. Growth that came at once, as a library
    /// was loaded or a cache was filled, and stood still since, is none.
    pub(super) fn steady_gain(&self, id: u32, gained: u64) -> u64 {
        match &self.least_gains {
            None => gained,
            Some(gains) => gains.get(&id).map_or(0, |least| gained.min(least.saturating_mul(self.snapshots))),
        }
    }

    fn note_gains(&mut self, analysis: &Analysis) {
        let gains = growth::gains_by_id(analysis, self);
        self.least_gains = Some(match self.least_gains.take() {
            None => gains,
            Some(before) => gains
                .into_iter()
                .filter_map(|(id, gain)| before.get(&id).map(|least| (id, gain.min(*least))))
                .collect(),
        });
    }

    /// How many objects of each constructor were in the first snapshot, too.
    fn survivors(&self, analysis: &Analysis) -> Vec<u64> {
        let mut survived = vec![0_u64; analysis.classes.figures.len()];
        for (node, id) in (0..).zip(analysis.graph.ids.iter()) {
            if analysis.sizes.get(node) > 0
                && self.objects.get(id).is_some()
                && let Some(count) = survived.get_mut(analysis.classes.of(node) as usize)
            {
                *count += 1;
            }
        }
        survived
    }

    fn note_order(&mut self, analysis: &Analysis) {
        let newest = newest_id(analysis);
        self.is_out_of_order |= newest < self.newest_id;
        self.newest_id = newest;
    }
}

fn grew(before: &ClassFigures, now: &ClassFigures) -> bool {
    let (counts, bytes) = ((before.count, now.count), (before.retained_bytes, now.retained_bytes));
    counts.1 >= counts.0 && bytes.1 >= bytes.0 && (counts.1 > counts.0 || bytes.1 > bytes.0)
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX - 1)
}

fn named(analysis: &Analysis) -> impl Iterator<Item = (String, ClassFigures)> {
    let classes = analysis.classes.figures.iter().filter(|class| class.count > 0);
    classes.map(|class| (class.name.clone(), class.clone()))
}

fn retained_by_id(analysis: &Analysis, keep: impl Fn(u32) -> bool) -> ById {
    let entries = (0..)
        .zip(analysis.graph.ids.iter())
        .filter(|&(_, id)| keep(id))
        .map(|(node, id)| (id, units(analysis.retained_of(node))));
    ById::of(entries, analysis.graph.node_count() as usize)
}

/// V8 counts the ids of its objects up while the process lives.
fn newest_id(analysis: &Analysis) -> u32 {
    analysis.graph.ids.iter().filter(|id| id % 2 == 1).max().unwrap_or_default()
}
