//! Annotations on what exists: putting them where they belong.
//!
//! An annotation of a manifest changes its bytes, so it gets another digest, and the attestations of the index follow
//! it there.

use std::collections::HashMap;

use gantry_oci::{Descriptor, Digest, Document, Platform, media_type};
use serde_json::{Value, json};

use super::source::RawDocument;
use crate::annotation::{Annotation, AnnotationLevel};
use crate::copy::ATTESTED;
use crate::error::{Class, Error};

/// An index in the making: its JSON, and manifests of it that are not at their sources.
pub(super) struct Annotated {
    pub(super) index: Value,
    /// By their digests in the index.
    pub(super) rewritten: HashMap<Digest, Rewritten>,
}

/// A manifest with further annotations.
pub(super) struct Rewritten {
    /// What it was made of.
    pub(super) original: Digest,
    pub(super) document: RawDocument,
}

/// Puts annotations into an index of which `manifest_of` reads the manifests.
pub(super) async fn apply(
    mut index: Value,
    annotations: &[Annotation],
    manifest_of: impl AsyncFn(&Descriptor) -> Result<RawDocument, Error>,
) -> Result<Annotated, Error> {
    let mut rewritten = HashMap::new();
    for annotation in annotations {
        match annotation.level {
            AnnotationLevel::Index => {
                if index["mediaType"] != media_type::INDEX {
                    return Err(no_place("a manifest list of Docker's"));
                }
                index["annotations"][&annotation.key] = json!(annotation.value);
            }
            AnnotationLevel::IndexDescriptor => {
                return Err(no_place("an index in a registry, where nothing describes it,"));
            }
            AnnotationLevel::Manifest | AnnotationLevel::ManifestDescriptor => {}
        }
    }
    let mut moved: HashMap<String, String> = HashMap::new();
    for entry in index["manifests"].as_array_mut().into_iter().flatten() {
        let descriptor = parsed(entry)?;
        let wanted = |level: AnnotationLevel| {
            let platform = descriptor.platform.clone();
            annotations.iter().filter(move |one| one.level == level && is_for(one, platform.as_ref()))
        };
        for annotation in wanted(AnnotationLevel::ManifestDescriptor) {
            entry["annotations"][&annotation.key] = json!(annotation.value);
        }
        let of_manifest: Vec<_> = wanted(AnnotationLevel::Manifest).collect();
        let is_image = media_type::is_manifest(&descriptor.media_type) && !descriptor.is_attestation();
        if of_manifest.is_empty() || !is_image {
            continue;
        }
        let document = annotate_manifest(&manifest_of(&descriptor).await?, &of_manifest)?;
        let digest = document.descriptor.digest;
        moved.insert(descriptor.digest.to_string(), digest.to_string());
        entry["digest"] = json!(digest);
        entry["size"] = json!(document.descriptor.size);
        rewritten.insert(digest, Rewritten { original: descriptor.digest, document });
    }
    for entry in index["manifests"].as_array_mut().into_iter().flatten() {
        let about = entry["annotations"].get(ATTESTED).and_then(Value::as_str);
        if let Some(now) = about.and_then(|about| moved.get(about)) {
            entry["annotations"][ATTESTED] = json!(now);
        }
    }
    Ok(Annotated { index, rewritten })
}

/// A manifest with further annotations. Everything else in it stays as it was.
pub(super) fn annotate_manifest(
    original: &RawDocument,
    annotations: &[&Annotation],
) -> Result<RawDocument, Error> {
    if original.descriptor.media_type != media_type::MANIFEST {
        return Err(no_place("a manifest of Docker's"));
    }
    let mut value: Value = serde_json::from_slice(&original.bytes).expect("it was parsed before");
    for annotation in annotations {
        value["annotations"][&annotation.key] = json!(annotation.value);
    }
    let bytes = serde_json::to_vec(&value).expect("JSON that was read can be written");
    let document = Document::parse(&bytes, None).expect("a manifest with annotations is a manifest");
    let descriptor = Descriptor::of(media_type::MANIFEST, &bytes);
    Ok(RawDocument { descriptor, bytes, document })
}

fn no_place(what: &str) -> Error {
    Error::new(Class::Usage, format!("--annotation: {what} has no place for annotations"))
}

/// An entry of an index.
pub(super) fn parsed(entry: &Value) -> Result<Descriptor, Error> {
    serde_json::from_value(entry.clone()).map_err(|error| {
        Error::new(Class::Verification, format!("an entry of the index is not valid: {error}"))
    })
}

fn is_for(annotation: &Annotation, platform: Option<&Platform>) -> bool {
    annotation.platform.as_ref().is_none_or(|wanted| platform == Some(wanted))
}
