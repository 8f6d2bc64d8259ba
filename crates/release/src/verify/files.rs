//! Subjects that are no registry's: layouts, archives, the local store. Finds where their content is, and what of it is
//! meant.

use std::io;
use std::path::Path;

use gantry_oci::{Descriptor, Digest, Document};
use gantry_store::Store;

use super::content::Root;
use super::saved;
use super::subject::Subject;
use crate::error::{Class, Error};
use crate::image::layout::archive::Archive;
use crate::image::layout::blobs::Blobs;
use crate::image::layout::{Layout, Meaning};

/// Opens a subject that is no registry's. Blocks.
pub(super) fn open(store: &Store, subject: &Subject) -> Result<(Blobs, Root), Error> {
    match subject {
        Subject::Store(name) => stored(store, name),
        Subject::Layout(path, name) => of_layout(Layout::open(path)?, path, name.as_deref()),
        Subject::Archive(path, name) => {
            let archive = Archive::open_any(store, path)?;
            match archive.extent("index.json") {
                Some(_) => of_layout(Layout::in_archive(path, archive)?, path, name.as_deref()),
                None => saved::open(archive, path, name.as_deref()),
            }
        }
        Subject::Registry(reference) => {
            Err(Error::new(Class::Internal, format!("{reference} is in no file")))
        }
    }
}

fn stored(store: &Store, name: &str) -> Result<(Blobs, Root), Error> {
    let blobs = Blobs::directory(store.root());
    let named = store.named_image(name)?.map(|entry| entry.digest);
    let digest = named.or_else(|| name.parse().ok().filter(|digest| store.has_blob(digest)));
    let missing = || {
        Error::new(Class::NotFound, format!("the local store has no result `{name}`"))
            .hint("results are kept by `gantry build` without --push, or with --output type=image")
    };
    let digest = digest.ok_or_else(missing)?;
    let bytes = document(&blobs, &digest)?;
    let document = Document::parse(&bytes, None)
        .map_err(|error| Error::new(Class::Usage, format!("`{name}` is no image: {error}")))?;
    let root = Root { descriptor: Descriptor::of(document.media_type(), &bytes), bytes };
    Ok((blobs, root))
}

/// The root document of a layout: the image that is named, or its only one, or else its whole list.
fn of_layout(layout: Layout, path: &Path, name: Option<&str>) -> Result<(Blobs, Root), Error> {
    let (descriptor, list) = match layout.meaning(name)? {
        Meaning::One(entry) => (*entry, None),
        Meaning::Nothing if name.is_some() => return Err(no_image(path, name.unwrap_or_default())),
        // Images without names cannot be told apart by them, so they are meant together.
        Meaning::Several(entries) if name.is_some() || layout.has_names(&entries) => {
            return Err(layout.several(name, &entries));
        }
        Meaning::Several(_) | Meaning::Nothing => {
            let (descriptor, bytes) = layout.list();
            (descriptor, Some(bytes))
        }
    };
    let blobs = layout.into_blobs();
    let bytes = match list {
        Some(bytes) => bytes,
        None => document(&blobs, &descriptor.digest)?,
    };
    Ok((blobs, Root { descriptor, bytes }))
}

/// The bytes under a digest, which are judged later.
fn document(blobs: &Blobs, digest: &Digest) -> Result<Vec<u8>, Error> {
    blobs.document(digest).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::new(Class::Verification, format!("{digest} is not there")),
        _ => Error::new(Class::Internal, format!("cannot read {digest}: {error}")),
    })
}

/// The error of a name that an archive or layout does not have.
pub(super) fn no_image(path: &Path, name: &str) -> Error {
    Error::new(Class::NotFound, format!("`{}` has no image `{name}`", path.display()))
}
