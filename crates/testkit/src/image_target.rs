//! Where test images can be put: the one thing both registries have in common.

use gantry_oci::Digest;

/// A registry that takes content without asking questions.
pub trait ImageTarget {
    /// The host and port to write into references.
    fn host(&self) -> String;
    /// Stores a blob and returns its digest.
    fn put_blob(&self, repository: &str, bytes: &[u8]) -> Digest;
    /// Stores a manifest or index under its digest and, where one is given, a tag.
    fn put_manifest(&self, repository: &str, tag: Option<&str>, media_type: &str, bytes: &[u8]) -> Digest;
}
