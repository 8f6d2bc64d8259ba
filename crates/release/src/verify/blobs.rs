//! Whether all blobs are there, with the sizes that manifests say.

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt, stream};
use gantry_oci::{Descriptor, Digest};

use super::content::Content;
use super::document::Listed;
use super::report::{Check, CheckName};
use crate::error::Error;

/// Questions on their way at once.
const QUESTIONS_AT_ONCE: usize = 8;

/// What is wrong, by blob.
pub(crate) type Missing = BTreeMap<Digest, String>;

/// Asks for every blob of these images once.
pub(crate) async fn missing(content: &Content, images: &[Listed]) -> Result<Missing, Error> {
    let mut wanted: BTreeMap<(Digest, u64), &Descriptor> = BTreeMap::new();
    for manifest in images.iter().map(|listed| &listed.manifest) {
        let blobs = manifest.layers.iter().chain([&manifest.config]).filter(|blob| !is_elsewhere(blob));
        wanted.extend(blobs.map(|blob| ((blob.digest, blob.size), blob)));
    }
    let questions = wanted.into_values().map(|blob| async move {
        let Descriptor { digest, size, .. } = blob;
        Ok::<_, Error>(match content.size(blob).await? {
            None => Some((*digest, format!("{digest} is missing"))),
            Some(Some(found)) if found != *size => {
                Some((*digest, format!("{digest} has {found} bytes, and the manifest says {size}")))
            }
            Some(_) => None,
        })
    });
    let answers = stream::iter(questions).buffer_unordered(QUESTIONS_AT_ONCE);
    Ok(answers.try_collect::<Vec<_>>().await?.into_iter().flatten().collect())
}

/// The check of one image's blobs.
pub(crate) fn check(listed: &Listed, missing: &Missing) -> Check {
    let manifest = &listed.manifest;
    let blobs = || manifest.layers.iter().chain([&manifest.config]);
    let problems: Vec<_> = blobs().filter_map(|blob| missing.get(&blob.digest)).cloned().collect();
    let elsewhere = blobs().filter(|blob| is_elsewhere(blob)).count();
    match (problems.is_empty(), elsewhere) {
        (false, _) => Check::fail(CheckName::Blobs, problems.join("; ")),
        (true, 0) => Check::pass(CheckName::Blobs, format!("{0} of {0} are there", blobs().count())),
        (true, _) => Check::warn(CheckName::Blobs, format!("{elsewhere} are kept outside the registry")),
    }
}

/// Whether a layer is one that registries do not have: those of Windows that may not be distributed.
pub(crate) fn is_elsewhere(blob: &Descriptor) -> bool {
    !blob.urls.is_empty()
}
