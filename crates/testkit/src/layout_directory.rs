//! An OCI image layout on disk as a place for test images.

use std::fs;
use std::path::{Path, PathBuf};

use gantry_oci::{Descriptor, Digest, Index};

use crate::ImageTarget;

/// A layout in a directory of the test's. All repositories are one here, and a tag names an entry of `index.json`.
#[derive(Debug)]
pub struct LayoutDirectory {
    path: PathBuf,
}

impl LayoutDirectory {
    /// An empty layout at this path, which need not exist.
    pub fn create(path: impl Into<PathBuf>) -> Self {
        let layout = Self { path: path.into() };
        fs::create_dir_all(layout.path.join("blobs/sha256")).expect("a directory can be made");
        layout.write("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
        layout.write("index.json", &to_json(&Index::new(Vec::new())));
        layout
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a blob is, for tests that spoil it.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.path.join("blobs/sha256").join(digest.hex())
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path.join(name), bytes).expect("a file can be written");
    }
}

impl ImageTarget for LayoutDirectory {
    fn host(&self) -> String {
        "layout.invalid".to_owned()
    }

    fn put_blob(&self, _repository: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        fs::write(self.blob_path(&digest), bytes).expect("a file can be written");
        digest
    }

    fn put_manifest(&self, repository: &str, tag: Option<&str>, media_type: &str, bytes: &[u8]) -> Digest {
        let digest = self.put_blob(repository, bytes);
        if let Some(tag) = tag {
            let index = fs::read(self.path.join("index.json")).expect("a layout has an index");
            let mut index: Index = serde_json::from_slice(&index).expect("index.json is an index");
            let mut entry = Descriptor::of(media_type, bytes);
            entry.annotations.insert("org.opencontainers.image.ref.name".to_owned(), tag.to_owned());
            index.manifests.push(entry);
            self.write("index.json", &to_json(&index));
        }
        digest
    }
}

fn to_json(index: &Index) -> Vec<u8> {
    serde_json::to_vec(index).expect("an index is valid JSON")
}
