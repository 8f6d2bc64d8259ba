//! A file tree as the layers that make it, bottom first.

use std::path::PathBuf;
use std::sync::Arc;

use gantry_store::{LayerId, Store};

/// The layers of one tree. Empty is scratch. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LayerChain(Arc<Vec<LayerId>>);

impl LayerChain {
    /// A tree of these layers.
    pub(crate) fn new(layers: Vec<LayerId>) -> Self {
        Self(Arc::new(layers))
    }

    /// The layers, bottom first.
    pub fn layers(&self) -> &[LayerId] {
        &self.0
    }

    /// This tree with one more layer on top.
    #[must_use]
    pub(crate) fn with(&self, layer: LayerId) -> Self {
        let mut layers = self.0.as_ref().clone();
        layers.push(layer);
        Self::new(layers)
    }

    /// The unpacked directories, bottom first.
    pub(crate) fn directories(&self, store: &Store) -> Vec<PathBuf> {
        self.0.iter().map(|layer| store.snapshot_path(layer)).collect()
    }
}
