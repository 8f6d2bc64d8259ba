//! Bytes that can be opened again, which every upload takes, and places that can begin again, which every download needs:
//! whoever sends them may break off, or turn out to have sent the wrong ones.

use std::io::{self, Cursor, Read, Write};

use crate::Digest;

/// A blob that can be read from any offset, any number of times.
///
/// A request body that was sent once is gone; a client that survives a lost connection or an expired token must be
/// able to open it again where the server stopped. Opening is cheap and has no side effect. A reader yields exactly
/// the blob's remaining bytes, or an error; after [`WrongCopy`] it pays to open it once more, from the start.
pub trait BlobSource: Send + Sync {
    /// The digest of the whole blob.
    fn digest(&self) -> Digest;
    /// Its length in bytes.
    fn size(&self) -> u64;
    /// A reader of everything from `offset` on.
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>>;
}

/// Why a reader of a [`BlobSource`] failed whose blob is in several places: one of them had other bytes under its digest.
/// That place is not asked again.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WrongCopy(pub String);

impl WrongCopy {
    /// Whether an error is this one.
    pub fn is(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Self>())
    }
}

impl From<WrongCopy> for io::Error {
    fn from(copy: WrongCopy) -> Self {
        Self::new(io::ErrorKind::InvalidData, copy)
    }
}

/// Where a blob's bytes go as they arrive, before anybody can know whether they are the right ones.
pub trait BlobSink: Write + Send {
    /// Forgets all that was written. An error if that cannot be; then the blob cannot be had from another place, either.
    fn start_again(&mut self) -> io::Result<()>;
}

impl BlobSink for Vec<u8> {
    fn start_again(&mut self) -> io::Result<()> {
        self.clear();
        Ok(())
    }
}

impl BlobSink for io::Sink {
    fn start_again(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A small blob held in memory: a config or a manifest.
#[derive(Debug, Clone)]
pub struct BytesSource {
    digest: Digest,
    bytes: Vec<u8>,
}

impl BytesSource {
    /// Wraps these bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { digest: Digest::of(&bytes), bytes }
    }
}

impl BlobSource for BytesSource {
    fn digest(&self) -> Digest {
        self.digest
    }

    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.bytes.len());
        Ok(Box::new(Cursor::new(self.bytes[start..].to_vec())))
    }
}
