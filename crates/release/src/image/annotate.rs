//! Annotations on what exists: which there are (`index:key=value`, in buildx's grammar), and putting them where they
//! belong.
//!
//! An annotation of a manifest changes its bytes, so it gets another digest, and the attestations of the index follow
//! it there.

use std::collections::HashMap;
use std::str::FromStr;

use gantry_oci::{Descriptor, Digest, Document, Platform, media_type};
use serde_json::{Value, json};

use super::source::RawDocument;
use crate::copy::ATTESTED;
use crate::error::{Class, Error};

/// Where an annotation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnnotationLevel {
    /// In the manifests of the images.
    Manifest,
    /// In the index.
    Index,
    /// In the index's entries.
    ManifestDescriptor,
    /// In the descriptor of the index, which only a layout has.
    IndexDescriptor,
}

/// One annotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// Where it stands.
    pub level: AnnotationLevel,
    /// Only there where it is about this platform.
    pub platform: Option<Platform>,
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// Why a text is no annotation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an annotation: {reason}")]
pub struct AnnotationError {
    text: String,
    reason: String,
}

impl Annotation {
    /// Parses `[LEVEL[PLATFORM],…:]KEY=VALUE`; one annotation for each level. Without a level it is the manifest's.
    pub fn parse(text: &str) -> Result<Vec<Self>, AnnotationError> {
        let refuse = |reason: String| AnnotationError { text: text.to_owned(), reason };
        let (head, value) =
            text.split_once('=').ok_or_else(|| refuse("it has no `=` between key and value".to_owned()))?;
        let (levels, key) = head.split_once(':').unwrap_or(("manifest", head));
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(refuse("its key is empty, or has white space".to_owned()));
        }
        let level = |text: &str| {
            let (name, platform) = match text.strip_suffix(']').and_then(|text| text.split_once('[')) {
                Some((name, platform)) => {
                    let platform: Platform = platform
                        .parse()
                        .map_err(|error: gantry_oci::PlatformError| refuse(error.to_string()))?;
                    (name, Some(platform))
                }
                None => (text, None),
            };
            let level = name.parse().map_err(refuse)?;
            Ok(Self { level, platform, key: key.to_owned(), value: value.to_owned() })
        };
        levels.split(',').map(level).collect()
    }

    fn is_for(&self, platform: Option<&Platform>) -> bool {
        self.platform.as_ref().is_none_or(|wanted| platform == Some(wanted))
    }
}

impl FromStr for AnnotationLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "manifest" => Self::Manifest,
            "index" => Self::Index,
            "manifest-descriptor" => Self::ManifestDescriptor,
            "index-descriptor" => Self::IndexDescriptor,
            other => {
                return Err(format!(
                    "`{other}` is no level: there are manifest, index, manifest-descriptor and index-descriptor"
                ));
            }
        })
    }
}

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
            annotations.iter().filter(move |one| one.level == level && one.is_for(platform.as_ref()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buildx_grammar() {
        let parsed = |text: &str| {
            Annotation::parse(text).map(|all| {
                let one = |a: &Annotation| {
                    let platform = a.platform.as_ref().map(ToString::to_string).unwrap_or_default();
                    format!("{:?}[{platform}] {}={}", a.level, a.key, a.value)
                };
                all.iter().map(one).collect::<Vec<_>>().join(" ")
            })
        };
        for (text, expected) in [
            ("a=b", "Manifest[] a=b"),
            ("index:a.b/c=d=e", "Index[] a.b/c=d=e"),
            ("manifest-descriptor[linux/arm64/v8]:a=", "ManifestDescriptor[linux/arm64] a="),
            ("index,manifest[linux/amd64]:a=b:c", "Index[] a=b:c Manifest[linux/amd64] a=b:c"),
        ] {
            assert_eq!(parsed(text).unwrap(), expected, "{text}");
        }
        for bad in ["a", "=b", "index:=b", "indx:a=b", "manifest[x y]:a=b", "a b=c"] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }
}
