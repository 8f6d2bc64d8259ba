//! How images keep attestations: one manifest per platform manifest, with a statement per layer.
//!
//! The layout is BuildKit's ("Image attestation storage"). Its current form is an OCI artifact:
//!
//! ```json
//! { "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
//!   "artifactType": "application/vnd.docker.attestation.manifest.v1+json",
//!   "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": "sha256:4413…", "size": 2, "data": "e30=" },
//!   "layers": [ { "mediaType": "application/vnd.in-toto+json", "digest", "size",
//!                 "annotations": { "in-toto.io/predicate-type": "https://slsa.dev/provenance/v1" } } ],
//!   "subject": { the platform's manifest } }
//! ```
//!
//! Its older form has an image config instead, and no subject. An index lists either with the platform
//! `unknown/unknown` and annotations that say whose attestations they are; the first can stand alone as a referrer, and
//! is the same manifest there.

use std::collections::BTreeMap;

use gantry_oci::{Descriptor, Digest, Manifest, Platform, media_type};
use serde_json::json;

use crate::options::Form;
use crate::statement::{self, Statement};

/// The type of the artifact that holds attestations.
pub const ARTIFACT_TYPE: &str = "application/vnd.docker.attestation.manifest.v1+json";
pub(crate) const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";
pub(crate) const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
pub(crate) const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";
/// What [`REFERENCE_DIGEST`] was called at first.
pub(crate) const REFERENCE_DIGEST_EARLIER: &str = "com.docker.reference.digest";
pub(crate) const ATTESTATION_MANIFEST: &str = "attestation-manifest";

/// OCI's empty JSON: the config of artifacts that need none.
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
const EMPTY: &[u8] = b"{}";
const EMPTY_BASE64: &str = "e30=";

/// A manifest that holds attestations, and all content that it needs.
#[derive(Debug, Clone)]
pub struct AttestationManifest {
    /// The manifest's descriptor, as a list of referrers has it.
    pub descriptor: Descriptor,
    /// What the statements are about.
    pub subject: Descriptor,
    /// The statements and the config. The manifest's own bytes are [`AttestationManifest::manifest`].
    pub blobs: Vec<(Descriptor, Vec<u8>)>,
    /// The manifest's bytes.
    pub manifest: Vec<u8>,
}

impl AttestationManifest {
    /// Makes the manifest for the attestations of `target`, the manifest of one platform.
    pub fn new(target: &Descriptor, statements: &[Statement], form: Form) -> Self {
        let subject = Descriptor::new(target.media_type.clone(), target.digest, target.size);
        let mut layers = Vec::new();
        let mut blobs = Vec::new();
        for statement in statements {
            let bytes = statement.to_bytes();
            let mut layer = Descriptor::of(statement::MEDIA_TYPE, &bytes);
            layer.annotations.insert(PREDICATE_TYPE.to_owned(), statement.predicate_type.clone());
            blobs.push((layer.clone(), bytes));
            layers.push(layer);
        }
        let (config, config_bytes) = config(&layers, form);
        blobs.push((config.clone(), config_bytes));
        let mut manifest = Manifest::new(config, layers);
        let mut artifact_type = None;
        if form == Form::Artifact {
            artifact_type = Some(ARTIFACT_TYPE.to_owned());
            manifest.extra.insert("artifactType".to_owned(), json!(ARTIFACT_TYPE));
            manifest.extra.insert("subject".to_owned(), json!(subject));
        }
        let manifest = serde_json::to_vec(&manifest).expect("a manifest is plain data");
        let descriptor = Descriptor { artifact_type, ..Descriptor::of(media_type::MANIFEST, &manifest) };
        Self { descriptor, subject, blobs, manifest }
    }

    /// The entry of an index for it.
    pub fn index_entry(&self) -> Descriptor {
        let unknown = Platform::new("unknown", "unknown", "").expect("these are valid names");
        let annotations = BTreeMap::from([
            (REFERENCE_DIGEST.to_owned(), self.subject.digest.to_string()),
            (REFERENCE_TYPE.to_owned(), ATTESTATION_MANIFEST.to_owned()),
        ]);
        Descriptor { artifact_type: None, annotations, ..self.descriptor.clone() }.with_platform(unknown)
    }
}

fn config(layers: &[Descriptor], form: Form) -> (Descriptor, Vec<u8>) {
    match form {
        Form::Artifact => {
            let mut config = Descriptor::of(EMPTY_TYPE, EMPTY);
            config.extra.insert("data".to_owned(), json!(EMPTY_BASE64));
            (config, EMPTY.to_vec())
        }
        Form::Image => {
            let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.digest).collect();
            let config = json!({
                "architecture": "unknown",
                "os": "unknown",
                "config": {},
                "rootfs": { "type": "layers", "diff_ids": diff_ids },
            });
            let bytes = serde_json::to_vec(&config).expect("a config is plain data");
            (Descriptor::of(media_type::CONFIG, &bytes), bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::statement::{Subject, predicate_type};

    fn made(form: Form) -> AttestationManifest {
        let target =
            Descriptor::of(media_type::MANIFEST, b"image").with_platform("linux/arm64".parse().unwrap());
        let subject = vec![Subject::new("_", &target.digest)];
        AttestationManifest::new(&target, &[Statement::new(predicate_type::SPDX, subject, Value::Null)], form)
    }

    #[test]
    fn an_artifact() {
        let made = made(Form::Artifact);
        insta::assert_snapshot!(String::from_utf8(made.manifest.clone()).unwrap(), @r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2,"data":"e30="},"layers":[{"mediaType":"application/vnd.in-toto+json","digest":"sha256:27d6ebccb450508874d189d07fc8069c7a7484c3c750325a5157bd2241d59727","size":216,"annotations":{"in-toto.io/predicate-type":"https://spdx.dev/Document"}}],"artifactType":"application/vnd.docker.attestation.manifest.v1+json","subject":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:6105d6cc76af400325e94d588ce511be5bfdbb73b437dc51eca43917d7a43e3d","size":5}}"#);
        let entry = serde_json::to_value(made.index_entry()).unwrap();
        assert_eq!(entry["platform"], json!({ "architecture": "unknown", "os": "unknown" }));
        assert_eq!(entry["annotations"][REFERENCE_DIGEST], json!(made.subject.digest));
        assert!(made.index_entry().is_attestation());
    }

    #[test]
    fn what_looks_like_an_image() {
        let made = made(Form::Image);
        let manifest: Value = serde_json::from_slice(&made.manifest).unwrap();
        assert_eq!(manifest["config"]["mediaType"], media_type::CONFIG);
        assert_eq!((manifest.get("subject"), manifest.get("artifactType")), (None, None));
        let config: gantry_oci::ImageConfig = serde_json::from_slice(&made.blobs[1].1).unwrap();
        assert_eq!(config.rootfs.diff_ids, [made.blobs[0].0.digest]);
        assert_eq!(config.platform().unwrap().to_string(), "unknown/unknown");
    }
}
