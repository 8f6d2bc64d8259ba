//! Hears what a server says before it hangs up.
//!
//! A server that refuses a large body answers and closes without reading the rest. The client's next write then
//! fails, and an HTTP library that gives up at that loses the answer, which lies unread in the socket: a 403 would end
//! as "connection broke". So a failed write is kept quiet here until the reader came to its own end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};

/// A connection whose write errors never overtake what is still to be read.
pub(super) struct LastWords<T> {
    inner: T,
    writing: Writing,
}

enum Writing {
    Open,
    /// The other side has hung up. Whoever writes waits; whoever reads gets the rest, and then the end.
    Over,
}

impl<T> LastWords<T> {
    pub(super) fn new(inner: T) -> Self {
        Self { inner, writing: Writing::Open }
    }

    fn written(&mut self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match result {
            Poll::Ready(Err(error))
                if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) =>
            {
                self.writing = Writing::Over;
                Poll::Pending
            }
            other => other,
        }
    }
}

impl<T: Read + Unpin> Read for LastWords<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<T: Write + Unpin> Write for LastWords<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.writing {
            Writing::Over => Poll::Pending,
            Writing::Open => {
                let result = Pin::new(&mut self.inner).poll_write(context, bytes);
                self.written(result)
            }
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.writing {
            Writing::Over => Poll::Pending,
            Writing::Open => {
                let result = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
                self.written(result)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.writing {
            Writing::Over => Poll::Ready(Ok(())),
            Writing::Open => Pin::new(&mut self.inner).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.writing {
            Writing::Over => Poll::Ready(Ok(())),
            Writing::Open => Pin::new(&mut self.inner).poll_shutdown(context),
        }
    }
}

impl<T: Connection> Connection for LastWords<T> {
    fn connected(&self) -> Connected {
        self.inner.connected()
    }
}
