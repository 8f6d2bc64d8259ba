//! A blob of one registry as the source of an upload to another: bytes pass through memory and never a disk.
//!
//! Opening starts a download at the offset; it runs a few pieces ahead of whoever reads. Pieces are hashed as they pass,
//! also over several openings, and the last piece of a blob with the wrong digest is not given out: so not even a
//! registry that does not hash what it is sent can end up with it.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex};

use bytes::{Buf, Bytes};
use gantry_oci::{BlobSource, Descriptor, Digest, Hasher, Reference, WrongCopy};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::download::{Pieces, Slot, Suspects};
use crate::endpoint::Endpoint;
use crate::error::During;
use crate::{Fault, Registry, RegistryError};

/// Pieces of the size of a network read between download and upload: all the memory that a blob takes on its way.
const PIECES_AHEAD: usize = 16;

type Sender = mpsc::Sender<Result<Bytes, RegistryError>>;

/// A blob in a registry.
#[derive(Debug, Clone)]
pub struct RemoteBlob {
    registry: Registry,
    repository: Reference,
    blob: Descriptor,
    runtime: Handle,
    hashed: Arc<Mutex<Hashed>>,
}

/// How far the blob was hashed.
#[derive(Debug, Default)]
struct Hashed {
    hasher: Hasher,
    length: u64,
    /// The mirrors that sent something of it.
    mirrors: Vec<Endpoint>,
    /// Those of them that sent it when it turned out to be wrong.
    suspects: Suspects,
}

impl RemoteBlob {
    /// The blob with this descriptor in the reference's repository.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn new(registry: &Registry, repository: &Reference, blob: &Descriptor) -> Self {
        Self {
            registry: registry.clone(),
            repository: repository.clone(),
            blob: blob.clone(),
            runtime: Handle::current(),
            hashed: Arc::default(),
        }
    }

    /// The blob with this digest, whose size the registry says; `None` if the repository does not have it.
    pub async fn find(
        registry: &Registry,
        repository: &Reference,
        digest: &Digest,
    ) -> Result<Option<Self>, RegistryError> {
        let Some(head) = registry.blob_head(repository, digest).await? else { return Ok(None) };
        let size = head
            .size
            .ok_or_else(|| Fault::Protocol("the registry does not say how large it is".to_owned()))
            .during(|| format!("looking up blob {digest} in {}", repository.name()))?;
        Ok(Some(Self::new(registry, repository, &Descriptor::new("", *digest, size))))
    }
}

impl BlobSource for RemoteBlob {
    fn digest(&self) -> Digest {
        self.blob.digest
    }

    fn size(&self) -> u64 {
        self.blob.size
    }

    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
        let source = self.clone();
        let download = self.runtime.spawn(async move {
            if let Err(fault) = source.download(offset, &sender).await {
                let action = format!("pulling blob {} from {}", source.blob.digest, source.repository.name());
                // Whoever stopped reading does not want to know.
                let _ = sender.send(Err(RegistryError { action, fault })).await;
            }
        });
        Ok(Box::new(Reader {
            receiver,
            _download: Abort(download.abort_handle()),
            piece: Bytes::new(),
            position: offset,
            size: self.blob.size,
            digest: self.blob.digest,
            registry: self.registry.clone(),
            hashed: Arc::clone(&self.hashed),
        }))
    }
}

impl RemoteBlob {
    /// Sends everything from `position` on. Ends early when nobody listens.
    async fn download(&self, position: u64, sink: &Sender) -> Result<(), Fault> {
        // The upload has a slot already. If this waited for another, uploads could hold all slots and wait for bytes.
        let slot = Slot::NotTaken;
        let mut pieces = Pieces::new(&self.registry, &self.repository, &self.blob, position, slot)?;
        let mut known = 0;
        while let Some(piece) = pieces.next().await? {
            if pieces.mirrors().len() > known {
                let mut hashed = self.hashed.lock().expect("nothing panics while it hashes");
                hashed.mirrors.extend_from_slice(&pieces.mirrors()[known..]);
                known = pieces.mirrors().len();
            }
            if sink.send(Ok(piece)).await.is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// Ends a download that nobody reads.
struct Abort(tokio::task::AbortHandle);

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Reader {
    receiver: mpsc::Receiver<Result<Bytes, RegistryError>>,
    _download: Abort,
    piece: Bytes,
    /// Of the end of `piece` in the blob.
    position: u64,
    size: u64,
    digest: Digest,
    registry: Registry,
    hashed: Arc<Mutex<Hashed>>,
}

impl Reader {
    /// Waits for the next piece; none when the blob is at its end.
    fn refill(&mut self) -> io::Result<()> {
        match self.receiver.blocking_recv() {
            Some(Ok(piece)) => {
                self.check(&piece)?;
                self.position += piece.len() as u64;
                self.piece = piece;
                Ok(())
            }
            Some(Err(error)) => Err(io::Error::other(error)),
            None if self.position == self.size => Ok(()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Hashes what no reader before has seen, and compares the digest at the blob's end.
    fn check(&self, piece: &[u8]) -> io::Result<()> {
        let mut hashed = self.hashed.lock().expect("nothing panics while it hashes");
        let Some(known) = hashed.length.checked_sub(self.position) else {
            // A part was skipped: the registry at the other end hashes all of it.
            return Ok(());
        };
        let fresh = piece.get(usize::try_from(known).unwrap_or(usize::MAX)..).unwrap_or_default();
        if fresh.is_empty() {
            return Ok(());
        }
        hashed.hasher.update(fresh);
        hashed.length += fresh.len() as u64;
        if hashed.length < self.size {
            return Ok(());
        }
        match hashed.hasher.clone().finish() {
            found if found == self.digest => Ok(()),
            found => {
                let message =
                    format!("the source sent content with digest {found} instead of {}", self.digest);
                (hashed.hasher, hashed.length) = (Hasher::new(), 0);
                let mirrors = std::mem::take(&mut hashed.mirrors);
                let fault = Fault::Corrupt(message.clone());
                match hashed.suspects.add(&self.registry, &mirrors, &fault) {
                    true => Err(WrongCopy(message).into()),
                    false => Err(io::Error::new(io::ErrorKind::InvalidData, message)),
                }
            }
        }
    }
}

impl Read for Reader {
    fn read(&mut self, mut buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            if self.position == self.size {
                return Ok(0);
            }
            self.refill()?;
        }
        let length = self.piece.len().min(buffer.len());
        buffer.write_all(&self.piece[..length])?;
        self.piece.advance(length);
        Ok(length)
    }
}
