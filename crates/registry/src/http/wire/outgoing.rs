//! Bodies on their way out: read on a thread of their own, a few pieces ahead of the connection, and counted.

use std::io::{self, Read};
use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use gantry_oci::BlobSource;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

/// One read of a blob: large enough that reading and sending overlap well.
const PIECE: u64 = 256 * 1024;
/// Pieces between reader and connection; with [`PIECE`] this is all the memory that an upload takes.
const PIECES_AHEAD: usize = 4;

/// What is known of a body on its way.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    taken: AtomicU64,
    total: AtomicU64,
    error: Mutex<Option<io::Error>>,
}

impl Meter {
    /// How many bytes the connection took. The server may have fewer.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Whether the connection took all of it, and there was something to take.
    pub(crate) fn is_full(&self) -> bool {
        !self.is_empty() && self.taken() == self.total.load(Ordering::Relaxed)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.total.load(Ordering::Relaxed) == 0
    }

    pub(super) fn take_error(&self) -> Option<io::Error> {
        self.error.lock().expect("nothing panics while it holds the error").take()
    }
}

/// A body as the HTTP library takes it, with its exact length.
pub(super) enum Outgoing {
    Bytes(Bytes),
    Blob { pieces: mpsc::Receiver<io::Result<Bytes>>, left: u64, meter: Arc<Meter> },
}

impl Outgoing {
    pub(super) fn bytes(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }

    /// A part of a blob; the meter starts anew.
    pub(super) fn blob(source: &dyn BlobSource, span: Range<u64>, meter: &Arc<Meter>) -> io::Result<Self> {
        let left = span.end - span.start;
        let reader = source.open(span.start)?;
        meter.taken.store(0, Ordering::Relaxed);
        meter.total.store(left, Ordering::Relaxed);
        let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
        let reading = Arc::clone(meter);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = feed(reader, left, &sender) {
                let told = io::Error::new(error.kind(), error.to_string());
                *reading.error.lock().expect("nothing panics while it holds the error") = Some(error);
                let _ = sender.blocking_send(Err(told));
            }
        });
        Ok(Self::Blob { pieces, left, meter: Arc::clone(meter) })
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut *self {
            Self::Bytes(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Bytes(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Blob { left: 0, .. } => Poll::Ready(None),
            Self::Blob { pieces, left, meter } => pieces.poll_recv(context).map(|piece| {
                let piece = piece?;
                if let Ok(bytes) = &piece {
                    *left -= bytes.len() as u64;
                    meter.taken.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                }
                Some(piece.map(Frame::data))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::Blob { left, .. } => *left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Blob { left, .. } => SizeHint::with_exact(*left),
        }
    }
}

/// Reads exactly `left` bytes into the channel; ends quietly when nobody listens any more.
fn feed(
    mut reader: Box<dyn Read + Send>,
    mut left: u64,
    sender: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<()> {
    while left > 0 {
        let wanted = left.min(PIECE);
        let mut piece = Vec::with_capacity(usize::try_from(wanted).unwrap_or_default());
        if (&mut reader).take(wanted).read_to_end(&mut piece)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the blob is shorter than its size"));
        }
        left -= piece.len() as u64;
        if sender.blocking_send(Ok(piece.into())).is_err() {
            return Ok(());
        }
    }
    Ok(())
}
