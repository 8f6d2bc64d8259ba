//! A bounded pipe from a download, which is asynchronous, to a reader on a thread.

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use gantry_oci::BlobSink;

/// Pieces that may wait. Each is some kilobytes, as they come from the network.
const PIECES: usize = 64;

/// Both ends of a new pipe.
pub(crate) fn pipe() -> (PipeWriter, PipeReader) {
    let (sender, receiver) = sync_channel(PIECES);
    (PipeWriter(sender), PipeReader { receiver, piece: Vec::new(), at: 0 })
}

/// The writing end. Dropping it ends the stream.
pub(crate) struct PipeWriter(SyncSender<Vec<u8>>);

/// The reading end.
pub(crate) struct PipeReader {
    receiver: Receiver<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
}

impl Write for PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
        match self.0.try_send(bytes.to_vec()) {
            Ok(()) => {}
            Err(TrySendError::Disconnected(_)) => return Err(broken()),
            Err(TrySendError::Full(piece)) => {
                tokio::task::block_in_place(|| self.0.send(piece)).map_err(|_| broken())?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl BlobSink for PipeWriter {
    fn start_again(&mut self) -> io::Result<()> {
        // What was written may have been read.
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Read for PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            match self.receiver.recv() {
                Ok(piece) => (self.piece, self.at) = (piece, 0),
                Err(_) => return Ok(0),
            }
        }
        let count = buffer.len().min(self.piece.len() - self.at);
        buffer[..count].copy_from_slice(&self.piece[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
