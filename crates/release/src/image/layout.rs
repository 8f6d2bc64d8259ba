//! Reading OCI layouts, as directories and as archives (OCI image specification, "Image Layout"): what is in them, and
//! which of it a name means. Everything here that reads a layout reads it by this.

pub(crate) mod archive;
pub(crate) mod blobs;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gantry_oci::{BlobSource, Descriptor, Digest, Document, Index, media_type};

use super::place::{LayoutPlace, Place};
use super::roots;
use crate::error::{Class, Error};
use archive::Archive;
use blobs::{Blobs, small_file};

/// The name of an entry of the layout's index.
pub(crate) const NAME: &str = "org.opencontainers.image.ref.name";
/// The same, whole, as containerd and BuildKit write it.
pub(crate) const FULL_NAME: &str = "io.containerd.image.name";

const INDEX: &str = "index.json";

/// An opened layout.
#[derive(Debug)]
pub(crate) struct Layout {
    path: PathBuf,
    blobs: Blobs,
    index: Index,
    /// What `index` was read from.
    bytes: Vec<u8>,
}

/// What a name means in a layout.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Meaning {
    Nothing,
    One(Box<Descriptor>),
    /// Different images.
    Several(Vec<Descriptor>),
}

impl Layout {
    /// Opens a layout. Blocks.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let metadata = fs::metadata(path).map_err(|error| Error::io("read", path, &error))?;
        match metadata.is_dir() {
            true => Self::read(path, small_file(&path.join(INDEX)), Blobs::directory(path)),
            false => Self::in_archive(path, Archive::open(path)?),
        }
    }

    /// Reads the layout in an archive that users know by this path.
    pub(crate) fn in_archive(path: &Path, archive: Archive) -> Result<Self, Error> {
        Self::read(path, archive.read(INDEX), Blobs::archive(archive))
    }

    fn read(path: &Path, index: io::Result<Vec<u8>>, blobs: Blobs) -> Result<Self, Error> {
        let invalid = |class, error: &dyn std::fmt::Display| {
            Error::new(class, format!("`{}` is not an OCI layout: {INDEX}: {error}", path.display()))
        };
        let bytes = index.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => invalid(Class::NotFound, &error),
            io::ErrorKind::PermissionDenied => invalid(Class::Denied, &error),
            _ => invalid(Class::Verification, &error),
        })?;
        let index = serde_json::from_slice(&bytes).map_err(|error| invalid(Class::Verification, &error))?;
        Ok(Self { path: path.to_owned(), blobs, index, bytes })
    }

    /// Everything that the layout lists, as a document.
    pub(crate) fn list(&self) -> (Descriptor, Vec<u8>) {
        (Descriptor::of(media_type::INDEX, &self.bytes), self.bytes.clone())
    }

    /// Its content.
    pub(crate) fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// The same, when nothing else is wanted any more.
    pub(crate) fn into_blobs(self) -> Blobs {
        self.blobs
    }

    /// What a name means: of an entry, alone or at the end of a whole reference, or a digest; without one, its only image.
    /// What is there, but not as it should be, is an error: it is not nothing.
    pub(crate) fn meaning(&self, name: Option<&str>) -> Result<Meaning, Error> {
        let mut found = match name {
            Some(name) => self.all_named(name),
            None => roots::images(&self.index.manifests, |digest| self.blobs.document(digest).ok()),
        };
        let mut seen = BTreeSet::new();
        found.retain(|entry| seen.insert(entry.digest));
        Ok(match (found.len(), name.and_then(|name| name.parse().ok())) {
            (0, Some(digest)) => match self.by_digest(&digest) {
                Ok(entry) => Meaning::One(entry.into()),
                Err(error) if error.class == Class::NotFound => Meaning::Nothing,
                Err(error) => return Err(error),
            },
            (0, None) => Meaning::Nothing,
            (1, _) => Meaning::One(found.swap_remove(0).into()),
            _ => Meaning::Several(found),
        })
    }

    /// The entries of this name; if there are none, those with a whole reference that ends in it.
    fn all_named(&self, name: &str) -> Vec<Descriptor> {
        all_named(&self.index, name).into_iter().cloned().collect()
    }

    /// The entry that a location means.
    pub(crate) fn find(&self, location: &LayoutPlace) -> Result<Descriptor, Error> {
        if let Some(digest) = &location.digest {
            return self.by_digest(digest);
        }
        let tag = location.tag.as_deref();
        let meaning = match (self.meaning(tag)?, tag) {
            (Meaning::Several(_), None) => self.meaning(Some("latest"))?,
            (meaning, _) => meaning,
        };
        match meaning {
            Meaning::One(entry) => Ok(*entry),
            Meaning::Several(entries) => Err(self.several(tag, &entries)),
            Meaning::Nothing => {
                let place = Place::Layout(location.clone());
                let names = self.names().join(", ");
                Err(Error::new(Class::NotFound, format!("there is no `{place}`")).hint(
                    match names.is_empty() {
                        true => "the layout has no named images".to_owned(),
                        false => format!("the layout has: {names}"),
                    },
                ))
            }
        }
    }

    /// Whether one of these has a name.
    pub(crate) fn has_names(&self, entries: &[Descriptor]) -> bool {
        entries.iter().any(|entry| names_of(entry).next().is_some())
    }

    /// The error of a name that does not say which image is meant.
    pub(crate) fn several(&self, name: Option<&str>, entries: &[Descriptor]) -> Error {
        let names: BTreeSet<_> = match name {
            None => entries.iter().flat_map(names_of).map(str::to_owned).collect(),
            Some(_) => entries.iter().map(|entry| entry.digest.to_string()).collect(),
        };
        several(&self.path, name, names.into_iter())
    }

    fn by_digest(&self, digest: &Digest) -> Result<Descriptor, Error> {
        if let Some(entry) = self.index.manifests.iter().find(|entry| entry.digest == *digest) {
            return Ok(entry.clone());
        }
        let bytes = self.document(digest)?;
        let media_type = Document::parse(&bytes, None)
            .map(|document| document.media_type().to_owned())
            .map_err(|error| Error::new(Class::Verification, format!("{digest}: {error}")))?;
        Ok(Descriptor::of(media_type, &bytes))
    }

    /// The entry of this name, the first if there are several.
    pub(crate) fn named(&self, tag: &str) -> Option<Descriptor> {
        named(&self.index, tag).cloned()
    }

    /// The names in the layout's index.
    pub(crate) fn names(&self) -> Vec<String> {
        let name = |entry: &Descriptor| entry.annotations.get(NAME).cloned();
        self.index.manifests.iter().filter_map(name).collect()
    }

    /// What the layout lists as referring to `subject`: under the fallback tag, as registries without an API have it,
    /// and beside the images.
    pub(crate) fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, Error> {
        let tag = format!("sha256-{}", subject.hex());
        let mut found = match self.named(&tag) {
            Some(entry) if media_type::is_index(&entry.media_type) => {
                let index: Index =
                    serde_json::from_slice(&self.document(&entry.digest)?).map_err(|error| {
                        Error::new(Class::Verification, format!("`{tag}` of the layout: {error}"))
                    })?;
                index.manifests
            }
            _ => Vec::new(),
        };
        for entry in self.index.manifests.iter().filter(|entry| media_type::is_manifest(&entry.media_type)) {
            let document: serde_json::Value =
                serde_json::from_slice(&self.document(&entry.digest)?).unwrap_or_default();
            let refers = document["subject"]["digest"].as_str() == Some(&subject.to_string());
            if refers && !found.iter().any(|one| one.digest == entry.digest) {
                found.push(entry.clone());
            }
        }
        Ok(found)
    }

    /// The bytes of a manifest or index, which have its digest. Blocks.
    pub(crate) fn document(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        let bytes = self.blobs.document(digest).map_err(|error| self.unreadable(digest, &error))?;
        match Digest::of(&bytes) == *digest {
            true => Ok(bytes),
            false => Err(Error::new(
                Class::Verification,
                format!("`{}` has other content under {digest}", self.path.display()),
            )),
        }
    }

    /// A blob that is read when it is needed.
    pub(crate) fn blob(&self, blob: &Descriptor) -> Result<Arc<dyn BlobSource>, Error> {
        let found = self.blobs.find(&blob.digest).map_err(|error| self.unreadable(&blob.digest, &error))?;
        match found.size() == blob.size {
            true => Ok(found),
            false => {
                let (digest, says, has) = (blob.digest, blob.size, found.size());
                let message = format!("blob {digest} of the layout has {has} bytes instead of {says}");
                Err(Error::new(Class::Verification, message))
            }
        }
    }

    fn unreadable(&self, digest: &Digest, error: &io::Error) -> Error {
        let class = match error.kind() {
            io::ErrorKind::NotFound => Class::NotFound,
            _ => Class::Internal,
        };
        Error::new(class, format!("cannot read {digest} of `{}`: {error}", self.path.display()))
    }
}

/// The entry of this name in a layout's index, the first if there are several.
pub(crate) fn named<'a>(index: &'a Index, tag: &str) -> Option<&'a Descriptor> {
    all_named(index, tag).into_iter().next()
}

fn all_named<'a>(index: &'a Index, name: &str) -> Vec<&'a Descriptor> {
    let is =
        |entry: &&Descriptor| entry.digest.to_string() == name || names_of(entry).any(|known| known == name);
    let ends = |entry: &&Descriptor| {
        names_of(entry).any(|known| known.strip_suffix(name).is_some_and(|rest| rest.ends_with(':')))
    };
    let found: Vec<_> = index.manifests.iter().filter(is).collect();
    match found.is_empty() {
        true => index.manifests.iter().filter(ends).collect(),
        false => found,
    }
}

/// The error of a name, or of the lack of one, that means several images of the layout or archive at `path`.
pub(crate) fn several(path: &Path, name: Option<&str>, names: impl Iterator<Item = String>) -> Error {
    let names = names.collect::<Vec<_>>().join(", ");
    let (which, hint) = match name {
        None => (String::new(), format!("name one of them, as in `oci:DIR:NAME`: {names}")),
        Some(name) => (format!(" `{name}`"), format!("say which by its digest: {names}")),
    };
    Error::new(Class::Usage, format!("`{}` has several images{which}", path.display())).hint(hint)
}

fn names_of(entry: &Descriptor) -> impl Iterator<Item = &str> {
    [NAME, FULL_NAME].into_iter().filter_map(|key| entry.annotations.get(key)).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(index: &[u8]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("blobs/sha256")).unwrap();
        fs::write(directory.path().join(INDEX), index).unwrap();
        directory
    }

    #[test]
    fn an_index_is_a_plain_file_of_some_size() {
        let class = |directory: &tempfile::TempDir| Layout::open(directory.path()).unwrap_err().class;
        let large = vec![b' '; usize::try_from(blobs::LARGEST_DOCUMENT).unwrap() + 1];
        assert_eq!(class(&layout(&large)), Class::Verification);
        let piped = layout(b"{}");
        let index = piped.path().join(INDEX);
        fs::remove_file(&index).unwrap();
        assert_eq!(class(&piped), Class::NotFound);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &index,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        assert_eq!(class(&piped), Class::Verification);
    }

    #[test]
    fn a_digest_means_what_has_it_or_nothing_or_is_an_error() {
        let index = serde_json::to_vec(&Index::new(Vec::new())).unwrap();
        let directory = layout(&index);
        let digest = Digest::of(&index);
        let meaning = || Layout::open(directory.path()).unwrap().meaning(Some(&digest.to_string()));
        assert_eq!(meaning().unwrap(), Meaning::Nothing);
        let path = directory.path().join("blobs/sha256").join(digest.hex());
        fs::write(&path, "corrupt").unwrap();
        assert_eq!(meaning().unwrap_err().class, Class::Verification);
        fs::write(&path, &index).unwrap();
        assert_eq!(meaning().unwrap(), Meaning::One(Descriptor::of(media_type::INDEX, &index).into()),);
    }
}
