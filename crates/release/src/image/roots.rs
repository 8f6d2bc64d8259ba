//! Which entries of a layout are images, and which only belong to one: signatures, attestations, lists of them.
//!
//! A layout has one list for all. Tools put what is attached to an image beside it there, with a name of its own or
//! without any, and nobody means that who speaks of the layout's image. What a runtime could run always counts as an
//! image, whatever it says of itself.

use gantry_oci::{Descriptor, Digest, Document};

/// Lists of attached documents contain no further ones.
const LISTS: usize = 1;

/// The entries that are images; all of them if none is, or if there is only one. `read` gives the documents that are
/// there.
pub(crate) fn images(entries: &[Descriptor], read: impl Fn(&Digest) -> Option<Vec<u8>>) -> Vec<Descriptor> {
    let images: Vec<_> = match entries {
        [_] => Vec::new(),
        _ => entries.iter().filter(|entry| !is_attached(entry, &read, LISTS)).cloned().collect(),
    };
    match images.is_empty() {
        true => entries.to_vec(),
        false => images,
    }
}

fn is_attached(entry: &Descriptor, read: &impl Fn(&Digest) -> Option<Vec<u8>>, lists: usize) -> bool {
    let is_for_none = entry.platform.as_ref().is_none_or(|platform| platform.os() == "unknown");
    match read(&entry.digest).and_then(|bytes| Document::parse(&bytes, None).ok()) {
        Some(Document::Manifest(manifest)) => is_for_none && !manifest.is_image(),
        Some(Document::Index(index)) => {
            lists > 0
                && !index.manifests.is_empty()
                && index.manifests.iter().all(|entry| is_attached(entry, read, lists - 1))
        }
        None => is_for_none && entry.artifact_type.is_some(),
    }
}
