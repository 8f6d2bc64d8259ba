//! Where an image comes from: a repository or a layout, asked in the same words.

use std::sync::Arc;

use gantry_oci::{BlobSource, Descriptor, Digest, Document, media_type};
use gantry_registry::{Registry, RemoteBlob};

use super::layout::Layout;
use super::of_registry;
use super::place::Place;
use crate::error::{Class, Error};
use crate::output::blocking;

/// Indexes in indexes. The specification allows any number; nobody uses more than two.
pub(crate) const DEEPEST_NESTING: usize = 4;
/// Configs and attestations, which are read whole, are smaller.
const LARGEST_SMALL_BLOB: u64 = 64 * 1024 * 1024;

/// A place that has images.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    location: Place,
    store: Store,
}

#[derive(Debug, Clone)]
enum Store {
    Registry(Registry),
    Layout(Arc<Layout>),
}

/// A manifest or index with its bytes.
#[derive(Debug, Clone)]
pub(crate) struct RawDocument {
    pub(crate) descriptor: Descriptor,
    pub(crate) bytes: Vec<u8>,
    pub(crate) document: Document,
}

impl Source {
    /// Opens the place. Asks no registry.
    pub(crate) async fn open(registry: &Registry, location: &Place) -> Result<Self, Error> {
        let store = match location {
            Place::Registry(_) => Store::Registry(registry.clone()),
            Place::Layout(layout) => {
                let path = layout.path.clone();
                Store::Layout(Arc::new(blocking(move || Layout::open(&path)).await?))
            }
        };
        Ok(Self { location: location.clone(), store })
    }

    /// The place.
    pub(crate) fn location(&self) -> &Place {
        &self.location
    }

    /// The same place for another image of it.
    pub(crate) fn at(&self, location: Place) -> Self {
        Self { location, store: self.store.clone() }
    }

    /// What the location's tag or digest means now.
    pub(crate) async fn resolve(&self) -> Result<Descriptor, Error> {
        match (&self.store, &self.location) {
            (Store::Registry(registry), Place::Registry(name)) => {
                let found = registry.head(name).await.map_err(|error| of_registry(&error))?;
                found.ok_or_else(|| self.absent())
            }
            (Store::Layout(layout), Place::Layout(location)) => {
                let (layout, location) = (Arc::clone(layout), location.clone());
                blocking(move || layout.find(&location)).await
            }
            _ => unreachable!("a store is opened for its location"),
        }
    }

    /// The same for another tag of the place; `None` if there is none.
    pub(crate) async fn tagged(&self, tag: &str) -> Result<Option<Descriptor>, Error> {
        match (&self.store, self.location.tagged(tag)) {
            (Store::Registry(registry), Place::Registry(name)) => {
                registry.head(&name).await.map_err(|error| of_registry(&error))
            }
            (Store::Layout(layout), _) => Ok(layout.named(tag)),
            _ => unreachable!("a store is opened for its location"),
        }
    }

    fn absent(&self) -> Error {
        Error::new(Class::NotFound, format!("there is no `{}`", self.location))
            .hint("check the name and the tag, and that it was pushed")
    }

    /// Reads a manifest or index, whose size is checked where `entry` says one.
    pub(crate) async fn read(&self, entry: &Descriptor) -> Result<RawDocument, Error> {
        let digest = entry.digest;
        let (announced, bytes) = match (&self.store, &self.location) {
            (Store::Registry(registry), Place::Registry(name)) => {
                let read = registry.manifest(name, &digest).await.map_err(|error| of_registry(&error))?;
                (read.media_type, read.bytes)
            }
            (Store::Layout(layout), _) => {
                let layout = Arc::clone(layout);
                (entry.media_type.clone(), blocking(move || layout.document(&digest)).await?)
            }
            _ => unreachable!("a store is opened for its location"),
        };
        let corrupt = |reason: String| {
            Error::new(Class::Verification, format!("{}@{digest}: {reason}", self.location.name()))
        };
        if bytes.len() as u64 != entry.size {
            return Err(corrupt(format!("it has {} bytes instead of {}", bytes.len(), entry.size)));
        }
        let document =
            Document::parse(&bytes, Some(&announced)).map_err(|error| corrupt(error.to_string()))?;
        // A document that does not say what it is is pushed as what it was served as.
        let known = media_type::is_index(&announced) || media_type::is_manifest(&announced);
        let media_type = match (&document, known) {
            (Document::Manifest(manifest), true) if manifest.media_type.is_none() => announced,
            (Document::Index(index), true) if index.media_type.is_none() => announced,
            _ => document.media_type().to_owned(),
        };
        let descriptor = Descriptor { media_type, ..entry.clone() };
        Ok(RawDocument { descriptor, bytes, document })
    }

    /// A blob that is read when it is needed.
    pub(crate) fn blob(&self, blob: &Descriptor) -> Result<Arc<dyn BlobSource>, Error> {
        Ok(match (&self.store, &self.location) {
            (Store::Registry(registry), Place::Registry(name)) => {
                Arc::new(RemoteBlob::new(registry, name, blob))
            }
            (Store::Layout(layout), _) => layout.blob(blob)?,
            _ => unreachable!("a store is opened for its location"),
        })
    }

    /// A small blob's bytes, which have its digest.
    pub(crate) async fn bytes(&self, blob: &Descriptor) -> Result<Vec<u8>, Error> {
        if blob.size > LARGEST_SMALL_BLOB {
            let message = format!("blob {} is larger than {LARGEST_SMALL_BLOB} bytes", blob.digest);
            return Err(Error::new(Class::Verification, message));
        }
        let mut bytes = Vec::new();
        match (&self.store, &self.location) {
            (Store::Registry(registry), Place::Registry(name)) => {
                let fetched = registry.fetch_blob(name, blob, &mut bytes).await;
                fetched.map_err(|error| of_registry(&error))?;
            }
            (Store::Layout(layout), _) => {
                let layout = Arc::clone(layout);
                let digest = blob.digest;
                bytes = blocking(move || layout.document(&digest)).await?;
            }
            _ => unreachable!("a store is opened for its location"),
        }
        Ok(bytes)
    }

    /// The manifests whose subject is `subject`.
    pub(crate) async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, Error> {
        match (&self.store, &self.location) {
            (Store::Registry(registry), Place::Registry(name)) => {
                registry.referrers(name, subject, None).await.map_err(|error| of_registry(&error))
            }
            (Store::Layout(layout), _) => {
                let (layout, subject) = (Arc::clone(layout), *subject);
                blocking(move || layout.referrers(&subject)).await
            }
            _ => unreachable!("a store is opened for its location"),
        }
    }

    /// All tags of the place.
    pub(crate) async fn tags(&self) -> Result<Vec<String>, Error> {
        match (&self.store, &self.location) {
            (Store::Registry(registry), Place::Registry(name)) => {
                registry.tags(name).await.map_err(|error| of_registry(&error))
            }
            (Store::Layout(layout), _) => Ok(layout.names()),
            _ => unreachable!("a store is opened for its location"),
        }
    }
}
