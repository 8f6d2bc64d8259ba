//! Blobs on their way out: not at all if they are there, by mount if they are near, else in one request that is taken
//! up where it broke off.
//!
//! One `PUT` with a length is what every registry understands; chunks are not. When it fails on the way, only the
//! registry knows how far it came, so it is asked. Where its answer cannot be trusted, the blob starts again.

use std::time::Duration;

use gantry_oci::{BlobSource, Reference};
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, LOCATION, RANGE};
use reqwest::{Method, StatusCode};
use url::Url;

use crate::error::During;
use crate::http::{Access, Body, Request, Response, is_worth_retrying};
use crate::manifests::check_claim;
use crate::{Event, Fault, Registry, RegistryError};

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
    /// blob's size. An upload survives lost connections, expired tokens and changed passwords.
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
}

/// One blob and where it goes.
struct Target<'a> {
    registry: &'a Registry,
    repository: &'a Reference,
    source: &'a dyn BlobSource,
}

/// An upload session.
struct Session {
    url: Url,
    /// How many bytes the registry has.
    offset: u64,
}

/// How the registry answered the question for a mount.
enum Mount {
    Done,
    /// It wants the bytes, and opened a session for them.
    Session(Session),
}

/// An attempt that failed.
struct Failure {
    fault: Fault,
    remedy: Remedy,
}

enum Remedy {
    /// There are new credentials.
    GoOn,
    /// The fault may pass; the registry may have said when.
    Wait(Option<Duration>),
    /// The registry rejected a part that it had asked for itself.
    StartAgain,
    None,
}

impl Target<'_> {
    async fn ensure(&self, mount_from: Option<&str>) -> Result<Uploaded, Fault> {
        let access = self.registry.pushing(self.repository)?;
        if self.stored_size(&access).await? == Some(self.source.size()) {
            return Ok(Uploaded::Existed);
        }
        let session = match mount_from {
            None => None,
            Some(from) => match self.mount(from).await? {
                Some(Mount::Done) => return Ok(Uploaded::Mounted),
                Some(Mount::Session(session)) => Some(session),
                None => None,
            },
        };
        self.upload(&access, session).await?;
        Ok(Uploaded::Sent(self.source.size()))
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

    /// Asks for a mount. `None` if the registry will have none of it: some answer with an error for a repository that
    /// they do not know or that we may not read.
    async fn mount(&self, from: &str) -> Result<Option<Mount>, Fault> {
        let access = self.registry.mounting(self.repository, from)?;
        let mut url = self.uploads(&access);
        url.query_pairs_mut()
            .append_pair("mount", &self.source.digest().to_string())
            .append_pair("from", from);
        let response = match self.registry.send(Request::new(Method::POST, url, &access)).await {
            Ok(response) => response,
            Err(Fault::NoCredentials { .. } | Fault::Refused { .. }) => return Ok(None),
            Err(fault) => return Err(fault),
        };
        match response.status {
            StatusCode::CREATED => check_claim(&response, &self.source.digest()).map(|()| Some(Mount::Done)),
            StatusCode::ACCEPTED => Ok(Some(Mount::Session(session(&access, &response, 0)?))),
            status if status.is_client_error() => Ok(None),
            _ => Err(response.into_fault().await),
        }
    }

    async fn upload(&self, access: &Access, mut session: Option<Session>) -> Result<(), Fault> {
        let mut budget = self.registry.budget();
        let mut furthest = 0;
        // Once a resumed upload was rejected, what this registry says about offsets is not believed again.
        let mut trusts_offsets = true;
        loop {
            let current = match session.take() {
                Some(session) => session,
                None => self.start(access).await?,
            };
            let Failure { fault, remedy } = match self.put(access, &current).await {
                Ok(()) if current.offset == 0 => return Ok(()),
                Ok(()) => return self.check_size(access).await,
                Err(failure) => failure,
            };
            let retry_after = match remedy {
                Remedy::Wait(retry_after) => retry_after,
                Remedy::GoOn | Remedy::StartAgain => None,
                Remedy::None => {
                    self.abandon(access, current.url).await;
                    return Err(fault);
                }
            };
            let Some(delay) = budget.next_delay(retry_after) else { return Err(fault) };
            if matches!(remedy, Remedy::Wait(_)) {
                self.pause(&fault, delay).await;
            }
            trusts_offsets &= !matches!(remedy, Remedy::StartAgain);
            if trusts_offsets {
                session = self.status(access, &current.url).await?;
            }
            // An answer that overtakes the body looks like a lost connection: it may have been a rejection.
            let lost = matches!(fault, Fault::Broken { .. } | Fault::Stalled { .. });
            if lost
                && current.offset > 0
                && session.as_ref().is_some_and(|next| next.offset <= current.offset)
            {
                (trusts_offsets, session) = (false, None);
            }
            match &session {
                None => self.abandon(access, current.url).await,
                Some(next) if next.offset > furthest => {
                    furthest = next.offset;
                    budget.progress();
                }
                Some(_) => {}
            }
        }
    }

    async fn pause(&self, fault: &Fault, delay: Duration) {
        let (host, reason) = (self.repository.host().to_owned(), fault.to_string());
        self.registry.tell(|| Event::Waiting { host, reason, delay });
        tokio::time::sleep(delay).await;
    }

    async fn start(&self, access: &Access) -> Result<Session, Fault> {
        let response = self.registry.send(Request::new(Method::POST, self.uploads(access), access)).await?;
        match response.status {
            StatusCode::ACCEPTED => session(access, &response, 0),
            _ => Err(response.into_fault().await),
        }
    }

    /// Asks how far a session came. `None` if it is gone, or has nothing that is worth keeping.
    async fn status(&self, access: &Access, url: &Url) -> Result<Option<Session>, Fault> {
        let response = self.registry.send(Request::new(Method::GET, url.clone(), access)).await?;
        let last =
            response.header(RANGE).and_then(|range| range.trim_start_matches("bytes=").strip_prefix("0-"));
        // `0-0` is what registries say of no byte and of one byte alike.
        let last = last.and_then(|last| last.parse::<u64>().ok()).filter(|last| *last > 0);
        match (response.status, last) {
            (StatusCode::NO_CONTENT | StatusCode::OK | StatusCode::ACCEPTED, Some(last))
                if last < self.source.size() =>
            {
                session(access, &response, last + 1).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Sends everything from the session's offset on and closes the session.
    async fn put(&self, access: &Access, session: &Session) -> Result<(), Failure> {
        let (digest, size) = (self.source.digest(), self.source.size());
        let mut url = session.url.clone();
        url.query_pairs_mut().append_pair("digest", &digest.to_string());
        let mut request = Request::new(Method::PUT, url, access);
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        if session.offset < size {
            request.body = Body::Blob { source: self.source, offset: session.offset };
        }
        if session.offset > 0 && session.offset < size {
            let range = format!("{}-{}", session.offset, size - 1);
            request.headers.insert(CONTENT_RANGE, HeaderValue::from_str(&range).expect("digits are ASCII"));
        }
        let response = self.registry.send(request).await.map_err(|fault| {
            let remedy = if is_worth_retrying(&fault) { Remedy::Wait(None) } else { Remedy::None };
            Failure { fault, remedy }
        })?;
        if response.status.is_success() {
            return check_claim(&response, &digest).map_err(|fault| Failure { fault, remedy: Remedy::None });
        }
        let (renewed, status, retry_after) = (response.renewed, response.status, response.retry_after());
        let fault = response.into_fault().await;
        let remedy = match status {
            _ if renewed => Remedy::GoOn,
            StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::RANGE_NOT_SATISFIABLE
                if session.offset > 0 =>
            {
                Remedy::StartAgain
            }
            _ if is_worth_retrying(&fault) => Remedy::Wait(retry_after),
            _ => Remedy::None,
        };
        Err(Failure { fault, remedy })
    }

    /// Frees what the registry keeps of a session. It would do so itself in the end, so failing does not matter.
    async fn abandon(&self, access: &Access, url: Url) {
        let _ = self.registry.send(Request::new(Method::DELETE, url, access)).await;
    }

    /// After an upload in parts: some registries keep the last part alone and call it the whole.
    async fn check_size(&self, access: &Access) -> Result<(), Fault> {
        match self.stored_size(access).await? {
            Some(size) if size != self.source.size() => Err(Fault::Corrupt(format!(
                "the registry stored {size} bytes instead of {}",
                self.source.size()
            ))),
            _ => Ok(()),
        }
    }

    fn uploads(&self, access: &Access) -> Url {
        access.endpoint.url(&format!("{}/blobs/uploads/", self.repository.repository()))
    }
}

/// The session that an answer opens or goes on with. Its address is used as it is: registries keep state in it.
fn session(access: &Access, response: &Response, offset: u64) -> Result<Session, Fault> {
    let location = response
        .header(LOCATION)
        .ok_or_else(|| Fault::Protocol("the registry opened an upload without saying where".to_owned()))?;
    Ok(Session { url: access.endpoint.follow(&response.url, location)?, offset })
}
