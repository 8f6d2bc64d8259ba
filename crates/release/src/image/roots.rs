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

#[cfg(test)]
mod tests {
    use gantry_oci::{Index, Manifest, media_type};
    use gantry_testkit::{ImageTarget, LayoutDirectory};

    use super::super::layout::Layout;
    use super::super::place::Place;
    use super::super::testing::image;

    fn find(layout: &LayoutDirectory, name: &str) -> Result<gantry_oci::Digest, crate::error::Error> {
        let place = format!("oci-layout://{}{name}", layout.path().display()).parse().unwrap();
        let Place::Layout(place) = place else { panic!("a layout") };
        Ok(Layout::open(layout.path()).unwrap().find(&place)?.digest)
    }

    #[test]
    fn the_image_of_a_layout_is_found_beside_what_is_attached_to_it() {
        let directory = tempfile::tempdir().unwrap();
        let layout = LayoutDirectory::create(directory.path().join("layout"));
        let subject = image("linux/amd64", "x");
        subject.push(&layout, "", Some("1"));
        let layer = gantry_oci::Descriptor::of("application/vnd.in-toto+json", b"{}");
        let mut referrer = Manifest::new(gantry_oci::Descriptor::of("application/x", b"{}"), vec![layer]);
        referrer.extra.insert("subject".to_owned(), serde_json::json!(subject.descriptor()));
        let bytes = serde_json::to_vec(&referrer).unwrap();
        layout.put_manifest("", Some("attached"), media_type::MANIFEST, &bytes);
        let list = Index::new(vec![gantry_oci::Descriptor::of(media_type::MANIFEST, &bytes)]);
        let list = serde_json::to_vec(&list).unwrap();
        layout.put_manifest("", Some("sha256-list"), media_type::INDEX, &list);
        assert_eq!(find(&layout, "").unwrap(), subject.digest());
        assert_eq!(find(&layout, ":attached").unwrap(), gantry_oci::Digest::of(&bytes));

        // Two images are two, even if one says that it is about the other.
        let mut other = image("linux/amd64", "y").manifest;
        other.extra.insert("subject".to_owned(), serde_json::json!(subject.descriptor()));
        let bytes = serde_json::to_vec(&other).unwrap();
        layout.put_manifest("", Some("2"), media_type::MANIFEST, &bytes);
        assert!(find(&layout, "").is_err());
    }
}
