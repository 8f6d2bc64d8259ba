//! Bytes that can be opened again: what every upload takes.

use std::io::{self, Cursor, Read};

use crate::Digest;

/// A blob that can be read from any offset, any number of times.
///
/// A request body that was sent once is gone; a client that survives a lost connection or an expired token must be
/// able to open it again where the server stopped. Opening is cheap and has no side effect. A reader yields exactly
/// the blob's remaining bytes, or an error.
pub trait BlobSource: Send + Sync {
    /// The digest of the whole blob.
    fn digest(&self) -> Digest;
    /// Its length in bytes.
    fn size(&self) -> u64;
    /// A reader of everything from `offset` on.
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>>;
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
