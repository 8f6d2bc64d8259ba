//! Answers of the fake registry, and bodies that end as they should not.

use std::convert::Infallible;
use std::fmt;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use gantry_oci::Digest;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::Response;
use hyper::body::{Bytes, Frame};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE};

/// Between two bytes of an answer that drips.
const DRIP: Duration = Duration::from_millis(10);

/// Why a connection is closed without an answer.
#[derive(Debug)]
pub(super) struct Dropped;

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("dropped on purpose")
    }
}

impl std::error::Error for Dropped {}

pub(super) type Answer = Response<BoxBody<Bytes, Dropped>>;

/// Builds answers.
pub(super) struct Reply(hyper::http::response::Builder);

impl Reply {
    pub(super) fn new(status: u16) -> Self {
        Self(Response::builder().status(status))
    }

    pub(super) fn with(status: u16, headers: Vec<(String, String)>) -> Self {
        headers.into_iter().fold(Self::new(status), |reply, (name, value)| reply.header(name, value))
    }

    pub(super) fn header<N>(self, name: N, value: impl AsRef<str>) -> Self
    where
        N: TryInto<hyper::header::HeaderName>,
        N::Error: Into<hyper::http::Error>,
    {
        Self(self.0.header(name, value.as_ref()))
    }

    /// With the header in which registries name what they hold.
    pub(super) fn digest(self, digest: &Digest) -> Self {
        self.header("docker-content-digest", digest.to_string())
    }

    pub(super) fn json(self, value: &serde_json::Value) -> Answer {
        self.header(CONTENT_TYPE, "application/json").body(value.to_string().into_bytes())
    }

    pub(super) fn error(self, code: &str, message: &str) -> Answer {
        self.json(&serde_json::json!({"errors": [{"code": code, "message": message}]}))
    }

    pub(super) fn body(self, bytes: impl Into<Bytes>) -> Answer {
        self.0.body(full(bytes)).expect("status and headers are valid")
    }

    /// With a body that repeats a piece for ever.
    pub(super) fn endless(self, piece: Vec<u8>) -> Answer {
        let piece = Bytes::from(piece);
        self.0.body(streamed(futures_util::stream::repeat(piece))).expect("status and headers are valid")
    }
}

pub(super) fn full(bytes: impl Into<Bytes>) -> BoxBody<Bytes, Dropped> {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed()
}

/// How an answer's body ends before its time.
pub(super) enum End {
    /// The connection is closed after so many bytes.
    Closed(usize),
    /// Nothing more comes after so many bytes.
    Silence(usize),
    /// Every byte comes alone.
    Drip,
}

/// The same answer, with its true length announced, that ends otherwise.
pub(super) async fn spoiled(answer: Answer, end: End) -> Result<Answer, Dropped> {
    let (parts, body) = answer.into_parts();
    let bytes = body.collect().await?.to_bytes();
    let length = bytes.len();
    let head = |after: usize| bytes.slice(..after.min(length));
    let body = match end {
        End::Closed(after) => truncated(head(after)),
        End::Silence(after) => {
            streamed(futures_util::stream::iter([head(after)]).chain(futures_util::stream::pending()))
        }
        End::Drip => streamed(futures_util::stream::unfold(bytes.clone(), |mut rest| async move {
            tokio::time::sleep(DRIP).await;
            (!rest.is_empty()).then(|| (rest.split_to(1), rest))
        })),
    };
    let mut answer = Response::from_parts(parts, body);
    answer.headers_mut().insert(CONTENT_LENGTH, length.into());
    Ok(answer)
}

fn streamed(pieces: impl Stream<Item = Bytes> + Send + Sync + 'static) -> BoxBody<Bytes, Dropped> {
    BodyExt::boxed(StreamBody::new(pieces.map(|bytes| Ok(Frame::data(bytes)))))
}

/// A body that breaks off after these bytes.
///
/// It yields them, then nothing for one turn, then the end of the connection. In that turn the server sends the
/// bytes; otherwise it would throw them away with the connection.
fn truncated(bytes: Bytes) -> BoxBody<Bytes, Dropped> {
    let bytes = futures_util::stream::iter([Ok(Frame::data(bytes))]);
    let end = futures_util::stream::once(async {
        tokio::task::yield_now().await;
        Err(Dropped)
    });
    BodyExt::boxed(StreamBody::new(bytes.chain(end)))
}
