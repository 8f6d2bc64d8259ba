//! Further tags for what a repository has: by digest, without touching a blob.

use std::sync::Arc;

use gantry_oci::{Digest, Reference};

use super::source::Source;
use super::target::{Board, Target};
use super::{Images, Place};
use crate::error::Error;
use crate::events::Event;
use crate::publish::TagPolicy;

/// Points tags of the source's own repository at what `source` is, where the policy lets them move. Returns its digest.
pub async fn tag(
    images: &Images,
    source: &Reference,
    tags: &[String],
    policy: TagPolicy,
) -> Result<Digest, Error> {
    let tagged = async {
        let board = Arc::<Board>::default();
        let location = Place::Registry(source.clone());
        let source = Source::open(&images.registry, &location).await?;
        let found = source.resolve().await?;
        let document = source.read(&found).await?;
        let target = Target::open(images, &board, &location).await?;
        let proof = target.prove(&document.descriptor, &document.bytes).await?;
        for tag in tags {
            let target = target.at(location.tagged(tag));
            target.tag(&proof, policy).await?;
            if let Place::Registry(reference) = target.location() {
                images.events.event(Event::Tagged { reference, digest: found.digest });
            }
        }
        Ok(found.digest)
    };
    images.unless_stopped(tagged).await
}
