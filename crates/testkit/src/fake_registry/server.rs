//! The HTTP side of the fake registry: accepts connections, keeps the log, spoils exchanges that are to be spoiled.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use http_body_util::BodyExt;
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_RANGE, RANGE, WWW_AUTHENTICATE};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::access::Doorkeeper;
use super::content::Content;
use super::fault::{Fault, Seen};
use super::reply::{Answer, Dropped, End, Reply, full, spoiled};
use super::upload::Uploads;
use super::{Exchange, Quirk, endpoints};

type Hook = Box<dyn FnMut(&Seen<'_>) -> Option<Fault> + Send>;

/// Everything that requests share.
#[derive(Default)]
pub(super) struct State {
    content: Mutex<Content>,
    uploads: Mutex<Uploads>,
    doorkeeper: Mutex<Doorkeeper>,
    quirks: Mutex<Vec<Quirk>>,
    hook: Mutex<Option<Hook>>,
    log: Mutex<Vec<Exchange>>,
    /// The requests that are being served.
    busy: Mutex<HashSet<usize>>,
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

    pub(super) fn uploads(&self) -> MutexGuard<'_, Uploads> {
        lock(&self.uploads)
    }

    pub(super) fn doorkeeper(&self) -> MutexGuard<'_, Doorkeeper> {
        lock(&self.doorkeeper)
    }

    pub(super) fn set_hook(&self, hook: Hook) {
        *lock(&self.hook) = Some(hook);
    }

    pub(super) fn set_quirks(&self, quirks: &[Quirk]) {
        *lock(&self.quirks) = quirks.to_vec();
    }

    pub(super) fn has(&self, quirk: Quirk) -> bool {
        lock(&self.quirks).contains(&quirk)
    }

    /// What a quirk with a number has for one.
    pub(super) fn quirk<T>(&self, number: impl Fn(&Quirk) -> Option<T>) -> Option<T> {
        lock(&self.quirks).iter().find_map(number)
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
        let Ok((stream, twin)) = twins(stream) else { continue };
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let (state, twin) = (Arc::clone(&state), Arc::clone(&twin));
                async move { exchange(&state, request, &twin).await }
            });
            // An error here is a connection that one of the two sides closed, which is what tests are about.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// A connection twice: one for HTTP, one to say how it is to be closed.
fn twins(stream: TcpStream) -> std::io::Result<(TcpStream, Arc<TcpStream>)> {
    stream.set_nodelay(true)?;
    let stream = stream.into_std()?;
    let twin = stream.try_clone()?;
    Ok((TcpStream::from_std(stream)?, Arc::new(TcpStream::from_std(twin)?)))
}

/// One request, read as far as its handler wants it.
pub(super) struct Call {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: hyper::HeaderMap,
    body: Incoming,
    received: u64,
    /// Stop reading the body after so many bytes.
    stop: Option<Stop>,
}

/// What happens to a request whose body is not read to its end.
#[derive(Clone, Copy)]
struct Stop {
    after: u64,
    then: Then,
}

#[derive(Clone, Copy)]
enum Then {
    Drop,
    Hang,
}

impl Call {
    pub(super) fn header(&self, name: hyper::header::HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(super) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(one, _)| one == name).map(|(_, value)| value.as_str())
    }

    /// The next piece of the body; an error if the connection is to be dropped now.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Dropped> {
        if let Some(stop) = self.stop.filter(|stop| stop.after == self.received) {
            match stop.then {
                Then::Drop => return Err(Dropped),
                Then::Hang => std::future::pending().await,
            }
        }
        let Some(frame) = self.body.frame().await else { return Ok(None) };
        let mut bytes = frame.map_err(|_| Dropped)?.into_data().unwrap_or_default();
        if let Some(stop) = self.stop {
            bytes.truncate(usize::try_from(stop.after - self.received).unwrap_or(usize::MAX));
        }
        self.received += bytes.len() as u64;
        Ok(Some(bytes))
    }

    pub(super) async fn all(&mut self) -> Result<Vec<u8>, Dropped> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

async fn exchange(state: &State, request: Request<Incoming>, twin: &TcpStream) -> Result<Answer, Dropped> {
    let (parts, body) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let mut call = Call {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        headers: parts.headers,
        body,
        received: 0,
        stop: None,
    };
    let (index, fault) = announce(state, &call, query);
    let crowd = Crowd::join(state, index);
    let fault = fault.or_else(|| crowd.too_large.then(|| Fault::status(429)));
    let result = spoil(state, &mut call, fault, twin).await;
    drop(crowd);
    let entry = &mut lock(&state.log)[index];
    entry.received = call.received;
    entry.status = result.as_ref().ok().map(|answer| answer.status().as_u16());
    result.map(|mut answer| {
        if state.has(Quirk::NoContentDigest) {
            answer.headers_mut().remove("docker-content-digest");
        }
        answer
    })
}

/// A request's place among those that are being served.
struct Crowd<'a> {
    state: &'a State,
    index: usize,
    too_large: bool,
}

impl<'a> Crowd<'a> {
    fn join(state: &'a State, index: usize) -> Self {
        let limit = state.quirk(|quirk| match quirk {
            Quirk::Busy(limit) => Some(*limit),
            _ => None,
        });
        let mut busy = lock(&state.busy);
        busy.insert(index);
        Self { state, index, too_large: limit.is_some_and(|limit| busy.len() > limit) }
    }
}

impl Drop for Crowd<'_> {
    fn drop(&mut self) {
        lock(&self.state.busy).remove(&self.index);
    }
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

async fn spoil(
    state: &State,
    call: &mut Call,
    fault: Option<Fault>,
    twin: &TcpStream,
) -> Result<Answer, Dropped> {
    match fault {
        None => limited(state, call, twin).await,
        Some(Fault::Answer { status, headers, body }) => Ok(Reply::with(status, headers).body(body)),
        Some(Fault::LateAnswer { status, headers }) => {
            while call.chunk().await?.is_some() {}
            Ok(Reply::with(status, headers).body(Vec::new()))
        }
        Some(Fault::MidAnswer { after, status }) => {
            take(state, call, after).await;
            Ok(Reply::new(status).body(Vec::new()))
        }
        Some(Fault::Refuse { challenge, after }) => refuse(state, call, challenge, after).await,
        Some(Fault::Revoke) => {
            state.doorkeeper().revoke();
            limited(state, call, twin).await
        }
        Some(Fault::Drop { after }) => {
            take(state, call, after).await;
            Err(Dropped)
        }
        Some(Fault::Reset { after }) => {
            take(state, call, after).await;
            reset(twin)
        }
        Some(Fault::LoseAnswer) => {
            limited(state, call, twin).await?;
            Err(Dropped)
        }
        Some(Fault::StallRequest { after }) => {
            call.stop = Some(Stop { after, then: Then::Hang });
            endpoints::serve(state, call).await
        }
        Some(fault) => spoil_answer(endpoints::serve(state, call).await?, fault, twin).await,
    }
}

/// The faults of answers to requests that were served.
async fn spoil_answer(mut answer: Answer, fault: Fault, twin: &TcpStream) -> Result<Answer, Dropped> {
    match fault {
        Fault::Truncate { after } => spoiled(answer, End::Closed(after)).await,
        Fault::TruncateReset { after } => {
            let _ = twin.set_zero_linger();
            spoiled(answer, End::Closed(after)).await
        }
        Fault::StallAnswer { after } => spoiled(answer, End::Silence(after)).await,
        Fault::DripAnswer => spoiled(answer, End::Drip).await,
        Fault::Endless { status, headers, piece } => Ok(Reply::with(status, headers).endless(piece)),
        Fault::Headers(headers) => {
            for (name, value) in headers {
                let name: hyper::header::HeaderName = name.parse().expect("the test names a valid header");
                answer.headers_mut().insert(name, value.parse().expect("the test gives a valid value"));
            }
            Ok(answer)
        }
        Fault::Body(bytes) => {
            answer.headers_mut().remove(hyper::header::CONTENT_LENGTH);
            *answer.body_mut() = full(bytes);
            Ok(answer)
        }
        _ => unreachable!("faults of requests were dealt with before"),
    }
}

/// Serves a request, unless its body is longer than the registry takes.
async fn limited(state: &State, call: &mut Call, twin: &TcpStream) -> Result<Answer, Dropped> {
    let length = call.header(hyper::header::CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
    let length = length.unwrap_or_default();
    let limit = state.quirk(|quirk| match quirk {
        Quirk::BodyLimit(limit) | Quirk::BodyLimitReset(limit) if length > *limit => Some(*quirk),
        _ => None,
    });
    match limit {
        None => endpoints::serve(state, call).await,
        Some(Quirk::BodyLimitReset(after)) => {
            take(state, call, after).await;
            reset(twin)
        }
        Some(_) => Ok(Reply::new(413).body("<html>413 Request Entity Too Large</html>")),
    }
}

/// Serves a request, but for the end: its body is read up to this byte, and what it leads to is not answered.
async fn take(state: &State, call: &mut Call, after: u64) {
    call.stop = Some(Stop { after, then: Then::Drop });
    let _ = endpoints::serve(state, call).await;
}

fn reset(twin: &TcpStream) -> Result<Answer, Dropped> {
    let _ = twin.set_zero_linger();
    Err(Dropped)
}

async fn refuse(
    state: &State,
    call: &mut Call,
    challenge: bool,
    after: Option<u64>,
) -> Result<Answer, Dropped> {
    match after {
        Some(0) => {}
        Some(after) => take(state, call, after).await,
        None => while call.chunk().await?.is_some() {},
    }
    let reply = Reply::new(401);
    let reply = match challenge {
        true => reply.header(WWW_AUTHENTICATE, endpoints::challenge(state, call)),
        false => reply,
    };
    Ok(reply.error("UNAUTHORIZED", "authentication required"))
}
