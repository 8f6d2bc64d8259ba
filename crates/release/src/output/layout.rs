//! An image as an OCI layout: which blobs it has, and its `index.json`.

use std::collections::BTreeSet;
use std::path::Path;

use gantry_oci::{Descriptor, Digest, Index, Reference};
use gantry_store::Store;

use super::Delivery;
use super::archive::blocking;
use crate::annotation::CREATED;
use crate::build::Image;
use crate::error::Error;
use crate::image::layout::{FULL_NAME, NAME};
use crate::image::layout_writer::LayoutWriter;
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
    /// When it was made.
    pub(crate) created: Option<&'a str>,
}

impl<'a> Layout<'a> {
    /// The whole image.
    pub(crate) fn of(image: &'a Image, names: &'a [Reference]) -> Self {
        // The entry of an image for one platform says which.
        let root = match image.platforms.as_slice() {
            [one] if one.report.manifest.digest == image.root.digest => &one.report.manifest,
            _ => &image.root,
        };
        Self { root, referrers: &image.referrers, names, created: image.created.as_deref() }
    }

    /// All its blobs, once each, in the order of their digests.
    pub(crate) fn blobs(&self, store: &Store) -> Result<Vec<Digest>, Error> {
        let contents = Contents::read(store, self.root, self.referrers)?;
        let blobs: BTreeSet<_> = contents.all().map(|blob| blob.digest).collect();
        Ok(blobs.into_iter().collect())
    }

    /// Its `index.json`.
    pub(crate) fn index(&self) -> Vec<u8> {
        serde_json::to_vec(&Index::new(self.entries())).expect("an index is plain data")
    }

    /// The entries of `index.json`: one per name, or one without a name, and those that refer to the image.
    fn entries(&self) -> Vec<Descriptor> {
        let mut root = self.root.clone();
        if let Some(created) = self.created {
            root.annotations.entry(CREATED.to_owned()).or_insert_with(|| created.to_owned());
        }
        let named = self.names.iter().map(|name| {
            let mut entry: Descriptor = root.clone();
            // BuildKit writes both; tools look for either.
            entry.annotations.insert(FULL_NAME.to_owned(), name.to_string());
            let tag = name.tag().unwrap_or("latest").to_owned();
            entry.annotations.insert(NAME.to_owned(), tag);
            entry
        });
        let mut entries: Vec<_> = if self.names.is_empty() { vec![root.clone()] } else { named.collect() };
        entries.extend(self.referrers.iter().cloned());
        entries
    }
}

/// What an image without a name is called where others may be beside it, as with BuildKit: so the next one takes its place.
const UNNAMED: &str = "latest";

/// Writes the layout as a directory. Other images that are there already stay.
pub(crate) async fn directory(
    delivery: &Delivery<'_>,
    names: &[Reference],
    path: &Path,
) -> Result<(), Error> {
    delivery.fetch_all().await?;
    let (store, path) = (delivery.gantry.store().clone(), path.to_owned());
    let layout = Layout::of(delivery.image, names);
    let (blobs, mut entries, cancel) = (layout.blobs(&store)?, layout.entries(), delivery.cancel.clone());
    if names.is_empty() {
        entries[0].annotations.insert(NAME.to_owned(), UNNAMED.to_owned());
    }
    blocking(move || {
        let writer = LayoutWriter::directory(&path)?;
        for digest in blobs {
            writer.put(&store.blob_source(&digest)?, &cancel)?;
        }
        writer.enter(entries)
    })
    .await
}
