//! Where the files of an archive are: found in one pass over its headers, so that each can be read where it lies.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use gantry_layer::decompressed;
use gantry_store::{Store, TempDir};

use super::blobs::{LARGEST_DOCUMENT, too_large};
use crate::error::{Class, Error};

/// Files of an archive that are remembered: a layout of a thousand images has fewer.
const MOST_FILES: usize = 1_000_000;
/// Files that say what is in an archive. If there were two, tools would not agree about what it holds.
const ONCE: [&str; 2] = ["index.json", "manifest.json"];
/// What compressed files begin with: gzip, zstd, bzip2.
const COMPRESSED: [&[u8]; 3] = [b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh"];
/// Bytes that tell what a file is.
const MAGIC: u64 = 4;

/// What an archive may always unpack to.
const ALWAYS_UNPACKED: u64 = 4 << 30;
/// What a larger one may unpack to, per byte: images that were saved without compression shrink to a third, seldom to a
/// tenth.
const MOST_UNPACKED_PER_BYTE: u64 = 100;

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
    /// What each name is: what comes last in the archive, as if it were extracted.
    entries: HashMap<String, Entry>,
}

/// What a name in an archive is.
#[derive(Debug, PartialEq, Eq)]
enum Entry {
    File(Extent),
    /// Leads to another name: old archives of Docker have a layer once.
    Link(String),
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
                unpack(path, &plain)?;
                Self::find(plain, Some(directory))
            }
        };
        found.map_err(|error| not_an_archive(path, &error))
    }

    fn find(path: PathBuf, unpacked: Option<TempDir>) -> io::Result<Self> {
        let mut entries: HashMap<String, Entry> = HashMap::new();
        let mut tar = tar::Archive::new(File::open(&path)?);
        for entry in tar.entries_with_seek()? {
            let entry = entry?;
            let name = clean(&String::from_utf8_lossy(&entry.path_bytes()));
            if ONCE.contains(&name.as_str()) && entries.contains_key(&name) {
                return Err(io::Error::other(format!("it has `{name}` twice")));
            }
            match what_is(&name, &entry) {
                Some(found) => entries.insert(name, found),
                None => entries.remove(&name),
            };
            if entries.len() > MOST_FILES {
                return Err(io::Error::other(format!("it has more than {MOST_FILES} files")));
            }
        }
        Ok(Self { path, _unpacked: unpacked, entries })
    }

    /// The file that has all the others in it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where a file is; a link leads to what it links to.
    pub(crate) fn extent(&self, name: &str) -> Option<Extent> {
        let found = match self.entries.get(&clean(name))? {
            Entry::Link(target) => self.entries.get(target)?,
            file @ Entry::File(_) => file,
        };
        match found {
            Entry::File(extent) => Some(*extent),
            Entry::Link(_) => None,
        }
    }

    /// The bytes of a small file.
    pub(crate) fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let extent = self.extent(name).ok_or(io::ErrorKind::NotFound)?;
        if extent.size > LARGEST_DOCUMENT {
            return Err(too_large());
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

/// What an entry is by its type, and by nothing else: a plain file may have the name of a link in its header, which says
/// nothing. `None` if it has no content.
fn what_is(name: &str, entry: &tar::Entry<'_, impl Read>) -> Option<Entry> {
    let target = || Some(String::from_utf8_lossy(&entry.link_name_bytes()?).into_owned());
    match entry.header().entry_type() {
        tar::EntryType::Regular => {
            Some(Entry::File(Extent { start: entry.raw_file_position(), size: entry.size() }))
        }
        tar::EntryType::Link => Some(Entry::Link(clean(&target()?))),
        tar::EntryType::Symlink => Some(Entry::Link(beside(name, &target()?))),
        _ => None,
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

fn unpack(from: &Path, to: &Path) -> Result<(), Error> {
    let failed = |error: &io::Error| Error::io("read the archive", from, error);
    let size = fs::metadata(from).map_err(|error| failed(&error))?.len();
    let most = ALWAYS_UNPACKED.max(size.saturating_mul(MOST_UNPACKED_PER_BYTE));
    match decompress(from, to, most).map_err(|error| failed(&error))? {
        size if size <= most => Ok(()),
        _ => {
            let message = format!("`{}` unpacks to more than {most} bytes", from.display());
            Err(Error::new(Class::Verification, message).hint("unpack it first, if it is to be trusted"))
        }
    }
}

/// Writes what `from` unpacks to, but at most one byte more than `most`. Says how much that is.
fn decompress(from: &Path, to: &Path, most: u64) -> io::Result<u64> {
    let reader = decompressed(File::open(from)?).map_err(io::Error::other)?;
    io::copy(&mut reader.take(most.saturating_add(1)), &mut File::create(to)?)
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

#[cfg(test)]
mod tests {
    use tar::EntryType::{self, Fifo, Link, Regular, Symlink};

    use super::*;

    /// An archive of entries: name, type, name of a link, content.
    fn archive(directory: &Path, entries: &[(&str, EntryType, &str, &str)]) -> Result<Archive, Error> {
        let path = directory.join("x.tar");
        let mut archive = tar::Builder::new(File::create(&path).unwrap());
        for (name, kind, link, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_path(name).unwrap();
            header.set_entry_type(*kind);
            if !link.is_empty() {
                header.set_link_name(link).unwrap();
            }
            header.set_size(content.len() as u64);
            header.set_cksum();
            archive.append(&header, content.as_bytes()).unwrap();
        }
        archive.into_inner().unwrap();
        Archive::open(&path)
    }

    /// What an archive shows is what is extracted from it.
    #[test]
    fn an_entry_is_what_its_type_says() {
        let directory = tempfile::tempdir().unwrap();
        for (entries, content) in [
            (&[("a", Regular, "good", "evil"), ("good", Regular, "", "good")][..], Some("evil")),
            (&[("d/a", Symlink, "../good", ""), ("good", Regular, "", "good")], Some("good")),
            (&[("good", Regular, "", "good"), ("d/a", Link, "good", "")], Some("good")),
            (
                &[("a", Symlink, "good", ""), ("good", Regular, "", "good"), ("a", Regular, "", "x")],
                Some("x"),
            ),
            (
                &[("a", Regular, "", "x"), ("good", Regular, "", "good"), ("a", Symlink, "good", "")],
                Some("good"),
            ),
            (&[("a", Regular, "", "x"), ("a", Fifo, "", "")], None),
            (&[("a", Symlink, "b", ""), ("b", Symlink, "a", "")], None),
        ] {
            let archive = archive(directory.path(), entries).unwrap();
            let name = if entries.iter().any(|entry| entry.0 == "d/a") { "d/a" } else { "a" };
            let found = archive.read(name).ok().map(|bytes| String::from_utf8(bytes).unwrap());
            assert_eq!(found.as_deref(), content, "{entries:?}");
        }
    }

    #[test]
    fn what_says_what_an_archive_holds_is_there_once() {
        let directory = tempfile::tempdir().unwrap();
        for name in ONCE {
            for twice in [
                [(name, Regular, "", "1"), (name, Regular, "", "2")],
                [(name, Regular, "", "1"), (&format!("./{name}"), Symlink, "x", "")],
            ] {
                let error = archive(directory.path(), &twice).unwrap_err();
                assert_eq!(error.class, Class::Verification);
                assert!(error.message.contains("twice"), "{error}");
            }
        }
    }

    #[test]
    fn an_archive_unpacks_to_a_limit() {
        let directory = tempfile::tempdir().unwrap();
        let (packed, plain) = (directory.path().join("x.gz"), directory.path().join("x"));
        let mut encoder = flate2::write::GzEncoder::new(File::create(&packed).unwrap(), Default::default());
        io::copy(&mut io::repeat(0).take(100_000), &mut encoder).unwrap();
        encoder.finish().unwrap();
        for (most, written) in [(1000, 1001), (99_999, 100_000), (100_000, 100_000), (u64::MAX, 100_000)] {
            assert_eq!(decompress(&packed, &plain, most).unwrap(), written);
            assert_eq!(fs::metadata(&plain).unwrap().len(), written);
        }
    }
}
