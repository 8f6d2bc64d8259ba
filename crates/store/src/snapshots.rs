//! Unpacked layers: directories in overlay's own format (whiteouts, opaque marks), used as lower directories.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use gantry_oci::Digest;

use crate::error::At;
use crate::removal::remove_tree;
use crate::session::random_id;
use crate::{Store, StoreError};

/// Names a layer in this store: a layer of an image by its chain id, a layer that a step made by a random name.
///
/// The chain id and not the diff id, because an archive may use directories that only the layers below describe, so
/// that one archive unpacks to different directories on different layers. A step's layer has no digest until somebody
/// wants to export it, which may be never.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LayerId(Kind);

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Kind {
    Image(Digest),
    Step(String),
}

impl LayerId {
    /// The layer of an image with this diff id, on top of the one below (`None` for the lowest).
    pub fn image(diff_id: &Digest, below: Option<&Self>) -> Self {
        Self(Kind::Image(match below {
            // The chain id of the OCI image specification.
            Some(Self(Kind::Image(below))) => Digest::of(format!("{below} {diff_id}")),
            Some(Self(Kind::Step(_))) | None => *diff_id,
        }))
    }

    /// A new name for a layer that a step makes.
    pub fn new_step() -> Self {
        Self(Kind::Step(random_id()))
    }

    /// Whether the layer came with an image, so that it can be fetched again.
    pub fn is_of_image(&self) -> bool {
        matches!(self.0, Kind::Image(_))
    }
}

impl fmt::Display for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Image(digest) => f.write_str(&digest.hex()),
            Kind::Step(id) => f.write_str(id),
        }
    }
}

impl FromStr for LayerId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let hex = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        match text.len() {
            64 => Ok(Self(Kind::Image(format!("sha256:{text}").parse().map_err(|_| ())?))),
            16 if hex => Ok(Self(Kind::Step(text.to_owned()))),
            _ => Err(()),
        }
    }
}

impl Store {
    /// Where the layer is, or would be, unpacked.
    pub fn snapshot_path(&self, layer: &LayerId) -> PathBuf {
        self.root().join("snapshots").join(layer.to_string())
    }

    /// Whether the layer is unpacked here.
    pub fn has_snapshot(&self, layer: &LayerId) -> bool {
        self.snapshot_path(layer).is_dir()
    }

    /// Makes a finished directory of this store's the unpacked layer. If another process was faster, the directory is
    /// left to the caller, who drops it.
    pub fn adopt_snapshot(&self, directory: &Path, layer: &LayerId) -> Result<(), StoreError> {
        let target = self.snapshot_path(layer);
        if layer.is_of_image() {
            // That a directory is there is all that says that an image's layer is unpacked, so it must survive a power
            // cut whole. Steps' layers have records that do not count before they have reached the disk.
            let file = File::open(directory).at("open", directory)?;
            rustix::fs::syncfs(&file).map_err(io::Error::from).at("sync", directory)?;
        } else {
            self.session().note_layer(layer)?;
        }
        match fs::rename(directory, &target) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            result => result.at("rename a layer to", &target),
        }
    }

    /// Removes those of these layers of steps that no result names: their process died before there was one. One that
    /// cannot be removed does not keep the others.
    pub(crate) fn forget_layers(&self, layers: &BTreeSet<LayerId>) -> Result<(), StoreError> {
        let mut outcome = Ok(());
        for layer in self.forget_layer_records(layers)? {
            let path = self.snapshot_path(&layer);
            match remove_tree(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => outcome = outcome.and(result.at("remove", &path)),
            }
        }
        outcome
    }
}
