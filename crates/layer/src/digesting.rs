//! A writer that hashes and counts what passes.

use std::io::{self, Write};

use gantry_oci::{Digest, Hasher};

/// Passes bytes on, and knows their digest and number at the end.
#[derive(Debug)]
pub(crate) struct Digesting<W> {
    inner: W,
    hasher: Hasher,
    size: u64,
}

impl<W: Write> Digesting<W> {
    pub(crate) fn new(inner: W) -> Self {
        Self { inner, hasher: Hasher::new(), size: 0 }
    }

    /// The digest and the number of all bytes that were accepted.
    pub(crate) fn finish(self) -> (Digest, u64) {
        (self.hasher.finish(), self.size)
    }
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let accepted = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..accepted]);
        self.size += accepted as u64;
        Ok(accepted)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
