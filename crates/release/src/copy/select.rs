//! Some platforms of an index: which entries these are, and the index that has only them.
//!
//! An attestation stays with the image that it is about. An entry without a platform stays, since nothing says whom it
//! is for.

use std::collections::BTreeSet;

use gantry_oci::{Descriptor, Digest, Document, Index, Platform, media_type};
use serde_json::Value;

use crate::error::{Class, Error};
use crate::image::source::{RawDocument, Source};

/// In a trimmed index: the digest of the index that it was made of.
pub(crate) const SOURCE_DIGEST: &str = "io.gantry.source.digest";
/// In BuildKit's layout, the digest of the manifest that an attestation is about.
pub(crate) const ATTESTED: &str = "vnd.docker.reference.digest";

/// The entries of an index that some platforms need, in the index's order.
pub(crate) fn entries(index: &Index, wanted: &[Platform]) -> Result<BTreeSet<Digest>, Error> {
    let mut chosen = BTreeSet::new();
    for platform in wanted {
        let ranked = || {
            let images = index.manifests.iter().filter(|entry| !entry.is_attestation());
            images.filter_map(|entry| Some((platform.accepts(entry.platform.as_ref()?)?, entry)))
        };
        let Some(best) = ranked().map(|(rank, _)| rank).min() else {
            return Err(no_platform(platform, index));
        };
        chosen.extend(ranked().filter(|(rank, _)| *rank == best).map(|(_, entry)| entry.digest));
    }
    let about = |entry: &Descriptor| entry.annotations.get(ATTESTED).and_then(|digest| digest.parse().ok());
    let attestations = index.manifests.iter().filter(|entry| entry.is_attestation());
    let attestations: Vec<Digest> = attestations
        .filter(|entry| about(entry).is_some_and(|digest: Digest| chosen.contains(&digest)))
        .map(|entry| entry.digest)
        .collect();
    chosen.extend(attestations);
    chosen.extend(index.manifests.iter().filter(|entry| entry.platform.is_none()).map(|entry| entry.digest));
    Ok(chosen)
}

fn no_platform(wanted: &Platform, index: &Index) -> Error {
    let images = index.manifests.iter().filter(|entry| !entry.is_attestation());
    let mut available: Vec<String> =
        images.filter_map(|entry| Some(entry.platform.as_ref()?.to_string())).collect();
    available.dedup();
    Error::new(Class::NotFound, format!("the image has no {wanted}: it has {}", available.join(", ")))
        .hint("ask for platforms that the image has")
}

/// The index with only these entries, each as it was; `None` if these are all.
pub(crate) fn trimmed(original: &RawDocument, chosen: &BTreeSet<Digest>) -> Option<RawDocument> {
    let mut value: Value = serde_json::from_slice(&original.bytes).expect("it was parsed before");
    let entries = value["manifests"].as_array_mut().expect("an index has entries");
    let before = entries.len();
    entries.retain(|entry| {
        let digest = entry["digest"].as_str().and_then(|digest| digest.parse().ok());
        digest.is_some_and(|digest: Digest| chosen.contains(&digest))
    });
    if entries.len() == before {
        return None;
    }
    // Docker's manifest lists have no place for annotations.
    if original.descriptor.media_type != media_type::DOCKER_INDEX {
        value["annotations"][SOURCE_DIGEST] = Value::String(original.descriptor.digest.to_string());
    }
    let bytes = serde_json::to_vec(&value).expect("JSON that was read can be written");
    let document = Document::parse(&bytes, None).expect("an index with fewer entries is an index");
    let descriptor = Descriptor::of(original.descriptor.media_type.clone(), &bytes);
    Some(RawDocument { descriptor, bytes, document })
}

/// Checks that a single image is for one of these platforms.
pub(crate) async fn check_single(
    source: &Source,
    image: &RawDocument,
    wanted: &[Platform],
) -> Result<(), Error> {
    let Document::Manifest(manifest) = &image.document else { return Ok(()) };
    let config = source.bytes(&manifest.config).await?;
    let config: gantry_oci::ImageConfig = serde_json::from_slice(&config).map_err(|error| {
        Error::new(Class::Verification, format!("the config of {}: {error}", source.location()))
    })?;
    let platform = config.platform();
    let missing = wanted
        .iter()
        .find(|wanted| platform.as_ref().is_none_or(|platform| wanted.accepts(platform).is_none()));
    match missing {
        None => Ok(()),
        Some(wanted) => {
            let has = platform.map_or_else(|| "no platform".to_owned(), |platform| platform.to_string());
            Err(Error::new(Class::NotFound, format!("{} has no {wanted}: it has {has}", source.location())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> (RawDocument, Vec<Descriptor>) {
        let image = |platform: &str| {
            Descriptor::of(media_type::MANIFEST, platform.as_bytes()).with_platform(platform.parse().unwrap())
        };
        let mut entries: Vec<_> =
            ["linux/amd64", "linux/arm/v6", "linux/arm/v7", "linux/arm64"].map(image).into();
        for about in [0, 3] {
            let mut attestation = image("unknown/unknown");
            attestation.digest = Digest::of([about]);
            attestation.annotations.insert("vnd.docker.reference.type".into(), "attestation-manifest".into());
            attestation.annotations.insert(ATTESTED.into(), entries[about as usize].digest.to_string());
            entries.push(attestation);
        }
        // Fields that we do not know, and a variant that we would write otherwise, stay as they are.
        let bytes = serde_json::to_string(&Index::new(entries.clone())).unwrap();
        let bytes = bytes.replace(
            "\"architecture\":\"arm64\",\"os\":\"linux\"",
            "\"architecture\":\"arm64\",\"os\":\"linux\",\"variant\":\"v8\",\"os.features\":[\"x\"]",
        );
        let document = Document::parse(bytes.as_bytes(), None).unwrap();
        let raw = RawDocument {
            descriptor: Descriptor::of(media_type::INDEX, bytes.as_bytes()),
            bytes: bytes.into_bytes(),
            document,
        };
        (raw, entries)
    }

    #[test]
    fn which_entries_platforms_need() {
        let (raw, all) = index();
        let Document::Index(index) = &raw.document else { panic!("an index") };
        for (wanted, expected) in [
            (vec!["linux/amd64"], vec![0, 4]),
            (vec!["linux/arm/v7"], vec![2]),
            (vec!["linux/arm64/v8", "linux/arm/v6"], vec![1, 3, 5]),
        ] {
            let platforms: Vec<_> = wanted.iter().map(|text| text.parse().unwrap()).collect();
            let expected: BTreeSet<_> = expected.into_iter().map(|at: usize| all[at].digest).collect();
            assert_eq!(entries(index, &platforms).unwrap(), expected, "{wanted:?}");
        }
        let error = entries(index, &["linux/s390x".parse().unwrap()]).unwrap_err();
        assert_eq!(
            error.message,
            "the image has no linux/s390x: it has linux/amd64, linux/arm/v6, linux/arm/v7, linux/arm64"
        );
    }

    #[test]
    fn a_trimmed_index_keeps_its_entries_as_they_were() {
        let (raw, all) = index();
        let chosen = BTreeSet::from([all[3].digest]);
        let trimmed = trimmed(&raw, &chosen).unwrap();
        let value: Value = serde_json::from_slice(&trimmed.bytes).unwrap();
        let original: Value = serde_json::from_slice(&raw.bytes).unwrap();
        assert_eq!(value["manifests"][0], original["manifests"][3]);
        assert_eq!(value["manifests"][0]["platform"]["variant"], "v8");
        assert_eq!(value["manifests"].as_array().unwrap().len(), 1);
        assert_eq!(value["annotations"][SOURCE_DIGEST], raw.descriptor.digest.to_string());
        let whole = all.iter().map(|entry| entry.digest).collect();
        assert!(super::trimmed(&raw, &whole).is_none(), "all of it is the original");
    }
}
