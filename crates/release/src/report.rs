//! What came of a build, for people's scripts.

use gantry_oci::{Descriptor, Digest, Platform};
use serde_json::Value;

/// A finished build.
#[derive(Debug, Clone)]
pub struct BuildReport {
    /// The index, or the manifest of a build for one platform.
    pub root: Descriptor,
    /// One entry per platform, in the order of the request.
    pub platforms: Vec<PlatformReport>,
    /// The names that it was given, `host/repository:tag`, or without a tag where it was pushed by digest only.
    pub names: Vec<String>,
}

/// What was built for one platform.
#[derive(Debug, Clone)]
pub struct PlatformReport {
    /// The platform.
    pub platform: Platform,
    /// Its manifest.
    pub manifest: Descriptor,
    /// Its config.
    pub config: Descriptor,
    /// Its layers, bottom first.
    pub layers: Vec<LayerReport>,
    /// How it was built, as the predicate of SLSA v0.2, if the request asks for that.
    pub provenance: Option<Value>,
}

/// One layer.
#[derive(Debug, Clone)]
pub struct LayerReport {
    /// The blob.
    pub descriptor: Descriptor,
    /// The digest of the uncompressed archive.
    pub diff_id: Digest,
}

impl BuildReport {
    /// What Docker calls the image's id: the config's digest for one platform, the index's for several.
    pub fn image_id(&self) -> Digest {
        match self.platforms.as_slice() {
            [one] if one.manifest.digest == self.root.digest => one.config.digest,
            _ => self.root.digest,
        }
    }
}
