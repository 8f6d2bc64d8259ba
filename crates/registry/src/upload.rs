//! Blobs on their way out: not at all if they are there, by mount if they are near, else by upload.

mod habits;
mod session;
mod transfer;

use std::io;

use gantry_oci::{BlobSource, Descriptor, Digest, Reference};
use hyper::header::CONTENT_LENGTH;
use hyper::{Method, StatusCode};

use crate::error::During;
use crate::http::{Access, Request};
use crate::manifests::check_claim;
use crate::{Fault, Registry, RegistryError};
pub(crate) use habits::Habits;
use session::Session;
use transfer::Transfer;

/// What it took to get a blob into a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uploaded {
    /// Nothing: it was there.
    Existed,
    /// The registry took it from another repository.
    Mounted,
    /// So many bytes.
    Sent(u64),
}

impl Registry {
    /// Makes sure that a repository has a blob.
    ///
    /// `mount_from` names a repository of the same registry that may have it already. Memory use does not depend on the
    /// blob's size. An upload survives lost connections, expired tokens, changed passwords and limits of the
    /// registry's on the size of requests; what the registry has of it is not sent again where its word can be trusted.
    pub async fn push_blob(
        &self,
        repository: &Reference,
        source: &dyn BlobSource,
        mount_from: Option<&str>,
    ) -> Result<Uploaded, RegistryError> {
        let target = Target { registry: self, repository, source };
        target
            .ensure(mount_from)
            .await
            .during(|| format!("pushing blob {} to {}", source.digest(), repository.name()))
    }

    /// Makes sure that a repository has a blob whose bytes are not at hand: it has it, or takes it from `from`, another
    /// repository of the same registry, if there is one. False if it has to be sent. No mirror is asked: what it has is not
    /// in the repository.
    pub async fn mount_blob(
        &self,
        repository: &Reference,
        blob: &Descriptor,
        from: Option<&str>,
    ) -> Result<bool, RegistryError> {
        let source = Elsewhere { digest: blob.digest, size: blob.size };
        let target = Target { registry: self, repository, source: &source };
        target.ensure_without_bytes(from).await.during(|| match from {
            Some(from) => format!("mounting blob {} of {from} in {}", blob.digest, repository.name()),
            None => format!("looking for blob {} in {}", blob.digest, repository.name()),
        })
    }
}

/// A blob that is known by name only.
struct Elsewhere {
    digest: Digest,
    size: u64,
}

impl BlobSource for Elsewhere {
    fn digest(&self) -> Digest {
        self.digest
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn open(&self, _: u64) -> io::Result<Box<dyn io::Read + Send>> {
        Err(io::Error::other("the bytes of the blob are elsewhere"))
    }
}

/// One blob and where it goes.
struct Target<'a> {
    registry: &'a Registry,
    repository: &'a Reference,
    source: &'a dyn BlobSource,
}

/// How the registry answered the question for a mount.
enum Mount {
    Done,
    /// It wants the bytes, and opened a session for them.
    Session(Session),
    /// It will have none of it: some answer with an error for a repository that they do not know or that we may not
    /// read.
    Refused,
}

impl Target<'_> {
    async fn ensure(&self, mount_from: Option<&str>) -> Result<Uploaded, Fault> {
        let access = self.registry.pushing(self.repository)?;
        if self.stored_size(&access).await? == Some(self.source.size()) {
            return Ok(Uploaded::Existed);
        }
        let mount = match mount_from {
            None => Mount::Refused,
            Some(from) => self.mount(from).await?,
        };
        let session = match mount {
            Mount::Done => return Ok(Uploaded::Mounted),
            Mount::Session(session) => Some(session),
            Mount::Refused => None,
        };
        Transfer::new(self, &access).run(session).await?;
        Ok(Uploaded::Sent(self.source.size()))
    }

    async fn ensure_without_bytes(&self, from: Option<&str>) -> Result<bool, Fault> {
        let access = self.registry.pushing(self.repository)?;
        if self.stored_size(&access).await? == Some(self.source.size()) {
            return Ok(true);
        }
        let Some(from) = from else { return Ok(false) };
        match self.mount(from).await? {
            Mount::Done => Ok(true),
            Mount::Session(session) => {
                self.abandon(&access, session).await;
                Ok(false)
            }
            Mount::Refused => Ok(false),
        }
    }

    /// The size of the blob that the repository has. `None` also if the registry will not say: the upload's own
    /// answer tells more than that of a HEAD, which has no body.
    async fn stored_size(&self, access: &Access) -> Result<Option<u64>, Fault> {
        let path = format!("{}/blobs/{}", self.repository.repository(), self.source.digest());
        let response =
            self.registry.send(Request::new(Method::HEAD, access.endpoint.url(&path), access)).await?;
        let length = response.header(CONTENT_LENGTH).and_then(|length| length.parse().ok());
        Ok((response.status == StatusCode::OK).then(|| length.unwrap_or(self.source.size())))
    }

    async fn mount(&self, from: &str) -> Result<Mount, Fault> {
        let access = self.registry.mounting(self.repository, from)?;
        let mut url = self.uploads(&access);
        url.query_pairs_mut()
            .append_pair("mount", &self.source.digest().to_string())
            .append_pair("from", from);
        let response = match self.registry.send(Request::new(Method::POST, url, &access)).await {
            Ok(response) => response,
            Err(Fault::NoCredentials { .. } | Fault::Refused { .. } | Fault::RanOut { .. }) => {
                return Ok(Mount::Refused);
            }
            Err(fault) => return Err(fault),
        };
        match response.status {
            StatusCode::CREATED => check_claim(&response, &self.source.digest()).map(|()| Mount::Done),
            StatusCode::ACCEPTED => Ok(Mount::Session(Session::opened(&access, &response)?)),
            _ => Ok(Mount::Refused),
        }
    }

    fn uploads(&self, access: &Access) -> url::Url {
        access.endpoint.url(&format!("{}/blobs/uploads/", self.repository.repository()))
    }
}
