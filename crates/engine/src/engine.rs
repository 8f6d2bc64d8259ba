//! The engine's surroundings, and what one command asks of it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gantry_llb::Progress;
use gantry_oci::ImagePort;
use gantry_sandbox::Sandbox;
use gantry_store::{Lock, Store};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::error::Fault;
use crate::fetch::FetchPort;
use crate::secrets::Secrets;

/// A store, a source of images and a sandbox.
#[derive(Clone)]
pub struct Engine {
    pub(crate) store: Arc<Store>,
    pub(crate) images: Arc<dyn ImagePort>,
    pub(crate) sandbox: Sandbox,
    pub(crate) network: Option<Network>,
}

/// How files and repositories are fetched.
#[derive(Clone)]
pub struct Network {
    /// Fetches files.
    pub fetch: Arc<dyn FetchPort>,
    /// What of the environment `git` needs: PATH, proxies, certificates. Nothing else reaches it.
    pub git_environment: Vec<(OsString, OsString)>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("store", &self.store.root()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Addresses of proxies may hold passwords.
        f.write_str("Network(…)")
    }
}

impl Engine {
    /// An engine over these.
    pub fn new(store: Arc<Store>, images: Arc<dyn ImagePort>, sandbox: Sandbox) -> Self {
        Self { store, images, sandbox, network: None }
    }

    /// The same engine, able to fetch files and repositories. One without refuses such sources.
    #[must_use]
    pub fn with_network(self, network: Network) -> Self {
        Self { network: Some(network), ..self }
    }

    /// The store that results are kept in.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }
}

/// Something that a step may only have if the user says so. Displayed as BuildKit and `--allow` call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entitlement {
    /// `RUN --security=insecure`: all capabilities, all devices, nothing masked.
    Insecure,
    /// `RUN --network=host`.
    HostNetwork,
}

impl fmt::Display for Entitlement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Insecure => "security.insecure",
            Self::HostNetwork => "network.host",
        })
    }
}

/// How often it is looked whether a lock is free: seldom enough to cost nothing, often enough not to be noticed.
const LOCK_INTERVAL: Duration = Duration::from_millis(20);

/// What belongs to one command.
#[derive(Clone)]
pub struct Job {
    /// The client's directories by the names that `local://` sources use.
    pub directories: BTreeMap<String, PathBuf>,
    /// The client's image layouts by the names that `oci-layout://` sources use.
    pub layouts: BTreeMap<String, Arc<dyn ImagePort>>,
    /// The client's secrets.
    pub secrets: Secrets,
    /// The sockets of the client's SSH agents by id.
    pub agents: BTreeMap<String, PathBuf>,
    /// What steps may have that they normally may not.
    pub entitlements: BTreeSet<Entitlement>,
    /// Receives what happens.
    pub progress: Arc<dyn Progress>,
    /// Stops everything when cancelled.
    pub cancel: CancellationToken,
}

impl Job {
    /// A job whose client has nothing and allows nothing.
    pub fn new(progress: Arc<dyn Progress>, cancel: CancellationToken) -> Self {
        Self {
            directories: BTreeMap::new(),
            layouts: BTreeMap::new(),
            secrets: Secrets::default(),
            agents: BTreeMap::new(),
            entitlements: BTreeSet::new(),
            progress,
            cancel,
        }
    }

    /// Waits for work, or for the job's end. Only for work that may be dropped half-way: what runs on a thread goes on
    /// there, and its temporary files are the next process's to remove.
    pub(crate) async fn unless_cancelled<T>(
        &self,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        tokio::select! {
            result = work => result,
            () = self.cancel.cancelled() => Err(Fault::Cancelled),
        }
    }

    /// Waits until nobody else, here or in another process, holds this lock, and takes it.
    pub(crate) async fn lock(&self, store: &Store, name: &str) -> Result<Lock, Fault> {
        loop {
            // A thread that sleeps in the kernel until it has the lock could not be told to stop.
            if let Some(lock) = store.try_lock(name)? {
                return Ok(lock);
            }
            let wait = async {
                sleep(LOCK_INTERVAL).await;
                Ok(())
            };
            self.unless_cancelled(wait).await?;
        }
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("directories", &self.directories).finish_non_exhaustive()
    }
}
