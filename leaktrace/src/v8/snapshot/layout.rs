//! Where the fields of nodes and edges stand: told by the file itself (`meta`), different from version to version.

use std::io::Read;

use super::error::SnapshotError;
use super::graph::{EdgeKind, NodeKind};
use super::source::Source;

/// No version has had as many fields.
pub(super) const MAX_FIELDS: usize = 32;

/// Where the fields of nodes and edges stand.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) node: NodeLayout,
    pub(super) edge: EdgeLayout,
}

#[derive(Debug)]
pub(super) struct NodeLayout {
    pub(super) fields: usize,
    pub(super) kind: usize,
    pub(super) name: usize,
    pub(super) id: usize,
    pub(super) size: usize,
    pub(super) edges: usize,
    /// Since V8 8.3.
    pub(super) detachedness: Option<usize>,
    /// What the numbers in the field `type` mean.
    pub(super) kinds: Vec<NodeKind>,
}

#[derive(Debug)]
pub(super) struct EdgeLayout {
    pub(super) fields: usize,
    pub(super) kind: usize,
    pub(super) name: usize,
    pub(super) to: usize,
    pub(super) kinds: Vec<EdgeKind>,
}

impl Layout {
    /// Reads the value of `meta`.
    pub(super) fn read<R: Read>(source: &mut Source<R>) -> Result<Self, SnapshotError> {
        let (mut node_fields, mut node_types) = (Vec::new(), Vec::new());
        let (mut edge_fields, mut edge_types) = (Vec::new(), Vec::new());
        source.object(|source, key| match key {
            "node_fields" => names(source).map(|names| node_fields = names),
            "edge_fields" => names(source).map(|names| edge_fields = names),
            "node_types" => types(source).map(|names| node_types = names),
            "edge_types" => types(source).map(|names| edge_types = names),
            _ => source.skip_value(),
        })?;
        let node = |name| position(source, &node_fields, "node_fields", name);
        let edge = |name| position(source, &edge_fields, "edge_fields", name);
        Ok(Self {
            node: NodeLayout {
                fields: node_fields.len(),
                kind: node("type")?,
                name: node("name")?,
                id: node("id")?,
                size: node("self_size")?,
                edges: node("edge_count")?,
                detachedness: node_fields.iter().position(|field| field == "detachedness"),
                kinds: node_types.iter().map(|name| NodeKind::of(name)).collect(),
            },
            edge: EdgeLayout {
                fields: edge_fields.len(),
                kind: edge("type")?,
                name: edge("name_or_index")?,
                to: edge("to_node")?,
                kinds: edge_types.iter().map(|name| EdgeKind::of(name)).collect(),
            },
        })
    }
}

fn position<R: Read>(
    source: &Source<R>,
    fields: &[String],
    list: &str,
    name: &str,
) -> Result<usize, SnapshotError> {
    let place = fields.iter().position(|field| field == name);
    place.ok_or_else(|| source.fault(format!("{list} of the snapshot has no field \"{name}\"")))
}

/// `["…", …]`, few and short.
fn names<R: Read>(source: &mut Source<R>) -> Result<Vec<String>, SnapshotError> {
    let mut names = Vec::new();
    source.array(|source| {
        names.push(source.short_string()?);
        if names.len() > MAX_FIELDS { Err(source.fault("too many fields")) } else { Ok(()) }
    })?;
    Ok(names)
}

/// `[["…", …], "…", …]`: the names of the types, of which only the first field has a list.
fn types<R: Read>(source: &mut Source<R>) -> Result<Vec<String>, SnapshotError> {
    let mut types = Vec::new();
    let mut is_first = true;
    source.array(|source| {
        if std::mem::take(&mut is_first) && source.peek_token()? == b'[' {
            types = names(source)?;
            return Ok(());
        }
        source.skip_value()
    })?;
    Ok(types)
}
