//! Whether all blobs are there, with the sizes that manifests say.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, TryStreamExt, stream};
use gantry_oci::{Descriptor, Digest};

use super::content::Content;
use super::document::Listed;
use super::report::{Check, CheckName};
use crate::error::Error;

/// Questions on their way at once.
const QUESTIONS_AT_ONCE: usize = 8;

/// What was found out about blobs that cannot be read as they should.
#[derive(Default)]
pub(crate) struct Missing {
    problems: BTreeMap<Digest, String>,
    /// Foreign layers that are not there. They need not be.
    elsewhere: BTreeSet<Digest>,
}

impl Missing {
    /// Whether there is something to be read.
    pub(crate) fn has(&self, blob: &Descriptor) -> bool {
        !self.problems.contains_key(&blob.digest) && !self.elsewhere.contains(&blob.digest)
    }

    /// Whether it is a layer that nobody but its publisher has.
    pub(crate) fn is_elsewhere(&self, blob: &Descriptor) -> bool {
        self.elsewhere.contains(&blob.digest)
    }
}

/// Asks for every blob of these manifests once.
pub(crate) async fn missing(content: &Content, manifests: &[Listed]) -> Result<Missing, Error> {
    let mut wanted: BTreeMap<(Digest, u64), &Descriptor> = BTreeMap::new();
    for blob in manifests.iter().flat_map(Listed::blobs) {
        let known = wanted.entry((blob.digest, blob.size)).or_insert(blob);
        // Who needs a blob as an ordinary layer needs it there.
        if known.is_foreign_layer() {
            *known = blob;
        }
    }
    let questions =
        wanted.into_values().map(|blob| async move { Ok::<_, Error>((blob, content.size(blob).await?)) });
    let answers: Vec<_> = stream::iter(questions).buffer_unordered(QUESTIONS_AT_ONCE).try_collect().await?;
    let mut missing = Missing::default();
    for (blob, found) in answers {
        let Descriptor { digest, size, .. } = blob;
        match found {
            None if blob.is_foreign_layer() => {
                missing.elsewhere.insert(*digest);
            }
            None => {
                missing.problems.insert(*digest, format!("{digest} is missing"));
            }
            Some(Some(found)) if found != *size => {
                let problem = format!("{digest} has {found} bytes, and the manifest says {size}");
                missing.problems.insert(*digest, problem);
            }
            Some(_) => {}
        }
    }
    Ok(missing)
}

/// The check of one image's blobs.
pub(crate) fn check(listed: &Listed, missing: &Missing) -> Check {
    let problems: Vec<_> =
        listed.blobs().filter_map(|blob| missing.problems.get(&blob.digest)).cloned().collect();
    let elsewhere = listed.blobs().filter(|blob| missing.is_elsewhere(blob)).count();
    match (problems.is_empty(), elsewhere) {
        (false, _) => Check::fail(CheckName::Blobs, problems.join("; ")),
        (true, 0) => Check::pass(CheckName::Blobs, format!("{0} of {0} are there", listed.blobs().count())),
        (true, _) => Check::warn(CheckName::Blobs, format!("{elsewhere} are kept outside the registry")),
    }
}
