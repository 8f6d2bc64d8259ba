//! Publishing: blobs, then manifests by digest, then the index by digest; then all of it read back; then tags.
//!
//! A tag is a promise, so [`tag`] is the one function that writes one, and it takes a [`Proof`]: a value that only
//! reading back can make. Everything before it is named by digest and harmless: a publish that dies half-way leaves
//! unreferenced content and no changed tag.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use gantry_engine::ExportedLayer;
use gantry_oci::{Descriptor, Digest, Document, ImageConfig, Platform, Reference};

use crate::build::{Built, Image};
use crate::error::{Class, Error, publishing};
use crate::events::{Event, Step};
use crate::gantry::Gantry;
use crate::output::Delivery;

/// Blobs on their way at once. A registry's own limits are the client's business; this bounds open files and buffers.
const UPLOADS_AT_ONCE: usize = 6;

/// Publishes an image under these names.
///
/// An error, or the end by `cancel`, names the tags that had moved by then, if there are any.
pub(crate) async fn publish(delivery: &Delivery<'_>, names: &[Reference]) -> Result<(), Error> {
    let stopped = || Error::new(Class::Cancelled, "stopped while publishing");
    let proven = tokio::select! {
        proven = upload_all(delivery, names) => proven?,
        () = delivery.cancel.cancelled() => return Err(stopped()),
    };
    let mut moved: Vec<String> = Vec::new();
    for (name, proof) in &proven {
        let tagged = tokio::select! {
            tagged = tag(delivery.gantry, name, proof) => tagged,
            () = delivery.cancel.cancelled() => Err(stopped()),
        };
        if let Err(error) = tagged {
            return Err(match moved.is_empty() {
                true => error,
                false => error.hint(format!("these tags were written before: {}", moved.join(", "))),
            });
        }
        moved.push(name.to_string());
        delivery.events.event(Event::Tagged { reference: name.clone(), digest: delivery.image.root.digest });
    }
    Ok(())
}

/// Uploads the image to all repositories, and proves it there, before the first tag of any moves.
async fn upload_all(
    delivery: &Delivery<'_>,
    names: &[Reference],
) -> Result<Vec<(Reference, Arc<Proof>)>, Error> {
    let mut repositories: BTreeMap<String, Vec<&Reference>> = BTreeMap::new();
    for name in names {
        repositories.entry(name.name()).or_default().push(name);
    }
    let mut proven = Vec::new();
    for (repository, names) in &repositories {
        let step = Step::begin(delivery.events, format!("[publish] {repository}"));
        match upload_and_prove(delivery.gantry, delivery.image, names[0], &step).await {
            Ok(proof) => {
                step.done();
                let proof = Arc::new(proof);
                proven.extend(names.iter().map(|name| ((*name).clone(), Arc::clone(&proof))));
            }
            Err(error) => {
                step.failed(error.to_string());
                return Err(error);
            }
        }
    }
    Ok(proven)
}

async fn upload_and_prove(
    gantry: &Gantry,
    image: &Image,
    name: &Reference,
    step: &Step<'_>,
) -> Result<Proof, Error> {
    upload(gantry, image, name, step).await?;
    step.say(format!("pushed {}", image.root.digest));
    let proof = prove(gantry, image, name).await?;
    step.say(format!("verified {} by reading it back", image.root.digest));
    Ok(proof)
}

/// Uploads everything that the repository lacks, named by digest.
async fn upload(gantry: &Gantry, image: &Image, name: &Reference, step: &Step<'_>) -> Result<(), Error> {
    let mut layers: BTreeMap<Digest, &ExportedLayer> = BTreeMap::new();
    for layer in image.platforms.iter().flat_map(|built| &built.layers) {
        layers.insert(layer.blob.descriptor.digest, layer);
    }
    stream::iter(layers.into_values().map(|layer| push_layer(gantry, layer, name, step)))
        .buffer_unordered(UPLOADS_AT_ONCE)
        .try_collect::<Vec<()>>()
        .await?;
    let configs = image.platforms.iter().map(|built| &built.report.config);
    futures_util::future::try_join_all(configs.map(|config| push_blob(gantry, config, name, None))).await?;
    let manifests = image.platforms.iter().map(|built| &built.report.manifest);
    futures_util::future::try_join_all(manifests.map(|manifest| push_manifest(gantry, manifest, name)))
        .await?;
    match image.platforms.len() {
        1 => Ok(()),
        _ => push_manifest(gantry, &image.root, name).await,
    }
}

async fn push_layer(
    gantry: &Gantry,
    layer: &ExportedLayer,
    name: &Reference,
    step: &Step<'_>,
) -> Result<(), Error> {
    let blob = &layer.blob;
    gantry.engine.fetch_layer(blob).await?;
    // A base layer of the same registry need not be sent: it can be mounted.
    let origin = blob.origin.as_deref().and_then(|origin| origin.parse::<Reference>().ok());
    let mount =
        origin.filter(|origin| origin.host() == name.host() && origin.repository() != name.repository());
    let sent = push_blob(gantry, &blob.descriptor, name, mount.as_ref().map(Reference::repository)).await?;
    if sent > 0 {
        step.say(format!("{} sent, {sent} bytes", blob.descriptor.digest));
    }
    Ok(())
}

async fn push_blob(
    gantry: &Gantry,
    blob: &Descriptor,
    name: &Reference,
    mount: Option<&str>,
) -> Result<u64, Error> {
    let source = gantry.store().blob_source(&blob.digest)?;
    let uploaded =
        gantry.registry.push_blob(name, &source, mount).await.map_err(|error| publishing(&error))?;
    Ok(match uploaded {
        gantry_registry::Uploaded::Sent(bytes) => bytes,
        _ => 0,
    })
}

async fn push_manifest(gantry: &Gantry, manifest: &Descriptor, name: &Reference) -> Result<(), Error> {
    let bytes = gantry.store().read_blob(&manifest.digest)?;
    let pushed = gantry.registry.push_manifest_by_digest(name, &manifest.media_type, &bytes).await;
    pushed.map(|_| ()).map_err(|error| publishing(&error))
}

/// Says that a repository has a whole image for exactly the platforms that were built: its root document, manifests and
/// configs were read back and are what was pushed; its layers, which the registry hashed when it took them, are there.
/// Only [`prove`] makes one.
#[derive(Debug)]
struct Proof {
    repository: String,
    media_type: String,
    root: Vec<u8>,
}

/// Reads everything back by digest.
async fn prove(gantry: &Gantry, image: &Image, name: &Reference) -> Result<Proof, Error> {
    let read = |digest: Digest| async move {
        let resolved = gantry.registry.manifest(name, &digest).await.map_err(|error| publishing(&error))?;
        Ok::<_, Error>(resolved.bytes)
    };
    let root = read(image.root.digest).await?;
    let listed = platforms_of(&root, image)?;
    let built: Vec<(Platform, Digest)> = image
        .platforms
        .iter()
        .map(|built| (built.report.platform.clone(), built.report.manifest.digest))
        .collect();
    if listed != built {
        let message =
            format!("{}@{} does not list the platforms that were built", name.name(), image.root.digest);
        return Err(Error::new(Class::Verification, message));
    }
    let parts = image.platforms.iter().map(|built| async move {
        read(built.report.manifest.digest).await?;
        prove_platform(gantry, built, name).await
    });
    futures_util::future::try_join_all(parts).await?;
    Ok(Proof { repository: name.name(), media_type: image.root.media_type.clone(), root })
}

/// The platforms and manifests that the root document lists.
fn platforms_of(root: &[u8], image: &Image) -> Result<Vec<(Platform, Digest)>, Error> {
    let invalid =
        |error: String| Error::new(Class::Verification, format!("what was read back is invalid: {error}"));
    match Document::parse(root, Some(&image.root.media_type)).map_err(|error| invalid(error.to_string()))? {
        Document::Index(index) => {
            let entry = |entry: Descriptor| entry.platform.map(|platform| (platform, entry.digest));
            index
                .manifests
                .into_iter()
                .map(entry)
                .collect::<Option<_>>()
                .ok_or_else(|| invalid("an entry has no platform".to_owned()))
        }
        Document::Manifest(_) => Ok(image
            .platforms
            .iter()
            .map(|built| (built.report.platform.clone(), image.root.digest))
            .collect()),
    }
}

/// The config is read and checked, the layers are asked for.
async fn prove_platform(gantry: &Gantry, built: &Built, name: &Reference) -> Result<(), Error> {
    let mut bytes = Vec::new();
    let fetched = gantry.registry.fetch_blob(name, &built.report.config, &mut bytes).await;
    fetched.map_err(|error| publishing(&error))?;
    let config: ImageConfig = serde_json::from_slice(&bytes).map_err(|error| {
        Error::new(
            Class::Verification,
            format!("the config of {} cannot be read back: {error}", built.report.platform),
        )
    })?;
    if config.platform().as_ref() != Some(&built.report.platform) {
        let message =
            format!("the config for {} says that it is for another platform", built.report.platform);
        return Err(Error::new(Class::Verification, message));
    }
    let layers = built.report.layers.iter().map(|layer| async move {
        let digest = layer.descriptor.digest;
        match gantry.registry.blob_exists(name, &digest).await.map_err(|error| publishing(&error))? {
            true => Ok(()),
            false => Err(Error::new(
                Class::Verification,
                format!("{} lost layer {digest} after it was pushed", name.name()),
            )),
        }
    });
    futures_util::future::try_join_all(layers).await.map(|_| ())
}

/// Points a tag at an image that was proven to be there.
async fn tag(gantry: &Gantry, name: &Reference, proof: &Proof) -> Result<(), Error> {
    if name.name() != proof.repository {
        let message = format!("{name} was not proven: the proof is for {}", proof.repository);
        return Err(Error::new(Class::Verification, message));
    }
    if name.tag().is_none() {
        // A name with only a digest has nothing to move.
        return Ok(());
    }
    let tagged = gantry.registry.push_tag(name, &proof.media_type, &proof.root).await;
    tagged.map(|_| ()).map_err(|error| publishing(&error))
}
