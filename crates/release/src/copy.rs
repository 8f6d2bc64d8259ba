//! Copying images: indexes and manifests with their bytes untouched, between registries, inside one, and from and to
//! layouts.
//!
//! A source is resolved once, to a digest, and from then on only digests count. What is to be copied goes bottom-up:
//! blobs, manifests, indexes, each read back; the tag comes last. A blob that the destination has is not looked at; one
//! that its registry has elsewhere is mounted; one that several copies need is sent once. What is the same on both
//! sides costs one question each.

mod attached;
mod image;
mod job;
mod request;
mod select;
#[cfg(test)]
mod tests;

pub use image::copy;
pub(crate) use image::{Copier, IMAGES_AT_ONCE};
pub(crate) use job::{Job, Tally};
pub use request::{Attached, CopyReport, CopyRequest, CopyState, PlatformForm, Platforms, Trust};
pub(crate) use select::{ATTESTED, check_single, entries};
