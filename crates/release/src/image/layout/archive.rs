//! Where the files of an archive are: found in one pass over its headers, so that each can be read where it lies.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use gantry_layer::decompressed;
use gantry_store::{Store, TempDir};

use super::blobs::LARGEST_DOCUMENT;
use crate::error::{Class, Error};

/// Files of an archive that are remembered: a layout of a thousand images has fewer.
const MOST_FILES: usize = 1_000_000;
/// What compressed files begin with: gzip, zstd, bzip2.
const COMPRESSED: [&[u8]; 3] = [b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh"];
/// Bytes that tell what a file is.
const MAGIC: u64 = 4;

/// A part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) start: u64,
    pub(crate) size: u64,
}

/// An archive whose files were found.
#[derive(Debug)]
pub(crate) struct Archive {
    /// What is read.
    path: PathBuf,
    /// Holds `path`, where the archive itself is compressed.
    _unpacked: Option<TempDir>,
    files: HashMap<String, Extent>,
    /// Where names lead that are links: old archives of Docker have a layer once.
    links: HashMap<String, String>,
}

impl Archive {
    /// Opens an archive that is not compressed. Blocks.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let hint = "an OCI layout in one file is an uncompressed tar archive";
        Self::find(path.to_owned(), None).map_err(|error| not_an_archive(path, &error).hint(hint))
    }

    /// Opens an archive; one that is compressed is unpacked into the store for as long as it is open. Blocks.
    pub(crate) fn open_any(store: &Store, path: &Path) -> Result<Self, Error> {
        let failed = |error: &io::Error| Error::io("read the archive", path, error);
        let mut head = Vec::new();
        let file = File::open(path).map_err(|error| failed(&error))?;
        file.take(MAGIC).read_to_end(&mut head).map_err(|error| failed(&error))?;
        let unpacked = is_compressed(&head).then(|| store.temp_dir()).transpose()?;
        let found = match unpacked {
            None => Self::find(path.to_owned(), None),
            Some(directory) => {
                let plain = directory.path().join("archive.tar");
                decompress(path, &plain).map_err(|error| failed(&error))?;
                Self::find(plain, Some(directory))
            }
        };
        found.map_err(|error| not_an_archive(path, &error))
    }

    fn find(path: PathBuf, unpacked: Option<TempDir>) -> io::Result<Self> {
        let (mut files, mut links) = (HashMap::new(), HashMap::new());
        let mut tar = tar::Archive::new(File::open(&path)?);
        for entry in tar.entries_with_seek()? {
            let entry = entry?;
            let name = clean(&String::from_utf8_lossy(&entry.path_bytes()));
            if let Some(target) = entry.link_name_bytes() {
                let target = String::from_utf8_lossy(&target);
                let target = match entry.header().entry_type().is_hard_link() {
                    true => clean(&target),
                    false => beside(&name, &target),
                };
                links.insert(name, target);
            } else if entry.header().entry_type().is_file() {
                files.insert(name, Extent { start: entry.raw_file_position(), size: entry.size() });
            }
            if files.len() + links.len() > MOST_FILES {
                return Err(io::Error::other(format!("it has more than {MOST_FILES} files")));
            }
        }
        Ok(Self { path, _unpacked: unpacked, files, links })
    }

    /// The file that has all the others in it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where a file is; a link leads to what it links to.
    pub(crate) fn extent(&self, name: &str) -> Option<Extent> {
        let name = clean(name);
        let name = self.links.get(&name).unwrap_or(&name);
        self.files.get(name).copied()
    }

    /// The bytes of a small file.
    pub(crate) fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let extent = self.extent(name).ok_or(io::ErrorKind::NotFound)?;
        if extent.size > LARGEST_DOCUMENT {
            return Err(io::Error::other(format!("it is larger than {LARGEST_DOCUMENT} bytes")));
        }
        let mut bytes = Vec::new();
        self.reader(extent)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// A part of the archive from its first byte.
    pub(crate) fn reader(&self, extent: Extent) -> io::Result<impl Read + Send + use<>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(extent.start))?;
        Ok(file.take(extent.size))
    }

    /// Whether a part of the archive is compressed.
    pub(crate) fn is_compressed(&self, extent: Extent) -> io::Result<bool> {
        let mut head = Vec::new();
        self.reader(extent)?.take(MAGIC).read_to_end(&mut head)?;
        Ok(is_compressed(&head))
    }
}

fn not_an_archive(path: &Path, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => Error::io("read", path, error),
        _ => Error::new(
            Class::Verification,
            format!("`{}` cannot be read as an archive: {error}", path.display()),
        ),
    }
}

fn is_compressed(head: &[u8]) -> bool {
    COMPRESSED.iter().any(|magic| head.starts_with(magic))
}

fn decompress(from: &Path, to: &Path) -> io::Result<()> {
    let mut reader = decompressed(File::open(from)?).map_err(io::Error::other)?;
    io::copy(&mut reader, &mut File::create(to)?).map(drop)
}

/// Where a symbolic link leads.
fn beside(name: &str, target: &str) -> String {
    match target.starts_with('/') {
        true => clean(target),
        false => clean(&format!("{}/{target}", name.rsplit_once('/').map_or("", |(directory, _)| directory))),
    }
}

/// A name without `.`, `..` and slashes in front.
fn clean(name: &str) -> String {
    gantry_llb::pattern::clean(&format!("/{name}")).trim_start_matches('/').to_owned()
}
