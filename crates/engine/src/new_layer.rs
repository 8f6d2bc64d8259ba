//! A layer in the making: the directory that an overlay writes to.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;

use gantry_sandbox::Overlay;
use gantry_store::{LayerId, Store, TempDir};

use crate::chain::LayerChain;
use crate::error::{At, Fault};

/// What the root of a tree without any layers looks like.
const ROOT_MODE: u32 = 0o755;

/// An upper and a work directory over the layers of a tree. Dropped without [`NewLayer::keep`], it leaves nothing.
#[derive(Debug)]
pub(crate) struct NewLayer {
    directory: TempDir,
    below: LayerChain,
}

impl NewLayer {
    /// Starts a layer over this tree, all of whose layers are unpacked.
    pub(crate) fn start(store: &Store, below: &LayerChain) -> Result<Self, Fault> {
        let layer = Self { directory: store.temp_dir()?, below: below.clone() };
        for path in [layer.upper(), layer.work()] {
            fs::create_dir(&path).at("create", &path)?;
        }
        // The root of an overlay looks like its upper directory, so that has to look like the layer below.
        let upper = layer.upper();
        let (permissions, owner) = match below.directories(store).last() {
            Some(below) => {
                let metadata = fs::metadata(below).at("examine", below)?;
                (metadata.permissions(), (metadata.uid(), metadata.gid()))
            }
            None => (Permissions::from_mode(ROOT_MODE), (0, 0)),
        };
        chown(&upper, Some(owner.0), Some(owner.1)).at("set the owner of", &upper)?;
        fs::set_permissions(&upper, permissions).at("set the mode of", &upper)?;
        Ok(layer)
    }

    /// The overlay to mount.
    pub(crate) fn overlay(&self, store: &Store) -> Overlay {
        Overlay { lower: self.below.directories(store), upper: self.upper(), work: self.work() }
    }

    /// Makes it a layer of the store, and returns the tree that it tops.
    pub(crate) fn keep(self, store: &Store) -> Result<LayerChain, Fault> {
        let id = LayerId::new_step();
        store.put_step_layer(&id, self.below.layers())?;
        store.adopt_snapshot(&self.upper(), &id)?;
        Ok(self.below.with(id))
    }

    /// The directory that receives what is written.
    pub(crate) fn upper(&self) -> PathBuf {
        self.directory.path().join("upper")
    }

    fn work(&self) -> PathBuf {
        self.directory.path().join("work")
    }
}
