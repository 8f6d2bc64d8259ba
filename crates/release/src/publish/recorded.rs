//! What an image says of its own age: its revision and when it was made.
//!
//! Both come from OCI's annotations (`org.opencontainers.image.revision` and `.created`) of the index, else of the
//! manifests, else from labels of the same names; the time, else, from the configs. Revisions decide where both are whole
//! numbers, as Subversion's and a build counter's are; a Git revision has no order, so otherwise the times decide.

use std::collections::{BTreeMap, VecDeque};

use gantry_oci::{Descriptor, Document, ImageConfig, Reference};
use gantry_registry::Registry;
use gantry_store::Store;
use jiff::Timestamp;

use crate::annotation::CREATED;
use crate::error::{Class, Error, publishing};
use crate::image::layout::blobs::Blobs;

const REVISION: &str = "org.opencontainers.image.revision";
/// A config is some kilobytes; it is held in memory.
const LARGEST_CONFIG: u64 = 8 * 1024 * 1024;
/// Indexes of one image that are read. Nobody nests more than one in another.
const MOST_INDEXES: usize = 8;
/// Images of an index that are asked for their age. More are not needed to know it.
const MOST_IMAGES: usize = 16;

/// Where an image is.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    Store(&'a Store),
    Registry(&'a Registry, &'a Reference),
    Layout(&'a Blobs),
}

/// An image's age.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Recorded {
    revision: Option<String>,
    created: Option<Timestamp>,
}

impl Recorded {
    /// Reads what is needed to know.
    pub(crate) async fn read(source: Source<'_>, root: &Descriptor) -> Result<Self, Error> {
        let mut recorded = Self::default();
        let mut manifests = Vec::new();
        let mut open = VecDeque::from([root.clone()]);
        let mut indexes = 0;
        while let Some(at) = open.pop_front() {
            match source.document(&at).await? {
                Document::Manifest(manifest) => manifests.push(manifest),
                Document::Index(index) => {
                    indexes += 1;
                    if indexes > MOST_INDEXES {
                        let message =
                            format!("cannot tell how old {} is: it has too many indexes", root.digest);
                        return Err(Error::new(Class::Verification, message));
                    }
                    recorded.note(&index.annotations);
                    let images = index.manifests.into_iter().filter(|entry| !entry.is_attestation());
                    let room = MOST_IMAGES.saturating_sub(open.len() + manifests.len());
                    open.extend(images.take(room));
                }
            }
        }
        let mut latest = None;
        for manifest in manifests {
            let mut one = Self::default();
            one.note(&manifest.annotations);
            if one.revision.is_none() || one.created.is_none() {
                one.note_config(&source.config(&manifest.config).await?);
            }
            latest = latest.max(one.created);
            recorded.revision = recorded.revision.or(one.revision);
        }
        recorded.created = recorded.created.or(latest);
        Ok(recorded)
    }

    fn note(&mut self, annotations: &BTreeMap<String, String>) {
        let time = || annotations.get(CREATED).and_then(|text| text.parse().ok());
        self.created = self.created.or_else(time);
        self.revision = self.revision.take().or_else(|| annotations.get(REVISION).cloned());
    }

    /// An artifact's config says nothing.
    fn note_config(&mut self, bytes: &[u8]) {
        let Ok(config) = serde_json::from_slice::<ImageConfig>(bytes) else { return };
        self.note(&config.config.labels.unwrap_or_default());
        self.created = self.created.or_else(|| config.created.and_then(|text| text.parse().ok()));
    }

    /// Why this is newer than `other`, if it is. An image without a time is not newer than any; one with a time is newer
    /// than one without, about which nothing can be said.
    pub(crate) fn newer_than(&self, other: &Self) -> Option<String> {
        let number = |recorded: &Self| recorded.revision.as_ref().and_then(|text| text.parse::<u64>().ok());
        match (number(self), number(other)) {
            (Some(one), Some(two)) if one != two => {
                return (one > two).then(|| format!("it has revision {one}, and this is {two}"));
            }
            _ => {}
        }
        match (self.created, other.created) {
            (Some(one), Some(two)) if one > two => Some(format!("it was made at {one}, and this at {two}")),
            (Some(one), None) => Some(format!("it was made at {one}, and this has no time")),
            _ => None,
        }
    }
}

impl Source<'_> {
    async fn document(self, at: &Descriptor) -> Result<Document, Error> {
        let bytes = match self {
            Self::Store(store) => store.read_blob(&at.digest)?,
            Self::Registry(registry, name) => {
                registry.manifest(name, &at.digest).await.map_err(|error| publishing(&error))?.bytes
            }
            Self::Layout(blobs) => in_layout(blobs, at)?,
        };
        Document::parse(&bytes, None).map_err(|error| {
            Error::new(Class::Verification, format!("cannot tell how old {} is: {error}", at.digest))
        })
    }

    async fn config(self, at: &Descriptor) -> Result<Vec<u8>, Error> {
        if at.size > LARGEST_CONFIG {
            let message = format!("cannot tell how old an image is: its config {} is too large", at.digest);
            return Err(Error::new(Class::Verification, message));
        }
        match self {
            Self::Store(store) => Ok(store.read_blob(&at.digest)?),
            Self::Registry(registry, name) => {
                let mut bytes = Vec::new();
                let fetched = registry.fetch_blob(name, at, &mut bytes).await;
                fetched.map(|()| bytes).map_err(|error| publishing(&error))
            }
            Self::Layout(blobs) => in_layout(blobs, at),
        }
    }
}

fn in_layout(blobs: &Blobs, at: &Descriptor) -> Result<Vec<u8>, Error> {
    blobs.document(&at.digest).map_err(|error| {
        let message = format!("cannot tell how old an image is: cannot read {}: {error}", at.digest);
        Error::new(Class::Verification, message)
    })
}

#[cfg(test)]
mod tests {
    use gantry_oci::{Index, Manifest, media_type};

    use super::*;

    #[test]
    fn which_is_newer() {
        let recorded = |revision: &str, created: &str| Recorded {
            revision: Some(revision.to_owned()).filter(|text| !text.is_empty()),
            created: created.parse().ok(),
        };
        let (early, late) = ("2024-01-01T00:00:00Z", "2024-01-01T01:30:00+01:00");
        for (theirs, ours, newer) in [
            (("", late), ("", early), true),
            (("", early), ("", late), false),
            (("", early), ("", early), false),
            (("", ""), ("", early), false),
            (("", early), ("", ""), true),
            (("", ""), ("", ""), false),
            (("102", early), ("99", late), true),
            (("99", late), ("102", early), false),
            (("7", late), ("7", early), true),
            (("c0ffee", early), ("beef", late), false),
            (("c0ffee", late), ("12", early), true),
        ] {
            let is_newer = recorded(theirs.0, theirs.1).newer_than(&recorded(ours.0, ours.1)).is_some();
            assert_eq!(is_newer, newer, "{theirs:?} before {ours:?}");
        }
    }

    #[tokio::test]
    async fn images_of_nested_indexes_count_and_configs_are_small() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let put = |media_type: &str, document: &serde_json::Value| {
            let bytes = document.to_string();
            store.put_blob(bytes.as_bytes()).unwrap();
            Descriptor::of(media_type, bytes.as_bytes())
        };
        let time = "2024-01-01T00:00:00Z";
        let config = serde_json::json!({
            "os": "linux", "architecture": "amd64", "created": time, "rootfs": {"type": "layers", "diff_ids": []}
        });
        let config = put(media_type::CONFIG, &config);
        let nested = |config: Descriptor| {
            let manifest = serde_json::to_value(Manifest::new(config, vec![])).unwrap();
            let inner = Index::new(vec![put(media_type::MANIFEST, &manifest)]);
            let inner = put(media_type::INDEX, &serde_json::to_value(inner).unwrap());
            put(media_type::INDEX, &serde_json::to_value(Index::new(vec![inner])).unwrap())
        };
        let recorded = Recorded::read(Source::Store(&store), &nested(config.clone())).await.unwrap();
        assert_eq!(recorded.created, time.parse().ok());
        let huge = nested(Descriptor { size: 1 << 40, ..config });
        let error = Recorded::read(Source::Store(&store), &huge).await.unwrap_err();
        assert_eq!(error.class, Class::Verification);
    }
}
