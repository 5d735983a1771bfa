//! Who holds the place where things are kept: a global, a variable, a property.

use std::fmt;

use super::cause::{edges_into, follow};
use super::edges::globals;
use super::graph::{EdgeKind, EdgeLabels};
use super::growth::is_context;
use super::retained::Analysis;

/// Who holds an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// A property of the global object.
    Global(String),
    /// A variable at the top level of a module or script.
    Module(String),
    /// A variable of a function, which functions within it see.
    Function(String),
    /// A property of an object of this constructor.
    Property(String, String),
    /// Something else: what V8 calls it.
    Other(String),
}

impl Holder {
    /// The most telling of those that hold a node; `way` is the edge by which the roots do.
    pub(super) fn of(analysis: &Analysis, node: u32, way: Option<u32>) -> Self {
        let mut labels = analysis.graph.edge_labels();
        let mut edges = edges_into(analysis, node);
        // The edge on the shortest way comes first, and wins among its equals.
        edges.sort_by_key(|(edge, _)| Some(*edge) != way);
        let holders = edges.into_iter().map(|(edge, from)| Self::by(analysis, from, edge, &mut labels));
        holders.min_by_key(Self::rank).unwrap_or_else(|| Self::Other("roots".to_owned()))
    }

    fn by(analysis: &Analysis, from: u32, edge: u32, labels: &mut EdgeLabels<'_>) -> Self {
        let (kind, name) = analysis.edge_text(edge, labels);
        let class = analysis.class_of(from);
        match kind {
            EdgeKind::Context if is_context(class) => Self::variable(analysis, from, edge, labels),
            EdgeKind::Property if is_global(analysis, from) => Self::Global(name),
            EdgeKind::Property => Self::Property(name, class.to_owned()),
            EdgeKind::Element => Self::Property(format!("[{name}]"), class.to_owned()),
            _ => Self::Other(analysis.name_of(from)),
        }
    }

    /// A variable in a function's context.
    pub(super) fn variable(
        analysis: &Analysis,
        context: u32,
        edge: u32,
        labels: &mut EdgeLabels<'_>,
    ) -> Self {
        let (_, name) = analysis.edge_text(edge, labels);
        if is_outermost(analysis, context) { Self::Module(name) } else { Self::Function(name) }
    }

    /// A property of the global object.
    pub(super) fn global(analysis: &Analysis, edge: u32, labels: &mut EdgeLabels<'_>) -> Self {
        Self::Global(analysis.edge_text(edge, labels).1)
    }

    /// Variables tell more than properties, these more than the engine.
    const fn rank(&self) -> u8 {
        match self {
            Self::Global(_) | Self::Module(_) => 0,
            Self::Function(_) => 1,
            Self::Property(..) => 2,
            Self::Other(_) => 3,
        }
    }

    /// It lives as long as the program.
    pub(super) const fn lives_for_ever(&self) -> bool {
        matches!(self, Self::Global(_) | Self::Module(_))
    }

    /// Its name, if it has one in the program.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Global(name) | Self::Module(name) | Self::Function(name) | Self::Property(name, _) => {
                Some(name)
            }
            Self::Other(_) => None,
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Global(name) => write!(out, "global variable '{name}'"),
            Self::Module(name) => write!(out, "module's variable '{name}'"),
            Self::Function(name) => write!(out, "variable '{name}' of a function"),
            Self::Property(name, class) => write!(out, "property '{name}' of {class}"),
            Self::Other(name) => write!(out, "engine's {name}"),
        }
    }
}

/// The global object of the program.
pub(super) fn is_global(analysis: &Analysis, node: u32) -> bool {
    let name = analysis.name_of(node);
    name == "global" || name.starts_with("Window") || {
        globals(&analysis.graph).any(|global| global == node)
            || globals(&analysis.graph).any(|global| follow(analysis, global, "global_object") == Some(node))
    }
}

/// Nothing of the program lies around this scope: it is that of a module, or of a script.
fn is_outermost(analysis: &Analysis, context: u32) -> bool {
    let around = follow(analysis, context, "previous");
    around.is_none_or(|around| {
        let name = analysis.name_of(around);
        name.starts_with("system / NativeContext") || name.starts_with("system / ScriptContext")
    })
}
