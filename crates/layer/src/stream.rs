//! The uncompressed bytes of a blob, decompressed and hashed by a thread of their own.
//!
//! So that both overlap with whatever is done with the bytes. What the bytes are is known only at the end.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use gantry_oci::{Digest, Hasher};

use crate::compression::Decompressed;
use crate::error::LayerError;
use crate::limits::Limits;

/// Bytes that are handed over at a time.
const CHUNK: usize = 128 << 10;
/// Chunks that may wait: enough for both sides to run while one of them waits for the disk.
const CHUNKS: usize = 16;

/// What was made of the bytes, and what they were.
pub(crate) struct Consumed<T> {
    pub(crate) value: T,
    /// Of all uncompressed bytes.
    pub(crate) diff_id: Digest,
    /// Their number.
    pub(crate) tar_size: u64,
}

/// Gives `consume` the uncompressed bytes, which it has to read to their end.
pub(crate) fn while_decompressing<T>(
    blob: impl Read + Send,
    limits: Limits,
    consume: impl FnOnce(Chunks) -> Result<T, LayerError>,
) -> Result<Consumed<T>, LayerError> {
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(CHUNKS);
        let producer = scope.spawn(move || decompress(blob, limits, &sender));
        let consumed = consume(Chunks { receiver, chunk: Vec::new(), at: 0 });
        // Joined after the receiver is gone, so that it cannot wait for anybody.
        let produced = producer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let (diff_id, tar_size) = produced;
        Ok(Consumed { value: consumed?, diff_id, tar_size })
    })
}

/// Sends the uncompressed bytes, the last thing being the error if there is one; returns their digest and number.
fn decompress(
    blob: impl Read + Send,
    limits: Limits,
    sender: &SyncSender<Result<Vec<u8>, LayerError>>,
) -> (Digest, u64) {
    let mut hasher = Hasher::new();
    let mut size = 0;
    let chunks = || -> Result<(), LayerError> {
        let mut decompressed = Decompressed::new(blob, limits)?;
        loop {
            let mut chunk = Vec::with_capacity(CHUNK);
            decompressed.by_ref().take(CHUNK as u64).read_to_end(&mut chunk).map_err(LayerError::reading)?;
            if chunk.is_empty() {
                return Ok(());
            }
            hasher.update(&chunk);
            size += chunk.len() as u64;
            if sender.send(Ok(chunk)).is_err() {
                // The other side has failed, and says why.
                return Ok(());
            }
        }
    };
    if let Err(error) = chunks() {
        // If nobody listens any more, there is an earlier error.
        let _ = sender.send(Err(error));
    }
    (hasher.finish(), size)
}

/// Reads what another thread sends.
pub(crate) struct Chunks {
    receiver: Receiver<Result<Vec<u8>, LayerError>>,
    chunk: Vec<u8>,
    at: usize,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.chunk.len() {
            match self.receiver.recv() {
                Ok(Ok(chunk)) => (self.chunk, self.at) = (chunk, 0),
                Ok(Err(error)) => return Err(io::Error::other(error)),
                // The sender has finished; an error would have come first.
                Err(_) => return Ok(0),
            }
        }
        let count = buffer.len().min(self.chunk.len() - self.at);
        buffer[..count].copy_from_slice(&self.chunk[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
