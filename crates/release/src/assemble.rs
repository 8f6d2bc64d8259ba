//! Images out of layers: config, manifest and index, as bytes in the store.

use std::collections::BTreeMap;

use gantry_engine::ExportedLayer;
use gantry_oci::{Descriptor, History, ImageConfig, Index, Manifest, Platform, media_type};
use gantry_store::Store;

use crate::annotation::{self, Annotation, AnnotationLevel};
use crate::error::Error;
use crate::report::{LayerReport, PlatformReport};

/// What is assembled into one image.
#[derive(Debug)]
pub(crate) struct Parts {
    /// The config from the front end: complete but for layers and times.
    pub(crate) config: ImageConfig,
    /// `SOURCE_DATE_EPOCH`: the time of all that was added.
    pub(crate) epoch: Option<i64>,
    /// The layers, bottom first.
    pub(crate) layers: Vec<ExportedLayer>,
    /// Annotations of the manifest.
    pub(crate) annotations: BTreeMap<String, String>,
    /// Annotations of its descriptor.
    pub(crate) descriptor_annotations: BTreeMap<String, String>,
}

/// Writes the config and the manifest of one platform.
pub(crate) fn image(store: &Store, platform: &Platform, parts: Parts) -> Result<PlatformReport, Error> {
    let Parts { mut config, epoch, layers, annotations, descriptor_annotations } = parts;
    config.rootfs.diff_ids = layers.iter().map(|layer| layer.blob.diff_id).collect();
    complete_history(&mut config, epoch, &layers);
    let config = store_json(store, media_type::CONFIG, &config)?;
    let blobs = layers.iter().map(|layer| oci_descriptor(&layer.blob.descriptor));
    let manifest = Manifest { annotations, ..Manifest::new(config.clone(), blobs.collect()) };
    let mut manifest = store_json(store, media_type::MANIFEST, &manifest)?;
    manifest.annotations = descriptor_annotations;
    let layers = layers.into_iter().map(|layer| LayerReport {
        descriptor: oci_descriptor(&layer.blob.descriptor),
        diff_id: layer.blob.diff_id,
    });
    let manifest = manifest.with_platform(platform.clone());
    Ok(PlatformReport { platform: platform.clone(), manifest, config, layers: layers.collect() })
}

/// Writes the index over several platforms, and over what attests them.
pub(crate) fn index(
    store: &Store,
    platforms: &[PlatformReport],
    attestations: &[Descriptor],
    annotations: &[Annotation],
) -> Result<Descriptor, Error> {
    let manifests = platforms.iter().map(|platform| platform.manifest.clone());
    let manifests = manifests.chain(attestations.iter().cloned()).collect();
    let at = |level| annotation::at(annotations, level, None);
    let index = Index { annotations: at(AnnotationLevel::Index), ..Index::new(manifests) };
    let mut index = store_json(store, media_type::INDEX, &index)?;
    index.annotations = at(AnnotationLevel::IndexDescriptor);
    Ok(index)
}

fn store_json(
    store: &Store,
    media_type: &str,
    document: &impl serde::Serialize,
) -> Result<Descriptor, Error> {
    let bytes = serde_json::to_vec(document).expect("documents are plain data");
    store.put_blob(&bytes)?;
    Ok(Descriptor::of(media_type, &bytes))
}

fn oci_descriptor(descriptor: &Descriptor) -> Descriptor {
    let media_type = media_type::oci_layer(&descriptor.media_type).to_owned();
    Descriptor { media_type, ..descriptor.clone() }
}

/// Gives the history its times, and the config its own: the epoch, or when the layers were made. So a build of which
/// everything is cached gives the same bytes as the build that filled the cache.
fn complete_history(config: &mut ImageConfig, epoch: Option<i64>, layers: &[ExportedLayer]) {
    mend_base_history(config, layers);
    let mut layers = layers.iter();
    let mut latest = None;
    for entry in &mut config.history {
        let layer = if entry.empty_layer { None } else { layers.next() };
        if entry.created.is_none() {
            let made = epoch.or_else(|| layer.and_then(|layer| layer.created)).map(rfc3339);
            entry.created = made.or_else(|| latest.clone());
        }
        latest = entry.created.clone().or(latest);
    }
    if let Some(latest) = epoch.map(rfc3339).or(latest) {
        config.created = Some(latest);
    }
}

/// A base image may tell of fewer layers than it has, or of more. Left so, its entries would be taken for those of the
/// wrong layers: what is missing is added behind the base's own entries, what is too much is said to be empty.
fn mend_base_history(config: &mut ImageConfig, layers: &[ExportedLayer]) {
    let base_entries = config.history.iter().take_while(|entry| entry.created.is_some()).count();
    let told = config.history.iter().filter(|entry| !entry.empty_layer).count();
    let untold =
        History { comment: "the base image has no history for this layer".to_owned(), ..History::default() };
    let missing = layers.len().saturating_sub(told);
    config.history.splice(base_entries..base_entries, std::iter::repeat_n(untold, missing));
    let surplus = told.saturating_sub(layers.len());
    let base = config.history.iter_mut().take(base_entries).filter(|entry| !entry.empty_layer);
    base.take(surplus).for_each(|entry| entry.empty_layer = true);
}

fn rfc3339(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use gantry_oci::Digest;
    use gantry_store::LayerBlob;

    use super::*;

    fn layer(created: Option<i64>) -> ExportedLayer {
        let descriptor = Descriptor::of(media_type::LAYER_GZIP, b"x");
        ExportedLayer { blob: LayerBlob { diff_id: Digest::of("x"), descriptor, origin: None }, created }
    }

    fn times(epoch: Option<i64>, entries: &[(Option<&str>, bool)], layers: &[Option<i64>]) -> Vec<String> {
        let entry = |(created, empty_layer): &(Option<&str>, bool)| History {
            created: created.map(str::to_owned),
            empty_layer: *empty_layer,
            ..History::default()
        };
        let mut config =
            ImageConfig { history: entries.iter().map(entry).collect(), ..ImageConfig::default() };
        let layers: Vec<_> = layers.iter().copied().map(layer).collect();
        complete_history(&mut config, epoch, &layers);
        let mut times: Vec<_> =
            config.history.iter().map(|entry| entry.created.clone().unwrap_or_default()).collect();
        times.push(config.created.unwrap_or_default());
        times
    }

    #[test]
    fn times_of_history() {
        let base = Some("2020-01-01T00:00:00Z");
        let ours = [(base, false), (None, true), (None, false), (None, true)];
        let made = [None, Some(86_400)];
        assert_eq!(
            times(None, &ours, &made)[1..],
            ["2020-01-01T00:00:00Z", "1970-01-02T00:00:00Z", "1970-01-02T00:00:00Z", "1970-01-02T00:00:00Z"]
        );
        assert_eq!(times(Some(1), &ours, &made)[..2], ["2020-01-01T00:00:00Z", "1970-01-01T00:00:01Z"]);
        assert_eq!(
            times(None, &[(None, true)], &[]),
            ["", ""],
            "an image of nothing but settings has no time"
        );
        assert_eq!(
            times(None, &[(None, false)], &[None, Some(0)]).len(),
            3,
            "a base without history gets an entry"
        );
    }
}
