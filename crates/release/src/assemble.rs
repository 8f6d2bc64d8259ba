//! Images out of layers: config, manifest and index, as bytes in the store.

use std::collections::BTreeMap;

use gantry_engine::ExportedLayer;
use gantry_oci::{Descriptor, History, ImageConfig, Index, Manifest, Platform, media_type};
use gantry_store::Store;

use crate::annotation::{self, Annotation, AnnotationLevel};
use crate::error::Error;
use crate::report::{LayerReport, PlatformReport};
use crate::request::MediaTypes;

/// What is assembled into one image.
#[derive(Debug)]
pub(crate) struct Parts {
    /// The config from the front end: complete but for layers and times.
    pub(crate) config: ImageConfig,
    /// The times of all that was added.
    pub(crate) times: Times,
    /// Whose media types it gets.
    pub(crate) types: MediaTypes,
    /// The layers, bottom first.
    pub(crate) layers: Vec<ExportedLayer>,
    /// Annotations of the manifest.
    pub(crate) annotations: BTreeMap<String, String>,
    /// Annotations of its descriptor.
    pub(crate) descriptor_annotations: BTreeMap<String, String>,
}

/// What is known of the time of all that was added, in seconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// `SOURCE_DATE_EPOCH`, if the build has one.
    pub(crate) of_build: Option<i64>,
    /// The latest that may be told. Where the outputs have nothing else, that is the same.
    pub(crate) latest: Option<i64>,
}

/// Writes the config and the manifest of one platform, and tells when it was made.
pub(crate) fn image(
    store: &Store,
    platform: &Platform,
    parts: Parts,
) -> Result<(PlatformReport, Option<String>), Error> {
    let Parts { mut config, times, types, layers, annotations, descriptor_annotations } = parts;
    config.rootfs.diff_ids = layers.iter().map(|layer| layer.blob.diff_id).collect();
    complete_history(&mut config, times, &layers);
    let created = times.latest.map(rfc3339).or_else(|| config.created.clone());
    let (manifest_type, config_type) = match types {
        MediaTypes::Oci => (media_type::MANIFEST, media_type::CONFIG),
        MediaTypes::Docker => (media_type::DOCKER_MANIFEST, media_type::DOCKER_CONFIG),
    };
    let config = store_json(store, config_type, &config)?;
    let blobs = layers.iter().map(|layer| layer_descriptor(&layer.blob.descriptor, types));
    let manifest = Manifest {
        media_type: Some(manifest_type.to_owned()),
        annotations,
        ..Manifest::new(config.clone(), blobs.collect())
    };
    let mut manifest = store_json(store, manifest_type, &manifest)?;
    manifest.annotations = descriptor_annotations;
    let layers = layers.into_iter().map(|layer| LayerReport {
        descriptor: layer_descriptor(&layer.blob.descriptor, types),
        diff_id: layer.blob.diff_id,
    });
    let manifest = manifest.with_platform(platform.clone());
    let report = PlatformReport {
        platform: platform.clone(),
        manifest,
        config,
        layers: layers.collect(),
        provenance: None,
    };
    Ok((report, created))
}

/// Writes the index over several platforms, and over what attests them.
pub(crate) fn index(
    store: &Store,
    platforms: &[PlatformReport],
    attestations: &[Descriptor],
    annotations: &[Annotation],
    types: MediaTypes,
) -> Result<Descriptor, Error> {
    let media_type = match types {
        MediaTypes::Oci => media_type::INDEX,
        MediaTypes::Docker => media_type::DOCKER_INDEX,
    };
    let manifests = platforms.iter().map(|platform| platform.manifest.clone());
    let manifests = manifests.chain(attestations.iter().cloned()).collect();
    let at = |level| annotation::at(annotations, level, None);
    let index = Index {
        media_type: Some(media_type.to_owned()),
        annotations: at(AnnotationLevel::Index),
        ..Index::new(manifests)
    };
    let mut index = store_json(store, media_type, &index)?;
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

fn layer_descriptor(descriptor: &Descriptor, types: MediaTypes) -> Descriptor {
    let media_type = match types {
        MediaTypes::Oci => media_type::oci_layer(&descriptor.media_type),
        MediaTypes::Docker => media_type::docker_layer(&descriptor.media_type),
    };
    Descriptor { media_type: media_type.to_owned(), ..descriptor.clone() }
}

/// Gives the history its times, as BuildKit does, and the config that of the last entry. Without an epoch they are those of
/// the layers. So a build of which everything is cached gives the same bytes as the build that filled the cache.
fn complete_history(config: &mut ImageConfig, times: Times, layers: &[ExportedLayer]) {
    mend_base_history(config, layers);
    let of_base = config.history.iter().take_while(|entry| entry.created.is_some()).count();
    let mut layers = layers.iter();
    for entry in &mut config.history {
        let layer = if entry.empty_layer { None } else { layers.next() };
        if entry.created.is_none() {
            let made = times.of_build.or_else(|| layer.and_then(|layer| layer.created));
            entry.created = made.map(rfc3339);
        }
    }
    fill_gaps(&mut config.history);
    if let Some(latest) = times.latest {
        let added = config.history.iter_mut().skip(of_base);
        added
            .filter(|entry| entry.created.as_deref().is_none_or(|time| is_after(time, latest)))
            .for_each(|entry| entry.created = Some(rfc3339(latest)));
    }
    if let Some(last) = config.history.iter().rev().find_map(|entry| entry.created.clone()) {
        config.created = Some(last);
    }
}

/// Entries without a time get that of the layer before them among the new ones; those before the first new layer get its time,
/// or, if there is none, the last one that the base has.
fn fill_gaps(history: &mut [History]) {
    let first_gap = history.iter().position(|entry| entry.created.is_none()).unwrap_or(history.len());
    let (told, rest) = history.split_at_mut(first_gap);
    let first_new = rest.iter().find_map(|entry| entry.created.clone());
    let mut time = first_new.or_else(|| told.last().and_then(|entry| entry.created.clone()));
    for entry in rest {
        match &entry.created {
            Some(_) => time.clone_from(&entry.created),
            None => entry.created.clone_from(&time),
        }
    }
}

/// Whether an RFC 3339 time is later than so many seconds since 1970.
fn is_after(time: &str, seconds: i64) -> bool {
    let limit = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX);
    time.parse::<jiff::Timestamp>().is_ok_and(|time| time > limit)
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

    /// The times of the history and, last, of the image.
    fn times(times: Times, entries: &[(Option<&str>, bool)], layers: &[Option<i64>]) -> Vec<String> {
        let entry = |(created, empty_layer): &(Option<&str>, bool)| History {
            created: created.map(str::to_owned),
            empty_layer: *empty_layer,
            ..History::default()
        };
        let mut config =
            ImageConfig { history: entries.iter().map(entry).collect(), ..ImageConfig::default() };
        let layers: Vec<_> = layers.iter().copied().map(layer).collect();
        complete_history(&mut config, times, &layers);
        let shown = |time: Option<String>| time.unwrap_or_default().replace("1970-01-01T00:00:", "");
        let mut times: Vec<_> = config.history.into_iter().map(|entry| shown(entry.created)).collect();
        times.push(shown(config.created));
        times
    }

    fn epochs(of_build: Option<i64>, latest: Option<i64>) -> Times {
        Times { of_build, latest }
    }

    /// What the reference makes of each.
    #[test]
    fn times_of_history() {
        let base_time = (Some("2020-01-01T00:00:00Z"), false);
        let (step, setting) = ((None, false), (None, true));
        let ours = [base_time, setting, step, setting, step, setting];
        let made = [None, Some(5), Some(9)];
        let none = epochs(None, None);
        let of = |times, entries: &[_], layers: &[_]| self::times(times, entries, layers).join(" ");
        let same = |epoch| epochs(Some(epoch), Some(epoch));
        for (times, found, wanted) in [
            (none, of(none, &ours, &made), "2020-01-01T00:00:00Z 05Z 05Z 05Z 09Z 09Z 09Z"),
            (same(7), of(same(7), &ours, &made), "2020-01-01T00:00:00Z 07Z 07Z 07Z 07Z 07Z 07Z"),
            // Only the output has an epoch: what is later is set to it.
            (
                epochs(None, Some(7)),
                of(epochs(None, Some(7)), &ours, &made),
                "2020-01-01T00:00:00Z 05Z 05Z 05Z 07Z 07Z 07Z",
            ),
            (
                epochs(Some(8), Some(7)),
                of(epochs(Some(8), Some(7)), &ours, &made),
                "2020-01-01T00:00:00Z 07Z 07Z 07Z 07Z 07Z 07Z",
            ),
            (
                epochs(Some(8), None),
                of(epochs(Some(8), None), &ours, &made),
                "2020-01-01T00:00:00Z 08Z 08Z 08Z 08Z 08Z 08Z",
            ),
            // Nothing is added, or nothing but settings.
            (same(7), of(same(7), &[base_time], &[None]), "2020-01-01T00:00:00Z 2020-01-01T00:00:00Z"),
            (
                none,
                of(none, &[base_time, setting], &[None]),
                "2020-01-01T00:00:00Z 2020-01-01T00:00:00Z 2020-01-01T00:00:00Z",
            ),
            (none, of(none, &[setting], &[]), " "),
            (same(7), of(same(7), &[], &[]), ""),
        ] {
            assert_eq!(found, wanted, "{times:?}");
        }
        let mended = times(none, &[step], &[None, Some(0)]);
        assert_eq!(mended.len(), 3, "a base without history gets an entry");
    }
}
