//! Whether all that a tag stands for is in a registry.

use gantry_oci::{Digest, Document};
use gantry_testkit::FakeRegistry;

/// What a tag points at; panics if anything that can be reached from it is missing. `None` if there is no such tag.
#[track_caller]
pub(crate) fn complete(registry: &FakeRegistry, repository: &str, tag: &str) -> Option<Digest> {
    let (root, ..) = registry.manifest(repository, tag)?;
    let mut open = vec![root];
    while let Some(digest) = open.pop() {
        let (_, media_type, bytes) = registry
            .manifest(repository, &digest.to_string())
            .unwrap_or_else(|| panic!("{repository}:{tag} needs document {digest}, which is not there"));
        match Document::parse(&bytes, Some(&media_type)).expect("a registry holds valid documents") {
            Document::Index(index) => open.extend(index.manifests.iter().map(|entry| entry.digest)),
            Document::Manifest(manifest) => {
                for blob in manifest.layers.iter().chain([&manifest.config]) {
                    let found = registry.blob(repository, &blob.digest);
                    let found = found.unwrap_or_else(|| {
                        panic!("{repository}:{tag} needs blob {}, which is not there", blob.digest)
                    });
                    assert_eq!(found.len() as u64, blob.size);
                }
            }
        }
    }
    Some(root)
}
