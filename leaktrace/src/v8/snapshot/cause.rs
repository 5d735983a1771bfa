//! Why something grew: read from the way on which it is held.
//!
//! On the way from the roots to a new object, the last old object before it is where the program puts what it never
//! takes away. What that object is, who holds it, and what the new objects are, tells the pattern.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::edges::NodeSet;
use super::graph::{EdgeKind, EdgeLabels, IGNORED, NODE, NodeKind, unpack_label};
use super::growth::{Gain, is_context};
use super::holder::Holder;
use super::paths::PASSING_ROOTS;
use super::retained::Analysis;

/// A part of the new bytes that is enough to name them after it.
const MOST: f64 = 0.5;
/// Labels of a list's edges that are compared; beyond that the constructors tell.
const COMPARED: usize = 8;
/// What holds strings only while others use them.
const STRINGS: &str = "(Internalized strings)";
/// Steps around the place where things are kept that may name it.
const NEAR: usize = 4;

/// The likely cause of a growth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A variable that lives as long as the program.
    GlobalVariable,
    /// Listeners that are added and not removed.
    EventListeners,
    /// Functions that are kept, and with them the variables they can see.
    Closure,
    /// A Map, Set, array or object that only grows.
    UnboundedCollection,
    /// Timers that are not cleared.
    Timers,
    /// Parts of a document that were taken out of it and are still referred to.
    DetachedDom,
    /// Buffers and other memory outside of V8's heap.
    ExternalMemory,
    /// None of these could be made out.
    Unknown,
}

/// What the new objects are kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Container {
    /// A Map or WeakMap.
    Map,
    /// A Set or WeakSet.
    Set,
    /// An array.
    Array,
    /// An object.
    Object,
    /// A variable of a function or module.
    Variable,
    /// The global object.
    Global,
    /// The listeners of an event.
    Listeners,
    /// The engine's list of timers.
    TimerList,
    /// Something of the engine.
    Engine,
}

/// A likely cause with what supports it, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The likely cause.
    pub cause: Cause,
    /// What the new objects are kept in.
    pub container: Container,
    /// Its constructor.
    pub container_class: String,
    /// Its id.
    pub container_id: u32,
    /// Who holds that: `variable \`cache\` of a module`.
    pub holder: String,
    /// Name of that variable, property or event.
    pub name: Option<String>,
    /// What happens, one sentence.
    pub says: String,
    /// What to do, one sentence.
    pub advice: String,
}

/// Explains the growth that an example stands for; `None` if only what runs at the moment holds it.
pub(super) fn explain(
    analysis: &Analysis,
    old: &NodeSet,
    gain: &Gain,
    example: u32,
    of: u32,
) -> Option<Explanation> {
    let way = Way::to(analysis, old, example);
    let scene = way.scene(analysis);
    if scene.class == STRINGS || PASSING_ROOTS.contains(&scene.class.as_str()) {
        return None;
    }
    let cause = cause_of(&scene, gain);
    let name = match cause {
        Cause::EventListeners => scene.listeners.as_ref().and_then(|listeners| listeners.event.clone()),
        _ => scene.holder.name().map(str::to_owned),
    };
    let class = analysis.class_of(example).to_owned();
    let new = match gain.new_of(of) {
        0 => "it has more entries".to_owned(),
        1 => format!("1 new {class} stays"),
        count => format!("{count} new {class} stay"),
    };
    Some(Explanation {
        cause,
        container: match cause {
            Cause::EventListeners => Container::Listeners,
            Cause::Timers => Container::TimerList,
            _ => scene.container,
        },
        container_class: scene.class.clone(),
        container_id: analysis.id_of(scene.node),
        holder: scene.holder.to_string(),
        says: says(cause, &scene, &new),
        advice: advice(cause, &scene).to_owned(),
        name,
    })
}

/// The way to an example, and where on it things are kept.
struct Way {
    /// Edges, and the nodes they lead to.
    steps: Vec<(u32, u32)>,
    /// Index of the object that keeps the new ones.
    keeper: usize,
}

/// What is to be seen around the place where things are kept.
struct Scene {
    node: u32,
    class: String,
    container: Container,
    holder: Holder,
    /// The keeper is the list of listeners of an event.
    listeners: Option<Listeners>,
    /// A timer lies on the way.
    has_timer: bool,
}

/// The listeners of an event.
struct Listeners {
    /// Its name, if that is known.
    event: Option<String>,
}

impl Way {
    fn to(analysis: &Analysis, old: &NodeSet, example: u32) -> Self {
        let steps = analysis.edges_to(example);
        let last_old = steps.iter().rposition(|&(_, node)| old.has(node)).unwrap_or_default();
        let mut way = Self { steps, keeper: last_old };
        way.leave_stores(analysis);
        way.leave_list(analysis);
        way.leave_stores(analysis);
        way
    }

    fn node(&self, index: usize) -> u32 {
        self.steps.get(index).map_or(0, |&(_, node)| node)
    }

    /// A backing store is a part of the object before it.
    fn leave_stores(&mut self, analysis: &Analysis) {
        let is_store = |node| matches!(analysis.graph.kind(node), NodeKind::Array | NodeKind::Hidden);
        while self.keeper > 0 && is_store(self.node(self.keeper)) {
            self.keeper -= 1;
        }
    }

    /// An element of a linked list is a part of what holds the first one.
    fn leave_list(&mut self, analysis: &Analysis) {
        let mut labels = analysis.graph.edge_labels();
        let label = |index: usize, labels: &mut EdgeLabels<'_>| {
            let edge = self.steps.get(index).map(|&(edge, _)| labels.get(edge));
            edge.filter(|(kind, _)| {
                matches!(kind, EdgeKind::Property | EdgeKind::Internal | EdgeKind::Context)
            })
        };
        let Some(link) = label(self.keeper + 1, &mut labels) else { return };
        let class = analysis.classes.of(self.node(self.keeper));
        let mut at = self.keeper;
        while at > 0 {
            let is_link = if self.keeper - at < COMPARED {
                label(at, &mut labels) == Some(link)
            } else {
                analysis.classes.of(self.node(at)) == class
            };
            if !is_link {
                break;
            }
            at -= 1;
        }
        self.keeper = at;
    }

    fn scene(&self, analysis: &Analysis) -> Scene {
        let mut labels = analysis.graph.edge_labels();
        let node = self.node(self.keeper);
        let class = analysis.class_of(node);
        let next = self.steps.get(self.keeper + 1).map(|&(edge, _)| edge);
        let container = container_of(analysis, node, class);
        let class = if container == Container::Engine { analysis.name_of(node) } else { class.to_owned() };
        let holder = match (container, next) {
            (Container::Variable, Some(edge)) => Holder::variable(analysis, node, edge, &mut labels),
            (Container::Global, Some(edge)) => Holder::global(analysis, edge, &mut labels),
            _ => Holder::of(analysis, node, self.steps.get(self.keeper).map(|&(edge, _)| edge)),
        };
        let listeners = self.listeners(analysis, &mut labels);
        Scene { node, class, container, holder, listeners, has_timer: self.has_timer(analysis) }
    }

    /// Indices near the keeper, from the new objects to the roots, not beyond the function that a variable belongs to.
    fn near(&self, analysis: &Analysis) -> impl Iterator<Item = usize> {
        let last = (self.keeper + NEAR).min(self.steps.len().saturating_sub(1));
        let first = (self.keeper.saturating_sub(NEAR)..=self.keeper)
            .rev()
            .take_while(|&index| index == self.keeper || !is_scope(analysis, self.node(index)))
            .last();
        (first.unwrap_or(self.keeper)..=last).rev()
    }

    /// Whether listeners are kept, and of which event: `emitter._events.data[3]`, `target[kEvents].get("abort").next`.
    fn listeners(&self, analysis: &Analysis, labels: &mut EdgeLabels<'_>) -> Option<Listeners> {
        let mut name = |index: usize| {
            let &(edge, _) = self.steps.get(index)?;
            Some(analysis.edge_text(edge, labels))
        };
        for index in self.near(analysis) {
            let (_, text) = name(index)?;
            if text == "_events" {
                let event = name(index + 1).filter(|(kind, _)| *kind == EdgeKind::Property);
                return Some(Listeners { event: event.map(|(_, event)| event) });
            }
            if text.contains("kEvents") || text == "listeners" || text == "_listeners" {
                return Some(Listeners { event: None });
            }
        }
        None
    }

    fn has_timer(&self, analysis: &Analysis) -> bool {
        self.near(analysis).any(|index| {
            let class = analysis.class_of(self.node(index));
            // A timer that was there all the time runs the program; only those that are new are many.
            let is_timer = matches!(class, "Timeout" | "Immediate") && index > self.keeper;
            is_timer || matches!(class, "TimersList" | "ImmediateList")
        })
    }
}

/// A function, or the variables of one.
fn is_scope(analysis: &Analysis, node: u32) -> bool {
    analysis.graph.kind(node) == NodeKind::Closure || is_context(analysis.class_of(node))
}

fn container_of(analysis: &Analysis, node: u32, class: &str) -> Container {
    match class {
        "Map" | "WeakMap" => Container::Map,
        "Set" | "WeakSet" => Container::Set,
        "Array" => Container::Array,
        _ if is_context(class) => Container::Variable,
        _ if super::holder::is_global(analysis, node) => Container::Global,
        _ if analysis.graph.kind(node).is_machinery() => Container::Engine,
        _ => Container::Object,
    }
}

fn cause_of(scene: &Scene, gain: &Gain) -> Cause {
    let is_kept_by_functions = gain.share(gain.closure_bytes) >= MOST;
    if gain.share(gain.detached_bytes) >= MOST {
        return Cause::DetachedDom;
    }
    if scene.listeners.is_some() {
        return Cause::EventListeners;
    }
    if scene.has_timer {
        return Cause::Timers;
    }
    if gain.share(gain.native_bytes) >= MOST {
        return Cause::ExternalMemory;
    }
    match scene.container {
        Container::Map | Container::Set => Cause::UnboundedCollection,
        _ if is_kept_by_functions => Cause::Closure,
        Container::Global => Cause::GlobalVariable,
        Container::Engine | Container::Listeners | Container::TimerList => Cause::Unknown,
        Container::Object if matches!(scene.holder, Holder::Global(_)) => Cause::GlobalVariable,
        Container::Array | Container::Variable if scene.holder.lives_for_ever() => Cause::GlobalVariable,
        Container::Variable => Cause::Closure,
        Container::Array | Container::Object => Cause::UnboundedCollection,
    }
}

fn says(cause: Cause, scene: &Scene, new: &str) -> String {
    let place = Place(scene);
    match cause {
        Cause::EventListeners => {
            match scene.listeners.as_ref().and_then(|listeners| listeners.event.as_ref()) {
                Some(event) => format!("listeners of the event '{event}' are added and not removed: {new}"),
                None => format!("event listeners are added and not removed: {new}"),
            }
        }
        Cause::Timers => {
            format!("timers are started and not cleared: {new}, with all that their functions see")
        }
        Cause::DetachedDom => {
            format!("nodes that were taken out of the document are still referred to by {place}")
        }
        Cause::ExternalMemory => format!("{place} keeps memory outside of the JavaScript heap: {new}"),
        Cause::Closure => {
            format!("{place} keeps functions, and with them the variables that they see: {new}")
        }
        Cause::GlobalVariable | Cause::UnboundedCollection => format!("{place} only grows: {new}"),
        Cause::Unknown => format!("held by {place}: {new}"),
    }
}

fn advice(cause: Cause, scene: &Scene) -> &'static str {
    match (cause, scene.container) {
        (Cause::EventListeners, _) => {
            "call removeListener (off, removeEventListener) when the listener's work is done, or use once() or an AbortSignal"
        }
        (Cause::Timers, _) => {
            "call clearInterval or clearTimeout when the work is done or its owner goes away"
        }
        (Cause::DetachedDom, _) => {
            "clear the references to the nodes when they leave the document, or keep them in a WeakRef or WeakMap"
        }
        (Cause::ExternalMemory, _) => {
            "drop the buffers once they are used, bound how many are kept, and copy small slices instead of keeping the whole"
        }
        (Cause::Closure, _) => {
            "do not keep the functions longer than needed, and let them see only the variables that they use"
        }
        (_, Container::Map) => {
            "bound its size (an LRU cache) or delete entries that are done; if the keys are objects, a WeakMap lets them go"
        }
        (_, Container::Set) => {
            "delete entries that are done or bound its size; if they are objects, a WeakSet lets them go"
        }
        (Cause::GlobalVariable, _) => {
            "remove entries when they are done, bound how many are kept, or keep them in what ends with its work"
        }
        (Cause::UnboundedCollection, _) => {
            "remove entries when they are done, or bound its size (a ring, an LRU cache)"
        }
        (Cause::Unknown, _) if scene.class.contains("lobal handles") => {
            "a native addon, or what embeds V8, keeps handles to these objects (napi_ref, v8::Global): release them"
        }
        (Cause::Unknown, _) => {
            "follow the path: the last object of the program's own on it decides how long the rest lives"
        }
    }
}

/// The place where things are kept, as a sentence has it.
struct Place<'a>(&'a Scene);

impl fmt::Display for Place<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Scene { class, holder, container, .. } = self.0;
        match container {
            Container::Variable | Container::Global => write!(out, "the {holder}"),
            _ => write!(out, "the {class} in the {holder}"),
        }
    }
}

/// The edges that lead to a node and count, with the nodes they come from.
pub(super) fn edges_into(analysis: &Analysis, node: u32) -> Vec<(u32, u32)> {
    let graph = &analysis.graph;
    (0..)
        .zip(&graph.to)
        .filter(|&(_, &end)| end & NODE == node && end & IGNORED == 0)
        .map(|(edge, _)| (edge, graph.start_of(edge)))
        .take(MAX_EDGES)
        .collect()
}

/// More holders of one object are not looked at.
const MAX_EDGES: usize = 256;

/// The node that an edge of this name leads to.
pub(super) fn follow(analysis: &Analysis, node: u32, name: &str) -> Option<u32> {
    let graph = &analysis.graph;
    let mut labels = graph.edge_names.lookup();
    graph.edges(node).find_map(|edge| {
        let (kind, number) = unpack_label(labels.get(edge));
        let is_it = !kind.is_numbered() && graph.names.bytes(number) == name.as_bytes();
        is_it.then(|| graph.marked_end(edge) & NODE)
    })
}
