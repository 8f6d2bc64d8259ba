//! What an image says of its own age: its revision and when it was made.
//!
//! Both come from OCI's annotations (`org.opencontainers.image.revision` and `.created`) of the index, else of the
//! manifests, else from labels of the same names; the time, else, from the configs. Revisions decide where both are whole
//! numbers, as Subversion's and a build counter's are; a Git revision has no order, so otherwise the times decide.

use std::collections::BTreeMap;

use gantry_oci::{Descriptor, Document, ImageConfig, Reference};
use gantry_registry::Registry;
use gantry_store::Store;
use jiff::Timestamp;

use crate::error::{Class, Error, publishing};

const REVISION: &str = "org.opencontainers.image.revision";
const CREATED: &str = "org.opencontainers.image.created";
/// Images of an index that are asked for their age. More are not needed to know it.
const MOST_IMAGES: usize = 16;

/// Where an image is.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    Store(&'a Store),
    Registry(&'a Registry, &'a Reference),
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
        let manifests = match source.document(root).await? {
            Document::Manifest(manifest) => vec![manifest],
            Document::Index(index) => {
                recorded.note(&index.annotations);
                let images = index.manifests.iter().filter(|entry| !entry.is_attestation());
                let mut manifests = Vec::new();
                for entry in images.take(MOST_IMAGES) {
                    if let Document::Manifest(manifest) = source.document(entry).await? {
                        manifests.push(manifest);
                    }
                }
                manifests
            }
        };
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
        };
        Document::parse(&bytes, None).map_err(|error| {
            Error::new(Class::Verification, format!("cannot tell how old {} is: {error}", at.digest))
        })
    }

    async fn config(self, at: &Descriptor) -> Result<Vec<u8>, Error> {
        match self {
            Self::Store(store) => Ok(store.read_blob(&at.digest)?),
            Self::Registry(registry, name) => {
                let mut bytes = Vec::new();
                let fetched = registry.fetch_blob(name, at, &mut bytes).await;
                fetched.map(|()| bytes).map_err(|error| publishing(&error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
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
}
