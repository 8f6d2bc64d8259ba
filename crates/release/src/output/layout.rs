//! An image as an OCI layout: which blobs it has, and its `index.json`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use gantry_oci::{Descriptor, Digest, Index, Reference};
use gantry_store::{OCI_LAYOUT, Store};

use super::Delivery;
use super::archive::blocking;
use crate::build::Image;
use crate::error::Error;
use crate::publish::Contents;

/// What a layout holds.
#[derive(Clone, Copy)]
pub(crate) struct Layout<'a> {
    /// The index, or a manifest.
    pub(crate) root: &'a Descriptor,
    /// Manifests whose subjects are in it.
    pub(crate) referrers: &'a [Descriptor],
    /// What it is called.
    pub(crate) names: &'a [Reference],
}

impl<'a> Layout<'a> {
    /// The whole image.
    pub(crate) fn of(image: &'a Image, names: &'a [Reference]) -> Self {
        Self { root: &image.root, referrers: &image.referrers, names }
    }

    /// All its blobs, once each, in the order of their digests.
    pub(crate) fn blobs(&self, store: &Store) -> Result<Vec<Digest>, Error> {
        let contents = Contents::read(store, self.root, self.referrers)?;
        let blobs: BTreeSet<_> = contents.all().map(|blob| blob.digest).collect();
        Ok(blobs.into_iter().collect())
    }

    /// Its `index.json`: one entry per name, or one without a name, and those that refer to the image.
    pub(crate) fn index(&self) -> Vec<u8> {
        let named = self.names.iter().map(|name| {
            let mut entry: Descriptor = self.root.clone();
            // BuildKit writes both; tools look for either.
            entry.annotations.insert("io.containerd.image.name".to_owned(), name.to_string());
            let tag = name.tag().unwrap_or("latest").to_owned();
            entry.annotations.insert("org.opencontainers.image.ref.name".to_owned(), tag);
            entry
        });
        let mut entries: Vec<_> =
            if self.names.is_empty() { vec![self.root.clone()] } else { named.collect() };
        entries.extend(self.referrers.iter().cloned());
        serde_json::to_vec(&Index::new(entries)).expect("an index is plain data")
    }
}

/// Writes the layout as a directory. Blobs that are there already stay.
pub(crate) async fn directory(
    delivery: &Delivery<'_>,
    names: &[Reference],
    path: &Path,
) -> Result<(), Error> {
    delivery.fetch_all().await?;
    let (store, path) = (delivery.gantry.store().clone(), path.to_owned());
    let layout = Layout::of(delivery.image, names);
    let (blobs, index) = (layout.blobs(&store)?, layout.index());
    blocking(move || {
        let directory = path.join("blobs/sha256");
        fs::create_dir_all(&directory).map_err(|error| Error::io("create", &directory, &error))?;
        for digest in blobs {
            let target = directory.join(digest.hex());
            if !target.exists() {
                let temporary = target.with_extension("part");
                fs::copy(store.blob_path(&digest), &temporary)
                    .and_then(|_| fs::rename(&temporary, &target))
                    .map_err(|error| Error::io("write", &target, &error))?;
            }
        }
        for (name, bytes) in [("oci-layout", OCI_LAYOUT.as_bytes()), ("index.json", &index)] {
            let target = path.join(name);
            fs::write(&target, bytes).map_err(|error| Error::io("write", &target, &error))?;
        }
        Ok(())
    })
    .await
}
