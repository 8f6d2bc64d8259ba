//! Blobs on their way in: streamed, hashed as they pass, resumed where they broke off.
//!
//! A range needs no `If-Range`: the digest names the content, and one that changed nevertheless is found out at the end.

mod hashing;

use std::io::Write;
use std::ops::ControlFlow;

use bytes::Bytes;
use gantry_oci::{Descriptor, Digest, Reference};
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderValue, RANGE};
use hyper::{Method, StatusCode};

use crate::error::During;
use crate::http::{Access, Request, Response, is_worth_retrying};
use crate::{Event, Fault, Registry, RegistryError};
use hashing::Hashing;

/// What a registry says about a blob that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobHead {
    /// Its length in bytes, if the registry says it.
    pub size: Option<u64>,
}

impl Registry {
    /// Writes a blob into `sink`, verified against digest and size.
    ///
    /// A lost connection is taken up where it broke off. The sink is written from the caller's task, in pieces of some
    /// kilobytes; it should not block for long. On failure it may hold a part of the blob, or bytes that turned out
    /// to be wrong.
    pub async fn fetch_blob(
        &self,
        reference: &Reference,
        blob: &Descriptor,
        sink: &mut (dyn Write + Send),
    ) -> Result<(), RegistryError> {
        self.download(reference, blob, sink)
            .await
            .during(|| format!("pulling blob {} from {}", blob.digest, reference.name()))
    }

    /// Whether the repository has a blob.
    pub async fn blob_exists(&self, repository: &Reference, digest: &Digest) -> Result<bool, RegistryError> {
        Ok(self.blob_head(repository, digest).await?.is_some())
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
        sink: &mut (dyn Write + Send),
    ) -> Result<(), Fault> {
        let access = self.pulling(reference)?;
        let mut transfer = Transfer { blob, sink, hashing: Hashing::of(blob.size), done: 0 };
        let mut ranges = Ranges::Believed;
        let mut budget = self.budget();
        loop {
            let mut request = Request::new(Method::GET, url(&access, reference, &blob.digest), &access);
            if transfer.done > 0 && ranges == Ranges::Believed {
                request.headers.insert(RANGE, range_from(transfer.done));
            }
            let response = self.send(request).await?;
            if response.status == StatusCode::RANGE_NOT_SATISFIABLE && ranges == Ranges::Believed {
                ranges = Ranges::Doubted;
                continue;
            }
            let before = transfer.done;
            let mirror = response.mirror.clone();
            let fault = match transfer.receive(response).await {
                Ok(()) => return transfer.verify().await,
                // Nothing that it said is in the sink as long as it did not break off in the middle.
                Err(fault)
                    if (transfer.done == before || is_worth_retrying(&fault))
                        && self.distrust(mirror.as_ref(), &fault) =>
                {
                    continue;
                }
                Err(fault) if is_worth_retrying(&fault) => fault,
                Err(fault) => return Err(fault),
            };
            budget.progress(transfer.done - before);
            let Some(delay) = budget.next_delay(None) else { return Err(fault) };
            self.tell(|| Event::Waiting {
                host: reference.host().to_owned(),
                reason: fault.to_string(),
                delay,
            });
            tokio::time::sleep(delay).await;
        }
    }
}

fn url(access: &Access, repository: &Reference, digest: &Digest) -> url::Url {
    access.endpoint.url(&format!("{}/blobs/{digest}", repository.repository()))
}

fn range_from(start: u64) -> HeaderValue {
    HeaderValue::from_str(&format!("bytes={start}-")).expect("digits are ASCII")
}

/// Whether a registry can be asked for the rest of a blob, or must send it from the start.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ranges {
    Believed,
    Doubted,
}

/// A blob in transit, over as many answers as it takes.
struct Transfer<'a> {
    blob: &'a Descriptor,
    sink: &'a mut (dyn Write + Send),
    hashing: Hashing,
    done: u64,
}

impl Transfer<'_> {
    /// Takes what one answer brings. `Ok` when the blob is complete.
    async fn receive(&mut self, mut response: Response) -> Result<(), Fault> {
        let mut skip = match self.start(&response) {
            ControlFlow::Continue(skip) => skip,
            ControlFlow::Break(Some(fault)) => return Err(fault),
            ControlFlow::Break(None) => return Err(response.into_fault().await),
        };
        while let Some(chunk) = response.chunk().await? {
            // A server without ranges sends all of it again.
            let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
            skip -= skipped as u64;
            self.take(chunk.slice(skipped..)).await?;
        }
        if self.done < self.blob.size {
            let host = crate::endpoint::authority(&response.url);
            return Err(Fault::Broken {
                host,
                cause: format!("{} of {} bytes arrived", self.done, self.blob.size),
            });
        }
        Ok(())
    }

    /// Checks status and headers: how many bytes of the answer are known already, or why it is of no use.
    fn start(&self, response: &Response) -> ControlFlow<Option<Fault>, u64> {
        let number = |text: &str| text.parse::<u64>().ok();
        match response.status {
            StatusCode::OK => match response.header(CONTENT_LENGTH).and_then(number) {
                Some(length) if length != self.blob.size => ControlFlow::Break(Some(Fault::Corrupt(
                    format!("the registry offers {length} bytes instead of {}", self.blob.size),
                ))),
                _ => ControlFlow::Continue(self.done),
            },
            StatusCode::PARTIAL_CONTENT => {
                let expected =
                    format!("bytes {}-{}/{}", self.done, self.blob.size.saturating_sub(1), self.blob.size);
                match response.header(CONTENT_RANGE) {
                    Some(range) if range.eq_ignore_ascii_case(&expected) => ControlFlow::Continue(0),
                    range => ControlFlow::Break(Some(Fault::Protocol(format!(
                        "the registry sent range `{}` instead of `{expected}`",
                        range.unwrap_or_default()
                    )))),
                }
            }
            _ => ControlFlow::Break(None),
        }
    }

    async fn take(&mut self, bytes: Bytes) -> Result<(), Fault> {
        self.done += bytes.len() as u64;
        if self.done > self.blob.size {
            return Err(Fault::Corrupt(format!(
                "the registry sent more than the {} bytes promised",
                self.blob.size
            )));
        }
        self.hashing.update(bytes.clone()).await;
        self.sink.write_all(&bytes).map_err(Fault::Sink)
    }

    async fn verify(self) -> Result<(), Fault> {
        let digest = self.hashing.finish().await;
        match digest == self.blob.digest {
            true => Ok(()),
            false => Err(Fault::Corrupt(format!("the content has digest {digest}"))),
        }
    }
}
