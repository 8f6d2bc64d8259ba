//! What is kept between runs: blobs, unpacked layers, and the records that say what they are.
//!
//! ```text
//! ROOT/oci-layout, index.json   so that any OCI tool can read the blobs
//! ROOT/blobs/sha256/HEX         content, immutable, verified when it entered
//! ROOT/indexes/HEX              what a layer holds, by diff id (see `indexes`)
//! ROOT/snapshots/ID/            one unpacked layer each, in overlay's format
//! ROOT/cache-mounts/NAME/        directories of RUN --mount=type=cache
//! ROOT/meta.db                  SQLite: steps' results, layers, file hashes (see `records`), finished images (see
//!                               `results`), what is being published (see `journal`)
//! ROOT/locks/NAME               advisory locks of work in progress (see `lock`)
//! ROOT/tmp/SESSION/             everything temporary of one process (see `session`)
//! ```
//!
//! Several processes share one root. Content appears by rename, so it is there whole or not at all; work is claimed by
//! locks that the kernel drops when their holder dies; the next process removes what a dead one left in `tmp`.

mod blobs;
mod error;
mod file_hashes;
mod images;
mod indexes;
mod journal;
mod lock;
mod records;
mod removal;
mod results;
mod session;
mod snapshots;
mod store;

pub use blobs::{BlobWriter, StoredBlob};
pub use error::StoreError;
pub use file_hashes::{FileHashes, FileIdentity};
pub use journal::{Publication, PublicationState};
pub use lock::Lock;
pub use records::{LayerBlob, RECOMPRESSED, StepLayer};
pub use results::{BuiltImage, ImageBlob, ImageName, ImageResult};
pub use session::TempDir;
pub use snapshots::LayerId;
pub use store::{OCI_LAYOUT, Store};

#[cfg(test)]
mod tests;
