//! A sampling heap profile as V8 sends it, flattened while it is read.
//!
//! It is a tree as deep as the deepest stack, so its nesting would be more than serde_json allows by itself. Here depth
//! is counted, and bounded.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// V8 takes 128 frames of a stack.
const MAX_DEPTH: u32 = 256;
/// Nodes and samples of a profile that fits into a message.
const MAX_NODES: usize = 1 << 20;
const MAX_SAMPLES: usize = 4 << 20;

/// A profile.
#[derive(Debug, Default)]
pub(super) struct Profile {
    /// Parents stand before their children.
    pub(super) nodes: Vec<Node>,
    pub(super) samples: Vec<Sample>,
}

/// A function on the way to a sample.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) id: u64,
    /// Index of the caller.
    pub(super) caller: Option<usize>,
    pub(super) frame: CallFrame,
}

/// A function of JavaScript, and where it begins; lines and columns count from 0, and are negative where there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct CallFrame {
    pub(super) function_name: String,
    pub(super) script_id: String,
    pub(super) url: String,
    pub(super) line_number: i64,
    pub(super) column_number: i64,
}

/// An object that was sampled and lives.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sample {
    /// Bytes that it stands for.
    pub(super) size: f64,
    pub(super) node_id: u64,
    /// Its number among all samples of this profiler.
    pub(super) ordinal: u64,
}

impl Profile {
    /// Reads `{"profile": {"head": …, "samples": […]}}`.
    pub(super) fn read(text: &str) -> Result<Self, serde_json::Error> {
        let mut profile = Self::default();
        let mut reader = serde_json::Deserializer::from_str(text);
        reader.disable_recursion_limit();
        Outer(&mut profile).deserialize(&mut reader)?;
        reader.end()?;
        Ok(profile)
    }
}

/// Implements a seed that reads a map.
macro_rules! reads_map {
    ($seed:ident, $value:ty) => {
        impl<'de> DeserializeSeed<'de> for $seed<'_> {
            type Value = $value;

            fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<$value, D::Error> {
                deserializer.deserialize_map(self)
            }
        }
    };
}

struct Outer<'a>(&'a mut Profile);
reads_map!(Outer, ());

impl<'de> Visitor<'de> for Outer<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the answer with a profile")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "profile" => map.next_value_seed(Inner(self.0))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

struct Inner<'a>(&'a mut Profile);
reads_map!(Inner, ());

impl<'de> Visitor<'de> for Inner<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a profile")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "head" => {
                    let seed = NodeSeed { caller: None, depth: 0, nodes: &mut self.0.nodes };
                    map.next_value_seed(seed)?;
                }
                "samples" => self.0.samples = map.next_value_seed(Samples)?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

struct Samples;

impl<'de> DeserializeSeed<'de> for Samples {
    type Value = Vec<Sample>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Sample>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Samples {
    type Value = Vec<Sample>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("samples")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Sample>, A::Error> {
        let mut samples = Vec::new();
        while let Some(sample) = list.next_element()? {
            if samples.len() >= MAX_SAMPLES {
                return Err(A::Error::custom("too many samples"));
            }
            samples.push(sample);
        }
        Ok(samples)
    }
}

/// Reads one node and what it called.
struct NodeSeed<'a> {
    caller: Option<usize>,
    depth: u32,
    nodes: &'a mut Vec<Node>,
}
reads_map!(NodeSeed, ());

impl<'de> Visitor<'de> for NodeSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a node of a profile")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let own = self.nodes.len();
        if self.depth > MAX_DEPTH || own >= MAX_NODES {
            return Err(A::Error::custom("the tree is too large"));
        }
        // Its children name it as their caller, whatever comes first.
        self.nodes.push(Node { caller: self.caller, ..Node::default() });
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "id" => {
                    let id = map.next_value()?;
                    self.nodes.get_mut(own).into_iter().for_each(|node| node.id = id);
                }
                "callFrame" => {
                    let frame: CallFrame = map.next_value()?;
                    self.nodes.get_mut(own).into_iter().for_each(|node| node.frame = frame.clone());
                }
                "children" => {
                    let (caller, depth) = (Some(own), self.depth + 1);
                    map.next_value_seed(Children { caller, depth, nodes: &mut *self.nodes })?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

struct Children<'a> {
    caller: Option<usize>,
    depth: u32,
    nodes: &'a mut Vec<Node>,
}

impl<'de> DeserializeSeed<'de> for Children<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Children<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the children of a node")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Children { caller, depth, nodes } = self;
        while list.next_element_seed(NodeSeed { caller, depth, nodes: &mut *nodes })?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SMALL: &str = r#"{"profile":{"head":{"callFrame":{"functionName":"(root)","scriptId":"0","url":"","lineNumber":-1,"columnNumber":-1},
        "selfSize":0,"id":1,"children":[{"children":[],"id":2,"selfSize":64,
        "callFrame":{"functionName":"leak","scriptId":"77","url":"file:///app.js","lineNumber":4,"columnNumber":12}}]},
        "samples":[{"size":64,"nodeId":2,"ordinal":9}]}}"#;

    #[test]
    fn a_tree_is_flattened() {
        let profile = Profile::read(SMALL).unwrap();
        let callers: Vec<_> = profile.nodes.iter().map(|node| (node.id, node.caller)).collect();
        assert_eq!(callers, [(1, None), (2, Some(0))]);
        assert_eq!(profile.nodes[1].frame.function_name, "leak");
        assert_eq!((profile.samples[0].node_id, profile.samples[0].ordinal), (2, 9));
    }

    fn nested(depth: usize) -> String {
        let open = r#"{"id":1,"children":["#;
        format!(r#"{{"profile":{{"head":{}{}}}}}"#, open.repeat(depth), "]}".repeat(depth))
    }

    #[test]
    fn deep_trees_are_read_and_bottomless_ones_refused() {
        assert_eq!(Profile::read(&nested(200)).unwrap().nodes.len(), 200);
        assert!(Profile::read(&nested(100_000)).is_err());
        let ignored = format!(r#"{{"other":{}{}}}"#, "[".repeat(200_000), "]".repeat(200_000));
        assert!(Profile::read(&ignored).unwrap().nodes.is_empty());
    }

    proptest! {
        #[test]
        fn damaged_profiles_are_errors_or_profiles(at in 0..SMALL.len(), byte in any::<u8>()) {
            let mut bytes = SMALL.as_bytes().to_vec();
            bytes[at] = byte;
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let _ = Profile::read(&text);
            let _ = Profile::read(text.get(..at).unwrap_or_default());
        }
    }
}
