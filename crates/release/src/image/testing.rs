//! For tests: images over fake registries, without waits between tries.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use gantry_oci::{BoxFuture, Digest, Index, media_type};
use gantry_registry::{
    Credential, CredentialError, Credentials, Registry, RegistryConfig, RetryPolicy, Secret,
};
use gantry_testkit::{BuiltImage, Entry, FakeRegistry, ImageBuilder, ImageTarget, fault_matrix};
use tokio_util::sync::CancellationToken;

use super::Images;
use crate::events::{Event, Events};

/// Who the registries of the fault matrix know.
struct Matrix;

impl Credentials for Matrix {
    fn find<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Credential, CredentialError>> {
        Box::pin(async {
            let password = Secret::new(fault_matrix::PASSWORD);
            Ok(Credential::Password { user: fault_matrix::USER.to_owned(), password })
        })
    }
}

/// Remembers what it is told.
#[derive(Default)]
pub(crate) struct Told(Mutex<Vec<Event>>);

impl Events for Told {
    fn event(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

impl Told {
    pub(crate) fn text(&self) -> String {
        format!("{:?}", self.0.lock().unwrap())
    }
}

/// What commands on images work with, and what they tell.
pub(crate) fn images() -> (Images, Arc<Told>) {
    let registry = Registry::new(RegistryConfig {
        credentials: Arc::new(Matrix),
        retry: RetryPolicy { first_delay: Duration::ZERO, ..RetryPolicy::default() },
        ..RegistryConfig::default()
    });
    let told = Arc::new(Told::default());
    (Images { registry, events: Arc::clone(&told) as _, cancel: CancellationToken::new() }, told)
}

/// A small image that differs by `text`; its first layer does not.
pub(crate) fn image(platform: &str, text: &str) -> BuiltImage {
    ImageBuilder::new(platform)
        .layer(&[Entry::file("base", "the same everywhere")])
        .layer(&[Entry::file("app", format!("{platform} {text}"))])
        .build()
}

/// An index of two platforms and an attestation, written as no tool of ours would write it.
pub(crate) fn push_index(target: &impl ImageTarget, repository: &str, tag: &str, text: &str) -> Digest {
    let images = ["linux/amd64", "linux/arm64"].map(|platform| image(platform, text));
    let attestation = attestation(&images[0].digest());
    let mut entries = Vec::new();
    for image in &images {
        image.push(target, repository, None);
        entries.push(image.descriptor());
    }
    attestation.push(target, repository, None);
    let mut entry = attestation.descriptor().with_platform("unknown/unknown".parse().unwrap());
    entry.annotations.insert("vnd.docker.reference.type".into(), "attestation-manifest".into());
    entry.annotations.insert("vnd.docker.reference.digest".into(), images[0].digest().to_string());
    entries.push(entry);
    let bytes = serde_json::to_string_pretty(&Index::new(entries)).unwrap() + "\n\n";
    target.put_manifest(repository, Some(tag), media_type::INDEX, bytes.as_bytes())
}

/// A manifest with statements about another.
fn attestation(subject: &Digest) -> BuiltImage {
    ImageBuilder::new("linux/amd64").layer(&[Entry::file("statement", subject.to_string())]).build()
}

/// Everything that a manifest of a registry names, with the manifests themselves: panics where something is missing or
/// is not what its digest says.
pub(crate) fn contents(registry: &FakeRegistry, repository: &str, name: &str) -> Vec<Digest> {
    let (digest, media_type, bytes) =
        registry.manifest(repository, name).unwrap_or_else(|| panic!("{repository} has no {name}"));
    assert_eq!(Digest::of(&bytes), digest);
    let mut found = vec![digest];
    match gantry_oci::Document::parse(&bytes, Some(&media_type)).unwrap() {
        gantry_oci::Document::Manifest(manifest) => {
            for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
                let bytes = registry.blob(repository, &blob.digest).expect("the blob is there");
                assert_eq!((Digest::of(&bytes), bytes.len() as u64), (blob.digest, blob.size));
                found.push(blob.digest);
            }
        }
        gantry_oci::Document::Index(index) => {
            for entry in index.manifests {
                found.extend(contents(registry, repository, &entry.digest.to_string()));
            }
        }
    }
    found
}
