//! What layers hold, without unpacking them: their indexes, made once and kept in the store.
//!
//! A layer that is written or unpacked gets its index in passing. Only one that was neither is read for it.

use std::sync::Arc;

use gantry_layer::{LayerError, LayerIndex, Limits, scan_layer};
use gantry_oci::{Digest, ImageConfig, Platform, Reference};
use gantry_store::{LayerBlob, Store};

use crate::blocking::blocking;
use crate::chain::LayerChain;
use crate::engine::Engine;
use crate::error::{EngineError, Fault};

/// What a base will be used for. The later asks for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BaseUse {
    /// Its layers go into the result as they are.
    Layers,
    /// Steps change its files, so that it has to be unpacked.
    Files,
}

impl Engine {
    /// The config of an image and the indexes of its layers, bottom first.
    ///
    /// Fetches what is not known yet. Where the image will be unpacked anyway that is done now, and makes the indexes.
    pub async fn image_index(
        &self,
        reference: &Reference,
        platform: &Platform,
        base_use: BaseUse,
    ) -> Result<(ImageConfig, Vec<LayerIndex>), EngineError> {
        let index = async {
            let (chain, config) = self.image(reference, platform).await?;
            let blobs = self.base_layers(&chain)?;
            let is_known = |blob| matches!(known_index(&self.store, blob), Ok(Some(_)));
            let known = blobs.iter().all(is_known);
            if !known && base_use == BaseUse::Files {
                self.unpack(&chain).await?;
            }
            let indexes = blobs.iter().map(|blob| self.index(blob));
            Ok::<_, Fault>((config, futures_util::future::try_join_all(indexes).await?))
        };
        index.await.map_err(Fault::anywhere)
    }

    /// The index of a layer: the one that is kept, or else one made by reading the layer.
    pub async fn layer_index(&self, layer: &LayerBlob) -> Result<LayerIndex, EngineError> {
        self.index(layer).await.map_err(Fault::anywhere)
    }

    fn base_layers(&self, chain: &LayerChain) -> Result<Vec<LayerBlob>, Fault> {
        chain.layers().iter().map(|layer| self.layer_record(layer)).collect()
    }

    async fn index(&self, layer: &LayerBlob) -> Result<LayerIndex, Fault> {
        if let Some(index) = known_index(&self.store, layer)? {
            return Ok(index);
        }
        self.fetch_blob(&layer.descriptor, layer.origin.as_deref().unwrap_or_default()).await?;
        let (store, layer) = (Arc::clone(&self.store), layer.clone());
        blocking(move || {
            let _lock = store.lock(&format!("index-{}", layer.diff_id.hex()))?;
            if let Some(index) = known_index(&store, &layer)? {
                return Ok(index);
            }
            let unreadable = |source| Fault::BaseLayer {
                layer: layer.descriptor.digest,
                image: layer.origin.clone().unwrap_or_default(),
                source,
            };
            let file = store.open_blob(&layer.descriptor.digest)?;
            let scanned = scan_layer(file, Limits::default()).map_err(unreadable)?;
            if scanned.diff_id != layer.diff_id {
                return Err(unreadable(LayerError::DiffId {
                    expected: layer.diff_id,
                    found: scanned.diff_id,
                }));
            }
            keep_index(&store, (&layer.descriptor.digest, &layer.diff_id), &scanned.index)?;
            Ok(scanned.index)
        })
        .await
    }
}

/// The index that is kept, unless it is damaged.
fn known_index(store: &Store, layer: &LayerBlob) -> Result<Option<LayerIndex>, Fault> {
    let bytes = store.layer_index(&layer.descriptor.digest, &layer.diff_id)?;
    Ok(bytes.and_then(|bytes| LayerIndex::decode(&bytes).ok()))
}

/// Keeps the index of a layer that is this blob and was seen to have this diff id.
pub(crate) fn keep_index(
    store: &Store,
    (blob, diff_id): (&Digest, &Digest),
    index: &LayerIndex,
) -> Result<(), Fault> {
    let bytes = index.encode().map_err(|source| Fault::Layer {
        action: "make the index of layer",
        name: diff_id.to_string(),
        source,
    })?;
    Ok(store.put_layer_index(blob, diff_id, &bytes)?)
}
