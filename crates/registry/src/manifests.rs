//! Manifests and indexes: resolved, read by digest, written by digest and by tag.
//!
//! Whatever digest a registry claims is compared with the bytes; bytes go through untouched in both directions.

use gantry_oci::{Descriptor, Digest, Reference, media_type};
use hyper::header::{
    ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH,
};
use hyper::{Method, StatusCode};

use crate::error::During;
use crate::http::{Body, Request, Response};
use crate::{Answer, Fault, Registry, RegistryError};

/// The specification has registries take 4 MiB; some take more, and what they took must be readable.
const LARGEST_MANIFEST: usize = 8 * 1024 * 1024;
/// The header in which registries say the digest of what they send or got.
pub(crate) const CONTENT_DIGEST: &str = "docker-content-digest";

/// A manifest or index as the registry sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The digest of `bytes`.
    pub digest: Digest,
    /// The type as announced, without parameters; empty if it was not.
    pub media_type: String,
    /// The document.
    pub bytes: Vec<u8>,
}

/// What a tag has to be for it to be written (RFC 9110, section 13). Few registries look; those that do not, write.
///
/// A registry's entity tags are its own: the one that it gives for a tag is sent back, and none is made up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precondition {
    /// Anything.
    None,
    /// Not there.
    Absent,
    /// Still this.
    Still(Digest),
}

/// What a look at a reference finds.
struct Seen {
    descriptor: Descriptor,
    /// The registry's name for this state, if it gives one.
    etag: Option<HeaderValue>,
}

impl Registry {
    /// Reads what a reference points at: by digest if it has one, else by tag.
    ///
    /// # Errors
    /// [`Fault::Corrupt`] if the bytes do not have the digest that was asked for or that the registry claims.
    pub async fn resolve(&self, reference: &Reference) -> Result<Resolved, RegistryError> {
        self.read(reference).await.during(|| format!("resolving {reference}"))
    }

    /// Reads a manifest of the reference's repository by digest; the reference's own tag and digest do not matter.
    pub async fn manifest(&self, reference: &Reference, digest: &Digest) -> Result<Resolved, RegistryError> {
        self.resolve(&reference.pinned(*digest)).await
    }

    /// What a reference points at, without reading it. `None` if there is no such thing.
    pub async fn head(&self, reference: &Reference) -> Result<Option<Descriptor>, RegistryError> {
        self.look(reference).await.during(|| format!("looking up {reference}"))
    }

    /// Writes a manifest or index under its digest and under no tag. One with a subject is not listed by that: see
    /// [`Registry::list_referrers`].
    pub async fn push_manifest_by_digest(
        &self,
        repository: &Reference,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Digest, RegistryError> {
        let digest = Digest::of(bytes);
        self.write(repository, &digest.to_string(), (media_type, bytes), None)
            .await
            .during(|| format!("pushing manifest {digest} to {}", repository.name()))
    }

    /// Writes a manifest or index under the reference's tag.
    pub async fn push_tag(
        &self,
        target: &Reference,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Digest, RegistryError> {
        self.push_tag_if(target, (media_type, bytes), Precondition::None).await
    }

    /// Writes a manifest or index under the reference's tag if the tag is what it has to be.
    ///
    /// # Errors
    /// [`Fault::Answer`] with status 412 if it is something else: the registry said so, or a look just before.
    pub async fn push_tag_if(
        &self,
        target: &Reference,
        (media_type, bytes): (&str, &[u8]),
        precondition: Precondition,
    ) -> Result<Digest, RegistryError> {
        let pushed = async {
            let tag = target.tag().ok_or_else(|| Fault::Protocol("the reference has no tag".to_owned()))?;
            let condition = self.condition(target, bytes, precondition).await?;
            self.write(target, tag, (media_type, bytes), condition).await
        };
        pushed.await.during(|| format!("pushing {target}"))
    }

    pub(crate) async fn read(&self, reference: &Reference) -> Result<Resolved, Fault> {
        let access = self.pulling(reference)?;
        loop {
            let mut request = Request::new(Method::GET, access.endpoint.url(&path(reference)), &access);
            request.headers.insert(ACCEPT, accept());
            request.whole = Some(LARGEST_MANIFEST);
            let response = self.send(request).await?;
            if response.status != StatusCode::OK {
                return Err(response.into_fault().await);
            }
            let mirror = response.mirror.clone();
            match receive(reference, response).await {
                Err(fault) if self.distrust(mirror.as_ref(), &fault) => {}
                received => return received,
            }
        }
    }

    pub(crate) async fn look(&self, reference: &Reference) -> Result<Option<Descriptor>, Fault> {
        Ok(self.see(reference).await?.map(|seen| seen.descriptor))
    }

    async fn see(&self, reference: &Reference) -> Result<Option<Seen>, Fault> {
        let access = self.pulling(reference)?;
        let mut request = Request::new(Method::HEAD, access.endpoint.url(&path(reference)), &access);
        request.headers.insert(ACCEPT, accept());
        let response = self.send(request).await?;
        match response.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            // Some registries say this of what does not exist; reading tells the difference.
            StatusCode::FORBIDDEN | StatusCode::METHOD_NOT_ALLOWED => {
                // It holds a slot. If all slots waited for another one, none would ever come.
                drop(response);
                return self.look_closely(reference).await;
            }
            _ => return Err(response.into_fault().await),
        }
        let digest = response.header(CONTENT_DIGEST).and_then(|digest| digest.parse::<Digest>().ok());
        let size = response.header(CONTENT_LENGTH).and_then(|size| size.parse().ok());
        let (Some(digest), Some(size)) = (digest, size) else {
            // Small registries leave these headers out; then only the document itself can tell.
            drop(response);
            return self.look_closely(reference).await;
        };
        if let Some(wanted) = reference.digest().filter(|wanted| **wanted != digest) {
            return Err(Fault::Corrupt(format!("the registry has digest {digest} under {wanted}")));
        }
        let etag = response.headers.get(ETAG).cloned();
        Ok(Some(Seen { descriptor: Descriptor::new(announced_type(&response), digest, size), etag }))
    }

    /// The same by reading it.
    async fn look_closely(&self, reference: &Reference) -> Result<Option<Seen>, Fault> {
        match self.read(reference).await {
            Ok(resolved) => {
                let descriptor = Descriptor::of(resolved.media_type, &resolved.bytes);
                Ok(Some(Seen { descriptor, etag: None }))
            }
            Err(Fault::Answer(Answer { status: 404, .. })) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Whether a tag that could not be written points at this digest already. Where tags are immutable that is an
    /// error of its own, and none for us: perhaps our own first try, whose answer was lost.
    async fn is_there(&self, target: &Reference, status: StatusCode, digest: &Digest) -> bool {
        let may_be_immutable = matches!(
            status,
            StatusCode::BAD_REQUEST
                | StatusCode::FORBIDDEN
                | StatusCode::CONFLICT
                | StatusCode::PRECONDITION_FAILED
        );
        may_be_immutable && matches!(self.look(target).await, Ok(Some(found)) if found.digest == *digest)
    }

    /// The header that makes a registry look before it writes these bytes under a tag. None if there is nothing to look
    /// for, or nothing that the registry would know it by.
    async fn condition(
        &self,
        target: &Reference,
        bytes: &[u8],
        precondition: Precondition,
    ) -> Result<Option<(HeaderName, HeaderValue)>, Fault> {
        let still = match precondition {
            Precondition::None => return Ok(None),
            Precondition::Absent => return Ok(Some((IF_NONE_MATCH, HeaderValue::from_static("*")))),
            Precondition::Still(digest) => digest,
        };
        // What is written there is what counts, not what a mirror serves.
        self.pushing(target)?;
        match self.see(target).await? {
            Some(seen) if seen.descriptor.digest == still => {
                // A weak one matches nothing (RFC 9110, section 13.1.1).
                let strong = seen.etag.filter(|etag| !etag.as_bytes().starts_with(b"W/"));
                Ok(strong.map(|etag| (IF_MATCH, etag)))
            }
            Some(seen) if seen.descriptor.digest == Digest::of(bytes) => Ok(None),
            Some(seen) => Err(moved(format!("it points at {}", seen.descriptor.digest))),
            None => Err(moved("it does not exist".to_owned())),
        }
    }

    async fn write(
        &self,
        repository: &Reference,
        name: &str,
        document: (&str, &[u8]),
        condition: Option<(HeaderName, HeaderValue)>,
    ) -> Result<Digest, Fault> {
        let (media_type, bytes) = document;
        let access = self.pushing(repository)?;
        let url = access.endpoint.url(&format!("{}/manifests/{name}", repository.repository()));
        let mut request = Request::new(Method::PUT, url, &access);
        let media_type = media_type
            .parse()
            .map_err(|_| Fault::Protocol("the media type cannot stand in a header".to_owned()))?;
        request.headers.insert(CONTENT_TYPE, media_type);
        request.headers.extend(condition);
        request.body = Body::Bytes(bytes.to_vec().into());
        let response = self.send(request).await?;
        let digest = Digest::of(bytes);
        if !response.status.is_success() {
            let (status, fault) = (response.status, response.into_fault().await);
            return match self.is_there(repository, status, &digest).await {
                true if repository.tag() == Some(name) => Ok(digest),
                _ => Err(fault),
            };
        }
        check_claim(&response, &digest)?;
        Ok(digest)
    }
}

/// What a registry says that looks itself.
fn moved(detail: String) -> Fault {
    let status = StatusCode::PRECONDITION_FAILED;
    Fault::Answer(Answer { status: status.as_u16(), reason: "Precondition Failed", detail })
}

/// Reads an answer's document and compares it with the digest that was asked for.
async fn receive(reference: &Reference, mut response: Response) -> Result<Resolved, Fault> {
    let bytes = response.bytes(LARGEST_MANIFEST, "the manifest").await?.to_vec();
    let digest = Digest::of(&bytes);
    if let Some(wanted) = reference.digest().filter(|wanted| **wanted != digest) {
        return Err(Fault::Corrupt(format!(
            "the registry sent content with digest {digest} instead of {wanted}"
        )));
    }
    check_claim(&response, &digest)?;
    Ok(Resolved { digest, media_type: announced_type(&response), bytes })
}

pub(crate) fn path(reference: &Reference) -> String {
    let name = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, tag) => tag.expect("a reference has a tag or a digest").to_owned(),
    };
    format!("{}/manifests/{name}", reference.repository())
}

fn accept() -> HeaderValue {
    HeaderValue::from_str(&media_type::MANIFESTS.join(", ")).expect("media types are ASCII")
}

fn announced_type(response: &Response) -> String {
    let value = response.header(CONTENT_TYPE).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_owned()
}

/// Compares the digest that a registry claims with the true one. One of another algorithm says nothing to us.
pub(crate) fn check_claim(response: &Response, digest: &Digest) -> Result<(), Fault> {
    match response.header(CONTENT_DIGEST).and_then(|claim| claim.parse::<Digest>().ok()) {
        Some(claim) if claim != *digest => Err(Fault::Corrupt(format!(
            "the registry claims digest {claim} for content with digest {digest}"
        ))),
        _ => Ok(()),
    }
}
