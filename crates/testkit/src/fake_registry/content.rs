//! What the fake registry holds: blobs, manifests and tags, by repository.

use std::collections::{BTreeMap, HashMap};

use gantry_oci::{Digest, Document};
use hyper::body::Bytes;

/// All repositories. Blobs belong to a repository, as in a real registry, so that a mount means something.
#[derive(Debug, Default)]
pub(super) struct Content {
    repositories: HashMap<String, Repository>,
}

#[derive(Debug, Default)]
struct Repository {
    blobs: HashMap<Digest, Bytes>,
    manifests: HashMap<Digest, (String, Bytes)>,
    tags: BTreeMap<String, Digest>,
}

impl Content {
    pub(super) fn blob(&self, repository: &str, digest: &Digest) -> Option<Bytes> {
        self.repositories.get(repository)?.blobs.get(digest).cloned()
    }

    /// Stores bytes under a digest that need not be theirs.
    pub(super) fn put_blob_as(&mut self, repository: &str, digest: Digest, bytes: Bytes) {
        self.repository(repository).blobs.insert(digest, bytes);
    }

    pub(super) fn put_blob(&mut self, repository: &str, bytes: Bytes) -> Digest {
        let digest = Digest::of(&bytes);
        self.repository(repository).blobs.insert(digest, bytes);
        digest
    }

    /// Makes a blob of one repository appear in another; false if the first does not have it.
    pub(super) fn mount(&mut self, from: &str, to: &str, digest: &Digest) -> bool {
        let Some(bytes) = self.blob(from, digest) else { return false };
        self.repository(to).blobs.insert(*digest, bytes);
        true
    }

    pub(super) fn manifest(&self, repository: &str, reference: &str) -> Option<(Digest, String, Bytes)> {
        let repository = self.repositories.get(repository)?;
        let digest = match reference.parse() {
            Ok(digest) => digest,
            Err(_) => *repository.tags.get(reference)?,
        };
        let (media_type, bytes) = repository.manifests.get(&digest)?.clone();
        Some((digest, media_type, bytes))
    }

    pub(super) fn put_manifest(
        &mut self,
        repository: &str,
        tag: Option<&str>,
        media: &str,
        bytes: Bytes,
    ) -> Digest {
        let digest = Digest::of(&bytes);
        let repository = self.repository(repository);
        repository.manifests.insert(digest, (media.to_owned(), bytes));
        if let Some(tag) = tag {
            repository.tags.insert(tag.to_owned(), digest);
        }
        digest
    }

    /// The first thing that a manifest names and the repository lacks.
    pub(super) fn missing(&self, repository: &str, document: &Document) -> Option<Digest> {
        let repository = self.repositories.get(repository);
        let blob = |digest: &Digest| repository.is_some_and(|one| one.blobs.contains_key(digest));
        let manifest = |digest: &Digest| repository.is_some_and(|one| one.manifests.contains_key(digest));
        match document {
            Document::Manifest(image) => std::iter::once(&image.config)
                .chain(&image.layers)
                .map(|one| one.digest)
                .find(|one| !blob(one)),
            Document::Index(index) => index.manifests.iter().map(|one| one.digest).find(|one| !manifest(one)),
        }
    }

    pub(super) fn tags(&self, repository: &str) -> Option<Vec<String>> {
        Some(self.repositories.get(repository)?.tags.keys().cloned().collect())
    }

    fn repository(&mut self, name: &str) -> &mut Repository {
        self.repositories.entry(name.to_owned()).or_default()
    }
}
