//! What goes with an image without standing in its index: referrers, and what cosign keeps under tags of its own.
//!
//! A referrer may have referrers (a signature of an SBOM), so they are followed, but not for ever.

use std::collections::BTreeSet;

use gantry_oci::media_type::{is_index, is_manifest};
use gantry_oci::{Descriptor, Digest};

use super::job::Job;
use super::request::Attached;
use crate::error::Error;
use crate::image::target::Target;
use crate::publish::TagPolicy;

/// Referrers of referrers: a signature of an attestation of an image is two.
const DEEPEST: usize = 4;
/// What cosign appends to `sha256-<hex>`.
const COSIGN: [&str; 3] = ["sig", "att", "sbom"];

/// Copies what is attached to the image and to each part of it that was placed. How many documents were written.
pub(super) async fn copy(job: &Job<'_>, root: Digest, wanted: Attached) -> Result<usize, Error> {
    let mut written = 0;
    if !wanted.any() {
        return Ok(written);
    }
    let mut done = BTreeSet::new();
    let mut level: BTreeSet<Digest> =
        job.placed.lock().expect("nothing panics while it holds the list").clone();
    level.insert(root);
    for _ in 0..DEEPEST {
        let mut next = BTreeSet::new();
        for subject in level.into_iter().filter(|subject| done.insert(*subject)).collect::<Vec<_>>() {
            if wanted.referrers {
                let referrers = job.source.referrers(&subject).await?;
                written += copy_referrers(job, &subject, &referrers).await?;
                next.extend(referrers.iter().map(|entry| entry.digest));
            }
            if wanted.cosign {
                written += copy_tags(job, &subject).await?;
            }
        }
        level = next;
    }
    Ok(written)
}

async fn copy_referrers(job: &Job<'_>, subject: &Digest, referrers: &[Descriptor]) -> Result<usize, Error> {
    let mut written = 0;
    let is_document = |entry: &&Descriptor| is_manifest(&entry.media_type) || is_index(&entry.media_type);
    let (documents, others): (Vec<_>, Vec<_>) = referrers.iter().partition(is_document);
    for other in others {
        job.tally.skip(format!("{} ({})", other.digest, other.media_type));
    }
    for entry in &documents {
        if !job.target.has(entry).await? {
            written += 1;
        }
        job.place(entry, 0).await?;
    }
    if !documents.is_empty() {
        job.target.list_referrers(subject, documents.into_iter().cloned().collect()).await?;
    }
    Ok(written)
}

async fn copy_tags(job: &Job<'_>, subject: &Digest) -> Result<usize, Error> {
    let mut written = 0;
    for kind in COSIGN {
        let tag = format!("sha256-{}.{kind}", subject.hex());
        let Some(found) = job.source.tagged(&tag).await? else { continue };
        let target: Target = job.target.at(job.target.location().tagged(&tag));
        if target.resolve().await?.is_some_and(|there| there.digest == found.digest) {
            continue;
        }
        let document = job.source.read(&found).await?;
        let proof = job.root(&document, None).await?;
        // It belongs to the image's digest and grows with each signature, so no policy is about it.
        target.tag(&proof, TagPolicy::Overwrite).await?;
        job.step.say(format!("tagged {tag}"));
        written += 1;
    }
    Ok(written)
}
