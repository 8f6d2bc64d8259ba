//! The keys of vertices: what must be equal for a result to be used again.
//!
//! The *definition key* chains the operation over the identities of its inputs, with client files by content. An
//! operation that only reads a part of another tree (COPY --from) has a *content key* too: the same over what is
//! selected. It is the vertex's identity, so that a later change that leaves those files alone changes nothing
//! downstream; the definition key is recorded as an alias of it, so that a cached build never looks at the files.

use std::sync::Arc;

use gantry_llb::key::{self, KeyWriter};
use gantry_llb::pb::file_action::Action;
use gantry_llb::pb::op::Op;
use gantry_llb::pb::{self, FileActionCopy};
use gantry_llb::{Definition, Outcome, Vertex};
use gantry_oci::{BoxFuture, Digest};

use crate::blocking::blocking;
use crate::content;
use crate::error::Fault;
use crate::file::Source;
use crate::images::chain_key;
use crate::output::{ClientDirectory, Output, mounted};
use crate::select::{Item, select, whole};
use crate::solver::{Failed, Solver, all, platform_of};

/// What is known of a vertex before it runs.
#[derive(Debug)]
pub(crate) struct Keyed {
    /// The identity that users of the result chain over.
    pub(crate) id: Digest,
    /// For the actions of a file operation: what they copy from the client, as it was when it was hashed.
    pub(crate) selected: Vec<Option<Arc<Vec<Item>>>>,
}

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

/// The copies of a file operation with the input that each reads from.
pub(crate) fn copies(file: &pb::FileOp) -> impl Iterator<Item = (usize, usize, &FileActionCopy)> {
    file.actions.iter().enumerate().filter_map(|(position, action)| match &action.action {
        Some(Action::Copy(copy)) => Some((position, usize::try_from(action.secondary_input).ok()?, copy)),
        _ => None,
    })
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
                    Some(Output::Client(client)) => self.whole_directory(client).await?,
                    None => return Err(Fault::Graph("a source gives nothing".to_owned()).into()),
                };
                Ok(Keyed { id, selected: Vec::new() })
            }
            Some(Op::File(file)) => self.file_key(definition, vertex, file).await,
            _ => {
                let parts = self.identities(definition, vertex, |_| true).await?;
                Ok(Keyed { id: vertex_key("gantry step 1", vertex, &parts), selected: Vec::new() })
            }
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

    /// The key of a file operation: client files by content, the base by identity, copied parts of other trees by
    /// content too, but only if no record of the cheaper definition key spares looking at them.
    async fn file_key(
        &self,
        definition: &Definition,
        vertex: &Arc<Vertex>,
        file: &pb::FileOp,
    ) -> Result<Keyed, Failed> {
        let mut selected: Vec<Option<Arc<Vec<Item>>>> = vec![None; file.actions.len()];
        let mut content = Vec::new();
        let mut trees = Vec::new();
        let mut by_content = vec![false; vertex.inputs.len()];
        for (position, input, copy) in copies(file) {
            let edge = vertex.inputs.get(input);
            let edge = edge.ok_or_else(|| {
                Fault::Graph(format!("a copy reads from input {input}, which is not there"))
            })?;
            by_content[input] = true;
            match self.client_directory(definition, edge.vertex).await? {
                Some(client) => {
                    let (items, digest) = self.client_content(definition, edge.vertex, &client, copy).await?;
                    selected[position] = Some(Arc::new(items));
                    content.push(digest);
                }
                None => trees.push((input, copy)),
            }
        }
        // What is written to counts as a whole, even if a part of it is read, too.
        if let Some(base) = file.actions.first().and_then(|action| usize::try_from(action.input).ok())
            && let Some(read) = by_content.get_mut(base)
        {
            *read = false;
        }
        let whole = self.identities(definition, vertex, |input| !by_content[input]).await?;
        if trees.is_empty() {
            let id = vertex_key("gantry file 1", vertex, &[whole, content].concat());
            return Ok(Keyed { id, selected });
        }
        let read = trees.iter().map(|(input, _)| *input).collect::<Vec<_>>();
        let read = self.identities(definition, vertex, |input| read.contains(&input)).await?;
        let alias = vertex_key("gantry file alias 1", vertex, &[&whole[..], &content, &read].concat());
        if !vertex.metadata.ignore_cache
            && let Some(text) = self.engine.store.result(&alias).map_err(Fault::from)?
            && let Ok(id) = text.parse()
        {
            return Ok(Keyed { id, selected });
        }
        self.work_ahead.cancel();
        for (input, copy) in trees {
            content.push(self.tree_content(definition, vertex, input, copy).await?);
        }
        let id = vertex_key("gantry file 1", vertex, &[whole, content].concat());
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

    /// Selects and hashes what one copy reads from the client.
    async fn client_content(
        &self,
        definition: &Definition,
        source: Digest,
        client: &ClientDirectory,
        copy: &FileActionCopy,
    ) -> Result<(Vec<Item>, Digest), Failed> {
        let vertex = definition.vertex(&source).expect("a definition is closed under its inputs");
        self.started(vertex);
        let hashed = self.hash_client(client, copy).await;
        // The fault is the copy's: its line names what is missing.
        self.ended(vertex, Outcome::Done);
        Ok(hashed?)
    }

    async fn hash_client(
        &self,
        client: &ClientDirectory,
        copy: &FileActionCopy,
    ) -> Result<(Vec<Item>, Digest), Fault> {
        let (store, client, copy) = (Arc::clone(&self.engine.store), client.clone(), copy.clone());
        blocking(move || {
            let source = client.source()?;
            let root = source.root();
            let items = select(&root, &copy)?;
            let remembered = store.file_hashes();
            let digest = content::digest(&items, root.ownership, Some(&remembered))?;
            remembered.flush()?;
            Ok((items, digest))
        })
        .await
    }

    pub(crate) async fn whole_directory(&self, client: &ClientDirectory) -> Result<Digest, Fault> {
        let everything = whole("/");
        Ok(self.hash_client(client, &everything).await?.1)
    }

    /// The content of what one copy reads from another tree, which is made for this if it is not there.
    async fn tree_content(
        &self,
        definition: &Definition,
        vertex: &Vertex,
        input: usize,
        copy: &FileActionCopy,
    ) -> Result<Digest, Failed> {
        let edge = vertex.inputs[input];
        let outputs = self.outputs(definition, edge.vertex).await.map_err(Failed::Below)?;
        let Some(Output::Tree(chain)) = outputs.get(edge.index as usize) else {
            return Err(Fault::Graph(format!("{edge} does not exist")).into());
        };
        self.job.unless_cancelled(self.engine.unpack(chain)).await?;
        let (store, chain, copy) = (Arc::clone(&self.engine.store), chain.clone(), copy.clone());
        let digest = blocking(move || {
            mounted(&store, &chain, |path| {
                let source = Source::Tree(path.to_owned());
                let root = source.root();
                content::digest(&select(&root, &copy)?, root.ownership, None)
            })?
        });
        Ok(digest.await?)
    }
}
