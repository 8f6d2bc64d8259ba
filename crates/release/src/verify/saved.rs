//! Archives of `docker save` without an OCI layout in them, as old versions of Docker and other tools write them. They have
//! no manifests, so those that describe their images are made here.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Read};
use std::path::Path;

use gantry_oci::{Descriptor, Digest, Hasher, ImageConfig, Index, Manifest, media_type};
use serde::Deserialize;

use super::content::Root;
use super::files::no_image;
use crate::error::{Class, Error};
use crate::image::layout::archive::{Archive, Extent};
use crate::image::layout::blobs::Blobs;
use crate::image::layout::several;

const HASH_BUFFER: usize = 128 << 10;

/// An entry of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// What the images of an archive consist of.
#[derive(Default)]
struct Found {
    manifests: Vec<Descriptor>,
    layers: HashMap<Digest, Extent>,
    documents: HashMap<Digest, Vec<u8>>,
}

/// An archive at a path that users know, and the image in it that is named, or all of them.
struct Reader<'a> {
    archive: &'a Archive,
    path: &'a Path,
}

/// The content of an archive, and the image that is meant.
pub(super) fn open(archive: Archive, path: &Path, name: Option<&str>) -> Result<(Blobs, Root), Error> {
    let reader = Reader { archive: &archive, path };
    let list = reader.read("manifest.json")?;
    let mut list: Vec<Saved> =
        serde_json::from_slice(&list).map_err(|error| reader.invalid(&error.to_string()))?;
    if let Some(name) = name {
        list.retain(|saved| saved.repo_tags.iter().flatten().any(|tag| tag == name));
    }
    let mut found = Found::default();
    for saved in &list {
        reader.image(saved, &mut found)?;
    }
    let Found { manifests, layers, documents } = found;
    let tags: BTreeSet<String> =
        list.into_iter().flat_map(|saved| saved.repo_tags.unwrap_or_default()).collect();
    let root = match (manifests.as_slice(), name) {
        ([], Some(name)) => return Err(no_image(path, name)),
        ([one], _) => Root { descriptor: one.clone(), bytes: documents[&one.digest].clone() },
        (_, name) if !tags.is_empty() => return Err(several(path, name, tags.into_iter())),
        _ => {
            let bytes = serde_json::to_vec(&Index::new(manifests)).expect("an index is plain data");
            Root { descriptor: Descriptor::of(media_type::INDEX, &bytes), bytes }
        }
    };
    Ok((Blobs::saved(archive, layers, documents), root))
}

impl Reader<'_> {
    /// Describes one image.
    fn image(&self, saved: &Saved, found: &mut Found) -> Result<(), Error> {
        let config = self.read(&saved.config)?;
        let parsed: ImageConfig = serde_json::from_slice(&config)
            .map_err(|error| self.invalid(&format!("`{}`: {error}", saved.config)))?;
        let (listed, known) = (saved.layers.iter().flatten().count(), parsed.rootfs.diff_ids.len());
        if listed != known {
            return Err(self.invalid(&format!("it lists {listed} layers for a config with {known} diff ids")));
        }
        // Docker and skopeo name a config by its digest.
        let stem = saved.config.rsplit('/').next().and_then(|name| name.strip_suffix(".json"));
        let named = stem.and_then(|stem| format!("sha256:{stem}").parse::<Digest>().ok());
        if named.is_some_and(|named| named != Digest::of(&config)) {
            return Err(self.invalid(&format!("`{}` has the digest {}", saved.config, Digest::of(&config))));
        }
        let mut layers = Vec::new();
        for (layer, diff_id) in saved.layers.iter().flatten().zip(&parsed.rootfs.diff_ids) {
            let extent =
                self.archive.extent(layer).ok_or_else(|| self.invalid(&format!("it has no `{layer}`")))?;
            let layer = self
                .layer(extent, diff_id)
                .map_err(|error| Error::io("read the archive", self.path, &error))?;
            found.layers.insert(layer.digest, extent);
            layers.push(layer);
        }
        let manifest = Manifest::new(Descriptor::of(media_type::CONFIG, &config), layers);
        let bytes = serde_json::to_vec(&manifest).expect("a manifest is plain data");
        found.manifests.push(Descriptor::of(media_type::MANIFEST, &bytes));
        found.documents.insert(Digest::of(&config), config);
        found.documents.insert(Digest::of(&bytes), bytes);
        Ok(())
    }

    /// A layer as it lies here. One that is not compressed has its diff id as its digest, which is proved when it is
    /// read; that of a compressed one stands nowhere.
    fn layer(&self, extent: Extent, diff_id: &Digest) -> io::Result<Descriptor> {
        if !self.archive.is_compressed(extent)? {
            return Ok(Descriptor::new(media_type::LAYER_TAR, *diff_id, extent.size));
        }
        let mut stored = self.archive.reader(extent)?;
        let (mut hasher, mut buffer) = (Hasher::new(), vec![0; HASH_BUFFER]);
        loop {
            match stored.read(&mut buffer)? {
                0 => break,
                length => hasher.update(&buffer[..length]),
            }
        }
        Ok(Descriptor::new(media_type::LAYER_GZIP, hasher.finish(), extent.size))
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, Error> {
        self.archive.read(name).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => self.invalid(&format!("it has no `{name}`")),
            _ => self.invalid(&format!("`{name}`: {error}")),
        })
    }

    fn invalid(&self, what: &str) -> Error {
        let message = format!("`{}` is no archive of images: {what}", self.path.display());
        Error::new(Class::Verification, message)
    }
}
