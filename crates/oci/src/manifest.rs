//! Image manifests and indexes, and telling one from the other.
//!
//! A document from a registry is classified by what it *contains* and what it *says it is*, and both must
//! agree: a body with `layers` and `manifests` at once is how CVE-2021-41190 worked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Descriptor, Digest, media_type};

/// An image manifest. Fields unknown to us are kept in `extra`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// The document's own type; Docker requires it, OCI recommends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The image config.
    pub config: Descriptor,
    /// The layers, bottom first. Go writes an image without any as `null`.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub layers: Vec<Descriptor>,
    /// Free annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Everything else, verbatim.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

impl Manifest {
    /// An OCI manifest of these parts.
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(media_type::MANIFEST.to_owned()),
            config,
            layers,
            annotations: BTreeMap::new(),
            extra: BTreeMap::new(),
        }
    }

    /// Whether a runtime could run it: it has an image's config, and layers, if it has any, with files. Signatures and
    /// attestations have other layers or another config.
    pub fn is_image(&self) -> bool {
        matches!(&*self.config.media_type, media_type::CONFIG | media_type::DOCKER_CONFIG)
            && (self.layers.is_empty()
                || self.layers.iter().any(|layer| media_type::is_layer(&layer.media_type)))
    }

    /// The manifest that this one is about, if it refers to one.
    pub fn subject(&self) -> Option<Digest> {
        self.extra.get("subject")?.get("digest")?.as_str()?.parse().ok()
    }
}

/// An image index (Docker: manifest list). Fields unknown to us are kept in `extra`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// The document's own type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The manifests, in the publisher's order of preference.
    #[serde(deserialize_with = "null_is_empty")]
    pub manifests: Vec<Descriptor>,
    /// Free annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Everything else, verbatim.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

impl Index {
    /// An OCI index of these manifests.
    pub fn new(manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(media_type::INDEX.to_owned()),
            manifests,
            annotations: BTreeMap::new(),
            extra: BTreeMap::new(),
        }
    }
}

fn null_is_empty<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Descriptor>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// What a registry serves under a tag or manifest digest.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "a document lives for one call; a box would help nobody")]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// Several.
    Index(Index),
}

/// Why bytes are no manifest or index that we accept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Not JSON, or a field is missing or of the wrong type.
    #[error("the document is not a valid manifest")]
    Json(#[from] serde_json::Error),
    /// Docker's schema 1, which has no config and no digests of its own.
    #[error("the image has Docker schema 1, which is no longer supported anywhere")]
    Schema1,
    /// Both an index and a manifest, or neither.
    #[error("the document has {0}: it is ambiguous and could be read as two different images")]
    Ambiguous(&'static str),
    /// The document's own media type contradicts its contents or the answer's `Content-Type`.
    #[error("the document says it is `{declared}` but {contradiction}")]
    MediaType {
        /// What the `mediaType` field says.
        declared: String,
        /// What contradicts it.
        contradiction: String,
    },
}

impl Document {
    /// Reads a document.
    ///
    /// `content_type` is what the registry's answer or the referring descriptor says, if anything.
    pub fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<Self, ManifestError> {
        let value: Value = serde_json::from_slice(bytes)?;
        if value.get("schemaVersion").and_then(Value::as_u64) == Some(1) {
            return Err(ManifestError::Schema1);
        }
        let is_index = match (
            value.get("manifests").is_some(),
            value.get("layers").is_some(),
            value.get("config").is_some(),
        ) {
            (true, false, false) => true,
            (false, _, true) => false,
            (true, _, _) => return Err(ManifestError::Ambiguous("both manifests and layers or a config")),
            (false, _, false) => return Err(ManifestError::Ambiguous("neither manifests nor a config")),
        };
        let declared = value.get("mediaType").and_then(Value::as_str).map(str::to_owned);
        check_media_type(declared.as_deref(), content_type, is_index)?;
        // Parsed from the bytes and not from the value: serde then refuses a key that stands twice.
        Ok(match is_index {
            true => Self::Index(serde_json::from_slice(bytes)?),
            false => Self::Manifest(serde_json::from_slice(bytes)?),
        })
    }

    /// The media type: the declared one, else OCI's for what it is.
    pub fn media_type(&self) -> &str {
        match self {
            Self::Manifest(manifest) => manifest.media_type.as_deref().unwrap_or(media_type::MANIFEST),
            Self::Index(index) => index.media_type.as_deref().unwrap_or(media_type::INDEX),
        }
    }
}

fn check_media_type(
    declared: Option<&str>,
    content_type: Option<&str>,
    is_index: bool,
) -> Result<(), ManifestError> {
    let Some(declared) = declared else { return Ok(()) };
    let contradiction =
        |text: String| ManifestError::MediaType { declared: declared.to_owned(), contradiction: text };
    if is_index && media_type::is_manifest(declared) {
        return Err(contradiction("lists manifests".to_owned()));
    }
    if !is_index && media_type::is_index(declared) {
        return Err(contradiction("lists layers".to_owned()));
    }
    let Some(outer) = content_type.map(|text| text.split(';').next().unwrap_or_default().trim()) else {
        return Ok(());
    };
    // Registries without a notion of manifest types answer with a general one; that contradicts nothing.
    let known = media_type::is_index(outer) || media_type::is_manifest(outer);
    if known && outer != declared {
        return Err(contradiction(format!("was announced as `{outer}`")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn manifest(media: &str, rest: &str) -> String {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{media}","config":{{"mediaType":"c","digest":"{EMPTY}","size":0}},"layers":[]{rest}}}"#
        )
    }

    #[test]
    fn what_is_accepted() {
        for text in [manifest(media_type::MANIFEST, ""), manifest(media_type::DOCKER_MANIFEST, "")] {
            assert!(matches!(Document::parse(text.as_bytes(), None), Ok(Document::Manifest(_))), "{text}");
        }
        let null = manifest(media_type::MANIFEST, "").replace("\"layers\":[]", "\"layers\":null");
        assert!(
            matches!(Document::parse(null.as_bytes(), None), Ok(Document::Manifest(m)) if m.layers.is_empty())
        );
        let index = r#"{"schemaVersion":2,"manifests":[]}"#;
        assert!(matches!(
            Document::parse(index.as_bytes(), Some("application/json; x=y")),
            Ok(Document::Index(_))
        ));
    }

    #[test]
    fn what_is_refused() {
        let both = manifest(media_type::MANIFEST, r#","manifests":[]"#);
        let lying = manifest(media_type::INDEX, "");
        let twice = manifest(media_type::MANIFEST, r#","layers":[]"#);
        for (text, content_type, message) in [
            (both.as_str(), None, "ambiguous"),
            (lying.as_str(), None, "lists layers"),
            (twice.as_str(), None, "not a valid manifest"),
            (r#"{"schemaVersion":2}"#, None, "neither"),
            (r#"{"schemaVersion":1,"fsLayers":[]}"#, None, "schema 1"),
            ("[]", None, "neither"),
            (&manifest(media_type::MANIFEST, ""), Some(media_type::DOCKER_MANIFEST), "was announced as"),
        ] {
            let error = Document::parse(text.as_bytes(), content_type).unwrap_err().to_string();
            assert!(error.contains(message), "{text}: {error}");
        }
    }

    #[test]
    fn images_and_what_only_looks_like_one() {
        let manifest = |config: &str, layers: &[&str]| {
            let part = |media_type: &&str| Descriptor::of(*media_type, b"");
            Manifest::new(part(&config), layers.iter().map(part).collect())
        };
        for (config, layers, expected) in [
            (media_type::CONFIG, &[media_type::LAYER_GZIP][..], true),
            (media_type::DOCKER_CONFIG, &[], true),
            (media_type::CONFIG, &[media_type::LAYER_TAR, "application/json"], true),
            (media_type::CONFIG, &["application/vnd.dev.cosign.simplesigning.v1+json"], false),
            ("application/vnd.oci.empty.v1+json", &[media_type::LAYER_TAR], false),
        ] {
            assert_eq!(manifest(config, layers).is_image(), expected, "{config} {layers:?}");
        }
    }

    #[test]
    fn unknown_fields_survive() {
        let text = manifest(media_type::MANIFEST, r#","subject":{"a":1}"#);
        let Ok(Document::Manifest(manifest)) = Document::parse(text.as_bytes(), None) else {
            panic!("a manifest")
        };
        assert_eq!(manifest.extra["subject"]["a"], 1);
    }
}
