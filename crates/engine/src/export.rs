//! Layers as blobs: made when somebody wants them, once.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use gantry_layer::{WriteOptions, recompress, write_layer};
use gantry_oci::{Descriptor, media_type};
use gantry_store::{LayerBlob, LayerId, RECOMPRESSED, Store};
use tokio_util::sync::CancellationToken;

use crate::blocking::blocking;
use crate::chain::LayerChain;
use crate::engine::Engine;
use crate::error::{At, EngineError, Fault};
use crate::file::{Look, MergedTimes, WholeCopy};
use crate::index::keep_index;
use crate::output::mounted;
use crate::select::{Ownership, SourceRoot};

/// How new layers are compressed. Layers of base images stay as they came.
pub type Compression = gantry_layer::Compression;

/// One layer of an image to be.
#[derive(Debug, Clone)]
pub struct ExportedLayer {
    /// The blob, its diff id and, for a base layer, where it can be read.
    pub blob: LayerBlob,
    /// When a step made it, in Unix seconds. `None` for base layers.
    pub created: Option<i64>,
}

/// In a second.
const NANOS: i64 = 1_000_000_000;

/// How a layer of ours becomes bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerForm {
    /// How it is compressed.
    pub compression: Compression,
    /// The latest time, in seconds since 1970, that a file in it may have.
    pub clamp_mtime: Option<i64>,
    /// What becomes of layers that came with an image.
    pub base_layers: BaseLayers,
}

/// What becomes of layers that came with an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BaseLayers {
    /// They stay the bytes that they are.
    #[default]
    AsTheyCame,
    /// Those that are compressed in another way than ours are compressed anew. What is in them does not change.
    Recompressed,
}

impl From<Compression> for LayerForm {
    fn from(compression: Compression) -> Self {
        Self { compression, clamp_mtime: None, base_layers: BaseLayers::default() }
    }
}

impl LayerForm {
    /// Under this, the blob is recorded.
    fn name(self) -> String {
        let Self { compression, clamp_mtime, base_layers: _ } = self;
        match clamp_mtime {
            None => format!("{compression:?}"),
            Some(time) => format!("{compression:?} until {time}"),
        }
    }
}

impl Engine {
    /// The blobs of a chain's layers, bottom first, made where they do not exist yet.
    ///
    /// Base layers that stay as they came are described but not fetched: see [`Engine::fetch_layer`].
    pub async fn export(
        &self,
        chain: &LayerChain,
        form: impl Into<LayerForm>,
    ) -> Result<Vec<ExportedLayer>, EngineError> {
        let form = form.into();
        let layers = chain.layers().iter().map(|layer| self.export_layer(layer, form));
        futures_util::future::try_join_all(layers).await
    }

    /// One layer of a chain, like [`Engine::export`].
    pub async fn export_layer(
        &self,
        layer: &LayerId,
        form: impl Into<LayerForm>,
    ) -> Result<ExportedLayer, EngineError> {
        self.make_blob(layer, form.into()).await.map_err(Fault::anywhere)
    }

    /// Makes sure that a base layer's blob is in the store. `origin` is where it can be read, `host/repository`.
    pub async fn fetch_layer(&self, layer: &Descriptor, origin: &str) -> Result<(), EngineError> {
        self.fetch_blob(layer, origin).await.map_err(Fault::anywhere)
    }

    /// Calls `work` with the directory of the whole tree, for the duration of the call and visible only to the calling
    /// thread. It must not be written to: that of a tree of one layer is the store's own. Blocks.
    pub async fn with_tree<R: Send + 'static>(
        &self,
        chain: &LayerChain,
        work: impl FnOnce(&Path) -> R + Send + 'static,
    ) -> Result<R, EngineError> {
        let run = async {
            self.unpack(chain).await?;
            let (store, chain) = (Arc::clone(&self.store), chain.clone());
            blocking(move || mounted(&store, &chain, work)).await
        };
        run.await.map_err(Fault::anywhere)
    }

    /// Copies the whole tree into `directory`, over what is there; directories that are there have their own times. The
    /// copies belong to whoever runs this process, and have the time `mtime`, in seconds since 1970, if one is given.
    pub async fn copy_to(
        &self,
        chain: &LayerChain,
        directory: &Path,
        mtime: Option<i64>,
        cancel: CancellationToken,
    ) -> Result<(), EngineError> {
        // The real place: what is below it is resolved with it as the root.
        let directory = fs::canonicalize(directory).at("resolve", directory).map_err(Fault::anywhere)?;
        let copied = self.with_tree(chain, move |root| copy_tree(root, &directory, mtime, &cancel));
        copied.await?.map_err(Fault::anywhere)
    }

    async fn make_blob(&self, layer: &LayerId, form: LayerForm) -> Result<ExportedLayer, Fault> {
        let name = form.name();
        let made = self.store.step_layer(layer)?;
        let created = made.as_ref().map(|made| made.created);
        if let Some(blob) = usable(&self.store, layer, &name)? {
            let again = layer.is_of_image() && form.base_layers == BaseLayers::Recompressed;
            let blob = if again { self.recompressed(layer, blob, form.compression).await? } else { blob };
            return Ok(ExportedLayer { blob, created });
        }
        let below = LayerChain::new(made.map(|made| made.below).unwrap_or_default());
        self.unpack(&below).await?;
        let (store, layer) = (Arc::clone(&self.store), layer.clone());
        blocking(move || {
            let _lock = store.lock(&format!("export-{layer}"))?;
            if let Some(blob) = usable(&store, &layer, &name)? {
                return Ok(ExportedLayer { blob, created });
            }
            let blob = write(&store, &layer, &below, form)?;
            store.put_layer_blob(&layer, &name, &blob)?;
            Ok(ExportedLayer { blob, created })
        })
        .await
    }
}

impl Engine {
    /// A base layer's blob in this compression: itself, if it has it, else another of the same content.
    async fn recompressed(
        &self,
        layer: &LayerId,
        blob: LayerBlob,
        compression: Compression,
    ) -> Result<LayerBlob, Fault> {
        if media_type::oci_layer(&blob.descriptor.media_type) == compression.media_type() {
            return Ok(blob);
        }
        let name = format!("{RECOMPRESSED}{compression:?}");
        if let Some(blob) = usable(&self.store, layer, &name)? {
            return Ok(blob);
        }
        self.fetch_blob(&blob.descriptor, blob.origin.as_deref().unwrap_or_default()).await?;
        let (store, layer) = (Arc::clone(&self.store), layer.clone());
        blocking(move || {
            let _lock = store.lock(&format!("export-{layer}"))?;
            if let Some(blob) = usable(&store, &layer, &name)? {
                return Ok(blob);
            }
            let path = store.blob_path(&blob.descriptor.digest);
            let file = File::open(&path).reading(&path)?;
            let mut writer = store.blob_writer()?;
            let failed = |source| Fault::Layer {
                action: "compress the layer anew",
                name: blob.descriptor.digest.to_string(),
                source,
            };
            let digests = recompress(file, compression, &mut writer).map_err(failed)?;
            if digests.diff_id != blob.diff_id {
                return Err(Fault::Graph(format!(
                    "blob {} has another content than its image says",
                    blob.descriptor.digest
                )));
            }
            writer.commit_expected(digests.digest, digests.size)?;
            let descriptor = Descriptor::new(compression.media_type(), digests.digest, digests.size);
            let blob = LayerBlob { diff_id: blob.diff_id, descriptor, origin: None };
            store.put_layer_blob(&layer, &name, &blob)?;
            Ok(blob)
        })
        .await
    }
}

/// The recorded blob, if it is a base layer's (which may be fetched) or still here.
fn usable(store: &Store, layer: &LayerId, name: &str) -> Result<Option<LayerBlob>, Fault> {
    let blob = store.layer_blob(layer, name)?;
    Ok(blob.filter(|blob| blob.origin.is_some() || store.has_blob(&blob.descriptor.digest)))
}

fn write(store: &Store, layer: &LayerId, below: &LayerChain, form: LayerForm) -> Result<LayerBlob, Fault> {
    let directory = store.snapshot_path(layer);
    let mut lower = below.directories(store);
    lower.reverse();
    let mut writer = store.blob_writer()?;
    let LayerForm { compression, clamp_mtime, .. } = form;
    let options = WriteOptions { compression, lower: Some(lower), clamp_mtime };
    let written = write_layer(&directory, &options, &mut writer).map_err(|source| Fault::Layer {
        action: "write the layer",
        name: layer.to_string(),
        source,
    })?;
    let digests = written.digests;
    keep_index(store, (&digests.digest, &digests.diff_id), &written.index)?;
    writer.commit_expected(digests.digest, digests.size)?;
    let descriptor = Descriptor::new(compression.media_type(), digests.digest, digests.size);
    Ok(LayerBlob { diff_id: digests.diff_id, descriptor, origin: None })
}

fn copy_tree(
    root: &Path,
    directory: &Path,
    mtime: Option<i64>,
    cancel: &CancellationToken,
) -> Result<(), Fault> {
    let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let look = Look { owner: Some(owner), time: mtime.map(|seconds| seconds.saturating_mul(NANOS)) };
    let source = SourceRoot { path: root, filter: None, ownership: Ownership::Kept };
    let copy = WholeCopy { source: &source, directory: "/", look, merged: MergedTimes::TheirOwn, cancel };
    copy.to(directory).map(|_| ()).map_err(|fault| fault.inside(root))
}
