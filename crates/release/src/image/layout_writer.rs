//! Writing OCI layouts. A blob appears when it is complete and has its digest; the index is replaced as a whole, last.
//!
//! A layout in one file is gathered in a directory beside it, and written when all is there.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use gantry_oci::{BlobSource, Descriptor, Digest, Hasher, Index};
use gantry_registry::Uploaded;
use gantry_store::OCI_LAYOUT;
use tokio_util::sync::CancellationToken;

use super::layout::NAME;
use super::place::LayoutPlace;
use crate::error::{Class, Error};
use crate::whole_file::write_file;

/// Few, large reads and writes.
const COPY_BUFFER: usize = 256 << 10;

/// A layout that is written to.
#[derive(Debug)]
pub(crate) struct LayoutWriter {
    directory: PathBuf,
    /// The archive that the directory becomes.
    archive: Option<(PathBuf, Staging)>,
    /// Changes of the index, one at a time.
    index: Mutex<()>,
    parts: AtomicU64,
}

/// A directory that is removed.
#[derive(Debug)]
struct Staging(PathBuf);

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl LayoutWriter {
    /// Begins. Blocks.
    pub(crate) fn open(location: &LayoutPlace) -> Result<Self, Error> {
        let (directory, archive) = match location.is_archive() {
            false => (location.path.clone(), None),
            true => {
                let mut name = std::ffi::OsString::from(".");
                name.push(location.path.file_name().unwrap_or_default());
                name.push(format!(".part-{}", std::process::id()));
                let staging = location.path.with_file_name(name);
                (staging.clone(), Some((location.path.clone(), Staging(staging))))
            }
        };
        let blobs = directory.join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(|error| Error::io("create", &blobs, &error))?;
        Ok(Self { directory, archive, index: Mutex::new(()), parts: AtomicU64::new(0) })
    }

    /// The size of a blob that is there.
    pub(crate) fn size(&self, digest: &Digest) -> Option<u64> {
        fs::metadata(self.blob(digest)).ok().map(|metadata| metadata.len())
    }

    /// Writes a blob unless it is there. Blocks.
    pub(crate) fn put(&self, source: &dyn BlobSource, cancel: &CancellationToken) -> Result<Uploaded, Error> {
        let digest = source.digest();
        if self.size(&digest) == Some(source.size()) {
            return Ok(Uploaded::Existed);
        }
        let target = self.blob(&digest);
        let part = Part(target.with_extension(format!(
            "part-{}-{}",
            std::process::id(),
            self.parts.fetch_add(1, Ordering::Relaxed)
        )));
        let found = copy(source, &part.0, cancel).map_err(|error| match cancel.is_cancelled() {
            true => Error::new(Class::Cancelled, "stopped"),
            false => of_source(&error, &target),
        })?;
        if found != digest {
            let message = format!("the source has content with digest {found} instead of {digest}");
            return Err(Error::new(Class::Verification, message));
        }
        fs::rename(&part.0, &target).map_err(|error| Error::io("write", &target, &error))?;
        Ok(Uploaded::Sent(source.size()))
    }

    /// Names a document in the layout's index, in the place of what had the name. Blocks.
    pub(crate) fn name(&self, tag: Option<&str>, mut entry: Descriptor) -> Result<(), Error> {
        let path = self.directory.join("index.json");
        let _one_at_a_time = self.index.lock().expect("nothing panics while it holds the index");
        let mut index = self.index(&path)?;
        entry.annotations.remove(NAME);
        match tag {
            Some(tag) => {
                index.manifests.retain(|one| one.annotations.get(NAME).is_none_or(|name| name != tag));
                entry.annotations.insert(NAME.to_owned(), tag.to_owned());
            }
            None if index.manifests.iter().any(|one| one.digest == entry.digest) => return Ok(()),
            None => {}
        }
        index.manifests.push(entry);
        let bytes = serde_json::to_vec(&index).expect("an index is plain data");
        for (path, bytes) in [(self.directory.join("oci-layout"), OCI_LAYOUT.as_bytes()), (path, &bytes)] {
            write_file(&path, |out| out.write_all(bytes))
                .map_err(|error| Error::io("write", &path, &error))?;
        }
        Ok(())
    }

    fn index(&self, path: &Path) -> Result<Index, Error> {
        match fs::read(path) {
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

/// A file that is removed unless it was renamed.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Writes a source's bytes and says which digest they have.
fn copy(source: &dyn BlobSource, path: &Path, cancel: &CancellationToken) -> io::Result<Digest> {
    let mut reader = source.open(0)?;
    let mut file = BufWriter::with_capacity(COPY_BUFFER, File::create(path)?);
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; COPY_BUFFER];
    loop {
        match reader.read(&mut buffer)? {
            0 => break,
            _ if cancel.is_cancelled() => return Err(io::Error::other("stopped")),
            length => {
                hasher.update(&buffer[..length]);
                file.write_all(&buffer[..length])?;
            }
        }
    }
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_data()?;
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
