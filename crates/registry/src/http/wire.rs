//! The lowest layer: one request, one connection, one answer. Knows no credentials, follows nothing, repeats nothing.
//!
//! HTTP/1.1 on purpose: each transfer has a connection, and so a window and a fate, of its own, and registries' HTTP/2
//! is the slower one in practice. There is no limit on a transfer's time, only on silence.

use std::collections::HashMap;
use std::error::Error as _;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use gantry_oci::{BlobSource, BoxFuture};
use reqwest::header::{CONTENT_LENGTH, HeaderValue};
use reqwest::{Client, Method, redirect};
use tokio::sync::mpsc;
use url::Url;

use super::{Body, Request, Response, Service, tls};
use crate::Fault;
use crate::endpoint::{Endpoint, authority, is_loopback};

/// Time for a connection and its TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// No byte either way for so long: the connection is dead.
const SILENCE: Duration = Duration::from_secs(60);
/// The same after an upload's last byte, while the registry hashes and stores what it got.
const SILENCE_AFTER_UPLOAD: Duration = Duration::from_secs(300);
/// One read of a blob: large enough that reading and sending overlap well.
const CHUNK: usize = 128 * 1024;
/// Chunks between reader and connection; with [`CHUNK`] this is all the memory that an upload takes.
const CHUNKS_AHEAD: usize = 4;
const USER_AGENT: &str = concat!("gantry/", env!("CARGO_PKG_VERSION"));

/// Sends requests over connections that it keeps.
#[derive(Default)]
pub(super) struct Wire {
    /// Made when first needed: setting up TLS costs more than a request to a registry without.
    clients: Mutex<HashMap<ClientKey, Client>>,
}

/// What makes two connections unlike each other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ClientKey {
    trust: Trust,
    proxy: Proxy,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Trust {
    /// Plain HTTP.
    Nobody,
    /// The machine's certificate authorities.
    Machine,
    /// And those that one registry's configuration names.
    Registry(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Proxy {
    /// As the environment says.
    System,
    /// Loopback addresses are never reached through a proxy: there they mean another machine.
    Never,
}

impl ClientKey {
    fn of(endpoint: &Endpoint, url: &Url) -> Self {
        let trust = match url.scheme() {
            "https" if endpoint.owns(url) && !endpoint.ca().is_empty() => {
                Trust::Registry(endpoint.name().to_owned())
            }
            "https" => Trust::Machine,
            _ => Trust::Nobody,
        };
        Self { trust, proxy: if is_loopback(url) { Proxy::Never } else { Proxy::System } }
    }

    fn client(&self, endpoint: &Endpoint) -> Result<Client, Fault> {
        let tls = match &self.trust {
            Trust::Nobody => tls::untrusting()?,
            Trust::Machine => tls::trusting(&[])?,
            Trust::Registry(_) => tls::trusting(endpoint.ca())?,
        };
        let builder = Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(redirect::Policy::none())
            .http1_only();
        let builder = match self.proxy {
            Proxy::System => builder,
            Proxy::Never => builder.no_proxy(),
        };
        builder.build().map_err(|error| Fault::Tls(format!("cannot set up HTTP: {error}")))
    }
}

impl Wire {
    fn client(&self, endpoint: &Endpoint, url: &Url) -> Result<Client, Fault> {
        let key = ClientKey::of(endpoint, url);
        let mut clients = self.clients.lock().expect("nothing panics while it holds the clients");
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let client = key.client(endpoint)?;
        clients.insert(key, client.clone());
        Ok(client)
    }

    async fn exchange(&self, request: Request<'_>) -> Result<Response, Fault> {
        let client = self.client(&request.access.endpoint, &request.url)?;
        let mut wired = reqwest::Request::new(request.method.clone(), request.url.clone());
        *wired.headers_mut() = request.headers;
        let upload = Arc::new(Upload::default());
        match request.body {
            Body::Empty if matches!(request.method, Method::GET | Method::HEAD) => {}
            Body::Empty => {
                wired.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
            }
            Body::Bytes(bytes) => *wired.body_mut() = Some(bytes.into()),
            Body::Blob { source, offset } => {
                // Some registries refuse chunked transfer encoding, so the length is always said.
                wired.headers_mut().insert(CONTENT_LENGTH, source.size().saturating_sub(offset).into());
                *wired.body_mut() = Some(reqwest::Body::wrap_stream(upload.stream(source, offset)?));
            }
        }
        let answer = upload.watch(client.execute(wired)).await;
        let host = authority(&request.url);
        let Some(answer) = answer else {
            return Err(Fault::Stalled { host, seconds: upload.patience().as_secs() });
        };
        // A source that cannot be read looks like a lost connection from here.
        if let Some(error) = upload.take_error() {
            return Err(Fault::Source(error));
        }
        let answer = answer.map_err(|error| fault(&error, &host))?;
        let (status, headers, url) = (answer.status(), answer.headers().clone(), answer.url().clone());
        Ok(Response::new(status, headers, url, Box::pin(chunks(answer, host))))
    }
}

impl Service for Wire {
    fn call<'a>(&'a self, request: Request<'a>) -> BoxFuture<'a, Result<Response, Fault>> {
        Box::pin(self.exchange(request))
    }
}

/// The answer's body; a pause that is too long is an error.
fn chunks(answer: reqwest::Response, host: String) -> impl Stream<Item = Result<Bytes, Fault>> + Send {
    let state = Some((Box::pin(answer.bytes_stream()), host));
    futures_util::stream::unfold(state, |state| async {
        let (mut stream, host) = state?;
        match tokio::time::timeout(SILENCE, stream.next()).await {
            Ok(None) => None,
            Ok(Some(Ok(bytes))) => Some((Ok(bytes), Some((stream, host)))),
            Ok(Some(Err(error))) => Some((Err(fault(&error, &host)), None)),
            Err(_) => Some((Err(Fault::Stalled { host, seconds: SILENCE.as_secs() }), None)),
        }
    })
}

/// What is known of a body on its way out.
#[derive(Default)]
struct Upload {
    taken: AtomicU64,
    total: AtomicU64,
    error: Mutex<Option<io::Error>>,
}

impl Upload {
    /// The blob from an offset on, read on a thread of its own, a few chunks ahead of the connection.
    fn stream(
        self: &Arc<Self>,
        source: &dyn BlobSource,
        offset: u64,
    ) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + 'static, Fault> {
        let left = source.size().saturating_sub(offset);
        let reader = source.open(offset).map_err(Fault::Source)?;
        self.total.store(left, Ordering::Relaxed);
        let (sender, mut receiver) = mpsc::channel(CHUNKS_AHEAD);
        let upload = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = feed(reader, left, &sender) {
                let told = io::Error::new(error.kind(), error.to_string());
                *upload.error.lock().expect("nothing panics while it holds the error") = Some(error);
                let _ = sender.blocking_send(Err(told));
            }
        });
        let upload = Arc::clone(self);
        Ok(futures_util::stream::poll_fn(move |context| {
            let next = receiver.poll_recv(context);
            if let std::task::Poll::Ready(Some(Ok(bytes))) = &next {
                let bytes: &Bytes = bytes;
                upload.taken.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            }
            next
        }))
    }

    fn take_error(&self) -> Option<io::Error> {
        self.error.lock().expect("nothing panics while it holds the error").take()
    }

    /// How much silence is normal at this point.
    fn patience(&self) -> Duration {
        let (taken, total) = (self.taken.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed));
        if total > 0 && taken == total { SILENCE_AFTER_UPLOAD } else { SILENCE }
    }

    /// Waits for the answer as long as the body moves. `None` after too much silence.
    async fn watch<T>(&self, answer: impl Future<Output = T>) -> Option<T> {
        let mut answer = std::pin::pin!(answer);
        loop {
            let before = self.taken.load(Ordering::Relaxed);
            match tokio::time::timeout(self.patience(), &mut answer).await {
                Ok(answer) => return Some(answer),
                Err(_) if self.taken.load(Ordering::Relaxed) == before => return None,
                Err(_) => {}
            }
        }
    }
}

/// Reads exactly `left` bytes into the channel; ends quietly when nobody listens any more.
fn feed(
    mut reader: Box<dyn io::Read + Send>,
    mut left: u64,
    sender: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<()> {
    while left > 0 {
        let mut chunk = vec![0; usize::try_from(left).unwrap_or(CHUNK).min(CHUNK)];
        let read = match reader.read(&mut chunk) {
            Ok(0) => {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the blob is shorter than its size",
                ));
            }
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        chunk.truncate(read);
        left -= read as u64;
        if sender.blocking_send(Ok(chunk.into())).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Sorts an error of the HTTP library. Its own text holds the address, whose query may hold a signature.
fn fault(error: &reqwest::Error, host: &str) -> Fault {
    let host = host.to_owned();
    match (causes(error).find_map(tls_error), error.is_connect()) {
        (Some(rustls::Error::InvalidMessage(_)), true) => {
            Fault::Handshake { host, cause: "it does not answer in TLS".to_owned() }
        }
        (Some(tls), true) => Fault::Handshake { host, cause: tls.to_string() },
        (_, true) => Fault::Unreachable { host, cause: deepest_cause(error) },
        (_, false) => Fault::Broken { host, cause: deepest_cause(error) },
    }
}

fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(error.source(), |&cause| cause.source())
}

/// The TLS library's own error, which comes wrapped in one or more of I/O; those hide it from `source`.
fn tls_error<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    cause.downcast_ref().or_else(|| tls_error(cause.downcast_ref::<io::Error>()?.get_ref()?))
}

fn deepest_cause(error: &reqwest::Error) -> String {
    let Some(cause) = causes(error).last() else { return "the connection could not be used".to_owned() };
    let text = cause.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    // The system's sentences begin with a capital; here they end ours.
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}
