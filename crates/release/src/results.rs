//! Results: finished images of the store, and `gantry publish`, which repeats the last phase of a build for one of them,
//! with no network but the registry's.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use gantry_oci::{Digest, ImageConfig, Platform, Reference};
use gantry_store::{
    BuiltImage, ImageBlob, ImageName, ImageResult, LayerBlob, Publication as Unfinished, Store,
};
use tokio_util::sync::CancellationToken;

use crate::build::Image;
use crate::error::{Class, Error};
use crate::events::{Event, Events};
use crate::gantry::Gantry;
use crate::publish::{Contents, Publication, Publisher, Terms, read_part, terms_of};
use crate::report::{BuildReport, LayerReport, PlatformReport};
use crate::verify::{self, Candidate, VerifyPolicy};

/// The shortest beginning of a digest that names a result.
const SHORTEST_PREFIX: usize = 4;

/// What `gantry publish` is asked to do.
#[derive(Debug, Clone)]
pub struct PublishRequest {
    /// Which result: a digest, the beginning of one, a name that it was built under, or the path of a metadata file.
    pub result: String,
    /// The names; those that it was to be published under before, or was built under, if there are none.
    pub tags: Vec<Reference>,
    /// On which terms.
    pub terms: Terms,
    /// How its programs are verified where its build did not do it.
    pub verify: VerifyPolicy,
}

/// Publishes a result of the store.
///
/// One that was begun before and never ended goes on under the same names and terms, and sends only what is missing.
pub async fn publish(
    gantry: &Gantry,
    mut request: PublishRequest,
    events: Arc<dyn Events>,
    cancel: CancellationToken,
) -> Result<BuildReport, Error> {
    let store = gantry.store();
    // What was begun with one signature ends with one, by whatever command is the usual one now.
    request.terms.sign = gantry.completed(request.terms.clone()).sign;
    let policy = request.verify.clone();
    let result = find(store, &request.result)?;
    let targets = targets(store, &result, request, events.as_ref())?;
    targets.iter().try_for_each(|target| target.terms.check(&target.names))?;
    let contents = Contents::read(store, &result.image.root, &result.image.referrers)?;
    let report = report(store, &result, &contents, &targets)?;
    let origins = store.image_origins(&result.image.root.digest)?;
    let candidates = candidates(&report, &origins);
    verify::check_programs(gantry, &candidates, &policy, events.as_ref(), &cancel).await?;
    // What the build was for, not what its documents say now: those are what is compared with it.
    let wanted = platforms(&result)?;
    for Target { names, terms } in targets {
        let publication = Publication {
            root: result.image.root.clone(),
            referrers: result.image.referrers.clone(),
            platforms: wanted.clone(),
            origins: origins.clone(),
            names,
        };
        let terms = gantry.completed(terms);
        let publisher = Publisher { gantry, terms: &terms, events: events.as_ref(), cancel: &cancel };
        publisher.publish(&[publication]).await?;
    }
    Ok(report)
}

/// What of a result there is to verify.
fn candidates(report: &BuildReport, origins: &BTreeMap<Digest, String>) -> Vec<Candidate> {
    let layer = |layer: &LayerReport| LayerBlob {
        diff_id: layer.diff_id,
        descriptor: layer.descriptor.clone(),
        origin: origins.get(&layer.descriptor.digest).cloned(),
    };
    let candidate = |one: &PlatformReport| Candidate {
        platform: one.platform.clone(),
        config: one.config.digest,
        layers: one.layers.iter().map(layer).collect(),
    };
    report.platforms.iter().map(candidate).collect()
}

fn platforms(result: &ImageResult) -> Result<Vec<Platform>, Error> {
    let parse = |text: &String| {
        text.parse().map_err(|error| {
            let message = format!("the platforms of {} cannot be read: {error}", result.image.root.digest);
            Error::new(Class::Internal, message)
        })
    };
    result.image.platforms.iter().map(parse).collect()
}

/// Names that are published on the same terms.
struct Target {
    names: Vec<Reference>,
    terms: Terms,
}

/// All results, the newest first.
pub fn results(gantry: &Gantry) -> Result<Vec<ImageResult>, Error> {
    Ok(gantry.store().image_results()?)
}

/// Forgets that publishing a result did not end: nobody wants it any more. What was sent stays where it is.
///
/// # Errors
/// There is nothing to forget, or somebody works on it.
pub fn forget(gantry: &Gantry, result: &str) -> Result<(), Error> {
    let root = find(gantry.store(), result)?.image.root.digest;
    let rows: Vec<_> = unfinished(gantry)?.into_iter().filter(|row| row.root == root).collect();
    if rows.is_empty() {
        return Err(Error::new(Class::NotFound, format!("no publish of {root} was interrupted")));
    }
    let store = gantry.store();
    for row in rows {
        // Held until it is gone: nobody begins it again in between.
        let Some(_lock) = store.try_lock_publication(&row.id)? else {
            return Err(Error::new(Class::Publish, format!("another process publishes {root} just now")));
        };
        store.end_publication(&row.id)?;
    }
    Ok(())
}

/// Publications that began and did not end, and that nobody works on; the oldest first.
pub fn unfinished(gantry: &Gantry) -> Result<Vec<Unfinished>, Error> {
    let store = gantry.store();
    let mut found = Vec::new();
    for row in store.publications()? {
        if store.try_lock_publication(&row.id)?.is_some() {
            found.push(row);
        }
    }
    Ok(found)
}

/// Records a finished build.
pub(crate) fn record(
    store: &Store,
    image: &Image,
    names: &[Reference],
    outputs: Vec<String>,
) -> Result<(), Error> {
    let contents = Contents::read(store, &image.root, &image.referrers)?;
    let origins = origins(image);
    let blobs: Vec<_> = contents
        .all()
        .map(|blob| ImageBlob {
            digest: blob.digest,
            size: blob.size,
            origin: origins.get(&blob.digest).cloned(),
        })
        .collect();
    let built = BuiltImage {
        root: image.root.clone(),
        referrers: image.referrers.clone(),
        platforms: image.platforms.iter().map(|built| built.report.platform.to_string()).collect(),
        outputs,
    };
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    Ok(store.put_image_result(&built, &names, &blobs)?)
}

/// Where the base layers of an image can be read.
pub(crate) fn origins(image: &Image) -> BTreeMap<Digest, String> {
    let layers = image.platforms.iter().flat_map(|built| &built.layers);
    layers.filter_map(|layer| Some((layer.blob.descriptor.digest, layer.blob.origin.clone()?))).collect()
}

/// Where a result goes: where the request says, else where it was going when it was interrupted, else where its build
/// would have sent it. Only what the request says may be a name that another result has got since.
fn targets(
    store: &Store,
    result: &ImageResult,
    request: PublishRequest,
    events: &dyn Events,
) -> Result<Vec<Target>, Error> {
    let PublishRequest { tags: mut names, terms, .. } = request;
    if !names.is_empty() {
        names.sort();
        names.dedup();
        return Ok(vec![Target { names, terms }]);
    }
    let root = result.image.root.digest;
    let mut lost = Vec::new();
    let mut targets = Vec::new();
    for row in store.publications()?.into_iter().filter(|row| row.root == root) {
        lost.extend(row.lost.iter().cloned());
        let names = references(row.kept());
        if !names.is_empty() {
            targets.push(Target { names, terms: terms_of(&row, &terms)? });
        }
    }
    if targets.is_empty() {
        let (current, others): (Vec<_>, Vec<_>) =
            result.names.iter().filter(|name| name.built.is_some()).partition(|name| name.is_current);
        lost.extend(others.into_iter().map(|name| name.name.clone()));
        let names = references(current.into_iter().map(|name| &name.name));
        if !names.is_empty() {
            targets.push(Target { names, terms });
        }
    }
    lost.sort();
    lost.dedup();
    let lost = lost.join(", ");
    if targets.is_empty() {
        let message = match lost.is_empty() {
            true => format!("{root} has no name to publish it under"),
            false => format!("{root} has no name any more: another result was built or published as {lost}"),
        };
        return Err(Error::new(Class::Usage, message).hint("give one with --tag"));
    }
    if !lost.is_empty() {
        let message = format!("not published as {lost}: another result was built or published so since");
        events
            .event(Event::Warning { message, hints: vec!["--tag publishes it so nevertheless".to_owned()] });
    }
    Ok(targets)
}

fn references<'a>(names: impl Iterator<Item = &'a String>) -> Vec<Reference> {
    names.filter_map(|name| name.parse().ok()).collect()
}

/// The result that a text names.
fn find(store: &Store, text: &str) -> Result<ImageResult, Error> {
    let results = store.image_results()?;
    let wanted = match digest_in_file(Path::new(text))? {
        Some(digest) => digest.to_string(),
        None => text.to_owned(),
    };
    let hex = wanted.strip_prefix("sha256:").unwrap_or(&wanted);
    let is_prefix =
        hex.len() >= SHORTEST_PREFIX && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if is_prefix {
        let fits = |result: &&ImageResult| result.image.root.digest.hex().starts_with(hex);
        let found: Vec<_> = results.iter().filter(fits).collect();
        match found.as_slice() {
            [] => {}
            [one] => return Ok((*one).clone()),
            several => {
                let message = format!("`{text}` is the beginning of {} results", several.len());
                let hint = several
                    .iter()
                    .map(|one| one.image.root.digest.to_string())
                    .collect::<Vec<_>>()
                    .join(", ");
                return Err(Error::new(Class::Usage, message).hint(format!("give more digits: {hint}")));
            }
        }
    }
    let name = wanted.parse::<Reference>().map(|name| name.to_string());
    let is_it = |one: &ImageName| one.is_current && Ok(&one.name) == name.as_ref();
    let named = |result: &&ImageResult| result.names.iter().any(is_it);
    results.iter().find(named).cloned().ok_or_else(|| {
        Error::new(Class::NotFound, format!("the store has no result `{text}`"))
            .hint("`gantry publish --list` shows all; a result is named by digest, the beginning of one, name or metadata file")
    })
}

/// The digest that a metadata file holds. `None` if there is no such file.
fn digest_in_file(path: &Path) -> Result<Option<Digest>, Error> {
    if !path.is_file() {
        return Ok(None);
    }
    let bytes = fs::read(path).map_err(|error| Error::io("read the metadata file", path, &error))?;
    let digest = serde_json::from_slice::<serde_json::Value>(&bytes)
        .ok()
        .and_then(|metadata| metadata.get("containerimage.digest")?.as_str()?.parse().ok());
    digest.map(Some).ok_or_else(|| {
        let message = format!("`{}` is no metadata file: it has no `containerimage.digest`", path.display());
        Error::new(Class::Usage, message)
    })
}

/// What the build reported, read from the documents.
fn report(
    store: &Store,
    result: &ImageResult,
    contents: &Contents,
    targets: &[Target],
) -> Result<BuildReport, Error> {
    let mut platforms = Vec::new();
    for image in &contents.images {
        let damaged = |what: &str| {
            Error::new(Class::Verification, format!("config {} of the store {what}", image.config.digest))
        };
        let config = read_part(store, &image.config.digest)?;
        let config: ImageConfig =
            serde_json::from_slice(&config).map_err(|error| damaged(&format!("cannot be read: {error}")))?;
        let platform = config.platform().ok_or_else(|| damaged("is for no platform"))?;
        if config.rootfs.diff_ids.len() != image.layers.len() {
            return Err(damaged("has another number of layers than its manifest"));
        }
        let layers = image.layers.iter().zip(config.rootfs.diff_ids);
        platforms.push(PlatformReport {
            manifest: image.manifest.clone().with_platform(platform.clone()),
            platform,
            config: image.config.clone(),
            provenance: None,
            layers: layers
                .map(|(descriptor, diff_id)| LayerReport { descriptor: descriptor.clone(), diff_id })
                .collect(),
        });
    }
    let names = targets.iter().flat_map(|target| &target.names).map(crate::output::shown_name).collect();
    Ok(BuildReport { root: result.image.root.clone(), platforms, names })
}

#[cfg(test)]
mod tests;
