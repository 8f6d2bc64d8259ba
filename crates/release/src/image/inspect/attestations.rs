//! Provenance and SBOMs of an image: in-toto statements in attestation manifests, which stand in the index (BuildKit's
//! layout) or refer to the image.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use gantry_oci::{Descriptor, Digest, Document, Manifest};
use serde_json::{Map, Value, json};

use super::Found;
use crate::copy::ATTESTED;
use crate::error::{Class, Error};
use crate::image::go_json;
use crate::image::source::{RawDocument, Source};

/// The older name of [`ATTESTED`].
const ATTESTED_EARLIER: &str = "com.docker.reference.digest";
/// The kind of artifact that an attestation manifest is where it refers to its image.
const ARTIFACT: &str = "application/vnd.docker.attestation.manifest.v1+json";
/// The annotation of a layer that says what its statement states.
const PREDICATE: &str = "in-toto.io/predicate-type";

/// What statements are looked for, and how templates call them.
pub(super) struct Kind {
    predicate: &'static str,
    key: &'static str,
    /// Where further statements go; without it, the last one counts.
    others: Option<&'static str>,
}

pub(super) const PROVENANCE: Kind =
    Kind { predicate: "https://slsa.dev/provenance/", key: "SLSA", others: None };
pub(super) const SBOM: Kind =
    Kind { predicate: "https://spdx.dev/Document", key: "SPDX", others: Some("AdditionalSPDXs") };

/// Whether a template asks for statements, which are large.
pub(super) fn are_named(template: &str) -> bool {
    template.contains("Provenance") || template.contains("SBOM")
}

/// The digest of the manifest that an entry of an index is an attestation of.
pub(super) fn subject(entry: &Descriptor) -> Option<Digest> {
    [ATTESTED_EARLIER, ATTESTED].iter().find_map(|key| entry.annotations.get(*key)?.parse().ok())
}

/// The statements of one kind: of one image, or of each by platform.
pub(super) async fn read(source: &Source, found: &Found, kind: &Kind, several: bool) -> Result<Value, Error> {
    let mut all = Map::new();
    for (platform, image) in &found.images {
        let referring;
        let manifests = match found.attestations.get(&image.descriptor.digest) {
            Some(manifests) => manifests,
            None => {
                referring = referrers(source, &image.descriptor.digest).await?;
                &referring
            }
        };
        let stub = statements(source, manifests, kind).await?;
        if stub != json!({}) {
            all.insert(platform.clone(), stub);
        }
    }
    Ok(match several {
        true => Value::Object(all),
        false => all.into_iter().next().map_or_else(|| json!({}), |(_, stub)| stub),
    })
}

async fn referrers(source: &Source, image: &Digest) -> Result<Vec<RawDocument>, Error> {
    let mut found = Vec::new();
    for entry in source.referrers(image).await? {
        if entry.artifact_type.as_deref() == Some(ARTIFACT) {
            found.push(source.read(&entry).await?);
        }
    }
    Ok(found)
}

async fn statements(source: &Source, manifests: &[RawDocument], kind: &Kind) -> Result<Value, Error> {
    let mut stub = json!({});
    for document in manifests {
        let Document::Manifest(manifest) = &document.document else { continue };
        for layer in layers(manifest, kind) {
            let predicate = predicate(&source.bytes(layer).await?, layer)?;
            match (stub.get(kind.key).is_some(), kind.others) {
                (true, Some(others)) => {
                    let list =
                        stub.as_object_mut().expect("it is one").entry(others).or_insert_with(|| json!([]));
                    list.as_array_mut().expect("it is one").push(predicate);
                }
                _ => stub[kind.key] = predicate,
            }
            if kind.others.is_none() {
                break;
            }
        }
    }
    Ok(stub)
}

fn layers<'a>(manifest: &'a Manifest, kind: &'a Kind) -> impl Iterator<Item = &'a Descriptor> {
    manifest.layers.iter().filter(|layer| {
        layer.media_type.starts_with("application/vnd.in-toto")
            && layer.annotations.get(PREDICATE).is_some_and(|predicate| predicate.starts_with(kind.predicate))
    })
}

/// What a statement says, out of its signed envelope if it has one.
fn predicate(bytes: &[u8], layer: &Descriptor) -> Result<Value, Error> {
    let invalid =
        || Error::new(Class::Verification, format!("the attestation {} is not valid", layer.digest));
    let mut statement: Value = serde_json::from_slice(bytes).map_err(|_| invalid())?;
    if layer.media_type.ends_with("+dsse") {
        let payload = BASE64_STANDARD.decode(statement["payload"].as_str().unwrap_or_default());
        statement = serde_json::from_slice(&payload.map_err(|_| invalid())?).map_err(|_| invalid())?;
    }
    Ok(go_json::map(&statement["predicate"]))
}
