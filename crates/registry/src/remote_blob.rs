//! A blob of one registry as the source of an upload to another: bytes pass through memory and never a disk.
//!
//! Opening starts a download at the offset; it runs a few pieces ahead of whoever reads. Pieces are hashed as they pass,
//! also over several openings, and the last piece of a blob with the wrong digest is not given out: so not even a
//! registry that does not hash what it is sent can end up with it.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex};

use bytes::{Buf, Bytes};
use gantry_oci::{BlobSource, Descriptor, Digest, Hasher, Reference};
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderValue, RANGE};
use hyper::{Method, StatusCode};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::endpoint::authority;
use crate::error::During;
use crate::http::{Request, is_worth_retrying};
use crate::{Event, Fault, Registry, RegistryError};

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
            hashed: Arc::clone(&self.hashed),
        }))
    }
}

impl RemoteBlob {
    /// Sends everything from `position` on, over as many answers as it takes. Ends early when nobody listens.
    async fn download(&self, mut position: u64, sink: &Sender) -> Result<(), Fault> {
        let mut budget = self.registry.budget();
        while position < self.blob.size {
            let before = position;
            let fault = match self.piece(&mut position, sink).await {
                Ok(Flow::More) => continue,
                Ok(Flow::Enough) => return Ok(()),
                Err(fault) if is_worth_retrying(&fault) => fault,
                Err(fault) => return Err(fault),
            };
            if position > before {
                budget.progress(position - before);
            }
            let Some(delay) = budget.next_delay(None) else { return Err(fault) };
            let (host, reason) = (self.repository.host().to_owned(), fault.to_string());
            self.registry.tell(|| Event::Waiting { host, reason, delay });
            tokio::time::sleep(delay).await;
        }
        Ok(())
    }

    /// Sends what one answer brings.
    async fn piece(&self, position: &mut u64, sink: &Sender) -> Result<Flow, Fault> {
        let access = self.registry.pulling(&self.repository)?;
        let path = format!("{}/blobs/{}", self.repository.repository(), self.blob.digest);
        let mut request = Request::new(Method::GET, access.endpoint.url(&path), &access);
        // The upload has a slot already. If this waited for another, uploads could hold all slots and wait for bytes.
        request.takes_slot = false;
        if *position > 0 {
            let range = HeaderValue::from_str(&format!("bytes={position}-")).expect("digits are ASCII");
            request.headers.insert(RANGE, range);
        }
        let mut response = self.registry.send(request).await?;
        let number = |text: &str| text.parse::<u64>().ok();
        let mut skip = match (response.status, response.header(CONTENT_RANGE)) {
            (StatusCode::OK, _) => match response.header(CONTENT_LENGTH).and_then(number) {
                Some(length) if length != self.blob.size => {
                    let promised = self.blob.size;
                    return Err(Fault::Corrupt(format!(
                        "the registry offers {length} bytes instead of {promised}"
                    )));
                }
                _ => *position,
            },
            (StatusCode::PARTIAL_CONTENT, Some(range))
                if range.starts_with(&format!("bytes {position}-")) =>
            {
                0
            }
            (StatusCode::PARTIAL_CONTENT, _) => {
                return Err(Fault::Protocol("the registry sent another range than was asked for".to_owned()));
            }
            _ => return Err(response.into_fault().await),
        };
        while let Some(mut piece) = response.chunk().await? {
            // A server without ranges sends all of it again.
            let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(piece.len());
            skip -= skipped as u64;
            piece.advance(skipped);
            if piece.len() as u64 > self.blob.size - *position {
                let promised = self.blob.size;
                return Err(Fault::Corrupt(format!(
                    "the registry sent more than the {promised} bytes promised"
                )));
            }
            *position += piece.len() as u64;
            if !piece.is_empty() && sink.send(Ok(piece)).await.is_err() {
                return Ok(Flow::Enough);
            }
        }
        if *position < self.blob.size {
            let cause = format!("{position} of {} bytes arrived", self.blob.size);
            return Err(Fault::Broken { host: authority(&response.url), cause });
        }
        Ok(Flow::More)
    }
}

/// Whether whoever reads wants to go on.
enum Flow {
    More,
    Enough,
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
                // Another opening may be given the right bytes.
                *hashed = Hashed::default();
                let message =
                    format!("the source sent content with digest {found} instead of {}", self.digest);
                Err(io::Error::new(io::ErrorKind::InvalidData, message))
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
