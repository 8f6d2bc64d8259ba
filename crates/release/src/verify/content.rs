//! The bytes of a subject, wherever it is: documents, what is known of blobs, and layers read to their end.

use std::io::{self, Read};
use std::sync::Arc;

use gantry_layer::{LayerError, Limits, Scanned, scan_layer};
use gantry_oci::{Descriptor, Digest, Hasher, ImageErrorKind, Reference, media_type};
use gantry_registry::{Fault, Registry, RegistryError};
use tokio::task::{JoinError, JoinSet};

use super::files;
use super::pipe::pipe;
use super::subject::Subject;
use crate::error::{Class, Error};
use crate::gantry::Gantry;
use crate::image::layout::blobs::{Blobs, LARGEST_DOCUMENT};
use crate::image::of_registry;

/// Where bytes come from.
pub(crate) enum Content {
    /// A repository.
    Registry(Box<Registry>, Reference),
    /// Files of this machine.
    Files(Arc<Blobs>),
}

/// Why something could not be read.
pub(crate) enum Problem {
    /// The image is at fault: it lacks something, or something is not what it is said to be.
    Image(String),
    /// Something else is, and nothing can be said about the image.
    Error(Error),
}

/// A document that everything else hangs on.
pub(crate) struct Root {
    pub(crate) descriptor: Descriptor,
    pub(crate) bytes: Vec<u8>,
}

impl Content {
    /// Finds a subject and reads its root document.
    pub(crate) async fn open(gantry: &Gantry, subject: &Subject) -> Result<(Self, Root), Error> {
        if let Subject::Registry(reference) = subject {
            let resolved = gantry.registry.resolve(reference).await.map_err(|error| of_registry(&error))?;
            let media_type = Some(resolved.media_type).filter(|media_type| !media_type.is_empty());
            let media_type = media_type.unwrap_or_else(|| media_type::MANIFEST.to_owned());
            let descriptor = Descriptor::of(media_type, &resolved.bytes);
            let content = Self::Registry(Box::new(gantry.registry.clone()), reference.clone());
            return Ok((content, Root { descriptor, bytes: resolved.bytes }));
        }
        let (store, subject) = (Arc::clone(gantry.store()), subject.clone());
        let opened = blocking(move || files::open(&store, &subject)).await?;
        let (files, root) = opened?;
        Ok((Self::Files(Arc::new(files)), root))
    }

    /// A manifest or an index.
    pub(crate) async fn manifest(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Problem> {
        match self {
            Self::Registry(registry, reference) => {
                Ok(registry.manifest(reference, &descriptor.digest).await?.bytes)
            }
            Self::Files(_) => self.blob(descriptor).await,
        }
    }

    /// A small blob, whose bytes have the digest and size that the descriptor says.
    pub(crate) async fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Problem> {
        if descriptor.size > LARGEST_DOCUMENT {
            return Err(Problem::Image(format!("{} is too large for a document", descriptor.digest)));
        }
        match self {
            Self::Registry(registry, reference) => {
                let mut bytes = Vec::new();
                registry.fetch_blob(reference, descriptor, &mut bytes).await?;
                Ok(bytes)
            }
            Self::Files(files) => {
                let (files, descriptor) = (Arc::clone(files), descriptor.clone());
                blocking(move || {
                    let mut bytes = Vec::new();
                    let mut file = Proven::new(reader(&files, &descriptor.digest)?.take(LARGEST_DOCUMENT));
                    file.read_to_end(&mut bytes).map_err(|error| unreadable(&descriptor, &error))?;
                    file.prove(&descriptor)?;
                    Ok(bytes)
                })
                .await?
            }
        }
    }

    /// The size of a blob; the inner value is `None` where a registry does not say it. `None` if it is not there.
    pub(crate) async fn size(&self, descriptor: &Descriptor) -> Result<Option<Option<u64>>, Error> {
        match self {
            Self::Registry(registry, reference) => {
                let head = registry.blob_head(reference, &descriptor.digest).await;
                Ok(head.map_err(|error| of_registry(&error))?.map(|head| head.size))
            }
            Self::Files(files) => Ok(files.size(&descriptor.digest).map(Some)),
        }
    }

    /// Reads a blob of any size to its end, and proves its digest and size.
    pub(crate) async fn prove(&self, blob: &Descriptor) -> Result<(), Problem> {
        match self {
            Self::Registry(registry, reference) => {
                Ok(registry.fetch_blob(reference, blob, &mut io::sink()).await?)
            }
            Self::Files(files) => {
                let (files, blob) = (Arc::clone(files), blob.clone());
                blocking(move || {
                    let mut file = Proven::new(reader(&files, &blob.digest)?);
                    io::copy(&mut file, &mut io::sink()).map_err(|error| unreadable(&blob, &error))?;
                    file.prove(&blob)
                })
                .await?
            }
        }
    }

    /// Reads a layer to its end, proves its digest and size, and says what it holds.
    pub(crate) async fn scan(&self, layer: &Descriptor) -> Result<Scanned, Problem> {
        match self {
            Self::Registry(registry, reference) => {
                let (mut fetched, mut scanned) = scan_remote(registry, reference, layer).await?;
                if let Err(RegistryError { fault: Fault::Corrupt(_), .. }) = &fetched {
                    // A mirror that had other bytes is not asked again.
                    (fetched, scanned) = scan_remote(registry, reference, layer).await?;
                }
                // Another digest explains everything else that may be wrong.
                fetched?;
                scanned.map_err(|error| unscannable(layer, &error))
            }
            Self::Files(files) => {
                let (files, layer) = (Arc::clone(files), layer.clone());
                blocking(move || {
                    let mut file = Proven::new(reader(&files, &layer.digest)?);
                    let scanned = scan_layer(&mut file, Limits::default());
                    io::copy(&mut file, &mut io::sink()).map_err(|error| unreadable(&layer, &error))?;
                    file.prove(&layer)?;
                    scanned.map_err(|error| unscannable(&layer, &error))
                })
                .await?
            }
        }
    }
}

/// Scans a layer while it arrives.
async fn scan_remote(
    registry: &Registry,
    reference: &Reference,
    layer: &Descriptor,
) -> Result<(Result<(), RegistryError>, Result<Scanned, LayerError>), Error> {
    let (mut sink, mut source) = pipe();
    let scan = blocking(move || {
        let scanned = scan_layer(&mut source, Limits::default());
        // To its end, which is not that of the archive: only then its digest is known.
        let _ = io::copy(&mut source, &mut io::sink());
        scanned
    });
    // A task of its own: a full pipe blocks it, and other layers must not wait for this one.
    let (registry, reference, blob) = (registry.clone(), reference.clone(), layer.clone());
    let mut fetch = JoinSet::new();
    fetch.spawn(async move { registry.fetch_blob(&reference, &blob, &mut sink).await });
    let (fetched, scanned) = tokio::join!(only(fetch), scan);
    Ok((fetched?, scanned?))
}

/// A blob of files from its first byte.
fn reader(blobs: &Blobs, digest: &Digest) -> Result<Box<dyn Read + Send>, Problem> {
    blobs.find(digest).and_then(|blob| blob.open(0)).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Problem::Image(format!("{digest} is not there")),
        _ => Problem::Error(Error::new(Class::Internal, format!("cannot read blob {digest}: {error}"))),
    })
}

/// Hashes what is read.
struct Proven<R> {
    inner: R,
    hasher: Hasher,
    size: u64,
}

impl<R> Proven<R> {
    fn new(inner: R) -> Self {
        Self { inner, hasher: Hasher::new(), size: 0 }
    }

    fn prove(self, descriptor: &Descriptor) -> Result<(), Problem> {
        let digest = self.hasher.finish();
        if (digest, self.size) == (descriptor.digest, descriptor.size) {
            return Ok(());
        }
        Err(Problem::Image(format!(
            "{} with {} bytes is announced, and {digest} with {} bytes is there",
            descriptor.digest, descriptor.size, self.size
        )))
    }
}

impl<R: Read> Read for Proven<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        self.size += read as u64;
        Ok(read)
    }
}

fn unscannable(layer: &Descriptor, error: &LayerError) -> Problem {
    Problem::Image(format!("layer {}: {error}", layer.digest))
}

fn unreadable(descriptor: &Descriptor, error: &io::Error) -> Problem {
    Problem::Error(Error::new(Class::Internal, format!("cannot read blob {}: {error}", descriptor.digest)))
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<RegistryError> for Problem {
    fn from(error: RegistryError) -> Self {
        match error.kind() {
            ImageErrorKind::NotFound | ImageErrorKind::NoPlatform | ImageErrorKind::Corrupt => {
                Self::Image(error.to_string())
            }
            ImageErrorKind::Denied | ImageErrorKind::Unavailable => Self::Error(of_registry(&error)),
        }
    }
}

/// Runs blocking work on a thread for such.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    joined(tokio::task::spawn_blocking(work).await)
}

/// The result of the one task of a set, which stops if nobody waits for it any longer.
async fn only<T: Send + 'static>(mut tasks: JoinSet<T>) -> Result<T, Error> {
    joined(tasks.join_next().await.expect("it has one task"))
}

fn joined<T>(result: Result<T, JoinError>) -> Result<T, Error> {
    match result {
        Ok(result) => Ok(result),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Error::new(Class::Cancelled, "stopped")),
    }
}
