//! The base images that `scripts/base-images` makes: real Debian files, as OCI image layouts on disk.

use std::path::{Path, PathBuf};

use gantry_oci::{Digest, Document, Index};

use crate::ImageTarget;

/// The directory of the layouts, one folder per image.
#[derive(Debug, Clone)]
pub struct BaseImages {
    directory: PathBuf,
}

impl BaseImages {
    /// The images in `$GANTRY_TEST_BASES`, else in the workspace's cache. Panics if there are none.
    pub fn find() -> Self {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/base-images");
        let directory = std::env::var_os("GANTRY_TEST_BASES").map_or(workspace, PathBuf::from);
        assert!(
            directory.is_dir(),
            "there are no base images in {}: run scripts/base-images",
            directory.display()
        );
        Self { directory }
    }

    /// Stores an image with all its platforms under a tag and returns the digest of its index.
    pub fn push(&self, name: &str, target: &impl ImageTarget, repository: &str, tag: &str) -> Digest {
        let layout = Layout(self.directory.join(name));
        let index: Index =
            serde_json::from_slice(&layout.read("index.json")).expect("index.json is an index");
        let [root] = &index.manifests[..] else { panic!("index.json of {name} names one image") };
        layout.store(&root.digest, Some(tag), target, repository);
        root.digest
    }
}

/// One OCI image layout.
struct Layout(PathBuf);

impl Layout {
    fn read(&self, path: &str) -> Vec<u8> {
        let path = self.0.join(path);
        std::fs::read(&path).unwrap_or_else(|error| {
            panic!("cannot read {}: {error}: run scripts/base-images", path.display())
        })
    }

    fn blob(&self, digest: &Digest) -> Vec<u8> {
        self.read(&format!("blobs/sha256/{}", digest.hex()))
    }

    fn store(&self, digest: &Digest, tag: Option<&str>, target: &impl ImageTarget, repository: &str) {
        let bytes = self.blob(digest);
        let document = Document::parse(&bytes, None).expect("the layout holds manifests");
        match &document {
            Document::Index(index) => {
                for manifest in &index.manifests {
                    self.store(&manifest.digest, None, target, repository);
                }
            }
            Document::Manifest(manifest) => {
                for blob in manifest.layers.iter().chain([&manifest.config]) {
                    target.put_blob(repository, &self.blob(&blob.digest));
                }
            }
        }
        target.put_manifest(repository, tag, document.media_type(), &bytes);
    }
}
