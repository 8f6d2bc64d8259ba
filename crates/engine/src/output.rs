//! What a vertex gives to those that use it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gantry_llb::LocalFilter;
use gantry_sandbox::{Tree, with_trees};
use gantry_store::Store;

use crate::chain::LayerChain;
use crate::error::Fault;
use crate::file::Source;
use crate::select::ContextFilter;
use crate::selection::Selections;

/// What a vertex gives.
#[derive(Debug, Clone)]
pub(crate) enum Output {
    /// A tree of layers.
    Tree(LayerChain),
    /// A directory of the client's, never copied as a whole.
    Client(ClientDirectory),
}

/// A local source.
#[derive(Debug, Clone)]
pub(crate) struct ClientDirectory {
    /// What the graph calls it.
    pub(crate) name: String,
    pub(crate) directory: PathBuf,
    /// What of it takes part.
    pub(crate) filter: LocalFilter,
    /// What was looked at of that.
    pub(crate) selections: Arc<Selections>,
}

impl ClientDirectory {
    pub(crate) fn source(&self) -> Result<Source, Fault> {
        let filter = ContextFilter::new(&self.directory, &self.filter)?;
        Ok(Source::Client { directory: self.directory.clone(), filter })
    }
}

/// Calls `work` with the directory of the whole tree, which is there for the duration of the call and must not be written
/// to: that of a tree of one layer is the store's own. All layers are unpacked.
pub(crate) fn mounted<R: Send>(
    store: &Store,
    chain: &LayerChain,
    work: impl FnOnce(&Path) -> R + Send,
) -> Result<R, Fault> {
    Ok(with_trees(&[tree_of(store, chain)], |paths| work(&paths[0]))?)
}

/// The tree as the sandbox mounts it.
pub(crate) fn tree_of(store: &Store, chain: &LayerChain) -> Tree {
    Tree::Layers(chain.directories(store))
}
