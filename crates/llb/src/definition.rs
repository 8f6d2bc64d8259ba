//! Definitions: vertices in topological order, named by the digests of their bytes.
//!
//! [`Builder`] makes one, deduplicating equal vertices; [`Definition::from_pb`] checks one that came from elsewhere
//! before anybody walks it. The last element of the wire form has no operation: its one input is the root.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use gantry_oci::Digest;
use prost::Message;

use crate::pb;

/// One output of one vertex.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edge {
    /// The vertex.
    pub vertex: Digest,
    /// Which of its outputs.
    pub index: u32,
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.vertex, self.index)
    }
}

/// One operation with what is known about it.
#[derive(Debug)]
pub struct Vertex {
    /// The digest of `bytes`: the vertex's identity.
    pub digest: Digest,
    /// The operation.
    pub op: pb::Op,
    /// Its inputs, parsed.
    pub inputs: Vec<Edge>,
    /// Name, capabilities, cache policy: no part of the identity.
    pub metadata: pb::OpMetadata,
    /// Which lines of which of the definition's sources it comes from: of several, if equal operations became one.
    pub locations: Vec<pb::Location>,
    bytes: Vec<u8>,
}

impl Vertex {
    /// The name shown to people.
    pub fn name(&self) -> &str {
        self.metadata.description.get("llb.customname").map_or("(unnamed step)", String::as_str)
    }
}

/// A checked graph with one root, or none for an empty result (scratch).
#[derive(Debug, Clone, Default)]
pub struct Definition {
    vertices: Vec<Arc<Vertex>>,
    by_digest: HashMap<Digest, usize>,
    root: Option<Edge>,
    /// The files that the vertices come from.
    pub sources: Vec<pb::SourceInfo>,
}

/// Why a definition is not a graph.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DefinitionError {
    /// Bytes that are no operation.
    #[error("operation {position} of the definition cannot be decoded")]
    Decode {
        /// Where in the list.
        position: usize,
        /// The decoder's complaint.
        #[source]
        source: prost::DecodeError,
    },
    /// An input that names nothing before it.
    #[error("operation {vertex} has an input `{input}` that does not stand before it")]
    DanglingInput {
        /// The operation.
        vertex: Digest,
        /// The input's text.
        input: String,
    },
    /// An operation without a kind in a place other than the last.
    #[error("operation {vertex} is of a kind that this version does not know")]
    UnknownOp {
        /// The operation.
        vertex: Digest,
    },
    /// The last element does not name one root.
    #[error("the definition's last element does not name its root")]
    NoRoot,
}

impl Definition {
    /// Decodes and checks a wire definition. An empty one is scratch.
    pub fn from_pb(wire: pb::Definition) -> Result<Self, DefinitionError> {
        let mut builder = Builder::default();
        let count = wire.def.len();
        let mut root = None;
        let mut source = wire.source.unwrap_or_default();
        for (position, bytes) in wire.def.into_iter().enumerate() {
            let op = pb::Op::decode(bytes.as_slice())
                .map_err(|source| DefinitionError::Decode { position, source })?;
            let digest = Digest::of(&bytes);
            if position + 1 == count {
                if op.op.is_some() || op.inputs.len() != 1 {
                    return Err(DefinitionError::NoRoot);
                }
                root = builder.parse_inputs(digest, &op)?.pop();
                break;
            }
            if op.op.is_none() {
                return Err(DefinitionError::UnknownOp { vertex: digest });
            }
            let inputs = builder.parse_inputs(digest, &op)?;
            let metadata = wire.metadata.get(&digest.to_string()).cloned().unwrap_or_default();
            let locations = source.locations.remove(&digest.to_string()).unwrap_or_default().locations;
            builder.insert(Vertex { digest, op, inputs, metadata, locations, bytes });
        }
        builder.definition.sources = source.infos;
        builder.definition.root = root;
        Ok(builder.definition)
    }

    /// The wire form. Deterministic.
    pub fn to_pb(&self) -> pb::Definition {
        let mut wire = pb::Definition::default();
        let Some(root) = self.root else { return wire };
        for vertex in &self.vertices {
            wire.def.push(vertex.bytes.clone());
            wire.metadata.insert(vertex.digest.to_string(), vertex.metadata.clone());
        }
        let last = pb::Op { inputs: vec![input_of(root)], ..pb::Op::default() }.encode_to_vec();
        let noted = root_metadata(self.vertices.iter().map(|vertex| &vertex.metadata));
        wire.metadata.insert(Digest::of(&last).to_string(), noted);
        wire.def.push(last);
        wire.source = (!self.sources.is_empty()).then(|| self.source_map());
        wire
    }

    /// Which lines of which files each vertex comes from. What comes from no line is in it, too, with no location.
    pub(crate) fn source_map(&self) -> pb::Source {
        let located = |vertex: &Arc<Vertex>| {
            (vertex.digest.to_string(), pb::Locations { locations: vertex.locations.clone() })
        };
        pb::Source { locations: self.vertices.iter().map(located).collect(), infos: self.sources.clone() }
    }

    /// What the graph is asked for; `None` means scratch.
    pub fn root(&self) -> Option<Edge> {
        self.root
    }

    /// The vertex with this digest.
    pub fn vertex(&self, digest: &Digest) -> Option<&Arc<Vertex>> {
        self.by_digest.get(digest).map(|index| &self.vertices[*index])
    }

    /// All vertices, inputs before users.
    pub fn vertices(&self) -> &[Arc<Vertex>] {
        &self.vertices
    }

    /// The lines, 1-based and inclusive, that a vertex comes from, with the file's index in `sources`.
    pub fn lines(&self, vertex: &Digest) -> Option<(usize, std::ops::RangeInclusive<u32>)> {
        let location = self.vertex(vertex)?.locations.first()?;
        let line =
            |position: &Option<pb::Position>| position.as_ref().and_then(|at| u32::try_from(at.line).ok());
        let start = location.ranges.iter().filter_map(|range| line(&range.start)).min()?;
        let end = location.ranges.iter().filter_map(|range| line(&range.end)).max()?.max(start);
        Some((usize::try_from(location.source_index).ok()?, start..=end))
    }
}

/// What BuildKit's client notes about the last element: which kinds of metadata the others have.
fn root_metadata<'a>(others: impl Iterator<Item = &'a pb::OpMetadata>) -> pb::OpMetadata {
    let mut caps = BTreeMap::from(["constraints", "platform"].map(|cap| (cap.to_owned(), true)));
    for metadata in others {
        let noted = [
            ("meta.ignorecache", metadata.ignore_cache),
            ("meta.description", !metadata.description.is_empty()),
            ("meta.exportcache", metadata.export_cache.is_some()),
        ];
        caps.extend(noted.into_iter().filter(|(_, is)| *is).map(|(cap, _)| (cap.to_owned(), true)));
    }
    pb::OpMetadata { caps, ..pb::OpMetadata::default() }
}

fn input_of(edge: Edge) -> pb::Input {
    pb::Input { digest: edge.vertex.to_string(), index: i64::from(edge.index) }
}

/// Makes a definition, vertex by vertex. Adding an equal operation twice gives the same vertex.
#[derive(Debug, Default)]
pub struct Builder {
    definition: Definition,
}

impl Builder {
    /// A builder with no vertices.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an operation whose inputs are these edges (its `inputs` field is set here) and returns its digest.
    ///
    /// For an operation that is there already, the metadata is merged as BuildKit's client merges it: capabilities add
    /// up, a cache that one user ignores is ignored, and otherwise the last one is believed.
    pub fn add(&mut self, mut op: pb::Op, inputs: Vec<Edge>, metadata: pb::OpMetadata) -> Digest {
        op.inputs = inputs.iter().copied().map(input_of).collect();
        let bytes = op.encode_to_vec();
        let digest = Digest::of(&bytes);
        if let Some(index) = self.definition.by_digest.get(&digest) {
            let known = own(&mut self.definition.vertices[*index]);
            known.metadata.ignore_cache |= metadata.ignore_cache;
            known.metadata.caps.extend(metadata.caps);
            known.metadata.description.extend(metadata.description);
            known.metadata.progress_group = metadata.progress_group.or(known.metadata.progress_group.take());
            return digest;
        }
        self.insert(Vertex { digest, op, inputs, metadata, locations: Vec::new(), bytes });
        digest
    }

    /// Notes which lines of which source a vertex comes from, once for each time that it was added.
    pub fn locate(&mut self, vertex: &Digest, location: pb::Location) {
        let index = self.definition.by_digest.get(vertex).expect("what is located was added");
        own(&mut self.definition.vertices[*index]).locations.push(location);
    }

    /// The graph below `root`, without vertices that it does not need. `sources` are the files that locations name.
    pub fn finish(self, root: Option<Edge>, sources: Vec<pb::SourceInfo>) -> Definition {
        let mut needed = std::collections::HashSet::new();
        let mut open: Vec<Digest> = root.iter().map(|edge| edge.vertex).collect();
        while let Some(digest) = open.pop() {
            if needed.insert(digest) {
                let vertex = self.definition.vertex(&digest).expect("edges name vertices of this builder");
                open.extend(vertex.inputs.iter().map(|edge| edge.vertex));
            }
        }
        if needed.len() == self.definition.vertices.len() {
            let mut whole = self.definition;
            (whole.sources, whole.root) = (sources, root);
            return whole;
        }
        let mut pruned = Self::default();
        for vertex in self.definition.vertices {
            if needed.contains(&vertex.digest) {
                pruned.push(vertex);
            }
        }
        (pruned.definition.sources, pruned.definition.root) = (sources, root);
        pruned.definition
    }

    fn insert(&mut self, vertex: Vertex) {
        self.push(Arc::new(vertex));
    }

    fn push(&mut self, vertex: Arc<Vertex>) {
        self.definition.by_digest.insert(vertex.digest, self.definition.vertices.len());
        self.definition.vertices.push(vertex);
    }

    fn parse_inputs(&self, vertex: Digest, op: &pb::Op) -> Result<Vec<Edge>, DefinitionError> {
        let parse = |input: &pb::Input| {
            let digest: Digest = input.digest.parse().ok()?;
            self.definition.vertex(&digest)?;
            Some(Edge { vertex: digest, index: u32::try_from(input.index).ok()? })
        };
        let dangling =
            |input: &pb::Input| DefinitionError::DanglingInput { vertex, input: input.digest.clone() };
        op.inputs.iter().map(|input| parse(input).ok_or_else(|| dangling(input))).collect()
    }
}

/// A vertex, to change it.
fn own(vertex: &mut Arc<Vertex>) -> &mut Vertex {
    Arc::get_mut(vertex).expect("a builder shares no vertex")
}
