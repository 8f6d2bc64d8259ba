//! Content of a layout by its digest, wherever it lies: in a file each, within an archive, or in memory.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gantry_oci::{BlobSource, BytesSource, Digest};

use super::archive::{Archive, Extent};

/// Of `index.json`, manifests and indexes, which are read whole.
pub(crate) const LARGEST_DOCUMENT: u64 = 8 * 1024 * 1024;

/// The bytes of a small file. One that is no plain file, as a pipe, would keep us waiting. Blocks.
pub(crate) fn small_file(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no plain file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST_DOCUMENT + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > LARGEST_DOCUMENT {
        true => Err(too_large()),
        false => Ok(bytes),
    }
}

/// The error of a document that is not read, for its size.
pub(super) fn too_large() -> io::Error {
    io::Error::other(format!("it is larger than {LARGEST_DOCUMENT} bytes"))
}

/// Blobs by digest.
#[derive(Debug)]
pub(crate) struct Blobs {
    place: Place,
    /// Documents that stand in no file: an archive of old Docker versions has no manifests.
    made: HashMap<Digest, Vec<u8>>,
}

#[derive(Debug)]
enum Place {
    /// The layout's directory.
    Directory(PathBuf),
    /// An archive, and what in it is known under another name than that of its digest.
    Archive(Arc<Archive>, HashMap<Digest, Extent>),
}

impl Blobs {
    /// Those of the layout in a directory.
    pub(crate) fn directory(root: &Path) -> Self {
        Self { place: Place::Directory(root.to_owned()), made: HashMap::new() }
    }

    /// Those of the layout in an archive.
    pub(crate) fn archive(archive: Archive) -> Self {
        Self::saved(archive, HashMap::new(), HashMap::new())
    }

    /// Those of an archive that names them otherwise, and documents besides.
    pub(crate) fn saved(
        archive: Archive,
        named: HashMap<Digest, Extent>,
        made: HashMap<Digest, Vec<u8>>,
    ) -> Self {
        Self { place: Place::Archive(Arc::new(archive), named), made }
    }

    /// A blob that is read when it is needed. An error of the kind `NotFound` if it is not there, or no file.
    pub(crate) fn find(&self, digest: &Digest) -> io::Result<Arc<dyn BlobSource>> {
        if let Some(bytes) = self.made.get(digest) {
            return Ok(Arc::new(BytesSource::new(bytes.clone())));
        }
        let name = format!("blobs/sha256/{}", digest.hex());
        let blob = match &self.place {
            Place::Directory(root) => {
                let path = root.join(name);
                let metadata = fs::metadata(&path)?;
                // A pipe in the place of a blob would keep us waiting.
                if !metadata.is_file() {
                    return Err(io::ErrorKind::NotFound.into());
                }
                let extent = Extent { start: 0, size: metadata.len() };
                FileBlob { digest: *digest, path, extent, _archive: None }
            }
            Place::Archive(archive, named) => {
                let extent = named.get(digest).copied().or_else(|| archive.extent(&name));
                let extent = extent.ok_or(io::ErrorKind::NotFound)?;
                let path = archive.path().to_owned();
                FileBlob { digest: *digest, path, extent, _archive: Some(Arc::clone(archive)) }
            }
        };
        Ok(Arc::new(blob))
    }

    /// The size of a blob, if it is there.
    pub(crate) fn size(&self, digest: &Digest) -> Option<u64> {
        self.find(digest).ok().map(|blob| blob.size())
    }

    /// The bytes of a small blob, whatever digest they have.
    pub(crate) fn document(&self, digest: &Digest) -> io::Result<Vec<u8>> {
        let blob = self.find(digest)?;
        if blob.size() > LARGEST_DOCUMENT {
            return Err(too_large());
        }
        let mut bytes = Vec::new();
        blob.open(0)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// A blob that is a part of a file, or the whole of it.
struct FileBlob {
    digest: Digest,
    path: PathBuf,
    extent: Extent,
    /// Keeps the file where it is, if it is there for a while only.
    _archive: Option<Arc<Archive>>,
}

impl BlobSource for FileBlob {
    fn digest(&self) -> Digest {
        self.digest
    }

    fn size(&self) -> u64 {
        self.extent.size
    }

    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.extent.start + offset))?;
        Ok(Box::new(file.take(self.extent.size.saturating_sub(offset))))
    }
}
