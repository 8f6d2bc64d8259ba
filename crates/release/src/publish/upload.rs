//! Bringing an image into one repository: what it lacks, named by digest, those that are named before those that name
//! them.
//!
//! A layer is not sent if the repository has it or can take it from a neighbour; and a base layer that was never needed
//! here is only fetched if it must be sent.

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt, stream};
use gantry_oci::{Descriptor, Digest, Reference};
use gantry_registry::{Registry, Uploaded};

use super::contents::{Contents, not_in_store};
use crate::error::{Error, publishing};
use crate::events::Step;
use crate::gantry::Gantry;

/// Blobs on their way at once. A registry's own limits are the client's business; this bounds open files and buffers.
pub(crate) const UPLOADS_AT_ONCE: usize = 6;

/// One repository that an image goes to.
#[derive(Clone, Copy)]
pub(crate) struct Uploader<'a> {
    pub(crate) gantry: &'a Gantry,
    pub(crate) registry: &'a Registry,
    /// Its tag does not matter.
    pub(crate) repository: &'a Reference,
    /// Another repository of the same registry that has all of the image's blobs already.
    pub(crate) sibling: Option<&'a Reference>,
}

impl Uploader<'_> {
    /// Uploads everything that the repository lacks.
    pub(crate) async fn everything(
        &self,
        contents: &Contents,
        origins: &BTreeMap<Digest, String>,
        step: &Step<'_>,
    ) -> Result<(), Error> {
        let layers = contents.layers.iter().map(|layer| async move {
            let origin = origins.get(&layer.digest).map(String::as_str);
            let sent = self.layer(layer, origin).await?;
            if sent > 0 {
                step.say(format!("{} sent, {sent} bytes", layer.digest));
            }
            Ok::<_, Error>(())
        });
        all(layers).await?;
        let mount = self.mount_from(None);
        all(contents.configs.iter().map(|config| self.blob(config, mount.as_deref()))).await?;
        for level in contents.levels.values() {
            all(level.iter().map(|document| self.document(document))).await?;
        }
        for referrer in &contents.referrers {
            self.document(referrer).await?;
        }
        Ok(())
    }

    /// Makes sure that the repository has a layer; the number of bytes that were sent for it.
    pub(crate) async fn layer(&self, layer: &Descriptor, origin: Option<&str>) -> Result<u64, Error> {
        let mount = self.mount_from(origin);
        if self.gantry.store().has_blob(&layer.digest) {
            return self.blob(layer, mount.as_deref()).await;
        }
        let is_there = self.registry.mount_blob(self.repository, layer, mount.as_deref()).await;
        // A layer that registries do not take is had from its own address by whoever pulls.
        if is_there.map_err(|error| publishing(&error))? || (origin.is_none() && !layer.urls.is_empty()) {
            return Ok(0);
        }
        let origin = origin.ok_or_else(|| not_in_store(&layer.digest))?;
        self.gantry.engine.fetch_layer(layer, origin).await?;
        self.blob(layer, None).await
    }

    /// A repository of this registry that may have the blob.
    fn mount_from(&self, origin: Option<&str>) -> Option<String> {
        let origin = origin.and_then(|origin| origin.parse::<Reference>().ok());
        let near = |other: &&Reference| {
            other.host() == self.repository.host() && other.repository() != self.repository.repository()
        };
        let from = self.sibling.filter(near).or_else(|| origin.as_ref().filter(near));
        from.map(|from| from.repository().to_owned())
    }

    /// Sends a blob of the store, if the repository lacks it; the number of bytes.
    async fn blob(&self, blob: &Descriptor, mount: Option<&str>) -> Result<u64, Error> {
        if !self.gantry.store().has_blob(&blob.digest) {
            return Err(not_in_store(&blob.digest));
        }
        let source = self.gantry.store().blob_source(&blob.digest)?;
        let uploaded = self.registry.push_blob(self.repository, &source, mount).await;
        Ok(match uploaded.map_err(|error| publishing(&error))? {
            Uploaded::Sent(bytes) => bytes,
            Uploaded::Existed | Uploaded::Mounted => 0,
        })
    }

    async fn document(&self, document: &Descriptor) -> Result<(), Error> {
        let bytes = self.gantry.store().read_blob(&document.digest)?;
        let pushed =
            self.registry.push_manifest_by_digest(self.repository, &document.media_type, &bytes).await;
        pushed.map(|_| ()).map_err(|error| publishing(&error))
    }
}

/// Waits for all, a few at a time.
async fn all<T>(work: impl Iterator<Item = impl Future<Output = Result<T, Error>>>) -> Result<(), Error> {
    stream::iter(work).buffer_unordered(UPLOADS_AT_ONCE).try_for_each(|_| async { Ok(()) }).await
}
