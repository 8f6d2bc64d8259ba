//! The keys of vertices: what must be equal for a result to be used again.
//!
//! The *definition key* chains the operation over the identities of its inputs, with client files by content. A step that
//! only reads a part of another tree (COPY --from, RUN --mount=from=) has a *content key* too: the same over what is
//! selected. It is the vertex's identity, so that a later change that leaves those files alone changes nothing
//! downstream; the definition key is recorded as an alias of it, so that a cached build never looks at the files.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gantry_llb::key::{self, KeyWriter};
use gantry_llb::pb::FileActionCopy;
use gantry_llb::pb::op::Op;
use gantry_llb::{Definition, Outcome, Vertex};
use gantry_oci::{BoxFuture, Digest};

use crate::blocking::blocking;
use crate::content;
use crate::error::Fault;
use crate::file::Source;
use crate::images::chain_key;
use crate::output::{ClientDirectory, Output, mounted};
use crate::reads::{Read, reads};
use crate::select::select;
use crate::selection::Selection;
use crate::solver::{Failed, Solver, all, base_input, platform_of};

/// What is known of a vertex before it runs.
#[derive(Debug)]
pub(crate) struct Keyed {
    /// The identity that users of the result chain over.
    pub(crate) id: Digest,
    /// What its actions or mounts read from the client, by their position.
    pub(crate) selected: BTreeMap<usize, Arc<Selection>>,
}

/// Names of the keys of a kind of step. Raised when their meaning changes.
struct Kinds {
    content: &'static str,
    definition: &'static str,
}

const FILE: Kinds = Kinds { content: "gantry file 2", definition: "gantry file alias 2" };
const EXEC: Kinds = Kinds { content: "gantry step 3", definition: "gantry step alias 3" };

/// A key over the operation, parts that stand for its inputs, and which outputs of them it uses.
pub(crate) fn vertex_key(kind: &str, vertex: &Vertex, parts: &[Digest]) -> Digest {
    let mut key = KeyWriter::new(kind);
    key.part(key::operation(&vertex.op).as_bytes()).number(parts.len() as u64);
    for part in parts {
        key.part(part.as_bytes());
    }
    for edge in &vertex.inputs {
        key.number(u64::from(edge.index));
    }
    key.finish()
}

impl Solver {
    /// What the vertex is.
    pub(crate) fn keyed<'a>(
        &'a self,
        definition: &'a Definition,
        digest: Digest,
    ) -> BoxFuture<'a, Result<Arc<Keyed>, Failed>> {
        Box::pin(async move {
            let cell = self.cell(&digest);
            let vertex = definition.vertex(&digest).expect("a definition is closed under its inputs");
            let make = || async {
                match self.make_key(definition, vertex).await {
                    Err(Failed::Here(fault)) => Err(self.failed(vertex, fault)),
                    Err(Failed::Below(error)) => Err(error),
                    Ok(keyed) => Ok(Arc::new(keyed)),
                }
            };
            cell.keyed.get_or_init(make).await.clone().map_err(Failed::Below)
        })
    }

    async fn make_key(&self, definition: &Definition, vertex: &Arc<Vertex>) -> Result<Keyed, Failed> {
        match vertex.op.op.as_ref() {
            Some(Op::Source(_)) => {
                let outputs = self.outputs(definition, vertex.digest).await.map_err(Failed::Below)?;
                let identity = self.cell(&vertex.digest).identity.get().copied();
                let id = match outputs.first() {
                    Some(Output::Tree(chain)) => match identity {
                        Some(identity) => identity,
                        None => chain_key(chain, &platform_of(vertex)?),
                    },
                    Some(Output::Client(client)) => client.all(&self.engine.store).await?.content,
                    None => return Err(Fault::Graph("a source gives nothing".to_owned()).into()),
                };
                Ok(Keyed { id, selected: BTreeMap::new() })
            }
            Some(Op::File(_)) => self.step_key(definition, vertex, &FILE).await,
            _ => self.step_key(definition, vertex, &EXEC).await,
        }
    }

    /// The identities of those inputs that are wanted.
    async fn identities(
        &self,
        definition: &Definition,
        vertex: &Vertex,
        wanted: impl Fn(usize) -> bool,
    ) -> Result<Vec<Digest>, Failed> {
        let edges = vertex.inputs.iter().enumerate().filter(|(input, _)| wanted(*input));
        let ids = edges.map(|(_, edge)| async move { Ok(self.keyed(definition, edge.vertex).await?.id) });
        all(ids).await
    }

    /// The key of a step: client files by content, what it works on by identity, what it only reads of other trees by
    /// content too, but only if no record of the cheaper definition key spares looking at them.
    async fn step_key(
        &self,
        definition: &Definition,
        vertex: &Arc<Vertex>,
        kinds: &Kinds,
    ) -> Result<Keyed, Failed> {
        let reads = vertex.op.op.as_ref().map(reads).unwrap_or_default();
        let mut selected = BTreeMap::new();
        let mut content = Vec::new();
        let mut trees = Vec::new();
        let mut by_content = BTreeSet::new();
        // What is written to counts as a whole, even if a part of it is read, too.
        let mut as_a_whole: BTreeSet<usize> = base_input(vertex).into_iter().collect();
        for read in &reads {
            let edge = vertex.inputs.get(read.input);
            let edge = edge.ok_or_else(|| {
                Fault::Graph(format!("a step reads from input {}, which is not there", read.input))
            })?;
            if let Some(client) = self.client_directory(definition, edge.vertex).await? {
                let selection = self.client_content(definition, edge.vertex, &client, &read.what).await?;
                content.push(selection.content);
                selected.insert(read.position, selection);
            } else if is_all_of_a_source(definition, edge.vertex, read) {
                as_a_whole.insert(read.input);
            } else {
                trees.push(read);
            }
            by_content.insert(read.input);
        }
        let counts_whole = |input| as_a_whole.contains(&input) || !by_content.contains(&input);
        let whole = self.identities(definition, vertex, counts_whole).await?;
        if trees.is_empty() {
            let id = vertex_key(kinds.content, vertex, &[whole, content].concat());
            return Ok(Keyed { id, selected });
        }
        let read: BTreeSet<usize> = trees.iter().map(|read| read.input).collect();
        let read = self.identities(definition, vertex, |input| read.contains(&input)).await?;
        let alias = vertex_key(kinds.definition, vertex, &[&whole[..], &content, &read].concat());
        if !vertex.metadata.ignore_cache
            && let Some(text) = self.engine.store.result(&alias).map_err(Fault::from)?
            && let Ok(id) = text.parse()
        {
            return Ok(Keyed { id, selected });
        }
        self.work_ahead.cancel();
        for read in trees {
            content.push(self.tree_content(definition, vertex, read).await?);
        }
        let id = vertex_key(kinds.content, vertex, &[whole, content].concat());
        self.engine.store.put_result(&[alias], &id.to_string()).map_err(Fault::from)?;
        Ok(Keyed { id, selected })
    }

    async fn client_directory(
        &self,
        definition: &Definition,
        digest: Digest,
    ) -> Result<Option<ClientDirectory>, Failed> {
        let vertex = definition.vertex(&digest).expect("a definition is closed under its inputs");
        if !matches!(&vertex.op.op, Some(Op::Source(source)) if source.identifier.starts_with("local://")) {
            return Ok(None);
        }
        let outputs = self.outputs(definition, digest).await.map_err(Failed::Below)?;
        match outputs.first() {
            Some(Output::Client(client)) => Ok(Some(client.clone())),
            _ => Ok(None),
        }
    }

    /// Selects and hashes what is read from the client.
    async fn client_content(
        &self,
        definition: &Definition,
        source: Digest,
        client: &ClientDirectory,
        what: &FileActionCopy,
    ) -> Result<Arc<Selection>, Failed> {
        let vertex = definition.vertex(&source).expect("a definition is closed under its inputs");
        self.started(vertex);
        let hashed = client.select(&self.engine.store, what).await;
        // The fault is the reader's: its line names what is missing.
        self.ended(vertex, Outcome::Done);
        Ok(hashed?)
    }

    /// The content of what is read from another tree, which is made for this if it is not there.
    async fn tree_content(
        &self,
        definition: &Definition,
        vertex: &Vertex,
        read: &Read<'_>,
    ) -> Result<Digest, Failed> {
        let edge = vertex.inputs[read.input];
        let outputs = self.outputs(definition, edge.vertex).await.map_err(Failed::Below)?;
        let Some(Output::Tree(chain)) = outputs.get(edge.index as usize) else {
            return Err(Fault::Graph(format!("{edge} does not exist")).into());
        };
        self.job.unless_cancelled(self.engine.unpack(chain)).await?;
        let (store, chain, what) =
            (Arc::clone(&self.engine.store), chain.clone(), FileActionCopy::clone(&read.what));
        let digest = blocking(move || {
            mounted(&store, &chain, |path| {
                let source = Source::Tree(path.to_owned());
                let root = source.root();
                content::digest(&select(&root, &what)?, root.ownership, None)
            })?
        });
        Ok(digest.await?)
    }
}

/// Whether an image, a repository or a file is read as a whole: what they are is known without looking at them.
fn is_all_of_a_source(definition: &Definition, input: Digest, read: &Read<'_>) -> bool {
    let vertex = definition.vertex(&input).expect("a definition is closed under its inputs");
    read.what.src == "/" && matches!(vertex.op.op, Some(Op::Source(_)))
}
