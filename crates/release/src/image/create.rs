//! New images out of existing ones: an index of their manifests, as `docker buildx imagetools create` makes it, byte for
//! byte, and images with further annotations.
//!
//! Nothing is built: what the index names is copied to its repository first, then the index, then the tags.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use futures_util::future::try_join_all;
use futures_util::{StreamExt, TryStreamExt, stream};
use gantry_oci::{Descriptor, Digest, Document, ImageConfig, Platform, media_type};
use serde_json::{Value, json};

use super::annotate::{self, Rewritten, parsed};
use super::go_json;
use super::source::{RawDocument, Source};
use super::target::{Board, Target};
use super::{Images, Place};
use crate::annotation::{Annotation, AnnotationLevel};
use crate::copy::{Job, Tally, Trust, entries};
use crate::error::{Class, Error};
use crate::events::{Event, Step};
use crate::publish::TagPolicy;

/// Manifests on their way at once.
const MANIFESTS_AT_ONCE: usize = 4;

/// One source of an index.
#[derive(Debug, Clone, PartialEq)]
pub enum CreateSource {
    /// An image.
    Name(Place),
    /// A digest, in the repository that the command is about.
    Digest(Digest),
    /// A descriptor as JSON, in the repository that the command is about.
    Descriptor(Value),
}

/// What to make.
#[derive(Debug, Clone, Default)]
pub struct CreateRequest {
    /// What the index consists of.
    pub sources: Vec<CreateSource>,
    /// What it is to be called; without any, it is only made.
    pub tags: Vec<Place>,
    /// Annotations.
    pub annotations: Vec<Annotation>,
    /// Only these platforms.
    pub platforms: Vec<Platform>,
    /// Makes an index of a single manifest, too, instead of a copy of it.
    pub prefer_index: bool,
    /// When a tag that is there may be pointed at it.
    pub policy: TagPolicy,
    /// Makes it and changes nothing.
    pub dry_run: bool,
}

/// What was made.
#[derive(Debug, Clone)]
pub struct Created {
    /// Its descriptor.
    pub descriptor: Descriptor,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A source with what it turned out to be.
struct Resolved {
    source: Source,
    document: RawDocument,
    /// Its entry in an index.
    entry: Value,
}

/// An image ready to be written.
struct Assembly {
    root: RawDocument,
    /// Where the entries of the root come from, by digest; what is not here comes from the first source.
    sources: HashMap<Digest, Source>,
    first: Source,
    rewritten: HashMap<Digest, Rewritten>,
}

/// Makes an index of sources.
pub async fn create(images: &Images, request: &CreateRequest) -> Result<Created, Error> {
    let work = async {
        let located = locate(request)?;
        let resolved = try_join_all(located.iter().map(|source| resolve(images, source))).await?;
        let assembly = assemble(resolved, request).await?;
        finish(images, assembly, request).await
    };
    images.unless_stopped(work).await
}

/// Gives an image further annotations, under the request's tags. Its only source is the image.
pub async fn annotate(images: &Images, request: &CreateRequest) -> Result<Created, Error> {
    let work = async {
        let located = locate(request)?;
        let image = try_join_all(located.iter().map(|source| resolve(images, source))).await?.swap_remove(0);
        let assembly = match image.document.document {
            Document::Index(_) => {
                let index = serde_json::from_slice(&image.document.bytes).expect("it was parsed before");
                annotated(index, image.source, HashMap::new(), &request.annotations).await?
            }
            Document::Manifest(_) => {
                let other = request.annotations.iter().find(|one| one.level != AnnotationLevel::Manifest);
                if let Some(other) = other {
                    let message = format!("--annotation: `{}`: the image has no index", other.key);
                    return Err(Error::new(Class::Usage, message));
                }
                let annotations: Vec<_> = request.annotations.iter().collect();
                let document = annotate::annotate_manifest(&image.document, &annotations)?;
                let root = document.clone();
                let original = image.document.descriptor.digest;
                let rewritten = HashMap::from([(root.descriptor.digest, Rewritten { original, document })]);
                Assembly { root, sources: HashMap::new(), first: image.source, rewritten }
            }
        };
        if !assembly.rewritten.is_empty() {
            images.events.event(Event::Warning {
                message: "manifests get new digests: signatures and attestations name the old ones"
                    .to_owned(),
                hints: vec![
                    "annotate with `index:` or `manifest-descriptor:` to leave manifests as they are"
                        .to_owned(),
                ],
            });
        }
        finish(images, assembly, request).await
    };
    images.unless_stopped(work).await
}

/// Where each source is: one without a name is in the only repository that the command names.
fn locate(request: &CreateRequest) -> Result<Vec<(Place, Option<Value>)>, Error> {
    let named = request.sources.iter().filter_map(|source| match source {
        CreateSource::Name(location) => Some(location),
        _ => None,
    });
    let places: BTreeMap<String, &Place> =
        request.tags.iter().chain(named).map(|location| (location.name(), location)).collect();
    let repository = |what: &dyn std::fmt::Display| match places.len() {
        1 => Ok(places.values().next().copied().expect("there is one")),
        0 => Err(Error::new(Class::Usage, format!("`{what}`: name its repository in --tag or a source"))),
        _ => {
            Err(Error::new(Class::Usage, format!("several repositories are named: which one has `{what}`?")))
        }
    };
    let located = |source: &CreateSource| match source {
        CreateSource::Name(location) => Ok((location.clone(), None)),
        CreateSource::Digest(digest) => Ok((repository(digest)?.pinned(*digest), None)),
        CreateSource::Descriptor(entry) => {
            let digest = parsed_digest(entry)?;
            Ok((repository(&digest)?.pinned(digest), Some(entry.clone())))
        }
    };
    request.sources.iter().map(located).collect()
}

fn parsed_digest(entry: &Value) -> Result<Digest, Error> {
    let refuse = |reason: &str| Err(Error::new(Class::Usage, format!("not a descriptor: {reason}")));
    if entry.get("schemaVersion").is_some_and(|version| *version != 0) {
        return refuse("it is a manifest or index");
    }
    match entry["digest"].as_str().unwrap_or_default().parse() {
        Ok(digest) => Ok(digest),
        Err(error) => refuse(&error.to_string()),
    }
}

async fn resolve(images: &Images, (location, given): &(Place, Option<Value>)) -> Result<Resolved, Error> {
    let source = Source::open(&images.registry, location).await?;
    let found = source.resolve().await?;
    let document = source.read(&found).await?;
    let descriptor = &document.descriptor;
    let mut entry =
        json!({ "mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size });
    for key in ["mediaType", "annotations", "platform", "size"] {
        let Some(value) = given.as_ref().and_then(|given| given.get(key)) else { continue };
        if key == "size" && *value != 0 && *value != entry["size"] {
            let message = format!(
                "{}: it has {} bytes, and the descriptor says {value}",
                descriptor.digest, descriptor.size
            );
            return Err(Error::new(Class::Usage, message));
        }
        if key != "size" {
            entry[key] = value.clone();
        }
    }
    if let Document::Manifest(manifest) = &document.document {
        let named =
            |entry: &Value, key: &str| entry["platform"][key].as_str().is_some_and(|text| !text.is_empty());
        if !named(&entry, "os") || !named(&entry, "architecture") {
            let platform = platform(&source, &manifest.config).await?;
            for (key, value) in platform.as_object().into_iter().flatten() {
                if !named(&entry, key) {
                    entry["platform"][key] = value.clone();
                }
            }
        }
    }
    Ok(Resolved { source, document, entry })
}

/// The platform that a config says, as an entry of an index holds it.
async fn platform(source: &Source, config: &Descriptor) -> Result<Value, Error> {
    let invalid = |reason: String| {
        Error::new(Class::Verification, format!("the config of {}: {reason}", source.location()))
    };
    let config: ImageConfig =
        serde_json::from_slice(&source.bytes(config).await?).map_err(|error| invalid(error.to_string()))?;
    let platform = config.platform().ok_or_else(|| invalid("it names no platform".to_owned()))?;
    Ok(json!(platform))
}

async fn assemble(mut resolved: Vec<Resolved>, request: &CreateRequest) -> Result<Assembly, Error> {
    if let [one] = resolved.as_slice() {
        let is_index = matches!(one.document.document, Document::Index(_));
        if is_index && request.annotations.is_empty() {
            let one = resolved.swap_remove(0);
            return filter(original(one), &request.platforms);
        }
        if !is_index && !request.prefer_index {
            let one = resolved.swap_remove(0);
            check_platform(&one, &request.platforms)?;
            return Ok(original(one));
        }
    }
    let mut sources = HashMap::new();
    let mut merged: Vec<Value> = Vec::new();
    for one in &resolved {
        let of_one: Vec<Value> = match &one.document.document {
            Document::Index(_) => {
                let index: Value = serde_json::from_slice(&one.document.bytes).expect("it was parsed before");
                index["manifests"].as_array().cloned().unwrap_or_default()
            }
            Document::Manifest(_) => vec![one.entry.clone()],
        };
        for entry in of_one {
            sources.insert(parsed(&entry)?.digest, one.source.clone());
            merge(&mut merged, entry);
        }
    }
    let docker = |entry: &Value| {
        entry["mediaType"].as_str().is_some_and(|kind| kind.starts_with("application/vnd.docker."))
    };
    let kind = if merged.iter().all(docker) { media_type::DOCKER_INDEX } else { media_type::INDEX };
    let index = json!({ "schemaVersion": 2, "mediaType": kind, "manifests": merged });
    let first = resolved.swap_remove(0).source;
    filter(annotated(index, first, sources, &request.annotations).await?, &request.platforms)
}

/// An image as it is.
fn original(one: Resolved) -> Assembly {
    Assembly { root: one.document, sources: HashMap::new(), first: one.source, rewritten: HashMap::new() }
}

/// Adds an entry, or what it says more to the entry of the same digest.
fn merge(merged: &mut Vec<Value>, entry: Value) {
    let Some(known) = merged.iter_mut().find(|known| known["digest"] == entry["digest"]) else {
        merged.push(entry);
        return;
    };
    if entry["platform"].is_object() {
        known["platform"] = entry["platform"].clone();
    }
    for (key, value) in entry["annotations"].as_object().into_iter().flatten() {
        known["annotations"][key] = value.clone();
    }
}

async fn annotated(
    index: Value,
    first: Source,
    sources: HashMap<Digest, Source>,
    annotations: &[Annotation],
) -> Result<Assembly, Error> {
    let read = async |entry: &Descriptor| sources.get(&entry.digest).unwrap_or(&first).read(entry).await;
    let annotate::Annotated { index, rewritten } = annotate::apply(index, annotations, read).await?;
    Ok(Assembly { root: document(&index)?, sources, first, rewritten })
}

/// An index as Go writes it.
fn document(index: &Value) -> Result<RawDocument, Error> {
    let bytes = go_json::pretty(&go_json::index(index, go_json::INDEX)).into_bytes();
    let document = Document::parse(&bytes, None)
        .map_err(|error| Error::new(Class::Verification, format!("the new index is not valid: {error}")))?;
    Ok(RawDocument { descriptor: Descriptor::of(document.media_type(), &bytes), bytes, document })
}

fn check_platform(one: &Resolved, wanted: &[Platform]) -> Result<(), Error> {
    let platform = parsed(&one.entry)?.platform;
    let matches =
        |wanted: &Platform| platform.as_ref().is_some_and(|platform| wanted.accepts(platform).is_some());
    match wanted.is_empty() || wanted.iter().any(matches) {
        true => Ok(()),
        false => {
            let name = one.source.location();
            Err(Error::new(
                Class::NotFound,
                format!("{name} is for none of the platforms that are asked for"),
            ))
        }
    }
}

/// The index with only the entries that some platforms need.
fn filter(assembly: Assembly, wanted: &[Platform]) -> Result<Assembly, Error> {
    let Document::Index(index) = &assembly.root.document else { return Ok(assembly) };
    if wanted.is_empty() {
        return Ok(assembly);
    }
    let chosen = entries(index, wanted)?;
    if index.manifests.iter().all(|entry| chosen.contains(&entry.digest)) {
        return Ok(assembly);
    }
    let mut value: Value = serde_json::from_slice(&assembly.root.bytes).expect("it was parsed before");
    if let Some(manifests) = value["manifests"].as_array_mut() {
        manifests.retain(|entry| parsed(entry).is_ok_and(|entry| chosen.contains(&entry.digest)));
    }
    Ok(Assembly { root: document(&value)?, ..assembly })
}

/// Writes the image under the request's tags, unless it is only to be made.
async fn finish(images: &Images, assembly: Assembly, request: &CreateRequest) -> Result<Created, Error> {
    let created =
        Created { descriptor: assembly.root.descriptor.clone(), bytes: assembly.root.bytes.clone() };
    if request.dry_run {
        return Ok(created);
    }
    let board = Arc::<Board>::default();
    let mut places: BTreeMap<String, Vec<&Place>> = BTreeMap::new();
    for tag in &request.tags {
        places.entry(tag.name()).or_default().push(tag);
    }
    // All of it is everywhere, and every tag may move, before the first does.
    let mut proven = Vec::new();
    for tags in places.values() {
        let target = Target::open(images, &board, tags[0]).await?;
        let step = Step::begin(images.events.as_ref(), format!("[create] {}", tags[0].name()));
        let tally = Tally::default();
        let proof = match write(&assembly, &target, &step, &tally).await {
            Ok(proof) => proof,
            Err(error) => {
                step.failed(error.to_string());
                return Err(error);
            }
        };
        step.done();
        proven.push((target, proof, tags, tally));
    }
    for (target, _, tags, _) in &proven {
        for tag in *tags {
            target.at((*tag).clone()).permit(&created.descriptor, request.policy).await?;
        }
    }
    for (target, proof, tags, tally) in proven {
        tally.list_referrers(&target).await?;
        for tag in tags {
            target.at((*tag).clone()).tag(&proof, request.policy).await?;
            if let Place::Registry(reference) = tag {
                let digest = created.descriptor.digest;
                images.events.event(Event::Tagged { reference: reference.clone(), digest });
            }
        }
        target.finish().await?;
    }
    Ok(created)
}

async fn write(
    assembly: &Assembly,
    target: &Target,
    step: &Step<'_>,
    tally: &Tally,
) -> Result<super::target::ReadBack, Error> {
    let trust = Trust::default();
    let job = |source| Job { source, target, trust, step, tally, placed: Mutex::default() };
    let root = &assembly.root;
    let Document::Index(index) = &root.document else {
        return job(&assembly.first).root(root, None).await;
    };
    let children = index.manifests.iter().map(|entry| async {
        match assembly.rewritten.get(&entry.digest) {
            Some(rewritten) => {
                let source = assembly.sources.get(&rewritten.original).unwrap_or(&assembly.first);
                job(source).root(&rewritten.document, None).await.map(|_| ())
            }
            None => {
                let source = assembly.sources.get(&entry.digest).unwrap_or(&assembly.first);
                job(source).place(entry, 0).await
            }
        }
    });
    let children: Vec<_> = children.collect();
    stream::iter(children).buffer_unordered(MANIFESTS_AT_ONCE).try_collect::<Vec<()>>().await?;
    job(&assembly.first).put(root).await
}
