//! Everything that an image of the local store consists of: what has to be sent, kept, or written into an archive.

use std::collections::{BTreeMap, BTreeSet};

use gantry_oci::{Descriptor, Digest, Document, Platform, media_type};
use gantry_store::Store;

use crate::error::{Class, Error};

/// Indexes in indexes. Nobody nests deeper than one; a cycle cannot be.
const DEEPEST: usize = 8;

/// All that can be reached from a root document and its referrers, each digest once.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// Manifests and indexes by their distance from the leaves: a level names only what is in those before it.
    pub(crate) levels: BTreeMap<usize, Vec<Descriptor>>,
    /// Manifests that refer to others by `subject`.
    pub(crate) referrers: Vec<Descriptor>,
    /// Small blobs that say what the others are.
    pub(crate) configs: Vec<Descriptor>,
    /// All other blobs.
    pub(crate) layers: Vec<Descriptor>,
    /// The images among the manifests, in the order of the index.
    pub(crate) images: Vec<Image>,
    seen: BTreeSet<Digest>,
}

/// One platform's image.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    /// The platform by the index. `None` if there is no index.
    pub(crate) platform: Option<Platform>,
    /// Its manifest.
    pub(crate) manifest: Descriptor,
    /// Its config.
    pub(crate) config: Descriptor,
    /// Its layers, bottom first.
    pub(crate) layers: Vec<Descriptor>,
}

impl Contents {
    /// Reads the documents in the store.
    pub(crate) fn read(store: &Store, root: &Descriptor, referrers: &[Descriptor]) -> Result<Self, Error> {
        let mut contents = Self::default();
        contents.visit(store, root, DEEPEST)?;
        for referrer in referrers {
            contents.refer(store, referrer)?;
        }
        Ok(contents)
    }

    /// The documents, those that are named before those that name them.
    pub(crate) fn documents(&self) -> impl Iterator<Item = &Descriptor> {
        self.levels.values().flatten().chain(&self.referrers)
    }

    /// All blobs and documents.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Descriptor> {
        self.layers.iter().chain(&self.configs).chain(self.documents())
    }

    /// Adds a document and all below it; its level.
    fn visit(&mut self, store: &Store, at: &Descriptor, depth: usize) -> Result<usize, Error> {
        let level = match parse(store, at)? {
            Document::Index(_) if depth == 0 => {
                let message = format!("{} has indexes more than {DEEPEST} levels deep", at.digest);
                return Err(Error::new(Class::Verification, message));
            }
            Document::Index(index) => {
                let mut level = 0;
                for entry in &index.manifests {
                    level = level.max(self.visit(store, entry, depth - 1)? + 1);
                }
                level
            }
            Document::Manifest(manifest) => {
                self.blobs(&manifest.config, &manifest.layers);
                if !at.is_attestation() && is_image_config(&manifest.config) {
                    self.images.push(Image {
                        platform: at.platform.clone(),
                        manifest: at.clone(),
                        config: manifest.config,
                        layers: manifest.layers,
                    });
                }
                0
            }
        };
        if self.seen.insert(at.digest) {
            self.levels.entry(level).or_default().push(at.clone());
        }
        Ok(level)
    }

    fn refer(&mut self, store: &Store, at: &Descriptor) -> Result<(), Error> {
        let Document::Manifest(manifest) = parse(store, at)? else {
            return Err(Error::new(Class::Verification, format!("referrer {} is an index", at.digest)));
        };
        self.blobs(&manifest.config, &manifest.layers);
        if self.seen.insert(at.digest) {
            self.referrers.push(at.clone());
        }
        Ok(())
    }

    fn blobs(&mut self, config: &Descriptor, layers: &[Descriptor]) {
        if self.seen.insert(config.digest) {
            self.configs.push(config.clone());
        }
        for layer in layers {
            if self.seen.insert(layer.digest) {
                self.layers.push(layer.clone());
            }
        }
    }
}

/// A document or config of an image.
pub(crate) fn read_part(store: &Store, digest: &Digest) -> Result<Vec<u8>, Error> {
    match store.has_blob(digest) {
        true => Ok(store.read_blob(digest)?),
        false => Err(not_in_store(digest)),
    }
}

/// The error of a part that the store has lost.
pub(crate) fn not_in_store(digest: &Digest) -> Error {
    Error::new(Class::NotFound, format!("{digest}, a part of the image, is not in the store"))
        .hint("build the image again: what is cached is not run again")
}

fn is_image_config(config: &Descriptor) -> bool {
    matches!(config.media_type.as_str(), media_type::CONFIG | media_type::DOCKER_CONFIG)
}

fn parse(store: &Store, at: &Descriptor) -> Result<Document, Error> {
    let bytes = read_part(store, &at.digest)?;
    Document::parse(&bytes, Some(&at.media_type)).map_err(|error| {
        Error::new(Class::Verification, format!("document {} of the store: {error}", at.digest))
    })
}

#[cfg(test)]
mod tests {
    use gantry_oci::{Index, Manifest};

    use super::*;

    fn put(store: &Store, media_type: &str, document: &impl serde::Serialize) -> Descriptor {
        let bytes = serde_json::to_vec(document).unwrap();
        store.put_blob(&bytes).unwrap();
        Descriptor::of(media_type, &bytes)
    }

    #[test]
    fn everything_is_found_once_and_bottom_up() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let blob = |text: &str| Descriptor::of(media_type::LAYER_GZIP, text.as_bytes());
        let config = |text: &str| Descriptor::of(media_type::CONFIG, format!("config of {text}").as_bytes());
        let platform = |text: &str| text.parse::<Platform>().unwrap();
        let image = |name: &str| {
            let manifest = Manifest::new(config(name), vec![blob("shared"), blob(name)]);
            put(&store, media_type::MANIFEST, &manifest)
        };
        let (amd64, arm64) = (image("amd64"), image("arm64"));
        let attestation = Manifest::new(config("attestation"), vec![blob("statement")]);
        let mut attestation = put(&store, media_type::MANIFEST, &attestation);
        let kind = ("vnd.docker.reference.type".to_owned(), "attestation-manifest".to_owned());
        attestation.annotations.extend([kind]);
        let inner = Index::new(vec![arm64.clone().with_platform(platform("linux/arm64"))]);
        let inner = put(&store, media_type::INDEX, &inner);
        let entries =
            vec![amd64.clone().with_platform(platform("linux/amd64")), inner.clone(), attestation.clone()];
        let root = put(&store, media_type::INDEX, &Index::new(entries));
        let mut signature = Manifest::new(config("empty"), vec![blob("signature")]);
        signature.extra.insert("subject".to_owned(), serde_json::to_value(&root).unwrap());
        let signature = put(&store, media_type::MANIFEST, &signature);

        let contents = Contents::read(&store, &root, std::slice::from_ref(&signature)).unwrap();
        let digests: Vec<_> = contents.documents().map(|document| document.digest).collect();
        let expected = [&amd64, &arm64, &attestation, &inner, &root, &signature].map(|one| one.digest);
        assert_eq!(digests, expected);
        assert_eq!(contents.layers.len(), 5, "what two images share is there once");
        assert_eq!(contents.configs.len(), 4);
        let platforms: Vec<_> =
            contents.images.iter().map(|image| image.platform.as_ref().unwrap().to_string()).collect();
        assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);
        assert_eq!(contents.all().count(), 5 + 4 + 6);

        let lost = Index::new(vec![blob("never stored")]);
        let lost = put(&store, media_type::INDEX, &lost);
        assert_eq!(Contents::read(&store, &lost, &[]).unwrap_err().class, Class::NotFound);
    }
}
