//! Temporary files, all inside the store, all owned by one process.
//!
//! A process has one session: `tmp/ID/` for its files and `tmp/ID.lease`, locked while it lives. Whoever opens the
//! store next removes the files of every session whose lease can be locked: its process is gone, by whatever end. No
//! process ids, start times or boot ids are compared, so none can be wrong.
//!
//! A step's layer is among the snapshots before a result names it, and nobody finds it without one. Until then
//! `tmp/ID/layer-LAYER` says whose it is, so that it goes with a session that dies in between.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::error::At;
use crate::lock::{Attempt, lock_file};
use crate::removal::remove_tree;
use crate::{LayerId, Store, StoreError};

const LEASE: &str = "lease";
/// What the name of a note about a layer begins with; everything else in a session's directory is numbered.
const LAYER: &str = "layer-";

/// This process's claim on its part of `tmp`.
#[derive(Debug)]
pub(crate) struct Session {
    directory: PathBuf,
    lease_path: PathBuf,
    _lease: File,
    counter: AtomicU64,
    /// Layers that are there, or about to be, and that no result names yet.
    unnamed: Mutex<BTreeSet<LayerId>>,
}

impl Session {
    /// Starts a session.
    pub(crate) fn start(tmp: &Path) -> Result<Self, StoreError> {
        loop {
            let id = random_id();
            let lease_path = tmp.join(&id).with_extension(LEASE);
            // A reclaiming process may take the file for a dead session's before we lock it; then try another.
            let attempt = lock_file(&lease_path, FlockOperation::NonBlockingLockExclusive)?;
            let Attempt::Locked(lease) = attempt else { continue };
            let directory = tmp.join(id);
            fs::create_dir(&directory).at("create", &directory)?;
            refuse_default_acl(&directory)?;
            let (counter, unnamed) = (AtomicU64::new(0), Mutex::default());
            return Ok(Self { directory, lease_path, _lease: lease, counter, unnamed });
        }
    }

    pub(crate) fn next_path(&self) -> PathBuf {
        self.directory.join(self.counter.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// Notes that a layer, or its record, will be there.
    pub(crate) fn note_layer(&self, layer: &LayerId) -> Result<(), StoreError> {
        if self.unnamed().contains(layer) {
            return Ok(());
        }
        let path = self.note(layer);
        File::create(&path).at("create", &path)?;
        self.unnamed().insert(layer.clone());
        Ok(())
    }

    /// Removes the notes of layers that this result names.
    pub(crate) fn named_by(&self, result: &str) {
        self.unnamed().retain(|layer| {
            let named = result.contains(&layer.to_string());
            // One that stays is looked into when the session is over, and says nothing wrong.
            let _ = named.then(|| fs::remove_file(self.note(layer)));
            !named
        });
    }

    /// The layers that no result names.
    pub(crate) fn unnamed_layers(&self) -> BTreeSet<LayerId> {
        self.unnamed().clone()
    }

    /// Ends the notes of layers that are gone, or that a result names after all.
    pub(crate) fn forgotten(&self, layers: &BTreeSet<LayerId>) {
        self.unnamed().retain(|layer| !layers.contains(layer));
    }

    fn note(&self, layer: &LayerId) -> PathBuf {
        self.directory.join(format!("{LAYER}{layer}"))
    }

    fn unnamed(&self) -> MutexGuard<'_, BTreeSet<LayerId>> {
        self.unnamed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes from a new directory the access list that its parent gives to everything below. It would show in the modes of
/// what steps make, as it replaces their umask, and so in images.
fn refuse_default_acl(directory: &Path) -> Result<(), StoreError> {
    match rustix::fs::removexattr(directory, "system.posix_acl_default") {
        Ok(()) | Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
        Err(error) => Err(error.into()).at("remove the default access list of", directory),
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Layers that could not be removed are the next process's business.
        let is_over = self.unnamed().is_empty();
        // The directory first: a lease without directory is nothing, a directory without lease would be litter.
        if is_over && remove_tree(&self.directory).is_ok() {
            let _ = fs::remove_file(&self.lease_path);
        }
    }
}

/// Removes what dead sessions left. `forget` removes those layers that no result names.
pub(crate) fn reclaim(
    tmp: &Path,
    forget: impl Fn(&BTreeSet<LayerId>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    for entry in fs::read_dir(tmp).at("read", tmp)? {
        let path = entry.at("read", tmp)?.path();
        if path.extension().is_none_or(|extension| extension != LEASE) {
            continue;
        }
        if let Attempt::Locked(_dead) = lock_file(&path, FlockOperation::NonBlockingLockExclusive)? {
            // What cannot be removed, because its last process is still dying or somebody protects it, keeps its lease
            // and is tried again by the next process: it is no reason not to build.
            let directory = path.with_extension("");
            if forget(&layers_of(&directory)).is_err() {
                continue;
            }
            if !directory.exists() || remove_tree(&directory).is_ok() {
                let _ = fs::remove_file(&path);
            }
        }
    }
    Ok(())
}

/// The layers that a session noted.
fn layers_of(directory: &Path) -> BTreeSet<LayerId> {
    let names = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.filter_map(|name| name.to_str()?.strip_prefix(LAYER)?.parse().ok()).collect()
}

/// 16 random hex digits.
pub(crate) fn random_id() -> String {
    let number = getrandom::u64().expect("the kernel provides random numbers");
    format!("{number:016x}")
}

/// A temporary directory of this process's session; removed when dropped.
#[derive(Debug)]
pub struct TempDir {
    path: Option<PathBuf>,
}

impl Store {
    /// A new, empty temporary directory on the store's file system.
    pub fn temp_dir(&self) -> Result<TempDir, StoreError> {
        let path = self.session().next_path();
        fs::create_dir(&path).at("create", &path)?;
        Ok(TempDir { path: Some(path) })
    }
}

impl TempDir {
    /// Where it is.
    pub fn path(&self) -> &Path {
        self.path.as_deref().expect("the path is taken only when the value is consumed")
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if let Some(path) = self.path.take() {
            // What cannot be removed now is removed with the session, or by the next process.
            let _ = remove_tree(&path);
        }
    }
}
