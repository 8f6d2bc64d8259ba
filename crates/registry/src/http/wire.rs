//! The lowest layer: one request, one connection, one answer. Knows no credentials, follows nothing, and repeats only
//! what a kept connection lost by ending.
//!
//! HTTP/1.1 on purpose: each transfer has a connection, and so a window and a fate, of its own, and registries' HTTP/2
//! is the slower one in practice. There is no limit on a transfer's time, only on silence and on a trickle. Answers
//! are read while a body is still being sent, and are heard even if the server hangs up after them.

mod connect;
mod guard;
mod last_words;
mod outgoing;

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::Stream;
use gantry_oci::BoxFuture;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderValue, PROXY_AUTHORIZATION, USER_AGENT};
use hyper::http::Extensions;
use hyper::{Method, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use url::Url;

use super::{Body, Network, Request, Response, Service, tls};
use crate::endpoint::{Endpoint, authority};
use crate::hosts::{ProxyServer, Trust};
use crate::retry_policy::LEAST_PROGRESS;
use crate::{Fault, RetryPolicy};
use connect::{Route, Uses};
use guard::{Forbidden, Guard};
pub(crate) use outgoing::Meter;
use outgoing::Outgoing;

/// So much more silence is normal after an upload's last byte, while the registry hashes and stores what it got.
const PATIENCE_AFTER_UPLOAD: u32 = 5;
/// A connection that nobody uses is closed after this time; load balancers close theirs after a minute.
const IDLE: Duration = Duration::from_secs(45);
/// Kept connections may all have ended meanwhile. A request that meets one goes out again at once, so often.
const MOST_ENDED_CONNECTIONS: u32 = 4;
/// Headers of one answer. A few kilobytes in practice; the library's own bound is larger.
const LARGEST_HEAD: usize = 512 * 1024;
const NAME: &str = concat!("gantry/", env!("CARGO_PKG_VERSION"));

type Connections = Client<HttpsConnector<Route>, Outgoing>;

/// Sends requests over connections that it keeps.
pub(super) struct Wire {
    /// Made when first needed: setting up TLS costs more than a request to a registry without.
    clients: Mutex<HashMap<ClientKey, Connections>>,
    network: Network,
    lookup: guard::Lookup,
    /// How long nothing, or next to nothing, may move.
    silence: Duration,
}

/// What makes two connections unlike each other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ClientKey {
    /// `None` for plain HTTP.
    trust: Option<Trust>,
    proxy: Option<ProxyServer>,
    /// The registry that named this host, unless it is its own.
    named_by: Option<String>,
}

impl ClientKey {
    fn of(network: &Network, endpoint: &Endpoint, url: &Url) -> Self {
        let trust = (url.scheme() == "https").then(|| network.trust(endpoint, url));
        let own = endpoint.base();
        let named_by = (own.host() != url.host()).then(|| own.host_str().unwrap_or_default().to_owned());
        Self { trust, proxy: network.proxies.between(url), named_by }
    }

    fn client(&self, lookup: guard::Lookup) -> Result<Connections, Fault> {
        let tls = match &self.trust {
            None => tls::untrusting()?,
            Some(trust) => tls::trusting(trust)?,
        };
        let guard = Guard::new(self.named_by.clone(), lookup);
        Ok(Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .http1_max_buf_size(LARGEST_HEAD)
            .build(connect::connector(guard, self.proxy.clone(), tls)))
    }
}

impl Wire {
    pub(super) fn new(network: Network, policy: &RetryPolicy) -> Self {
        Self { clients: Mutex::default(), network, lookup: guard::system, silence: policy.silence }
    }

    fn client(&self, key: ClientKey) -> Result<Connections, Fault> {
        let mut clients = self.clients.lock().expect("nothing panics while it holds the clients");
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let client = key.client(self.lookup)?;
        clients.insert(key, client.clone());
        Ok(client)
    }

    async fn exchange(&self, request: Request<'_>) -> Result<Response, Fault> {
        let key = ClientKey::of(&self.network, &request.access.endpoint, &request.url);
        let proxy = key.proxy.clone();
        let client = self.client(key)?;
        let mut ended = 0;
        loop {
            let (wired, meter) = wired(&request, proxy.as_ref())?;
            let host = authority(&request.url);
            let Some(answer) = self.watch(&meter, client.request(wired)).await else {
                return Err(Fault::Stalled { host, seconds: self.patience(&meter).as_secs() });
            };
            // A source that cannot be read looks like a lost connection from here.
            if let Some(error) = meter.take_error() {
                return Err(Fault::Source(error));
            }
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) if request.is_repeatable() && is_end(&error) && ended < MOST_ENDED_CONNECTIONS => {
                    ended += 1;
                    continue;
                }
                Err(error) => return Err(fault(&error, &host)),
            };
            if let Some(uses) = answer.extensions().get::<Uses>() {
                uses.count();
            }
            let (parts, body) = answer.into_parts();
            let chunks = Box::pin(chunks(body, host, self.silence));
            return Ok(Response::new(parts.status, parts.headers, request.url.clone(), chunks));
        }
    }

    /// How much silence is normal at this point.
    fn patience(&self, meter: &Meter) -> Duration {
        if meter.is_full() { self.silence * PATIENCE_AFTER_UPLOAD } else { self.silence }
    }

    /// Waits for the answer as long as the body moves. `None` after too much silence, or a trickle.
    async fn watch<T>(&self, meter: &Meter, answer: impl Future<Output = T>) -> Option<T> {
        let mut answer = std::pin::pin!(answer);
        loop {
            let (before, was_full) = (meter.taken(), meter.is_full());
            match tokio::time::timeout(self.patience(meter), &mut answer).await {
                Ok(answer) => return Some(answer),
                Err(_) if was_full => return None,
                Err(_) if !meter.is_full() && meter.taken() - before < LEAST_PROGRESS => return None,
                Err(_) => {}
            }
        }
    }
}

impl Service for Wire {
    fn call<'a>(&'a self, request: Request<'a>) -> BoxFuture<'a, Result<Response, Fault>> {
        Box::pin(self.exchange(request))
    }
}

/// The request as the library takes it, and what is known of its body on the way.
fn wired(
    request: &Request<'_>,
    proxy: Option<&ProxyServer>,
) -> Result<(hyper::Request<Outgoing>, Arc<Meter>), Fault> {
    let uri: Uri =
        request.url.as_str().parse().map_err(|_| {
            Fault::Protocol(format!("an address at `{}` is not valid", authority(&request.url)))
        })?;
    let mut headers: HeaderMap = request.headers.clone();
    headers.insert(USER_AGENT, HeaderValue::from_static(NAME));
    request.access.endpoint.add_headers(&request.url, &mut headers);
    let login = proxy.filter(|_| request.url.scheme() == "http").and_then(ProxyServer::header);
    if let Some(credentials) = login {
        headers.insert(PROXY_AUTHORIZATION, credentials);
    }
    let (body, meter) = match &request.body {
        Body::Empty => {
            if !matches!(request.method, Method::GET | Method::HEAD) {
                headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
            }
            (Outgoing::bytes(Bytes::new()), Arc::default())
        }
        Body::Bytes(bytes) => (Outgoing::bytes(bytes.clone()), Arc::default()),
        Body::Blob { source, span, meter } => {
            // Some registries refuse chunked transfer encoding, so the length is always said.
            headers.insert(CONTENT_LENGTH, (span.end - span.start).into());
            (Outgoing::blob(*source, span.clone(), meter).map_err(Fault::Source)?, Arc::clone(meter))
        }
    };
    let mut wired = hyper::Request::new(body);
    *wired.method_mut() = request.method.clone();
    *wired.uri_mut() = uri;
    *wired.headers_mut() = headers;
    Ok((wired, meter))
}

/// The answer's body; a pause that is too long, or a trickle, is an error. Only time spent waiting counts: the reader
/// may take its own.
fn chunks(
    body: Incoming,
    host: String,
    silence: Duration,
) -> impl Stream<Item = Result<Bytes, Fault>> + Send {
    let state = Some(Arriving { body, host, silence, waited: Duration::ZERO, moved: 0 });
    futures_util::stream::unfold(state, |state| async {
        let mut arriving = state?;
        match arriving.next().await {
            Ok(Some(bytes)) => Some((Ok(bytes), Some(arriving))),
            Ok(None) => None,
            Err(fault) => Some((Err(fault), None)),
        }
    })
}

struct Arriving {
    body: Incoming,
    host: String,
    silence: Duration,
    /// Since the last piece of progress.
    waited: Duration,
    moved: u64,
}

impl Arriving {
    async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            let start = Instant::now();
            let frame = std::future::poll_fn(|context| Pin::new(&mut self.body).poll_frame(context));
            let Ok(frame) = tokio::time::timeout(self.silence.saturating_sub(self.waited), frame).await
            else {
                return Err(Fault::Stalled { host: self.host.clone(), seconds: self.silence.as_secs() });
            };
            let Some(frame) = frame else { return Ok(None) };
            let bytes = frame
                .map_err(|error| Fault::Broken { host: self.host.clone(), cause: deepest_cause(&error) })?
                .into_data();
            let Ok(bytes) = bytes else { continue };
            self.waited += start.elapsed();
            self.moved += bytes.len() as u64;
            if self.moved >= LEAST_PROGRESS {
                (self.waited, self.moved) = (Duration::ZERO, 0);
            }
            return Ok(Some(bytes));
        }
    }
}

type LibraryError = hyper_util::client::legacy::Error;

/// Whether the fault may just be that a connection, which had served before, has ended.
fn is_end(error: &LibraryError) -> bool {
    let mut extensions = Extensions::new();
    if let Some(connected) = error.connect_info() {
        connected.get_extras(&mut extensions);
    }
    !error.is_connect() && extensions.get::<Uses>().is_some_and(Uses::is_reused)
}

/// Sorts an error of the HTTP library. Its own text holds the address, whose query may hold a signature.
fn fault(error: &LibraryError, host: &str) -> Fault {
    let host = host.to_owned();
    if let Some(forbidden) = causes(error).find_map(wrapped::<Forbidden>) {
        return Fault::Protocol(forbidden.to_string());
    }
    match (causes(error).find_map(wrapped::<rustls::Error>), error.is_connect()) {
        (Some(rustls::Error::InvalidMessage(_)), true) => {
            Fault::Handshake { host, cause: "it does not answer in TLS".to_owned() }
        }
        (Some(tls), true) => Fault::Handshake { host, cause: tls.to_string() },
        (_, true) => Fault::Unreachable { host, cause: deepest_cause(error) },
        (_, false) => Fault::Broken { host, cause: deepest_cause(error) },
    }
}

fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(error.source(), |&cause| cause.source())
}

/// An error of a certain type, which may come wrapped in one or more of I/O; those hide it from `source`.
fn wrapped<'a, E: std::error::Error + 'static>(
    cause: &'a (dyn std::error::Error + 'static),
) -> Option<&'a E> {
    cause.downcast_ref().or_else(|| wrapped(cause.downcast_ref::<io::Error>()?.get_ref()?))
}

fn deepest_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let cause = causes(error).last().unwrap_or(error);
    let text = cause.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    // The system's sentences begin with a capital; here they end ours.
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::super::script::access;
    use super::*;
    use crate::Proxies;

    /// The registry is far away; every other name leads home.
    fn rebound(name: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let address = if name == "r.test" { "192.0.2.1:0" } else { "127.0.0.1:0" };
        Box::pin(async { Ok(vec![address.parse().expect("it is an address")]) })
    }

    #[tokio::test]
    async fn a_name_that_leads_home_is_not_connected_to() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let network = Network { hosts: Arc::default(), proxies: Proxies::default() };
        let wire = Wire { lookup: rebound, ..Wire::new(network, &RetryPolicy::default()) };
        let access = access();
        for host in ["auth.test", "169.254.169.254", "[::1]"] {
            let url = format!("http://{host}:{port}/token").parse().unwrap();
            let fault = wire.call(Request::new(Method::GET, url, &access)).await.unwrap_err();
            assert!(matches!(&fault, Fault::Protocol(text) if text.contains("private network")), "{fault}");
        }
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err());
    }
}
