//! Reading OCI layouts, as directories and as archives (OCI image specification, "Image Layout").
//!
//! An archive is read where it lies: one pass finds where each file begins, and a blob is a range of the archive.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use gantry_oci::{BlobSource, Descriptor, Digest, Index, media_type};

use super::place::{LayoutPlace, Place};
use super::roots;
use crate::error::{Class, Error};

/// Of `index.json`, manifests and indexes, which are read whole.
pub(super) const LARGEST_DOCUMENT: u64 = 8 * 1024 * 1024;
/// Files of an archive that are remembered: a layout of a thousand images has fewer.
const MOST_FILES: usize = 1_000_000;
/// The name of an entry of the layout's index.
pub(crate) const NAME: &str = "org.opencontainers.image.ref.name";
/// The same, whole, as containerd and BuildKit write it.
pub(crate) const FULL_NAME: &str = "io.containerd.image.name";

/// An opened layout.
#[derive(Debug)]
pub(crate) struct Layout {
    path: PathBuf,
    files: Files,
    index: Index,
}

#[derive(Debug)]
enum Files {
    Directory,
    /// Start and length of each file of an archive.
    Archive(HashMap<String, (u64, u64)>),
}

impl Layout {
    /// Opens a layout. Blocks.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let metadata = std::fs::metadata(path).map_err(|error| Error::io("read", path, &error))?;
        let files = match metadata.is_dir() {
            true => Files::Directory,
            false => Files::Archive(files_of(path).map_err(|error| {
                Error::new(Class::Usage, format!("`{}` is not an archive: {error}", path.display()))
                    .hint("an OCI layout in one file is an uncompressed tar archive")
            })?),
        };
        let mut layout = Self { path: path.to_owned(), files, index: Index::new(Vec::new()) };
        let invalid = |reason: String| {
            Error::new(Class::NotFound, format!("`{}` is not an OCI layout: {reason}", path.display()))
        };
        let bytes = layout.file("index.json").map_err(|error| invalid(format!("index.json: {error}")))?;
        layout.index =
            serde_json::from_slice(&bytes).map_err(|error| invalid(format!("index.json: {error}")))?;
        Ok(layout)
    }

    /// The entry that a location means.
    pub(crate) fn find(&self, location: &LayoutPlace) -> Result<Descriptor, Error> {
        if let Some(digest) = &location.digest {
            return self.by_digest(digest);
        }
        let found = match &location.tag {
            Some(tag) => self.named(tag),
            None => {
                let images = roots::images(&self.index.manifests, |digest| self.document(digest).ok());
                <[Descriptor; 1]>::try_from(images).ok().map(|[one]| one).or_else(|| self.named("latest"))
            }
        };
        found.ok_or_else(|| {
            let place = Place::Layout(location.clone());
            let names = self.names().join(", ");
            Error::new(Class::NotFound, format!("there is no `{place}`")).hint(match names.is_empty() {
                true => "the layout has no named images".to_owned(),
                false => format!("the layout has: {names}"),
            })
        })
    }

    fn by_digest(&self, digest: &Digest) -> Result<Descriptor, Error> {
        if let Some(entry) = self.index.manifests.iter().find(|entry| entry.digest == *digest) {
            return Ok(entry.clone());
        }
        let bytes = self.document(digest)?;
        let media_type = gantry_oci::Document::parse(&bytes, None)
            .map(|document| document.media_type().to_owned())
            .map_err(|error| Error::new(Class::Verification, format!("{digest}: {error}")))?;
        Ok(Descriptor::of(media_type, &bytes))
    }

    /// The entry of this name, which stands there alone or at the end of a whole reference.
    pub(crate) fn named(&self, tag: &str) -> Option<Descriptor> {
        let is = |entry: &&Descriptor| entry.annotations.get(NAME).is_some_and(|name| name == tag);
        let ends = |entry: &&Descriptor| {
            [NAME, FULL_NAME]
                .iter()
                .filter_map(|key| entry.annotations.get(*key))
                .any(|name| name.strip_suffix(tag).is_some_and(|rest| rest.ends_with(':')))
        };
        let manifests = &self.index.manifests;
        manifests.iter().find(is).or_else(|| manifests.iter().find(ends)).cloned()
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
        let bytes = self.file(&blob_path(digest)).map_err(|error| {
            let class = match error.kind() {
                io::ErrorKind::NotFound => Class::NotFound,
                _ => Class::Internal,
            };
            Error::new(class, format!("cannot read {digest} of `{}`: {error}", self.path.display()))
        })?;
        match Digest::of(&bytes) == *digest {
            true => Ok(bytes),
            false => Err(Error::new(
                Class::Verification,
                format!("`{}` has other content under {digest}", self.path.display()),
            )),
        }
    }

    /// A blob that is read when it is needed.
    pub(crate) fn blob(&self, blob: &Descriptor) -> Result<FileBlob, Error> {
        let path = blob_path(&blob.digest);
        let (path, start, size) = match &self.files {
            Files::Directory => {
                let path = self.path.join(path);
                let size = std::fs::metadata(&path).map_err(|error| Error::io("read", &path, &error))?.len();
                (path, 0, size)
            }
            Files::Archive(files) => {
                let (start, size) = files.get(&path).copied().ok_or_else(|| {
                    let message = format!("`{}` has no blob {}", self.path.display(), blob.digest);
                    Error::new(Class::NotFound, message)
                })?;
                (self.path.clone(), start, size)
            }
        };
        if size != blob.size {
            let message =
                format!("blob {} of the layout has {size} bytes instead of {}", blob.digest, blob.size);
            return Err(Error::new(Class::Verification, message));
        }
        Ok(FileBlob { path, start, size, digest: blob.digest })
    }

    fn file(&self, name: &str) -> io::Result<Vec<u8>> {
        let (path, start, size) = match &self.files {
            Files::Directory => (self.path.join(name), 0, LARGEST_DOCUMENT + 1),
            Files::Archive(files) => {
                let (start, size) = *files.get(name).ok_or(io::ErrorKind::NotFound)?;
                (self.path.clone(), start, size)
            }
        };
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(size.min(LARGEST_DOCUMENT + 1)).read_to_end(&mut bytes)?;
        match bytes.len() as u64 > LARGEST_DOCUMENT {
            true => Err(io::Error::other(format!("it is larger than {LARGEST_DOCUMENT} bytes"))),
            false => Ok(bytes),
        }
    }
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Where each file of an archive begins, and how long it is.
fn files_of(path: &Path) -> io::Result<HashMap<String, (u64, u64)>> {
    let mut archive = tar::Archive::new(File::open(path)?);
    let mut files = HashMap::new();
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        if entry.header().entry_type().is_file() {
            let name = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
            files.insert(name, (entry.raw_file_position(), entry.size()));
        }
        if files.len() > MOST_FILES {
            return Err(io::Error::other(format!("it has more than {MOST_FILES} files")));
        }
    }
    Ok(files)
}

/// A blob that is a range of a file.
#[derive(Debug, Clone)]
pub(crate) struct FileBlob {
    path: PathBuf,
    start: u64,
    size: u64,
    digest: Digest,
}

impl BlobSource for FileBlob {
    fn digest(&self) -> Digest {
        self.digest
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.start + offset))?;
        Ok(Box::new(file.take(self.size.saturating_sub(offset))))
    }
}
