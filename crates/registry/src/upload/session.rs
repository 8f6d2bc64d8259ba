//! An upload session as the distribution specification has it: opened, asked for its status, given up.

use hyper::header::{LOCATION, RANGE};
use hyper::{Method, StatusCode};
use url::Url;

use super::Target;
use crate::Fault;
use crate::http::{Access, Request, Response};

/// In which registries say how small a chunk may be.
const LEAST_CHUNK: &str = "oci-chunk-min-length";
/// A larger minimum is no minimum but a mistake.
const LARGEST_MINIMUM: u64 = 1024 * 1024 * 1024;

/// An upload session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) url: Url,
    /// How many bytes the registry has.
    pub(super) offset: u64,
    /// The smallest chunk that it takes, the last one excepted.
    pub(super) least_chunk: u64,
}

impl Session {
    /// The session that an answer opens. Its address is used as it is: registries keep state in it.
    pub(super) fn opened(access: &Access, response: &Response) -> Result<Self, Fault> {
        let location = response.header(LOCATION).ok_or_else(|| {
            Fault::Protocol("the registry opened an upload without saying where".to_owned())
        })?;
        let least_chunk = response.header(LEAST_CHUNK).and_then(|text| text.trim().parse().ok());
        Ok(Self {
            url: access.endpoint.follow(&response.url, location)?,
            offset: 0,
            least_chunk: least_chunk.filter(|least| *least <= LARGEST_MINIMUM).unwrap_or_default(),
        })
    }

    /// The session after an answer that goes on with it.
    pub(super) fn went_on(&self, access: &Access, response: &Response, offset: u64) -> Result<Self, Fault> {
        let url = match response.header(LOCATION) {
            Some(location) => access.endpoint.follow(&response.url, location)?,
            None => self.url.clone(),
        };
        Ok(Self { url, offset, least_chunk: self.least_chunk })
    }
}

impl Target<'_> {
    pub(super) async fn open(&self, access: &Access) -> Result<Session, Fault> {
        let response = self.registry.send(Request::new(Method::POST, self.uploads(access), access)).await?;
        match response.status {
            StatusCode::ACCEPTED => Session::opened(access, &response),
            _ => Err(response.into_fault().await),
        }
    }

    /// Asks how far a session came. `None` if it is gone, or has nothing that is worth keeping.
    pub(super) async fn status(&self, access: &Access, session: &Session) -> Result<Option<Session>, Fault> {
        let response = self.registry.send(Request::new(Method::GET, session.url.clone(), access)).await?;
        let last =
            response.header(RANGE).and_then(|range| range.trim_start_matches("bytes=").strip_prefix("0-"));
        // `0-0` is what registries say of no byte and of one byte alike.
        let last = last.and_then(|last| last.parse::<u64>().ok()).filter(|last| *last > 0);
        match (response.status, last) {
            (StatusCode::NO_CONTENT | StatusCode::OK | StatusCode::ACCEPTED, Some(last))
                if last < self.source.size() =>
            {
                session.went_on(access, &response, last + 1).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Frees what the registry keeps of a session. It would do so itself in the end, so failing does not matter.
    pub(super) async fn abandon(&self, access: &Access, session: Session) {
        let _ = self.registry.send(Request::new(Method::DELETE, session.url, access)).await;
    }
}
