//! Sources on the network: files of web servers and repositories, as trees of one layer.
//!
//! What a source is called (an address, a branch) says nothing about what it is, so each is asked anew in each build;
//! what it turns out to be (a digest, a commit) is its identity, under which its tree is recorded and found.

mod git;
mod http;

use gantry_llb::{Outcome, Vertex};
use gantry_oci::Digest;

use crate::chain::LayerChain;
use crate::engine::Network;
use crate::error::Fault;
use crate::output::Output;
use crate::solver::Solver;

/// A source that is here.
#[derive(Debug)]
pub(crate) struct Arrived {
    /// Its tree.
    tree: LayerChain,
    /// What it is.
    identity: Digest,
    /// When it was last changed at its origin, in seconds since 1970, if the origin says so.
    time: Option<i64>,
    /// Whether it had to be fetched.
    outcome: Outcome,
}

impl Solver {
    /// Notes what is known of a source, ends its step, and gives its tree.
    pub(crate) fn arrived(&self, vertex: &Vertex, arrived: Arrived) -> Output {
        let cell = self.cell(&vertex.digest);
        // Set once: a vertex is made once.
        let _ = cell.identity.set(arrived.identity);
        let _ = cell.time.set(arrived.time);
        self.started(vertex);
        self.ended(vertex, arrived.outcome);
        Output::Tree(arrived.tree)
    }

    /// The tree that is recorded under a key, if its layers are here.
    fn recorded_tree(&self, key: &Digest) -> Result<Option<LayerChain>, Fault> {
        match self.recorded(key)?.as_deref() {
            Some([Output::Tree(tree)]) => Ok(Some(tree.clone())),
            _ => Ok(None),
        }
    }

    fn network(&self) -> Result<&Network, Fault> {
        self.engine.network.as_ref().ok_or_else(|| Fault::Unsupported("a source on the network".to_owned()))
    }
}
