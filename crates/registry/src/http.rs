//! HTTP as the registry protocol needs it: small layers, each with one concern, stacked in [`stack`].
//!
//! A request can be sent again, since its body can be opened again. Layers below the operation repeat what may be
//! repeated blindly; a blob's upload is never repeated blindly, because only the server knows how far it came.

mod auth;
mod limits;
mod log;
mod redact;
mod redirect;
mod retry;
#[cfg(test)]
mod script;
mod tls;
mod wire;

use std::fmt;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use gantry_oci::{BlobSource, BoxFuture};
use hyper::header::{HeaderMap, RETRY_AFTER};
use hyper::{Method, StatusCode};
use url::Url;

pub(crate) use auth::Scope;
pub(crate) use retry::{is_worth_retrying, may_pass};
pub use tls::machine_tls;
pub(crate) use wire::Meter;

use crate::endpoint::Endpoint;
use crate::error::Answer;
use crate::hosts::{Route, Trust};
use crate::{Credentials, Fault, Hosts, Listener, Proxies, RetryPolicy};

/// An error's body: enough for every message, too little to hurt.
const LARGEST_ERROR: usize = 64 * 1024;

/// What a request may do and with whose credentials.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub(crate) endpoint: Endpoint,
    /// Mirrors of the endpoint that may answer in its place; what to do about them is settled above the stack.
    pub(crate) route: Option<Arc<Route>>,
    pub(crate) patience: Patience,
    /// What to ask a token for; the first is the repository that credentials are looked up for.
    pub(crate) scopes: Vec<Scope>,
}

/// How often to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// As long as the policy allows.
    Policy,
    /// Once: somebody else can be asked.
    OneTry,
}

/// What all connections have in common.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) hosts: Arc<Hosts>,
    pub(crate) proxies: Proxies,
}

impl Network {
    /// Whom to trust at an address that a registry led to, or the registry's own.
    ///
    /// Its certificate authorities are good for all that it leads to: a token server has the same as a rule, and what
    /// it is shown is the registry's anyway. The rest is for the very host that it was configured for.
    fn trust(&self, endpoint: &Endpoint, url: &Url) -> Trust {
        if endpoint.owns(url) {
            return endpoint.trust().clone();
        }
        let mut trust = self.hosts.trust_of(&crate::endpoint::authority(url));
        trust.ca.extend(endpoint.trust().ca.iter().cloned());
        trust
    }
}

/// A request that can be sent any number of times.
#[derive(Clone)]
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body<'a>,
    pub(crate) access: &'a Access,
    /// How long it will presumably take to send: a token has to last so long.
    pub(crate) duration: Duration,
    /// The answer's body is read as a part of the try, up to so many bytes: if it breaks off, the request is repeated.
    pub(crate) whole: Option<usize>,
    /// Whether it counts among the requests that one registry gets at a time.
    pub(crate) takes_slot: bool,
}

/// What a request carries.
#[derive(Clone)]
pub(crate) enum Body<'a> {
    Empty,
    Bytes(Bytes),
    /// A part of a blob.
    Blob {
        source: &'a dyn BlobSource,
        span: Range<u64>,
        /// Counts it on its way.
        meter: Arc<Meter>,
    },
}

impl<'a> Request<'a> {
    pub(crate) fn new(method: Method, url: Url, access: &'a Access) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            body: Body::Empty,
            access,
            duration: Duration::ZERO,
            whole: None,
            takes_slot: true,
        }
    }

    /// Whether sending it twice does what sending it once does, as far as the client alone can tell.
    fn is_repeatable(&self) -> bool {
        !matches!(self.body, Body::Blob { .. })
    }
}

impl fmt::Debug for Request<'_> {
    /// Without headers and query: secrets stand there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.method, crate::endpoint::authority(&self.url), self.url.path())
    }
}

type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, Fault>> + Send>>;

/// An answer whose body is still to be read.
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// The address that answered, after redirects.
    pub(crate) url: Url,
    chunks: Chunks,
    /// Set on a 401 to an upload: there are new credentials, and it is worth asking the server how far it came.
    pub(crate) renewed: bool,
    /// The mirror that answered in the registry's place.
    pub(crate) mirror: Option<Endpoint>,
    slot: Option<limits::Slot>,
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Response({})", self.status)
    }
}

impl Response {
    fn new(status: StatusCode, headers: HeaderMap, url: Url, chunks: Chunks) -> Self {
        Self { status, headers, url, chunks, renewed: false, mirror: None, slot: None }
    }

    /// A header as text.
    pub(crate) fn header(&self, name: impl hyper::http::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The next piece of the body.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Fault> {
        self.chunks.next().await.transpose()
    }

    /// The whole body, which is `what`, if it is not larger than `limit`.
    pub(crate) async fn bytes(&mut self, limit: usize, what: &str) -> Result<Bytes, Fault> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if bytes.len() + chunk.len() > limit {
                return Err(Fault::Protocol(format!("{what} is larger than {limit} bytes")));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.into())
    }

    /// Reads the body into memory; of one that is longer than `limit`, a little more than that.
    async fn buffer(&mut self, limit: usize) -> Result<(), Fault> {
        let mut bytes = Vec::new();
        while bytes.len() <= limit
            && let Some(chunk) = self.chunk().await?
        {
            bytes.extend_from_slice(&chunk);
        }
        self.replace_body(bytes.into());
        Ok(())
    }

    /// The fault that this answer stands for.
    pub(crate) async fn into_fault(mut self) -> Fault {
        let body = self.peek().await;
        let mut answer = Answer::new(self.status, &body);
        if let Some(wait) = self.retry_after().filter(|wait| !wait.is_zero()) {
            let separator = if answer.detail.is_empty() { "" } else { "; " };
            answer.detail += &format!("{separator}it asks to be left alone for {} s", wait.as_secs());
        }
        Fault::Answer(answer)
    }

    /// The beginning of an error's body; the body can be read again afterwards.
    async fn peek(&mut self) -> Bytes {
        let mut bytes = Vec::new();
        while let Ok(Some(chunk)) = self.chunk().await {
            bytes.extend_from_slice(&chunk[..chunk.len().min(LARGEST_ERROR - bytes.len())]);
            if bytes.len() == LARGEST_ERROR {
                break;
            }
        }
        let bytes = Bytes::from(bytes);
        self.replace_body(bytes.clone());
        bytes
    }

    fn replace_body(&mut self, bytes: Bytes) {
        self.chunks = Box::pin(futures_util::stream::once(async { Ok(bytes) }));
    }

    /// How long the server asks us to stay away.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        retry::parse_retry_after(self.header(RETRY_AFTER)?, SystemTime::now())
    }
}

/// Sends requests. Every layer is one, around another.
pub(crate) trait Service: Send + Sync {
    fn call<'a>(&'a self, request: Request<'a>) -> BoxFuture<'a, Result<Response, Fault>>;
}

impl<S: Service + ?Sized> Service for Arc<S> {
    fn call<'a>(&'a self, request: Request<'a>) -> BoxFuture<'a, Result<Response, Fault>> {
        (**self).call(request)
    }
}

/// All layers in their order, the outermost first: a slot is held through all tries; what is told of an error is
/// free of secrets; each try tells how busy the registry is, and has the credentials of its moment; each exchange is told, each of a chain of redirects.
pub(crate) fn stack(
    network: Network,
    credentials: Arc<dyn Credentials>,
    policy: RetryPolicy,
    listener: Listener,
) -> impl Service {
    let (secrets, lanes) = (redact::Secrets::default(), limits::Lanes::default());
    let wire = wire::Wire::new(network, &policy);
    let wire: Arc<dyn Service> = Arc::new(log::Log::new(wire, listener.clone()));
    let tokens = retry::Retry::new(Arc::clone(&wire), policy.clone(), listener.clone());
    let desk = auth::Desk::new(credentials, tokens, secrets.clone(), listener.clone());
    let authorised = auth::Auth::new(redirect::Redirect::new(wire), desk);
    let tries = limits::Load::new(redact::Redact::new(authorised, secrets), lanes.clone());
    limits::Limits::new(retry::Retry::new(tries, policy, listener), lanes)
}
