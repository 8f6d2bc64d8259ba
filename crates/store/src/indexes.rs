//! Layer indexes: one file per diff id, in a format of the layer code's own, and which blobs they are the indexes of.
//!
//! A config claims which diff id a blob has; whoever has read the blob knows. An index is found only under a blob and a
//! diff id that were seen together, so that no config can borrow the index of another layer. An index can be made anew
//! from its layer, so it is neither synced nor verified here: whoever reads one checks it.

use std::fs;
use std::io;
use std::path::PathBuf;

use gantry_oci::Digest;

use crate::error::At;
use crate::{Store, StoreError};

impl Store {
    /// The index of the layer that is this blob and has this diff id, as it was put; `None` if there is none.
    pub fn layer_index(&self, blob: &Digest, diff_id: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        if blob != diff_id && self.result(&seen_key(blob))?.as_deref() != Some(&*diff_id.to_string()) {
            return Ok(None);
        }
        let path = self.index_path(diff_id);
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some).at("read layer index", &path),
        }
    }

    /// Keeps the index of a layer, in the place of an older one. The blob was seen to have the diff id.
    pub fn put_layer_index(&self, blob: &Digest, diff_id: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        let (temporary, path) = (self.session().next_path(), self.index_path(diff_id));
        fs::write(&temporary, bytes).at("write", &temporary)?;
        fs::rename(&temporary, &path).at("rename a file to", &path)?;
        self.put_result(&[seen_key(blob)], &diff_id.to_string())
    }

    fn index_path(&self, diff_id: &Digest) -> PathBuf {
        self.root().join("indexes").join(diff_id.hex())
    }
}

/// The key of the record that says which diff id a blob was seen to have.
fn seen_key(blob: &Digest) -> Digest {
    Digest::of(format!("gantry diff id of blob {blob}"))
}
