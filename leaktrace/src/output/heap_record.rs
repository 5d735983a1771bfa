//! The records of `leaktrace heap`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::v8::snapshot::{Analysis, Cause, ClassChange, ClassFigures, Container, Growth, Step};

/// Which file a record is about, and when that was written.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// Seconds after the first file.
    pub t: f64,
    /// Its name as it was given.
    pub file: &'a str,
}

/// What a snapshot holds in all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HeapSnapshot {
    /// Seconds from the modification time of the first file to that of this one; 0 where either is not known.
    pub t: f64,
    /// Name of the file as it was given, `-` for standard input.
    pub file: String,
    /// Nodes of the graph.
    pub nodes: u64,
    /// Edges of the graph.
    pub edges: u64,
    /// Bytes of all objects.
    pub bytes: u64,
    /// Of these, bytes outside of V8's heap, such as the contents of buffers.
    pub native_bytes: u64,
    /// Objects that are detached from their document.
    pub detached: u64,
    /// Bytes that these retain.
    pub detached_bytes: u64,
}

/// The objects of one constructor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HeapConstructor {
    /// As in `heap_snapshot`.
    pub t: f64,
    /// The (last) file.
    pub file: String,
    /// Name of the constructor, or of what has none: `(string)`, `(array)`, `(compiled code)`, …
    pub constructor: String,
    /// Its objects.
    pub count: u64,
    /// Their own bytes, backing stores that only they own included.
    pub shallow_bytes: u64,
    /// Bytes that would be freed with all of them.
    pub retained_bytes: u64,
    /// Of its objects, those that are detached from their document.
    pub detached: u64,
    /// What changed since the first file; null with a single one.
    pub change: Option<HeapChange>,
}

/// What changed since the first file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeapChange {
    /// Change of `count`.
    pub count: i64,
    /// Change of `shallow_bytes`.
    pub shallow_bytes: i64,
    /// Change of `retained_bytes`.
    pub retained_bytes: i64,
    /// Objects that were not in the first file, by their ids.
    pub new: u64,
    /// Objects of the first file that are gone.
    pub deleted: u64,
    /// Objects of both.
    pub survived: u64,
    /// Count or retained bytes grew from each file to the next, and neither fell.
    pub grew_always: bool,
}

/// A place that holds more in each snapshot than in the one before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HeapGrowth {
    /// As in `heap_snapshot`.
    pub t: f64,
    /// The last file.
    pub file: String,
    /// Constructor of most of what is new there.
    pub constructor: String,
    /// New objects of this constructor.
    pub count: u64,
    /// Bytes gained since the first file, net.
    pub bytes: u64,
    /// Places that grew in this way; more than one where each alone is too small to be told.
    pub places: u64,
    /// The likely cause.
    pub cause: Cause,
    /// The object that keeps the new ones.
    pub container: HeapContainer,
    /// Who holds that, in words.
    pub holder: String,
    /// The name of that variable or property, or of the event; null without one.
    pub name: Option<String>,
    /// The example refers to itself through objects that only it keeps: the circle is kept by the cause, and is none.
    pub circular: bool,
    /// Id of one of the new objects.
    pub example: u32,
    /// Bytes that it retains.
    pub example_bytes: u64,
    /// The shortest path from the roots to it.
    pub path: Vec<HeapStep>,
    /// What happens, one sentence for people.
    pub says: String,
    /// What to do, one sentence for people.
    pub advice: String,
}

/// The object that keeps what is new.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeapContainer {
    /// What it is.
    pub kind: Container,
    /// Its constructor.
    pub constructor: String,
    /// Its id.
    pub id: u32,
}

/// A step of a path: an edge, and the object that it leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeapStep {
    /// `context` (a variable), `element`, `property`, `internal`, `hidden` or `shortcut`.
    pub edge_kind: String,
    /// Name or index.
    pub edge: String,
    /// What V8 calls the object.
    pub name: String,
    /// Its constructor.
    pub constructor: String,
    /// Its id.
    pub id: u32,
    /// Bytes that would be freed with it.
    pub retained_bytes: u64,
    /// Steps before this one that are left out, as the path is very long.
    pub left_out: u64,
}

/// An object that was asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HeapObject {
    /// As in `heap_snapshot`.
    pub t: f64,
    /// The file.
    pub file: String,
    /// Its id.
    pub id: u32,
    /// Its constructor.
    pub constructor: String,
    /// Its own bytes.
    pub shallow_bytes: u64,
    /// Bytes that would be freed with it.
    pub retained_bytes: u64,
    /// The shortest path from the roots to it; empty if only weak references lead there.
    pub path: Vec<HeapStep>,
}

impl HeapSnapshot {
    /// The record of a snapshot.
    pub fn new(origin: Origin<'_>, analysis: &Analysis) -> Self {
        let totals = analysis.totals();
        Self {
            t: origin.t,
            file: origin.file.to_owned(),
            nodes: totals.nodes,
            edges: totals.edges,
            bytes: totals.bytes,
            native_bytes: totals.native_bytes,
            detached: totals.detached,
            detached_bytes: totals.detached_bytes,
        }
    }
}

impl HeapConstructor {
    /// The record of a constructor in a single snapshot.
    pub fn new(origin: Origin<'_>, class: &ClassFigures) -> Self {
        Self {
            t: origin.t,
            file: origin.file.to_owned(),
            constructor: class.name.clone(),
            count: class.count,
            shallow_bytes: class.shallow_bytes,
            retained_bytes: class.retained_bytes,
            detached: class.detached,
            change: None,
        }
    }

    /// The record of a constructor in the last of several.
    pub fn changed(origin: Origin<'_>, class: &ClassChange) -> Self {
        let change = |now: u64, before: u64| now.wrapping_sub(before) as i64;
        let (now, before) = (&class.now, &class.before);
        let change = HeapChange {
            count: change(now.count, before.count),
            shallow_bytes: change(now.shallow_bytes, before.shallow_bytes),
            retained_bytes: change(now.retained_bytes, before.retained_bytes),
            new: class.new,
            deleted: class.deleted,
            survived: class.survived,
            grew_always: class.grew_always,
        };
        Self { change: Some(change), ..Self::new(origin, now) }
    }
}

impl HeapGrowth {
    /// The record of a place that grew.
    pub fn new(origin: Origin<'_>, growth: &Growth) -> Self {
        let why = &growth.explanation;
        Self {
            t: origin.t,
            file: origin.file.to_owned(),
            constructor: growth.class.clone(),
            count: growth.class_count,
            bytes: growth.bytes,
            places: growth.places,
            cause: why.cause,
            container: HeapContainer {
                kind: why.container,
                constructor: why.container_class.clone(),
                id: why.container_id,
            },
            holder: why.holder.clone(),
            name: why.name.clone(),
            circular: growth.is_circular,
            example: growth.example,
            example_bytes: growth.example_bytes,
            path: steps(&growth.way),
            says: why.says.clone(),
            advice: why.advice.clone(),
        }
    }
}

impl HeapObject {
    /// The record of a node.
    pub fn new(origin: Origin<'_>, analysis: &Analysis, node: u32) -> Self {
        Self {
            t: origin.t,
            file: origin.file.to_owned(),
            id: analysis.id_of(node),
            constructor: analysis.class_of(node).to_owned(),
            shallow_bytes: analysis.shallow_of(node),
            retained_bytes: analysis.retained_of(node),
            path: steps(&analysis.way_to(node)),
        }
    }
}

fn steps(way: &[Step]) -> Vec<HeapStep> {
    let step = |step: &Step| HeapStep {
        edge_kind: step.edge_kind.name().to_owned(),
        edge: step.edge.clone(),
        name: step.name.clone(),
        constructor: step.class.clone(),
        id: step.id,
        retained_bytes: step.retained_bytes,
        left_out: step.left_out as u64,
    };
    way.iter().map(step).collect()
}
