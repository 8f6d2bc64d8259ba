//! Temporary files, all inside the store, all owned by one process.
//!
//! A process has one session: `tmp/ID/` for its files and `tmp/ID.lease`, locked while it lives. Whoever opens the
//! store next removes the files of every session whose lease can be locked: its process is gone, by whatever end. No
//! process ids, start times or boot ids are compared, so none can be wrong.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::FlockOperation;

use crate::error::At;
use crate::lock::lock_file;
use crate::{Store, StoreError};

const LEASE: &str = "lease";

/// This process's claim on its part of `tmp`.
#[derive(Debug)]
pub(crate) struct Session {
    directory: PathBuf,
    lease_path: PathBuf,
    _lease: File,
    counter: AtomicU64,
}

impl Session {
    /// Starts a session and removes what dead ones left.
    pub(crate) fn start(tmp: &Path) -> Result<Self, StoreError> {
        reclaim(tmp)?;
        loop {
            let id = random_id();
            let lease_path = tmp.join(&id).with_extension(LEASE);
            // A reclaiming process may take the file for a dead session's before we lock it; then try another.
            let Some(lease) = lock_file(&lease_path, FlockOperation::NonBlockingLockExclusive)? else {
                continue;
            };
            let directory = tmp.join(id);
            fs::create_dir(&directory).at("create", &directory)?;
            return Ok(Self { directory, lease_path, _lease: lease, counter: AtomicU64::new(0) });
        }
    }

    pub(crate) fn next_path(&self) -> PathBuf {
        self.directory.join(self.counter.fetch_add(1, Ordering::Relaxed).to_string())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The directory first: a lease without directory is nothing, a directory without lease would be litter.
        if fs::remove_dir_all(&self.directory).is_ok() {
            let _ = fs::remove_file(&self.lease_path);
        }
    }
}

fn reclaim(tmp: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(tmp).at("read", tmp)? {
        let path = entry.at("read", tmp)?.path();
        if path.extension().is_none_or(|extension| extension != LEASE) {
            continue;
        }
        if let Some(_dead) = lock_file(&path, FlockOperation::NonBlockingLockExclusive)? {
            // What cannot be removed, because its last process is still dying or somebody protects it, keeps its lease
            // and is tried again by the next process: it is no reason not to build.
            let directory = path.with_extension("");
            if !directory.exists() || fs::remove_dir_all(&directory).is_ok() {
                let _ = fs::remove_file(&path);
            }
        }
    }
    Ok(())
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
            let _ = fs::remove_dir_all(path);
        }
    }
}
