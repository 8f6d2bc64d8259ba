//! Why the store could not do something: always the action and the path.

use std::io;
use std::path::{Path, PathBuf};

use gantry_oci::Digest;

/// An error of the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file system refused.
    #[error("cannot {action} `{path}`", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The metadata database refused.
    #[error("cannot {action} in the store's database")]
    Database {
        /// What was tried.
        action: &'static str,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// Content that is not what it was announced to be.
    #[error(
        "content has digest {actual} and {size} bytes, but {expected} with {expected_size} bytes was announced"
    )]
    Mismatch {
        /// The announced digest.
        expected: Digest,
        /// The announced size.
        expected_size: u64,
        /// The digest that the bytes have.
        actual: Digest,
        /// The size that they have.
        size: u64,
    },
    /// The store was made by a version that this one cannot read.
    #[error("the store at `{path}` has format {found}, this version reads format {known}", path = path.display())]
    Format {
        /// The store's root.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// Ours.
        known: i64,
    },
}

/// Adds the action and path to an I/O error.
pub(crate) trait At<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, StoreError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Io { action, path: path.to_owned(), source })
    }
}

/// Adds the action to a database error.
pub(crate) trait During<T> {
    fn during(self, action: &'static str) -> Result<T, StoreError>;
}

impl<T> During<T> for rusqlite::Result<T> {
    fn during(self, action: &'static str) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Database { action, source })
    }
}
