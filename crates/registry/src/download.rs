//! Blobs on their way in: streamed, hashed as they pass, resumed where they broke off.

mod hashing;
mod pieces;

use gantry_oci::{BlobSink, Descriptor, Digest, Reference};
use hyper::header::CONTENT_LENGTH;
use hyper::{Method, StatusCode};

use crate::endpoint::Endpoint;
use crate::error::During;
use crate::http::{Access, Request};
use crate::{Fault, Registry, RegistryError};
use hashing::Hashing;
pub(crate) use pieces::{Pieces, Slot};

/// What a registry says about a blob that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobHead {
    /// Its length in bytes, if the registry says it.
    pub size: Option<u64>,
}

impl Registry {
    /// Writes a blob into `sink`, verified against digest and size.
    ///
    /// A lost connection is taken up where it broke off. Where a mirror's bytes have another digest, the sink starts again
    /// with those of the next mirror or of the registry. It is written from the caller's task, in pieces of some
    /// kilobytes, and should not block for long. On failure it may hold a part of the blob, or bytes that turned out
    /// to be wrong.
    pub async fn fetch_blob(
        &self,
        reference: &Reference,
        blob: &Descriptor,
        sink: &mut dyn BlobSink,
    ) -> Result<(), RegistryError> {
        self.download(reference, blob, sink)
            .await
            .during(|| format!("pulling blob {} from {}", blob.digest, reference.name()))
    }

    /// Whether the repository has a blob of this digest and size.
    ///
    /// # Errors
    /// [`Fault::Corrupt`] if it says that the blob has another size.
    pub async fn has_blob(&self, repository: &Reference, blob: &Descriptor) -> Result<bool, RegistryError> {
        match self.blob_head(repository, &blob.digest).await? {
            None => Ok(false),
            Some(BlobHead { size: Some(size) }) if size != blob.size => {
                let fault = Fault::Corrupt(format!("the registry has {size} bytes instead of {}", blob.size));
                Err(fault).during(|| format!("looking up blob {} in {}", blob.digest, repository.name()))
            }
            Some(_) => Ok(true),
        }
    }

    /// What the repository says about a blob without sending it; `None` if it does not have it.
    pub async fn blob_head(
        &self,
        repository: &Reference,
        digest: &Digest,
    ) -> Result<Option<BlobHead>, RegistryError> {
        let look = async {
            let access = self.pulling(repository)?;
            let response =
                self.send(Request::new(Method::HEAD, url(&access, repository, digest), &access)).await?;
            match response.status {
                StatusCode::OK => {
                    let size = response.header(CONTENT_LENGTH).and_then(|size| size.parse().ok());
                    Ok(Some(BlobHead { size }))
                }
                StatusCode::NOT_FOUND => Ok(None),
                _ => Err(response.into_fault().await),
            }
        };
        look.await.during(|| format!("looking up blob {digest} in {}", repository.name()))
    }

    pub(crate) async fn download(
        &self,
        reference: &Reference,
        blob: &Descriptor,
        sink: &mut dyn BlobSink,
    ) -> Result<(), Fault> {
        let mut suspects = Suspects::default();
        loop {
            let mut pieces = Pieces::new(self, reference, blob, 0, Slot::Taken)?;
            let fault = match receive(&mut pieces, blob, sink).await {
                Err(fault @ Fault::Corrupt(_)) => fault,
                result => return result,
            };
            if !suspects.add(self, pieces.mirrors(), &fault) || sink.start_again().is_err() {
                return Err(fault);
            }
        }
    }
}

/// Writes all pieces, which have to be the blob.
async fn receive(pieces: &mut Pieces<'_>, blob: &Descriptor, sink: &mut dyn BlobSink) -> Result<(), Fault> {
    let mut hashing = Hashing::of(blob.size);
    while let Some(piece) = pieces.next().await? {
        hashing.update(piece.clone()).await;
        sink.write_all(&piece).map_err(Fault::Sink)?;
    }
    match hashing.finish().await {
        digest if digest == blob.digest => Ok(()),
        digest => Err(Fault::Corrupt(format!("the content has digest {digest}"))),
    }
}

/// The mirrors that may have sent wrong bytes of one blob.
#[derive(Debug, Default)]
pub(crate) struct Suspects(Vec<Endpoint>);

impl Suspects {
    /// Leaves those mirrors alone. False if they were no better before, or if there are none: then the registry itself
    /// has the wrong bytes.
    pub(crate) fn add(&mut self, registry: &Registry, mirrors: &[Endpoint], fault: &Fault) -> bool {
        let is_known = |mirror: &Endpoint| self.0.iter().any(|known| known.base() == mirror.base());
        if mirrors.is_empty() || mirrors.iter().any(is_known) {
            return false;
        }
        for mirror in mirrors {
            registry.distrust(Some(mirror), fault);
        }
        self.0.extend_from_slice(mirrors);
        true
    }
}

fn url(access: &Access, repository: &Reference, digest: &Digest) -> url::Url {
    access.endpoint.url(&format!("{}/blobs/{digest}", repository.repository()))
}
