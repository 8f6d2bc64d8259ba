//! Images as sources: resolved to a chain of layers without fetching one, unpacked only when their files are needed.

use std::fs;
use std::sync::Arc;

use gantry_layer::{ApplyOptions, apply_layer};
use gantry_llb::key::KeyWriter;
use gantry_oci::{
    Descriptor, Digest, Document, ImageConfig, ImageError, ImageErrorKind, ImagePort, Platform, Reference,
    ResolvedImage,
};
use gantry_store::{LayerBlob, LayerId};
use tokio::sync::oneshot;

use crate::blocking::blocking;
use crate::chain::LayerChain;
use crate::engine::Engine;
use crate::error::{At, Fault};
use crate::index::keep_index;

impl Engine {
    /// The layers of an image for a platform, with where each can be had recorded, and its config.
    pub(crate) async fn image(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<(LayerChain, ImageConfig), Fault> {
        let image = self.images.resolve(reference, platform).await?;
        let (layers, config) = layers_of(&image)?;
        let origin = image.reference.name();
        let mut chain: Vec<LayerId> = Vec::with_capacity(layers.len());
        for (diff_id, descriptor) in layers {
            let layer = LayerId::image(&diff_id, chain.last());
            let known = self.store.layer_blob(&layer, "")?;
            let current = LayerBlob { diff_id, descriptor, origin: Some(origin.clone()) };
            // A record is kept while its blob is here: another compression of the same layer is no reason to fetch.
            let keep =
                known.is_some_and(|known| known == current || self.store.has_blob(&known.descriptor.digest));
            if !keep {
                self.store.put_layer_blob(&layer, "", &current)?;
            }
            chain.push(layer);
        }
        Ok((LayerChain::new(chain), config))
    }

    /// The layers of an image of the client's, whose blobs are all taken over: nobody could fetch them from there later.
    pub(crate) async fn layout_image(
        &self,
        layout: &dyn ImagePort,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<LayerChain, Fault> {
        let image = layout.resolve(reference, platform).await?;
        let mut chain: Vec<LayerId> = Vec::new();
        for (diff_id, descriptor) in layers_of(&image)?.0 {
            let layer = LayerId::image(&diff_id, chain.last());
            let blob = LayerBlob { diff_id, descriptor, origin: None };
            let known = self.store.layer_blob(&layer, "")?;
            if !known.is_some_and(|known| self.store.has_blob(&known.descriptor.digest)) {
                if !self.store.has_blob(&blob.descriptor.digest) {
                    self.copy_blob(layout, &image.reference, &blob.descriptor).await?;
                }
                self.store.put_layer_blob(&layer, "", &blob)?;
            }
            chain.push(layer);
        }
        Ok(LayerChain::new(chain))
    }

    async fn copy_blob(
        &self,
        images: &dyn ImagePort,
        reference: &Reference,
        blob: &Descriptor,
    ) -> Result<(), Fault> {
        let mut writer = self.store.blob_writer()?;
        images.fetch(reference, blob, &mut writer).await?;
        tokio::task::block_in_place(|| writer.commit_expected(blob.digest, blob.size))?;
        Ok(())
    }

    /// Makes sure that all layers of the chain are unpacked here: fetched all at once, unpacked from the bottom, as a
    /// layer may depend on those below it, each as soon as it is here.
    pub(crate) async fn unpack(&self, chain: &LayerChain) -> Result<(), Fault> {
        let layers = chain.layers();
        let Some(first) = layers.iter().position(|layer| !self.store.has_snapshot(layer)) else {
            return Ok(());
        };
        let mut fetches = Vec::new();
        let mut arrivals = Vec::new();
        for (position, layer) in layers.iter().enumerate().skip(first) {
            if self.store.has_snapshot(layer) {
                continue;
            }
            let (arrived, arrival) = oneshot::channel();
            arrivals.push((position, arrival));
            fetches.push(async move {
                let record = self.layer_record(layer)?;
                self.fetch_blob(&record.descriptor, record.origin.as_deref().unwrap_or_default()).await?;
                // If nobody waits any more, unpacking has failed and says so.
                let _ = arrived.send(());
                Ok(())
            });
        }
        let unpack = async {
            for (position, arrival) in arrivals {
                arrival.await.map_err(|_| Fault::Cancelled)?;
                self.unpack_layer(&layers[position], &layers[..position]).await?;
            }
            Ok(())
        };
        // Fetching is looked at first, so that its error is the one that is told.
        tokio::try_join!(biased; futures_util::future::try_join_all(fetches), unpack).map(drop)
    }

    async fn unpack_layer(&self, layer: &LayerId, below: &[LayerId]) -> Result<(), Fault> {
        let blob = self.layer_record(layer)?;
        let (store, layer) = (Arc::clone(&self.store), layer.clone());
        let lower = below.iter().rev().map(|layer| store.snapshot_path(layer)).collect();
        blocking(move || {
            let _lock = store.lock(&format!("unpack-{layer}"))?;
            if store.has_snapshot(&layer) {
                return Ok(());
            }
            let temporary = store.temp_dir()?;
            let directory = temporary.path().join("layer");
            fs::create_dir(&directory).at("create", &directory)?;
            let file = store.open_blob(&blob.descriptor.digest)?;
            let options = ApplyOptions { lower, ..ApplyOptions::default() };
            let applied = apply_layer(file, &directory, &blob.diff_id, &options);
            let applied = applied.map_err(|source| Fault::BaseLayer {
                layer: blob.descriptor.digest,
                image: blob.origin.clone().unwrap_or_default(),
                source,
            })?;
            keep_index(&store, (&blob.descriptor.digest, &blob.diff_id), &applied.index)?;
            store.adopt_snapshot(&directory, &layer)?;
            Ok(())
        })
        .await
    }

    pub(crate) fn layer_record(&self, layer: &LayerId) -> Result<LayerBlob, Fault> {
        let record = self.store.layer_blob(layer, "")?;
        record.ok_or_else(|| Fault::Graph(format!("layer {layer} is in no image that was resolved")))
    }

    /// Makes sure that a base layer's blob is in the store.
    pub(crate) async fn fetch_blob(&self, blob: &Descriptor, origin: &str) -> Result<(), Fault> {
        let digest = blob.digest;
        if self.store.has_blob(&digest) {
            return Ok(());
        }
        let reference: Reference = origin
            .parse()
            .map_err(|_| Fault::Graph(format!("blob {digest} has no origin to fetch it from")))?;
        let store = Arc::clone(&self.store);
        // Held over the download, so that several processes fetch a blob once.
        let _lock = blocking(move || Ok(store.lock(&digest.hex())?)).await?;
        if self.store.has_blob(&digest) {
            return Ok(());
        }
        self.copy_blob(self.images.as_ref(), &reference, blob).await
    }
}

/// The key of an image source: the chain of its layers, whatever they are called and however compressed.
pub(crate) fn chain_key(chain: &LayerChain, platform: &Platform) -> Digest {
    let mut key = KeyWriter::new("gantry image 1");
    key.part(platform.to_string());
    for layer in chain.layers() {
        key.part(layer.to_string());
    }
    key.finish()
}

/// The manifest's layers paired with the config's diff ids, and the config.
fn layers_of(image: &ResolvedImage) -> Result<(Vec<(Digest, Descriptor)>, ImageConfig), Fault> {
    let invalid = |what: String| {
        Fault::Image(ImageError::new(ImageErrorKind::Corrupt, format!("image `{}`: {what}", image.reference)))
    };
    let document = Document::parse(&image.manifest.1, None).map_err(|error| invalid(error.to_string()))?;
    let Document::Manifest(manifest) = document else {
        return Err(invalid("its manifest is an index".to_owned()));
    };
    let config: ImageConfig = serde_json::from_slice(&image.config)
        .map_err(|error| invalid(format!("its config is invalid: {error}")))?;
    let (layers, diff_ids) = (manifest.layers, &config.rootfs.diff_ids);
    if layers.len() != diff_ids.len() {
        return Err(invalid(format!("it has {} layers but {} diff ids", layers.len(), diff_ids.len())));
    }
    Ok((diff_ids.iter().copied().zip(layers).collect(), config))
}
