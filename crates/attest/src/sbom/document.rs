//! What a document says of the image itself, and what both formats need: identities that are the same in each run.

use gantry_oci::{Digest, Platform};
use serde_json::Value;

use super::scan::Inventory;
use super::{cyclonedx, spdx};
use crate::options::SbomFormat;
use crate::statement::predicate_type;

/// The image that a document is about.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its platform.
    pub platform: Platform,
    /// The digest of its manifest.
    pub manifest: Digest,
    /// When it was made: RFC 3339, in UTC, whole seconds.
    pub created: String,
    /// The version of the program that makes the document.
    pub tool_version: String,
}

/// A bill of materials.
#[derive(Debug, Clone, Copy)]
pub struct Document<'a> {
    /// What it is about.
    pub image: &'a Image,
    /// What is in it.
    pub inventory: &'a Inventory,
}

impl Document<'_> {
    /// The document, and the type that it has as a predicate. Equal images give equal documents.
    pub fn write(&self, format: SbomFormat) -> (&'static str, Value) {
        match format {
            SbomFormat::Spdx => (predicate_type::SPDX, spdx::document(self)),
            SbomFormat::CycloneDx => (predicate_type::CYCLONEDX, cyclonedx::document(self)),
        }
    }

    /// What the image is called: an image has the same digest whatever tags it gets, so none of them is here.
    pub(super) fn name(&self) -> String {
        format!("{} image {}", self.image.platform, self.image.manifest)
    }

    /// A UUID that only a document of this content has: version 8, whose bits are the maker's own.
    pub(super) fn uuid(&self, content: &Value) -> String {
        let bytes = serde_json::to_vec(content).expect("a document is plain data");
        let hash = Digest::of(format!("{}\n{}", self.image.manifest, Digest::of(bytes)));
        let hex = hash.hex();
        format!("{}-{}-8{}-a{}-{}", &hex[..8], &hex[8..12], &hex[12..15], &hex[15..18], &hex[18..30])
    }
}
