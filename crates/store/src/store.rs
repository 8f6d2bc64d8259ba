//! Opening a store, and the directories that it is made of.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

use crate::error::At;
use crate::lock::{sweep, wait_for_lock};
use crate::session::{Session, reclaim};
use crate::{StoreError, records};

/// The content of the file `oci-layout`.
pub const OCI_LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
const EMPTY_INDEX: &str =
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;

/// An open store. Share it behind an `Arc`; all methods may be called from any thread.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    database: Mutex<Connection>,
    session: Session,
}

impl Store {
    /// Opens the store at `root`, making it if it is not there, and removes what dead processes left in it.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        for directory in ["blobs/sha256", "indexes", "snapshots", "cache-mounts", "locks", "tmp"] {
            let path = root.join(directory);
            // Images hold set-user-id programs and other people's secrets: nobody else may look in.
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).at("create", &path)?;
        }
        let root = fs::canonicalize(root).at("resolve", root)?;
        let session = Session::start(&root.join("tmp"))?;
        sweep(&root.join("locks"))?;
        // Two processes that make the layout or the tables at once would fail each other.
        let opening = wait_for_lock(&root.join("locks/open"))?;
        for (name, text) in [("oci-layout", OCI_LAYOUT), ("index.json", EMPTY_INDEX)] {
            let path = root.join(name);
            if !path.exists() {
                write_whole(&session.next_path(), &path, text.as_bytes())?;
            }
        }
        let database = records::open(&root)?;
        drop(opening);
        let store = Self { root, database: Mutex::new(database), session };
        reclaim(&store.root.join("tmp"), |layers| store.forget_layers(layers))?;
        Ok(store)
    }

    /// The directory that holds everything.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the cache mount of this name is, or would be. Its content is the steps' own business.
    pub fn cache_mount_path(&self, name: &str) -> PathBuf {
        self.root.join("cache-mounts").join(name)
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    pub(crate) fn database(&self) -> MutexGuard<'_, Connection> {
        // A panic between two statements leaves SQLite as consistent as a crash would.
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // What was stopped between a layer and its result. What cannot be removed is left to the next process.
        let layers = self.session.unnamed_layers();
        if self.forget_layers(&layers).is_ok() {
            self.session.forgotten(&layers);
        }
    }
}

/// Writes a file that is there whole or not at all, also after a crash.
pub(crate) fn write_whole(temporary: &Path, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let written = File::create(temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.at("write", temporary)?;
    fs::rename(temporary, path).at("rename a file to", path)
}
