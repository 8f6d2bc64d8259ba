//! What a copy is asked to do, and what came of it.

use gantry_oci::{Digest, Platform};
use serde::Serialize;

use crate::image::Place;
use crate::publish::TagPolicy;

/// One image, from one place to another.
#[derive(Debug, Clone)]
pub struct CopyRequest {
    /// What to copy.
    pub source: Place,
    /// What it is to be called.
    pub destination: Place,
    /// Only some platforms of an index.
    pub platforms: Option<Platforms>,
    /// What goes with the image.
    pub attached: Attached,
    /// What of the destination is taken for complete without a look.
    pub trust: Trust,
    /// When a tag that is there may be pointed at the copy. Of what goes with the image, tags always move.
    pub policy: TagPolicy,
    /// All tags of the repository; the tags of source and destination do not matter.
    pub all_tags: bool,
}

/// What a destination is believed to have all of because it has the digest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Trust {
    /// Any digest: equal ones cost one question a side. Wrong for an index that somebody copied sparse.
    #[default]
    Digests,
    /// Manifests, which registries take only with their parts. What indexes list is asked for.
    Manifests,
    /// Nothing: every part is looked at.
    Nothing,
}

/// Some platforms of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platforms {
    /// Which.
    pub wanted: Vec<Platform>,
    /// In which form.
    pub form: PlatformForm,
}

/// How a part of an index is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlatformForm {
    /// As a new index with only the wanted entries: another digest, and everything in it exists.
    Trim,
    /// As the original index, of which only the wanted entries exist: the same digest.
    Sparse,
}

/// What goes with an image besides what its index lists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attached {
    /// Manifests that have the image, or a part of it, as their subject.
    pub referrers: bool,
    /// What cosign puts under the tags `sha256-….sig`, `.att` and `.sbom`.
    pub cosign: bool,
}

impl Attached {
    /// These kinds.
    pub fn new(referrers: bool, cosign: bool) -> Self {
        Self { referrers, cosign }
    }

    pub(crate) fn any(self) -> bool {
        self.referrers || self.cosign
    }
}

/// What a copy found or did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CopyState {
    /// Both sides had the same digest: nothing was done.
    UpToDate,
    /// The destination did not have what it has now.
    Copied,
}

/// A finished copy.
#[derive(Debug, Clone)]
pub struct CopyReport {
    /// What was copied.
    pub source: Place,
    /// The digest that the source resolved to.
    pub source_digest: Digest,
    /// Where it is now.
    pub destination: Place,
    /// The digest there: another one than the source's only for a trimmed index.
    pub digest: Digest,
    /// What was done.
    pub state: CopyState,
    /// Bytes of blobs that were sent.
    pub bytes: u64,
    /// Blobs that were mounted.
    pub mounts: u64,
    /// Layers that a registry must not be given, by their address elsewhere.
    pub foreign: Vec<String>,
}
