//! Writing OCI layouts. A blob appears when it is complete and has its digest; the index is replaced as a whole, last.
//!
//! Several commands may write to one directory: its `oci-layout` is locked (`flock`) from reading the index to replacing
//! it, so none loses what another has entered. A layout in one file is gathered in a directory beside it, and written
//! when all is there.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use gantry_oci::{BlobSource, BytesSource, Descriptor, Digest, Hasher, Index, WrongCopy};
use gantry_registry::Uploaded;
use gantry_store::OCI_LAYOUT;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::layout::blobs::{Blobs, LARGEST_DOCUMENT, small_file};
use super::layout::{FULL_NAME, Layout, NAME, named};
use super::place::LayoutPlace;
use crate::error::{Class, Error};
use crate::part_file::PartFile;
use crate::publish::policy;
use crate::whole_file::write_file;

/// Few, large reads and writes.
const COPY_BUFFER: usize = 256 << 10;

/// A layout that is written to.
#[derive(Debug)]
pub(crate) struct LayoutWriter {
    directory: PathBuf,
    /// The archive that the directory becomes.
    archive: Option<(PathBuf, Staging)>,
}

/// A directory for the time of a command; its lock goes last.
#[derive(Debug)]
struct Staging {
    directory: TempDir,
    _lock: File,
}

impl LayoutWriter {
    /// Begins. Blocks.
    pub(crate) fn open(location: &LayoutPlace) -> Result<Self, Error> {
        match location.is_archive() {
            false => Self::directory(&location.path),
            true => Self::archive(&location.path),
        }
    }

    /// Begins in a directory, which may be a layout already. Blocks.
    pub(crate) fn directory(path: &Path) -> Result<Self, Error> {
        Self::begin(path.to_owned(), None)
    }

    /// The directory is a new one: what a killed command left behind is no part of the archive.
    fn archive(path: &Path) -> Result<Self, Error> {
        let staging = staging(path).map_err(|error| Error::io("create a directory beside", path, &error))?;
        Self::begin(staging.directory.path().to_owned(), Some((path.to_owned(), staging)))
    }

    fn begin(directory: PathBuf, archive: Option<(PathBuf, Staging)>) -> Result<Self, Error> {
        let blobs = directory.join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(|error| Error::io("create", &blobs, &error))?;
        Ok(Self { directory, archive })
    }

    /// The layout that is there already, or that the archive replaces. Blocks.
    pub(crate) fn replaced(&self) -> Result<Option<Layout>, Error> {
        let (path, sign) = match &self.archive {
            Some((archive, _)) => (archive, archive.clone()),
            None => (&self.directory, self.directory.join("index.json")),
        };
        if sign.exists() { Layout::open(path).map(Some) } else { Ok(None) }
    }

    /// The content that is there by now.
    pub(crate) fn blobs(&self) -> Blobs {
        Blobs::directory(&self.directory)
    }

    /// Whether a blob is there, by its name and size: none gets its name before it has its digest.
    pub(crate) fn has(&self, digest: &Digest, size: u64) -> bool {
        fs::metadata(self.blob(digest)).is_ok_and(|metadata| metadata.len() == size)
    }

    /// Whether a document is there with the content that its digest says. Blocks.
    pub(crate) fn has_document(&self, digest: &Digest, size: u64) -> bool {
        size <= LARGEST_DOCUMENT
            && self.has(digest, size)
            && fs::read(self.blob(digest)).is_ok_and(|bytes| Digest::of(&bytes) == *digest)
    }

    /// Writes a blob unless it is there. Blocks.
    pub(crate) fn put(&self, source: &dyn BlobSource, cancel: &CancellationToken) -> Result<Uploaded, Error> {
        match self.has(&source.digest(), source.size()) {
            true => Ok(Uploaded::Existed),
            false => self.write(source, cancel),
        }
    }

    /// Writes a document, whatever is there. Blocks.
    pub(crate) fn put_document(&self, bytes: &[u8], cancel: &CancellationToken) -> Result<(), Error> {
        self.write(&BytesSource::new(bytes.to_vec()), cancel).map(|_| ())
    }

    fn write(&self, source: &dyn BlobSource, cancel: &CancellationToken) -> Result<Uploaded, Error> {
        let digest = source.digest();
        let target = self.blob(&digest);
        let (part, found) = loop {
            let part = part_of(&target)?;
            match copy(source, part.file(), cancel) {
                Ok(found) => break (part, found),
                Err(_) if cancel.is_cancelled() => return Err(Error::new(Class::Cancelled, "stopped")),
                Err(error) if WrongCopy::is(&error) => {}
                Err(error) => return Err(of_source(&error, &target)),
            }
        };
        if found != digest {
            let message = format!("the source has content with digest {found} instead of {digest}");
            return Err(Error::new(Class::Verification, message));
        }
        part.persist().map_err(|error| Error::io("write", &target, &error))?;
        Ok(Uploaded::Sent(source.size()))
    }

    /// Names a document in the layout's index, in the place of what had the name. Blocks.
    pub(crate) fn name(&self, tag: Option<&str>, entry: Descriptor) -> Result<(), Error> {
        self.enter(vec![with_name(tag, entry)])
    }

    /// The same, if the name still means what was judged: `None` if that was nothing. Blocks.
    ///
    /// What an archive replaces is in no index of ours, and nobody can lock it: there the verdict has to do.
    pub(crate) fn name_if(&self, tag: &str, entry: Descriptor, judged: Option<Digest>) -> Result<(), Error> {
        self.enter_if(vec![with_name(Some(tag), entry)], |index| {
            let current = named(index, tag).map(|entry| entry.digest);
            match self.archive.is_some() || current == judged {
                true => Ok(()),
                false => {
                    let place = self.directory.display();
                    Err(policy::refused(format!("`{tag}` of `{place}` was moved by somebody else just now")))
                }
            }
        })
    }

    /// Puts entries into the layout's index, each in the place of what had its name. Blocks.
    pub(crate) fn enter(&self, entries: Vec<Descriptor>) -> Result<(), Error> {
        self.enter_if(entries, |_| Ok(()))
    }

    /// The same, if `may` says so of the index as it is while nobody else can change it.
    fn enter_if(
        &self,
        entries: Vec<Descriptor>,
        may: impl FnOnce(&Index) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let _lock = self.lock()?;
        let path = self.directory.join("index.json");
        let mut index = self.index(&path)?;
        may(&index)?;
        for entry in entries {
            index.manifests.retain(|one| !is_named_like(one, &entry));
            let is_named = entry.annotations.contains_key(NAME) || entry.annotations.contains_key(FULL_NAME);
            if is_named || index.manifests.iter().all(|one| one.digest != entry.digest) {
                index.manifests.push(entry);
            }
        }
        let bytes = serde_json::to_vec(&index).expect("an index is plain data");
        let part = part_of(&path)?;
        let mut file = part.file();
        file.write_all(&bytes)
            .and_then(|()| file.sync_data())
            .map_err(|error| Error::io("write", &path, &error))?;
        part.persist().map_err(|error| Error::io("write", &path, &error))?;
        Ok(())
    }

    /// Keeps every other writer of the layout's index waiting, of this process and of others, until it is dropped.
    fn lock(&self) -> Result<File, Error> {
        let path = self.directory.join("oci-layout");
        let locked = || {
            let mut file =
                OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
            file.lock()?;
            if file.metadata()?.len() == 0 {
                file.write_all(OCI_LAYOUT.as_bytes())?;
                file.sync_data()?;
            }
            Ok(file)
        };
        locked().map_err(|error: io::Error| Error::io("write", &path, &error))
    }

    fn index(&self, path: &Path) -> Result<Index, Error> {
        match small_file(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                Error::new(Class::Usage, format!("`{}` is not valid: {error}", path.display()))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Index::new(Vec::new())),
            Err(error) => Err(Error::io("read", path, &error)),
        }
    }

    /// Writes the archive, if it is to be one. Blocks.
    pub(crate) fn finish(&self, cancel: &CancellationToken) -> Result<(), Error> {
        let Some((archive, _)) = &self.archive else { return Ok(()) };
        let written = write_file(archive, |out| {
            let mut tar = tar::Builder::new(out);
            let mut names = vec!["oci-layout".to_owned(), "index.json".to_owned()];
            let mut blobs: Vec<String> = fs::read_dir(self.directory.join("blobs/sha256"))?
                .map(|entry| Ok(format!("blobs/sha256/{}", entry?.file_name().to_string_lossy())))
                .collect::<io::Result<_>>()?;
            blobs.sort();
            names.extend(blobs);
            for name in names {
                if cancel.is_cancelled() {
                    return Err(io::Error::other("stopped"));
                }
                let file = File::open(self.directory.join(&name))?;
                let mut header = tar::Header::new_ustar();
                header.set_size(file.metadata()?.len());
                header.set_mode(0o644);
                tar.append_data(&mut header, &name, file)?;
            }
            tar.finish()
        });
        written.map_err(|error| match cancel.is_cancelled() {
            true => Error::new(Class::Cancelled, "stopped"),
            false => Error::io("write", archive, &error),
        })
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.directory.join("blobs/sha256").join(digest.hex())
    }
}

/// An entry of this name and of no other.
fn with_name(tag: Option<&str>, mut entry: Descriptor) -> Descriptor {
    entry.annotations.retain(|key, _| key != NAME && key != FULL_NAME);
    entry.annotations.extend(tag.map(|tag| (NAME.to_owned(), tag.to_owned())));
    entry
}

/// Whether an entry has the name that a new one gets. What has a whole name is only another name's if that is the same.
fn is_named_like(one: &Descriptor, new: &Descriptor) -> bool {
    let both = |key: &str| Some((one.annotations.get(key)?, new.annotations.get(key)?));
    both(FULL_NAME).or_else(|| both(NAME)).is_some_and(|(one, new)| one == new)
}

/// A file that will be `target`.
fn part_of(target: &Path) -> Result<PartFile, Error> {
    PartFile::beside(target).map_err(|error| Error::io("write", target, &error))
}

/// A new directory beside an archive, and the lock that says that somebody gathers the archive's content there. Those
/// without one, whose command was killed, are removed.
fn staging(archive: &Path) -> io::Result<Staging> {
    let mut prefix = OsString::from(".");
    prefix.push(archive.file_name().unwrap_or_default());
    prefix.push(".gantry-part-");
    let parent = archive.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        let is_ours = entry.file_name().as_bytes().starts_with(prefix.as_bytes());
        if !(is_ours && entry.file_type()?.is_dir()) {
            continue;
        }
        // What cannot be looked into or removed is no reason not to write.
        if let Ok(left) = File::open(entry.path()).and_then(|left| Ok(left.try_lock().map(|()| left)?)) {
            let _ = fs::remove_dir_all(entry.path());
            drop(left);
        }
    }
    loop {
        let directory = tempfile::Builder::new().prefix(&prefix).tempdir_in(parent)?;
        let lock = File::open(directory.path())?;
        lock.lock()?;
        // Another command may have removed it before it was locked.
        if directory.path().exists() {
            return Ok(Staging { directory, _lock: lock });
        }
    }
}

/// Writes a source's bytes and says which digest they have.
fn copy(source: &dyn BlobSource, file: &File, cancel: &CancellationToken) -> io::Result<Digest> {
    let mut reader = source.open(0)?;
    let mut out = BufWriter::with_capacity(COPY_BUFFER, file);
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; COPY_BUFFER];
    loop {
        match reader.read(&mut buffer)? {
            0 => break,
            _ if cancel.is_cancelled() => return Err(io::Error::other("stopped")),
            length => {
                hasher.update(&buffer[..length]);
                out.write_all(&buffer[..length])?;
            }
        }
    }
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_data()?;
    Ok(hasher.finish())
}

/// What a registry could not give is told as the registry's fault.
fn of_source(error: &io::Error, target: &Path) -> Error {
    let registry = error.get_ref().and_then(|inner| inner.downcast_ref::<gantry_registry::RegistryError>());
    match registry {
        Some(error) => super::of_registry(error),
        None => Error::io("write", target, error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(path: &Path) -> Vec<String> {
        let index: Index = serde_json::from_slice(&fs::read(path.join("index.json")).unwrap()).unwrap();
        let key = |entry: &Descriptor| {
            let annotations = &entry.annotations;
            annotations.get(FULL_NAME).or_else(|| annotations.get(NAME)).cloned().unwrap_or_default()
        };
        let mut names: Vec<_> = index.manifests.iter().map(key).collect();
        names.sort();
        names
    }

    fn entry(text: &str, full: Option<&str>, name: Option<&str>) -> Descriptor {
        let mut entry = Descriptor::of(gantry_oci::media_type::MANIFEST, text.as_bytes());
        entry.annotations.extend(full.map(|full| (FULL_NAME.to_owned(), full.to_owned())));
        entry.annotations.extend(name.map(|name| (NAME.to_owned(), name.to_owned())));
        entry
    }

    /// Each writer has its own lock, as another process would.
    #[test]
    fn writers_at_one_time_lose_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        std::thread::scope(|scope| {
            for writer in 0..8 {
                scope.spawn(move || {
                    for round in 0..8 {
                        let name = format!("{writer}-{round}");
                        let layout = LayoutWriter::directory(path).unwrap();
                        layout.name(Some(&name), entry(&name, None, None)).unwrap();
                    }
                });
            }
        });
        assert_eq!(names(path).len(), 64);
        assert_eq!(fs::read_to_string(path.join("oci-layout")).unwrap(), OCI_LAYOUT);
        assert_eq!(fs::metadata(path.join("index.json")).unwrap().permissions().mode() & 0o400, 0o400);
    }

    #[test]
    fn an_entry_takes_the_place_of_its_name_only() {
        let directory = tempfile::tempdir().unwrap();
        let layout = LayoutWriter::directory(directory.path()).unwrap();
        let enter = |entry: Descriptor| {
            layout.enter(vec![entry]).unwrap();
            names(directory.path())
        };
        enter(entry("1", Some("r.test/a:1"), Some("1")));
        assert_eq!(enter(entry("2", Some("r.test/b:1"), Some("1"))), ["r.test/a:1", "r.test/b:1"]);
        assert_eq!(enter(entry("3", Some("r.test/b:1"), Some("1"))), ["r.test/a:1", "r.test/b:1"]);
        assert_eq!(enter(entry("4", None, None)), ["", "r.test/a:1", "r.test/b:1"]);
        assert_eq!(enter(entry("4", None, None)), ["", "r.test/a:1", "r.test/b:1"]);
        assert_eq!(enter(entry("5", None, Some("1"))), ["", "1"], "a tag alone is that of both");
    }

    /// Between a verdict and its tag another command may have been there.
    #[test]
    fn a_name_is_moved_from_what_was_judged_only() {
        let directory = tempfile::tempdir().unwrap();
        let layout = LayoutWriter::directory(directory.path()).unwrap();
        let name = |text: &str, judged: Option<&str>| {
            layout.name_if("1", entry(text, None, None), judged.map(Digest::of))
        };
        name("first", None).unwrap();
        for stale in [None, Some("other")] {
            assert_eq!(name("late", stale).unwrap_err().class, Class::Publish, "{stale:?}");
        }
        assert_eq!(layout.replaced().unwrap().unwrap().named("1").unwrap().digest, Digest::of("first"));
        name("second", Some("first")).unwrap();
        assert_eq!(layout.replaced().unwrap().unwrap().named("1").unwrap().digest, Digest::of("second"));
    }

    #[test]
    fn what_was_left_behind_is_not_adopted() {
        let directory = tempfile::tempdir().unwrap();
        let archive = directory.path().join("image.tar");
        let stale = directory
            .path()
            .join(format!(".image.tar.gantry-part-{}/blobs/sha256/stale", std::process::id()));
        fs::create_dir_all(stale.parent().unwrap()).unwrap();
        fs::write(&stale, "stale").unwrap();
        let cancel = CancellationToken::new();
        let place = LayoutPlace { path: archive.clone(), tag: None, digest: None };
        let layout = LayoutWriter::open(&place).unwrap();
        layout.put_document(b"{}", &cancel).unwrap();
        layout.name(Some("1"), entry("{}", None, None)).unwrap();
        layout.finish(&cancel).unwrap();
        let mut found = tar::Archive::new(File::open(archive).unwrap());
        let found: Vec<_> =
            found.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().into_owned()).collect();
        let blob = PathBuf::from(format!("blobs/sha256/{}", Digest::of("{}").hex()));
        assert_eq!(found, [PathBuf::from("oci-layout"), PathBuf::from("index.json"), blob]);
        drop(layout);
        let left: Vec<_> =
            fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["image.tar"]);
    }

    #[test]
    fn a_document_of_other_content_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let layout = LayoutWriter::directory(directory.path()).unwrap();
        let digest = Digest::of("right");
        fs::write(layout.blob(&digest), "wrong").unwrap();
        assert!(layout.has(&digest, 5) && !layout.has_document(&digest, 5));
        layout.put_document(b"right", &CancellationToken::new()).unwrap();
        assert!(layout.has_document(&digest, 5));
        let left = fs::read_dir(directory.path().join("blobs/sha256")).unwrap().count();
        assert_eq!(left, 1, "no part is left");
    }
}
