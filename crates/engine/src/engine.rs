//! The engine's surroundings, and what one command asks of it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use gantry_llb::Progress;
use gantry_oci::ImagePort;
use gantry_sandbox::Sandbox;
use gantry_store::Store;
use tokio_util::sync::CancellationToken;

/// A store, a source of images and a sandbox.
#[derive(Clone)]
pub struct Engine {
    pub(crate) store: Arc<Store>,
    pub(crate) images: Arc<dyn ImagePort>,
    pub(crate) sandbox: Sandbox,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("store", &self.store.root()).finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine over these.
    pub fn new(store: Arc<Store>, images: Arc<dyn ImagePort>, sandbox: Sandbox) -> Self {
        Self { store, images, sandbox }
    }

    /// The store that results are kept in.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }
}

/// What belongs to one command.
#[derive(Clone)]
pub struct Job {
    /// The client's directories by the names that `local://` sources use.
    pub directories: BTreeMap<String, PathBuf>,
    /// Receives what happens.
    pub progress: Arc<dyn Progress>,
    /// Stops everything when cancelled.
    pub cancel: CancellationToken,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("directories", &self.directories).finish_non_exhaustive()
    }
}
