//! All layouts, in a repository that is a map.

use std::collections::BTreeMap;
use std::future::Future;
use std::task::{Context, Poll, Waker};

use gantry_oci::media_type;
use serde_json::json;

use super::*;
use crate::layout::AttestationManifest;
use crate::options::Form;
use crate::statement::{Subject, predicate_type};

#[derive(Default)]
struct Repository {
    content: BTreeMap<Digest, Vec<u8>>,
    referrers: Vec<Descriptor>,
    tags: BTreeMap<String, Descriptor>,
}

impl Repository {
    fn put(&mut self, kind: &str, bytes: impl Into<Vec<u8>>) -> Descriptor {
        let bytes = bytes.into();
        let descriptor = Descriptor::of(kind, &bytes);
        self.content.insert(descriptor.digest, bytes);
        descriptor
    }

    fn put_attestation(&mut self, made: &AttestationManifest) {
        self.put(media_type::MANIFEST, made.manifest.clone());
        for (_, bytes) in &made.blobs {
            self.put("", bytes.clone());
        }
    }

    fn holder(&mut self, kind: &str, layer: &Value) -> Descriptor {
        let layer = self.put(kind, serde_json::to_vec(layer).unwrap());
        let config = self.put(media_type::CONFIG, *b"{}");
        let manifest = Manifest::new(config, vec![layer]);
        let mut holder = self.put(media_type::MANIFEST, serde_json::to_vec(&manifest).unwrap());
        holder.artifact_type = Some(kind.to_owned());
        holder
    }

    fn get(&self, descriptor: &Descriptor) -> Result<Vec<u8>, String> {
        self.content.get(&descriptor.digest).cloned().ok_or_else(|| format!("no {}", descriptor.digest))
    }
}

impl Documents for Repository {
    type Error = String;

    fn manifest<'a>(&'a self, manifest: &'a Descriptor, _: u64) -> BoxFuture<'a, Result<Vec<u8>, String>> {
        Box::pin(async { self.get(manifest) })
    }

    fn blob<'a>(&'a self, blob: &'a Descriptor, _: u64) -> BoxFuture<'a, Result<Vec<u8>, String>> {
        Box::pin(async { self.get(blob) })
    }

    fn referrers<'a>(&'a self, _: &'a Digest) -> BoxFuture<'a, Result<Vec<Descriptor>, String>> {
        Box::pin(async { Ok(self.referrers.clone()) })
    }

    fn tagged<'a>(&'a self, tag: &'a str) -> BoxFuture<'a, Result<Option<Descriptor>, String>> {
        Box::pin(async move { Ok(self.tags.get(tag).cloned()) })
    }
}

/// Nothing here waits, so one poll is enough.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a repository in memory does not wait"),
    }
}

fn image() -> Descriptor {
    Descriptor::of(media_type::MANIFEST, b"image").with_platform("linux/amd64".parse().unwrap())
}

fn statement(predicate: &str) -> Statement {
    Statement::new(predicate_type::SPDX, vec![Subject::new("_", &image().digest)], json!(predicate))
}

fn dsse(statement: &Statement) -> Value {
    json!({ "payloadType": "application/vnd.in-toto+json", "payload": STANDARD.encode(statement.to_bytes()), "signatures": [] })
}

fn predicates(found: &[Attestation]) -> Vec<&str> {
    found.iter().map(|found| found.statement.predicate.as_str().unwrap()).collect()
}

#[test]
fn all_layouts() {
    let mut repository = Repository::default();
    let artifact = AttestationManifest::new(&image(), &[statement("a"), statement("b")], Form::Artifact);
    let older = AttestationManifest::new(&image(), &[statement("b"), statement("c")], Form::Image);
    let of_another =
        AttestationManifest::new(&Descriptor::of("", b"other"), &[statement("no")], Form::Artifact);
    let referrer = AttestationManifest::new(&image(), &[statement("d")], Form::Artifact);
    for made in [&artifact, &older, &of_another, &referrer] {
        repository.put_attestation(made);
    }
    let mut index = Index::new(
        [image()]
            .into_iter()
            .chain([&artifact, &older, &of_another].map(AttestationManifest::index_entry))
            .collect(),
    );
    let renamed = &mut index.manifests[2].annotations;
    let digest = renamed.remove(REFERENCE_DIGEST).unwrap();
    renamed.insert(REFERENCE_DIGEST_EARLIER.to_owned(), digest);
    let bundle = json!({ "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "dsseEnvelope": dsse(&statement("e")) });
    let bundle = repository.holder("application/vnd.dev.sigstore.bundle.v0.3+json", &bundle);
    let signature = repository.holder("application/vnd.cncf.notary.signature", &json!({}));
    // A registry lists the artifact of the index among the referrers, too.
    repository.referrers = vec![artifact.descriptor.clone(), referrer.descriptor, bundle, signature];
    let cosign = repository.holder("application/vnd.in-toto.spdx+dsse", &dsse(&statement("f")));
    repository.tags.insert(format!("sha256-{}.att", image().digest.hex()), cosign);
    let found = now(read(&repository, Some(&index), &image().digest)).unwrap();
    assert_eq!(predicates(&found), ["a", "b", "c", "d", "e", "f"]);
    assert_eq!(found[0].holder.digest, artifact.descriptor.digest);
    let found = now(read(&repository, None, &image().digest)).unwrap();
    assert_eq!(predicates(&found), ["a", "b", "d", "e", "f"], "without the index");
}

#[test]
fn what_is_refused() {
    let mut repository = Repository::default();
    let broken = repository.holder(statement::MEDIA_TYPE, &json!({ "_type": "x" }));
    repository.referrers = vec![broken];
    assert!(matches!(now(read(&repository, None, &image().digest)), Err(ReadError::Statement { .. })));
    let envelope = json!({ "payloadType": "application/vnd.in-toto+json", "payload": "%" });
    repository.referrers = vec![repository.holder(DSSE, &envelope)];
    let error = now(read(&repository, None, &image().digest)).unwrap_err();
    assert!(matches!(error, ReadError::Statement { source: StatementError::Envelope, .. }));
    let mut missing = image();
    missing.artifact_type = Some(ARTIFACT_TYPE.to_owned());
    repository.referrers = vec![missing];
    assert!(matches!(now(read(&repository, None, &image().digest)), Err(ReadError::Source(_))));
}

#[test]
fn what_is_no_statement_is_passed_over() {
    let mut repository = Repository::default();
    let other = json!({ "payloadType": "application/vnd.dsse", "payload": "e30=" });
    let signature = json!({ "mediaType": BUNDLE, "messageSignature": {} });
    repository.referrers = vec![repository.holder(DSSE, &other), repository.holder(BUNDLE, &signature)];
    assert_eq!(now(read(&repository, None, &image().digest)).unwrap(), []);
}
