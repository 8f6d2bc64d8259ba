//! What an image is: as `docker buildx imagetools inspect` shows it, whose output scripts read.

mod attestations;
mod summary;

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt, stream};
use gantry_attest::read::attested;
use gantry_oci::{BoxFuture, Descriptor, Document, Index, Platform};
use serde_json::{Map, Value, json};

use super::source::{DEEPEST_NESTING, RawDocument, Source};
use super::{Images, Place, go_json, template};
use crate::error::{Class, Error};

/// Documents read at once.
const READS_AT_ONCE: usize = 6;
/// Keys of the whole, besides an index's own.
const MANIFEST: &[&str] = &["schemaVersion", "mediaType", "digest", "size", "manifests", "annotations"];

/// How to show an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InspectForm {
    /// Names, types, digests and platforms, as text.
    Summary,
    /// The manifest's or index's own bytes.
    Raw,
    /// What a Go template makes of it.
    Template(String),
}

/// Shows an image. `name` is what the user called it.
pub async fn inspect(
    images: &Images,
    name: &str,
    location: &Place,
    form: &InspectForm,
) -> Result<Vec<u8>, Error> {
    let parsed = match form {
        InspectForm::Template(text) if text.trim() != "" && !is_whole_manifest(text) => {
            Some((template::parse(text).map_err(|error| wrong_template(&error))?, text))
        }
        _ => None,
    };
    let work = async {
        let source = Source::open(&images.registry, location).await?;
        let root = source.resolve().await?;
        let root = source.read(&root).await?;
        let Some((template, text)) = parsed else {
            return Ok(match form {
                InspectForm::Raw => root.bytes,
                _ => summary::text(location, &root).into_bytes(),
            });
        };
        let loader = Loader { source: &source, attestations: attestations::are_named(text) };
        let value = loader.value(name, &root).await?;
        template::run(&template, &value).map(String::into_bytes).map_err(|error| wrong_template(&error))
    };
    images.unless_stopped(work).await
}

/// The one template that stands for the summary: for Go, the manifest has a text of its own.
fn is_whole_manifest(template: &str) -> bool {
    let inner = template.trim().strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
    inner.is_some_and(|inner| inner.trim() == ".Manifest")
}

fn wrong_template(error: &template::TemplateError) -> Error {
    Error::new(Class::Usage, format!("--format: {error}"))
        .hint("the fields are .Name, .Manifest, .Image, .Provenance and .SBOM, as with `docker buildx imagetools inspect`")
}

/// Reads what templates may ask for.
struct Loader<'a> {
    source: &'a Source,
    attestations: bool,
}

/// Images of an index.
struct Found {
    /// By platform.
    images: BTreeMap<String, RawDocument>,
    /// The entries that are about others, of all indexes.
    attestations: Index,
}

impl Loader<'_> {
    async fn value(&self, name: &str, root: &RawDocument) -> Result<Value, Error> {
        let mut found = Found { images: BTreeMap::new(), attestations: Index::new(Vec::new()) };
        self.collect(root, &mut found, 0).await?;
        let configs = found
            .images
            .iter()
            .map(|(platform, image)| async { Ok::<_, Error>((platform.clone(), self.config(image).await?)) });
        let configs: Map<String, Value> = stream::iter(configs)
            .buffered(READS_AT_ONCE)
            .try_collect::<Vec<_>>()
            .await?
            .into_iter()
            .collect();
        let several = configs.len() > 1;
        let image = match several {
            true => Value::Object(configs),
            false => configs.into_iter().next().map(|(_, config)| config).unwrap_or_default(),
        };
        let mut value = json!({ "name": name, "manifest": manifest(root) });
        if !image.is_null() {
            value["image"] = image;
        }
        if self.attestations {
            let shown = attestations::read(self.source, &found, several).await?;
            (value["Provenance"], value["SBOM"]) = (shown.provenance, shown.sbom);
        }
        Ok(value)
    }

    fn collect<'b>(
        &'b self,
        document: &'b RawDocument,
        found: &'b mut Found,
        depth: usize,
    ) -> BoxFuture<'b, Result<(), Error>> {
        Box::pin(async move {
            match &document.document {
                Document::Manifest(manifest) => {
                    let platform = match &document.descriptor.platform {
                        Some(platform) => platform.to_string(),
                        None => platform_of(&self.config_of(&manifest.config).await?),
                    };
                    found.images.insert(platform, document.clone());
                }
                Document::Index(_) if depth > DEEPEST_NESTING => {
                    let message = format!("the image nests more than {DEEPEST_NESTING} indexes");
                    return Err(Error::new(Class::Verification, message));
                }
                Document::Index(index) => {
                    let is_document = |entry: &&Descriptor| {
                        gantry_oci::media_type::is_index(&entry.media_type)
                            || gantry_oci::media_type::is_manifest(&entry.media_type)
                    };
                    let (about, entries): (Vec<_>, Vec<_>) =
                        index.manifests.iter().partition(|entry| attested(entry).is_some());
                    found.attestations.manifests.extend(about.into_iter().cloned());
                    let reads = entries.into_iter().filter(is_document).map(|entry| self.source.read(entry));
                    let children: Vec<RawDocument> =
                        stream::iter(reads.collect::<Vec<_>>()).buffered(READS_AT_ONCE).try_collect().await?;
                    for child in &children {
                        self.collect(child, found, depth + 1).await?;
                    }
                }
            }
            Ok(())
        })
    }

    async fn config(&self, image: &RawDocument) -> Result<Value, Error> {
        match &image.document {
            Document::Manifest(manifest) => Ok(go_json::image(&self.config_of(&manifest.config).await?)),
            Document::Index(_) => Ok(Value::Null),
        }
    }

    async fn config_of(&self, config: &Descriptor) -> Result<Value, Error> {
        let bytes = self.source.bytes(config).await?;
        // The config of an artifact need not be JSON; it says nothing then.
        Ok(serde_json::from_slice(&bytes).unwrap_or_else(|_| json!({})))
    }
}

fn platform_of(config: &Value) -> String {
    let text = |key: &str| config[key].as_str().unwrap_or_default();
    Platform::new(text("os"), text("architecture"), text("variant"))
        .map_or_else(|_| "unknown".to_owned(), |platform| platform.to_string())
}

/// What templates call the manifest: an index with its digest and size, or the descriptor of a single one.
fn manifest(root: &RawDocument) -> Value {
    let descriptor = &root.descriptor;
    let mut value: Value = match root.document {
        Document::Index(_) => serde_json::from_slice(&root.bytes).expect("it was parsed before"),
        Document::Manifest(_) => json!({}),
    };
    value["mediaType"] = json!(descriptor.media_type);
    value["digest"] = json!(descriptor.digest);
    value["size"] = json!(descriptor.size);
    match root.document {
        Document::Index(_) => go_json::index(&value, MANIFEST),
        Document::Manifest(_) => go_json::descriptor(&value),
    }
}
