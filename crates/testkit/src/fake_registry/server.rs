//! The HTTP side of the fake registry: accepts, routes, answers, and closes connections that are to be closed.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use gantry_oci::{Digest, Document};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HOST, LOCATION, RANGE, WWW_AUTHENTICATE,
};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;

use super::Exchange;
use super::access::{Doorkeeper, Issue};
use super::content::Content;
use super::fault::{Fault, Seen};
use super::upload::{self, Uploads};

/// Why a connection is closed without an answer.
#[derive(Debug)]
pub(super) struct Dropped;

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("dropped on purpose")
    }
}

impl std::error::Error for Dropped {}

type Answer = Response<BoxBody<Bytes, Dropped>>;
type Hook = Box<dyn FnMut(&Seen<'_>) -> Option<Fault> + Send>;
type Query = Vec<(String, String)>;

/// Everything that requests share.
#[derive(Default)]
pub(super) struct State {
    content: Mutex<Content>,
    uploads: Mutex<Uploads>,
    doorkeeper: Mutex<Doorkeeper>,
    hook: Mutex<Option<Hook>>,
    log: Mutex<Vec<Exchange>>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("content", &self.content).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no test panics while it holds the registry")
}

impl State {
    pub(super) fn content(&self) -> MutexGuard<'_, Content> {
        lock(&self.content)
    }

    pub(super) fn doorkeeper(&self) -> MutexGuard<'_, Doorkeeper> {
        lock(&self.doorkeeper)
    }

    pub(super) fn set_hook(&self, hook: Hook) {
        *lock(&self.hook) = Some(hook);
    }

    pub(super) fn log(&self) -> Vec<Exchange> {
        lock(&self.log).clone()
    }
}

/// Serves until told to stop.
pub(super) fn run(listener: std::net::TcpListener, state: Arc<State>, stopped: oneshot::Receiver<()>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).expect("the listener is non-blocking");
        tokio::select! {
            () = accept(listener, state) => {}
            _ = stopped => {}
        }
    });
}

async fn accept(listener: tokio::net::TcpListener, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let state = Arc::clone(&state);
                async move { exchange(&state, request).await }
            });
            // An error here is a connection that one of the two sides closed, which is what tests are about.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// One request, read as far as its handler wants it.
struct Call {
    method: String,
    path: String,
    query: Query,
    headers: hyper::HeaderMap,
    body: Incoming,
    received: u64,
    /// Stop reading the body after so many bytes and drop the connection.
    drop_after: Option<u64>,
}

impl Call {
    fn header(&self, name: hyper::header::HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(one, _)| one == name).map(|(_, value)| value.as_str())
    }

    /// The next piece of the body; an error if the connection is to be dropped now.
    async fn chunk(&mut self) -> Result<Option<Bytes>, Dropped> {
        if self.drop_after == Some(self.received) {
            return Err(Dropped);
        }
        let Some(frame) = self.body.frame().await else { return Ok(None) };
        let mut bytes = frame.map_err(|_| Dropped)?.into_data().unwrap_or_default();
        if let Some(limit) = self.drop_after {
            bytes.truncate(usize::try_from(limit - self.received).unwrap_or(usize::MAX));
        }
        self.received += bytes.len() as u64;
        Ok(Some(bytes))
    }

    async fn all(&mut self) -> Result<Vec<u8>, Dropped> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

async fn exchange(state: &State, request: Request<Incoming>) -> Result<Answer, Dropped> {
    let (parts, body) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let mut call = Call {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        headers: parts.headers,
        body,
        received: 0,
        drop_after: None,
    };
    let (index, fault) = announce(state, &call, query);
    let result = spoil(state, &mut call, fault).await;
    let entry = &mut lock(&state.log)[index];
    entry.received = call.received;
    entry.status = result.as_ref().ok().map(|answer| answer.status().as_u16());
    result
}

/// Writes the request into the log and asks the hook.
fn announce(state: &State, call: &Call, query: String) -> (usize, Option<Fault>) {
    let index = {
        let mut log = lock(&state.log);
        log.push(Exchange {
            method: call.method.clone(),
            path: call.path.clone(),
            query,
            authorization: call.header(AUTHORIZATION).map(str::to_owned),
            range: call.header(RANGE).or(call.header(CONTENT_RANGE)).map(str::to_owned),
            received: 0,
            status: None,
        });
        log.len() - 1
    };
    let seen = Seen { index, method: &call.method, path: &call.path, headers: &call.headers };
    let fault = lock(&state.hook).as_mut().and_then(|hook| hook(&seen));
    (index, fault)
}

async fn spoil(state: &State, call: &mut Call, fault: Option<Fault>) -> Result<Answer, Dropped> {
    match fault {
        None => serve(state, call).await,
        Some(Fault::Answer { status, headers, body }) => Ok(Reply::with(status, headers).body(body)),
        Some(Fault::LateAnswer { status, headers }) => {
            while call.chunk().await?.is_some() {}
            Ok(Reply::with(status, headers).body(Vec::new()))
        }
        Some(Fault::Drop { after }) => {
            call.drop_after = Some(after);
            let _ = serve(state, call).await;
            Err(Dropped)
        }
        Some(Fault::Truncate { after }) => {
            let (parts, body) = serve(state, call).await?.into_parts();
            let bytes = body.collect().await.map_err(|_| Dropped)?.to_bytes();
            let mut answer = Response::new(truncated(bytes.slice(..after.min(bytes.len()))));
            *answer.status_mut() = parts.status;
            *answer.headers_mut() = parts.headers;
            answer.headers_mut().insert(CONTENT_LENGTH, bytes.len().into());
            Ok(answer)
        }
        Some(Fault::Headers(headers)) => {
            let mut answer = serve(state, call).await?;
            for (name, value) in headers {
                let name: hyper::header::HeaderName = name.parse().expect("the test names a valid header");
                answer.headers_mut().insert(name, value.parse().expect("the test gives a valid value"));
            }
            Ok(answer)
        }
        Some(Fault::Body(bytes)) => {
            let mut answer = serve(state, call).await?;
            answer.headers_mut().remove(CONTENT_LENGTH);
            *answer.body_mut() = full(bytes);
            Ok(answer)
        }
    }
}

/// A body that breaks off after these bytes.
fn truncated(bytes: Bytes) -> BoxBody<Bytes, Dropped> {
    BodyExt::boxed(StreamBody::new(Truncated::Bytes(bytes)))
}

/// Yields bytes, then nothing for one turn, then the end of the connection. In that turn the server sends the bytes;
/// otherwise it would throw them away with the connection.
enum Truncated {
    Bytes(Bytes),
    Pause,
    End,
}

impl futures_util::Stream for Truncated {
    type Item = Result<Frame<Bytes>, Dropped>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match std::mem::replace(&mut *self, Self::End) {
            Self::Bytes(bytes) => {
                *self = Self::Pause;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Pause => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Self::End => Poll::Ready(Some(Err(Dropped))),
        }
    }
}

async fn serve(state: &State, call: &mut Call) -> Result<Answer, Dropped> {
    if call.path == "/token" {
        return token(state, call).await;
    }
    let route = Route::of(&call.path);
    if let Some(challenge) = refuse(state, call, route.as_ref()) {
        return Ok(Reply::new(401)
            .header(WWW_AUTHENTICATE, challenge)
            .error("UNAUTHORIZED", "authentication required"));
    }
    match (route, call.method.as_str()) {
        (Some(Route::Base), _) => Ok(Reply::new(200).body(Vec::new())),
        (Some(Route::Manifest { repository, reference }), "GET" | "HEAD") => {
            Ok(get_manifest(state, &repository, &reference))
        }
        (Some(Route::Manifest { repository, reference }), "PUT") => {
            put_manifest(state, call, &repository, &reference).await
        }
        (Some(Route::Blob { repository, digest }), "GET" | "HEAD") => {
            Ok(get_blob(state, call, &repository, &digest))
        }
        (Some(Route::Uploads { repository }), "POST") => Ok(start_upload(state, call, &repository)),
        (Some(Route::Upload { repository, id }), _) => session(state, call, &repository, id).await,
        (Some(Route::Tags { repository }), "GET") => Ok(match state.content().tags(&repository) {
            Some(tags) => Reply::new(200).json(&serde_json::json!({"name": repository, "tags": tags})),
            None => Reply::new(404).error("NAME_UNKNOWN", "repository name not known to registry"),
        }),
        (None, _) => Ok(Reply::new(404).error("UNSUPPORTED", "no such endpoint")),
        (Some(_), _) => Ok(Reply::new(405).error("UNSUPPORTED", "the operation is unsupported")),
    }
}

/// The endpoints of the specification.
enum Route {
    Base,
    Manifest { repository: String, reference: String },
    Blob { repository: String, digest: String },
    Uploads { repository: String },
    Upload { repository: String, id: u64 },
    Tags { repository: String },
}

impl Route {
    fn of(path: &str) -> Option<Self> {
        let rest = path.strip_prefix("/v2/")?;
        if rest.is_empty() {
            return Some(Self::Base);
        }
        if let Some((repository, id)) = rest.rsplit_once("/blobs/uploads/") {
            let repository = repository.to_owned();
            return match id {
                "" => Some(Self::Uploads { repository }),
                id => Some(Self::Upload { repository, id: id.parse().ok()? }),
            };
        }
        if let Some(repository) = rest.strip_suffix("/tags/list") {
            return Some(Self::Tags { repository: repository.to_owned() });
        }
        if let Some((repository, reference)) = rest.rsplit_once("/manifests/") {
            return Some(Self::Manifest {
                repository: repository.to_owned(),
                reference: reference.to_owned(),
            });
        }
        let (repository, digest) = rest.rsplit_once("/blobs/")?;
        Some(Self::Blob { repository: repository.to_owned(), digest: digest.to_owned() })
    }

    fn repository(&self) -> Option<&str> {
        match self {
            Self::Base => None,
            Self::Manifest { repository, .. }
            | Self::Blob { repository, .. }
            | Self::Uploads { repository }
            | Self::Upload { repository, .. }
            | Self::Tags { repository } => Some(repository),
        }
    }
}

fn refuse(state: &State, call: &Call, route: Option<&Route>) -> Option<String> {
    let writes = !matches!(call.method.as_str(), "GET" | "HEAD");
    let mut needs = Vec::new();
    if let Some(repository) = route.and_then(Route::repository) {
        needs.push((repository.to_owned(), if writes { "push" } else { "pull" }));
    }
    if let Some(from) = call.query("from") {
        needs.push((from.to_owned(), "pull"));
    }
    let host = call.header(HOST).unwrap_or_default();
    state.doorkeeper().challenge(call.header(AUTHORIZATION), &needs, host)
}

async fn token(state: &State, call: &mut Call) -> Result<Answer, Dropped> {
    let form: HashMap<String, String> = match call.method.as_str() {
        "POST" => url::form_urlencoded::parse(&call.all().await?).into_owned().collect(),
        _ => HashMap::new(),
    };
    let scopes = match form.get("scope") {
        Some(scopes) => scopes.split(' ').map(str::to_owned).collect(),
        None => {
            call.query.iter().filter(|(name, _)| name == "scope").map(|(_, scope)| scope.clone()).collect()
        }
    };
    let identity = form.get("refresh_token").map(String::as_str);
    let issue = state.doorkeeper().issue(call.header(AUTHORIZATION), identity, scopes);
    Ok(match issue {
        Issue::Token { token, lifetime } => Reply::new(200).json(
            &serde_json::json!({"token": token, "access_token": token, "expires_in": lifetime.as_secs()}),
        ),
        Issue::Refused => Reply::new(401).error("UNAUTHORIZED", "incorrect username or password"),
    })
}

fn get_manifest(state: &State, repository: &str, reference: &str) -> Answer {
    match state.content().manifest(repository, reference) {
        Some((digest, media_type, bytes)) => Reply::new(200)
            .header(CONTENT_TYPE, media_type)
            .header("docker-content-digest", digest.to_string())
            .body(bytes),
        None => Reply::new(404).error("MANIFEST_UNKNOWN", "manifest unknown"),
    }
}

async fn put_manifest(
    state: &State,
    call: &mut Call,
    repository: &str,
    reference: &str,
) -> Result<Answer, Dropped> {
    let media_type = call.header(CONTENT_TYPE).unwrap_or_default().to_owned();
    let bytes = call.all().await?;
    let document = match Document::parse(&bytes, Some(&media_type)) {
        Ok(document) => document,
        Err(error) => return Ok(Reply::new(400).error("MANIFEST_INVALID", &error.to_string())),
    };
    if let Some(missing) = state.content().missing(repository, &document) {
        return Ok(
            Reply::new(404).error("MANIFEST_BLOB_UNKNOWN", &format!("{missing} is not in the repository"))
        );
    }
    let tag = match reference.parse::<Digest>() {
        Ok(digest) if digest != Digest::of(&bytes) => {
            return Ok(
                Reply::new(400).error("DIGEST_INVALID", "provided digest did not match uploaded content")
            );
        }
        Ok(_) => None,
        Err(_) => Some(reference),
    };
    let digest = state.content().put_manifest(repository, tag, &media_type, bytes.into());
    Ok(Reply::new(201)
        .header(LOCATION, format!("/v2/{repository}/manifests/{digest}"))
        .header("docker-content-digest", digest.to_string())
        .body(Vec::new()))
}

fn get_blob(state: &State, call: &Call, repository: &str, digest: &str) -> Answer {
    let blob = digest.parse().ok().and_then(|digest| state.content().blob(repository, &digest));
    let Some(bytes) = blob else { return Reply::new(404).error("BLOB_UNKNOWN", "blob unknown to registry") };
    let start: Option<usize> =
        call.header(RANGE).and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let reply = |status| Reply::new(status).header("docker-content-digest", digest);
    match start {
        None => reply(200).header("accept-ranges", "bytes").body(bytes),
        Some(start) if start < bytes.len() => reply(206)
            .header(CONTENT_RANGE, format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len()))
            .body(bytes.slice(start..)),
        Some(_) => reply(416).body(Vec::new()),
    }
}

fn start_upload(state: &State, call: &Call, repository: &str) -> Answer {
    if let (Some(mount), Some(from)) = (call.query("mount"), call.query("from"))
        && let Ok(digest) = mount.parse()
        && state.content().mount(from, repository, &digest)
    {
        return Reply::new(201)
            .header(LOCATION, format!("/v2/{repository}/blobs/{digest}"))
            .header("docker-content-digest", mount)
            .body(Vec::new());
    }
    let id = lock(&state.uploads).start();
    Reply::new(202)
        .header(LOCATION, upload::location(repository, id, 0))
        .header(RANGE, "0-0")
        .body(Vec::new())
}

/// Everything that is done to an upload session: status, chunks, the end, giving up.
async fn session(state: &State, call: &mut Call, repository: &str, id: u64) -> Result<Answer, Dropped> {
    let Some(len) = lock(&state.uploads).len(id) else {
        return Ok(Reply::new(404).error("BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry"));
    };
    let progress = |status, len: u64| {
        Reply::new(status)
            .header(LOCATION, upload::location(repository, id, len))
            .header(RANGE, format!("0-{}", len.saturating_sub(1)))
            .body(Vec::new())
    };
    match call.method.as_str() {
        "GET" => return Ok(progress(204, len)),
        "DELETE" => {
            lock(&state.uploads).finish(id);
            return Ok(Reply::new(204).body(Vec::new()));
        }
        "PATCH" | "PUT" => {}
        _ => return Ok(Reply::new(405).error("UNSUPPORTED", "the operation is unsupported")),
    }
    let start = call.header(CONTENT_RANGE).and_then(|range| range.split_once('-')?.0.parse::<u64>().ok());
    if start.is_some_and(|start| start != len) {
        return Ok(progress(416, len));
    }
    if !upload::is_current(&call.query, len) {
        return Ok(
            Reply::new(400).error("BLOB_UPLOAD_INVALID", "the address does not carry the session's state")
        );
    }
    while let Some(chunk) = call.chunk().await? {
        lock(&state.uploads).append(id, &chunk);
    }
    if call.method == "PATCH" {
        return Ok(progress(202, lock(&state.uploads).len(id).unwrap_or_default()));
    }
    let bytes = lock(&state.uploads).finish(id).unwrap_or_default();
    let digest = Digest::of(&bytes);
    if call.query("digest") != Some(&digest.to_string()) {
        return Ok(Reply::new(400).error("DIGEST_INVALID", "provided digest did not match uploaded content"));
    }
    state.content().put_blob(repository, bytes);
    Ok(Reply::new(201)
        .header(LOCATION, format!("/v2/{repository}/blobs/{digest}"))
        .header("docker-content-digest", digest.to_string())
        .body(Vec::new()))
}

/// Builds answers.
struct Reply(hyper::http::response::Builder);

impl Reply {
    fn new(status: u16) -> Self {
        Self(Response::builder().status(status))
    }

    fn with(status: u16, headers: Vec<(String, String)>) -> Self {
        headers.into_iter().fold(Self::new(status), |reply, (name, value)| reply.header(name, value))
    }

    fn header<N>(self, name: N, value: impl AsRef<str>) -> Self
    where
        N: TryInto<hyper::header::HeaderName>,
        N::Error: Into<hyper::http::Error>,
    {
        Self(self.0.header(name, value.as_ref()))
    }

    fn json(self, value: &serde_json::Value) -> Answer {
        self.header(CONTENT_TYPE, "application/json").body(value.to_string().into_bytes())
    }

    fn error(self, code: &str, message: &str) -> Answer {
        self.json(&serde_json::json!({"errors": [{"code": code, "message": message}]}))
    }

    fn body(self, bytes: impl Into<Bytes>) -> Answer {
        self.0.body(full(bytes)).expect("status and headers are valid")
    }
}

fn full(bytes: impl Into<Bytes>) -> BoxBody<Bytes, Dropped> {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed()
}
