//! The port through which images arrive: a registry for the program, a table for a test.
//!
//! The engine and the front end know only this. It has no runtime of its own: futures are boxed, bytes are written
//! into a sink of the caller's.

use std::future::Future;
use std::pin::Pin;

use crate::{BlobSink, Descriptor, Digest, Platform, Reference};

/// A boxed future, so that the ports can be trait objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An image, resolved to digests for one platform.
#[derive(Debug, Clone)]
pub struct ResolvedImage {
    /// The reference, pinned to the digest that its tag pointed at: of the index where there is one.
    pub reference: Reference,
    /// The digest and bytes of the platform's own manifest.
    pub manifest: (Digest, Vec<u8>),
    /// The image config's bytes, checked against the manifest.
    pub config: Vec<u8>,
    /// The platform that was chosen.
    pub platform: Platform,
}

/// What class of fault kept an image from arriving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageErrorKind {
    /// There is no such repository, tag or blob.
    NotFound,
    /// The image exists, but not for the platform.
    NoPlatform,
    /// Credentials are missing, wrong or not sufficient.
    Denied,
    /// The registry cannot be reached, or answers nonsense.
    Unavailable,
    /// Content does not have the digest, size or type that was promised.
    Corrupt,
}

/// Why an image did not arrive.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ImageError {
    /// The class of the fault.
    pub kind: ImageErrorKind,
    /// What was done, on what, and why it failed.
    pub message: String,
    /// What to do next.
    pub hints: Vec<String>,
    /// The cause.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl ImageError {
    /// An error without hints and cause.
    pub fn new(kind: ImageErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hints: Vec::new(), source: None }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

/// Where images come from.
pub trait ImagePort: Send + Sync {
    /// Resolves a reference to the manifest and config for one platform.
    ///
    /// A reference with a digest is never looked up by its tag. All returned bytes have the digests that name them.
    /// An image without the platform is [`ImageErrorKind::NoPlatform`], and the message says which it has.
    fn resolve<'a>(
        &'a self,
        reference: &'a Reference,
        platform: &'a Platform,
    ) -> BoxFuture<'a, Result<ResolvedImage, ImageError>>;

    /// Writes a blob's bytes, verified against digest and size, into `sink`.
    ///
    /// On success the sink has received exactly the blob since it last started again. On failure it may have received a part of it, or bytes that
    /// turned out to be wrong: the caller discards them.
    fn fetch<'a>(
        &'a self,
        reference: &'a Reference,
        blob: &'a Descriptor,
        sink: &'a mut dyn BlobSink,
    ) -> BoxFuture<'a, Result<(), ImageError>>;
}
