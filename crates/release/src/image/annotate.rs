//! Annotations on what exists: putting them where they belong.
//!
//! An annotation of a manifest changes its bytes, so it gets another digest, and the attestations of the index follow
//! it there: their entries, and the subject of their manifests, which then get other digests, too. What their statements
//! say stays.

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
    let mut moved: HashMap<String, Descriptor> = HashMap::new();
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
        moved.insert(descriptor.digest.to_string(), document.descriptor.clone());
        replace(entry, document, &mut rewritten)?;
    }
    for entry in index["manifests"].as_array_mut().into_iter().flatten() {
        let about = entry["annotations"].get(ATTESTED).and_then(Value::as_str);
        let Some(now) = about.and_then(|about| moved.get(about)) else { continue };
        entry["annotations"][ATTESTED] = json!(now.digest);
        let attestation = parsed(entry)?;
        if !media_type::is_manifest(&attestation.media_type) {
            continue;
        }
        if let Some(document) = about_another(&manifest_of(&attestation).await?, now) {
            replace(entry, document, &mut rewritten)?;
        }
    }
    Ok(Annotated { index, rewritten })
}

/// Lets an entry name another document.
fn replace(
    entry: &mut Value,
    document: RawDocument,
    rewritten: &mut HashMap<Digest, Rewritten>,
) -> Result<(), Error> {
    let original = parsed(entry)?.digest;
    let digest = document.descriptor.digest;
    entry["digest"] = json!(digest);
    entry["size"] = json!(document.descriptor.size);
    rewritten.insert(digest, Rewritten { original, document });
    Ok(())
}

/// A manifest with another subject; `None` if it has no subject.
fn about_another(original: &RawDocument, subject: &Descriptor) -> Option<RawDocument> {
    let mut value: Value = serde_json::from_slice(&original.bytes).expect("it was parsed before");
    let known = value.get_mut("subject").filter(|known| known.is_object())?;
    known["digest"] = json!(subject.digest);
    known["size"] = json!(subject.size);
    Some(rewrite(original, &value))
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
    Ok(rewrite(original, &value))
}

fn rewrite(original: &RawDocument, value: &Value) -> RawDocument {
    let bytes = serde_json::to_vec(value).expect("JSON that was read can be written");
    let kind = original.descriptor.media_type.clone();
    let document = Document::parse(&bytes, Some(&kind)).expect("the fields of a manifest stay");
    RawDocument { descriptor: Descriptor::of(kind, &bytes), bytes, document }
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

#[cfg(test)]
mod tests {
    use gantry_attest::Statement;
    use gantry_attest::layout::AttestationManifest;
    use gantry_attest::options::Form;
    use gantry_oci::Index;

    use super::*;
    use crate::image::testing::image;

    fn raw(bytes: Vec<u8>) -> RawDocument {
        let document = Document::parse(&bytes, None).unwrap();
        RawDocument { descriptor: Descriptor::of(media_type::MANIFEST, &bytes), bytes, document }
    }

    #[tokio::test]
    async fn an_attestation_follows_its_image() {
        for form in [Form::Artifact, Form::Image] {
            let built = image("linux/amd64", "x");
            let original = raw(serde_json::to_vec(&built.manifest).unwrap());
            let entry = original.descriptor.clone().with_platform("linux/amd64".parse().unwrap());
            let statement = Statement::new("test", Vec::new(), json!({}));
            let attestation = AttestationManifest::new(&entry, &[statement], form);
            let index = json!(Index::new(vec![entry, attestation.index_entry()]));
            let annotation = Annotation {
                level: AnnotationLevel::Manifest,
                platform: None,
                key: "a".to_owned(),
                value: "b".to_owned(),
            };
            let read = async |wanted: &Descriptor| match wanted.digest == original.descriptor.digest {
                true => Ok(original.clone()),
                false => Ok(raw(attestation.manifest.clone())),
            };
            let Annotated { index, rewritten } = apply(index, &[annotation], read).await.unwrap();
            let [image, about] = [0, 1].map(|at| parsed(&index["manifests"][at]).unwrap());
            assert_eq!(rewritten[&image.digest].original, original.descriptor.digest);
            assert_eq!(about.annotations[ATTESTED], image.digest.to_string());
            if form == Form::Image {
                assert_eq!(about.digest, attestation.descriptor.digest, "it has no subject");
                continue;
            }
            let moved = &rewritten[&about.digest];
            assert_eq!(
                (moved.original, moved.document.bytes.len() as u64),
                (attestation.descriptor.digest, about.size)
            );
            let manifest: Value = serde_json::from_slice(&moved.document.bytes).unwrap();
            assert_eq!(manifest["subject"]["digest"], json!(image.digest));
            assert_eq!(manifest["subject"]["size"], json!(image.size));
            assert_eq!(manifest["artifactType"], gantry_attest::layout::ARTIFACT_TYPE);
        }
    }
}
