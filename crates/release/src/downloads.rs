//! Files of web servers, for ADD and contexts, and what the user gave on standard input, served as if it were one.
//!
//! A transfer that breaks off goes on where it was, if the server can do that and says that the file is still the same.

mod answer;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use gantry_engine::{FetchError, FetchErrorKind, FetchPort, FetchRequest, Fetched, Version};
use gantry_oci::{BoxFuture, without_logins};
use gantry_registry::{Proxies, machine_tls};
use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_RANGE, RANGE,
};
use reqwest::{Client, Proxy, Response, StatusCode, Url, redirect};

use answer::{file_name, resumable, starts_at, version};

/// As other clients of the web have it.
const MAX_REDIRECTS: usize = 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// A server that sends nothing for so long sends nothing any more.
const READ_TIMEOUT: Duration = Duration::from_secs(120);
/// Tries in a row that bring little of the file, or nothing.
const MAX_TRIES: u32 = 4;
/// Tries that bring so many bytes are worth going on with. A server that ends each answer after a few would otherwise be asked
/// as often as the file has bytes.
const REAL_PROGRESS: u64 = 1 << 20;
/// Before the second try; doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(300);
const USER_AGENT: &str = concat!("gantry/", env!("CARGO_PKG_VERSION"));
/// Where BuildKit's clients say that standard input is.
const UPLOADS: &str = "http://buildkit-session/";

/// A web client. Makes its connections when the first file is wanted.
#[derive(Debug, Default)]
pub(crate) struct Downloads {
    client: OnceLock<Client>,
    uploads: Mutex<BTreeMap<String, PathBuf>>,
    proxies: Proxies,
}

impl Downloads {
    /// A client that uses these proxies.
    pub(crate) fn new(proxies: Proxies) -> Self {
        Self { proxies, ..Self::default() }
    }

    /// Serves a file of this machine under the address that is returned.
    pub(crate) fn offer(&self, name: &str, path: PathBuf) -> String {
        let url = format!("{UPLOADS}{name}");
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner).insert(url.clone(), path);
        url
    }

    fn upload(&self, url: &str) -> Option<PathBuf> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner).get(url).cloned()
    }

    fn client(&self) -> Result<&Client, FetchError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let failed = |error: &dyn fmt::Display| unavailable(format!("cannot set up the web client: {error}"));
        let tls = machine_tls().map_err(|error| failed(&error))?;
        let proxies = self.proxies.clone();
        let client = Client::builder()
            // The library's own reading of the environment differs from that for registries.
            .no_proxy()
            .proxy(Proxy::custom(move |url| proxies.address(url)))
            .tls_backend_preconfigured(tls)
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .redirect(redirect::Policy::custom(follow))
            .build()
            .map_err(|error| failed(&error))?;
        Ok(self.client.get_or_init(|| client))
    }
}

/// A redirect goes to the web and nowhere else. What was for the first host alone, the client leaves behind.
fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    if attempt.previous().len() > MAX_REDIRECTS {
        return attempt.error(format!("more than {MAX_REDIRECTS} redirects"));
    }
    match attempt.url().scheme() {
        "http" | "https" => attempt.follow(),
        _ => attempt.stop(),
    }
}

impl FetchPort for Downloads {
    fn fetch<'a>(
        &'a self,
        request: &'a FetchRequest,
        sink: &'a mut (dyn Write + Send),
    ) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        Box::pin(async move {
            if let Some(path) = self.upload(&request.url) {
                return copy(path, sink);
            }
            let transfer = Transfer { request, shown: shown(&request.url), client: self.client()? };
            transfer.run(sink).await
        })
    }
}

/// One file on its way.
struct Transfer<'a> {
    request: &'a FetchRequest,
    /// The address, for messages.
    shown: String,
    client: &'a Client,
}

impl Transfer<'_> {
    async fn run(&self, sink: &mut (dyn Write + Send)) -> Result<Fetched, FetchError> {
        let mut response = self.ask(headers(self.request)?).await?;
        if response.status() == StatusCode::NOT_MODIFIED {
            return Ok(Fetched::Unchanged);
        }
        let (version, name) = (version(response.headers()), file_name(response.headers()));
        let validator = resumable(response.headers());
        let mut arrived = 0;
        let mut patience = Patience::default();
        loop {
            let Err(error) = self.receive(&mut response, sink, &mut arrived).await? else {
                return Ok(Fetched::File { version, name });
            };
            let Some(validator) = &validator else { return Err(error) };
            let Some(pause) = patience.pause(arrived) else { return Err(error) };
            tokio::time::sleep(pause).await;
            response = self.ask(self.rest(validator, arrived)?).await?;
            if response.status() != StatusCode::PARTIAL_CONTENT || !starts_at(response.headers(), arrived) {
                return Err(error);
            }
        }
    }

    /// Passes on what comes. The inner error is one after which it may go on.
    async fn receive(
        &self,
        response: &mut Response,
        sink: &mut (dyn Write + Send),
        arrived: &mut u64,
    ) -> Result<Result<(), FetchError>, FetchError> {
        loop {
            match response.chunk().await {
                Ok(None) => return Ok(Ok(())),
                Ok(Some(part)) => {
                    sink.write_all(&part).map_err(|error| {
                        unavailable(format!("cannot write what `{}` sends: {error}", self.shown))
                    })?;
                    *arrived += part.len() as u64;
                }
                Err(error) => return Ok(Err(broken(&self.shown, &error))),
            }
        }
    }

    /// The headers that ask for all that has not arrived, of the file with this validator.
    fn rest(&self, validator: &HeaderValue, arrived: u64) -> Result<HeaderMap, FetchError> {
        let mut headers = headers(&FetchRequest { known: None, ..self.request.clone() })?;
        let range = HeaderValue::from_str(&format!("bytes={arrived}-")).expect("a number is plain text");
        headers.insert(RANGE, range);
        headers.insert(IF_RANGE, validator.clone());
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        Ok(headers)
    }

    /// Asks until there is an answer that means something.
    async fn ask(&self, headers: HeaderMap) -> Result<Response, FetchError> {
        let shown = &self.shown;
        let url = Url::parse(&self.request.url)
            .map_err(|error| unavailable(format!("`{shown}` is not an address: {error}")))?;
        let mut pause = FIRST_PAUSE;
        let mut attempt = 1;
        loop {
            let answer = self.client.get(url.clone()).headers(headers.clone()).send().await;
            let fault = match answer {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(response) if response.status() == StatusCode::NOT_MODIFIED => return Ok(response),
                Ok(response) if response.status().is_redirection() => {
                    let message =
                        format!("cannot fetch `{shown}`: it redirects to an address that is not the web's");
                    return Err(unavailable(message));
                }
                Ok(response) => refused(shown, response.status()),
                Err(error) if error.is_redirect() => return Err(broken(shown, &error)),
                Err(error) => broken(shown, &error),
            };
            if attempt == MAX_TRIES || fault.kind != FetchErrorKind::Unavailable {
                return Err(fault);
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
            attempt += 1;
        }
    }
}

/// How often a transfer that breaks off may go on.
#[derive(Debug, Default)]
struct Patience {
    /// Tries that ended early since there was progress.
    tries: u32,
    /// What had arrived then.
    mark: u64,
}

impl Patience {
    /// How long to wait now that it broke off with so many bytes; none if it has done so too often.
    fn pause(&mut self, arrived: u64) -> Option<Duration> {
        if arrived - self.mark >= REAL_PROGRESS {
            *self = Self { tries: 0, mark: arrived };
        }
        self.tries += 1;
        (self.tries < MAX_TRIES).then(|| FIRST_PAUSE * 2_u32.pow(self.tries - 1))
    }
}

fn copy(path: PathBuf, sink: &mut (dyn Write + Send)) -> Result<Fetched, FetchError> {
    let copied =
        File::open(&path).and_then(|mut file| tokio::task::block_in_place(|| io::copy(&mut file, sink)));
    copied.map_err(|error| unavailable(format!("cannot read what was given on standard input: {error}")))?;
    Ok(Fetched::File { version: Version::default(), name: None })
}

fn headers(request: &FetchRequest) -> Result<HeaderMap, FetchError> {
    let bad =
        |name: &str| unavailable(format!("the header `{name}` cannot be sent: it is not one line of text"));
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        let parsed = HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_str(value).ok());
        let (parsed, value) = parsed.ok_or_else(|| bad(name))?;
        headers.insert(parsed, value);
    }
    if let Some(secret) = &request.authorization {
        let value = HeaderValue::from_bytes(secret.reveal().trim_ascii_end());
        let mut value = value.map_err(|_| bad("authorization"))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    let Some(known) = &request.known else { return Ok(headers) };
    if let Some(etag) = known.etag.as_deref().and_then(|etag| HeaderValue::from_str(etag).ok()) {
        headers.insert(IF_NONE_MATCH, etag);
    }
    if let Some(modified) = known.modified {
        let value = HeaderValue::from_str(&httpdate::fmt_http_date(modified));
        headers.insert(IF_MODIFIED_SINCE, value.expect("a date is plain text"));
    }
    Ok(headers)
}

fn unavailable(message: String) -> FetchError {
    FetchError { kind: FetchErrorKind::Unavailable, message }
}

fn refused(shown: &str, status: StatusCode) -> FetchError {
    let kind = match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => FetchErrorKind::NotFound,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => FetchErrorKind::Denied,
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            FetchErrorKind::Unavailable
        }
        // Another try would get the same answer.
        _ => FetchErrorKind::NotFound,
    };
    FetchError { kind, message: format!("cannot fetch `{shown}`: the server answers {status}") }
}

fn broken(shown: &str, error: &reqwest::Error) -> FetchError {
    let mut message = format!("cannot fetch `{shown}`");
    // The outermost error only repeats the address.
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        message.push_str(&format!(": {error}"));
        cause = error.source();
    }
    unavailable(message)
}

/// The address without what could be secret in it: a password, or the signature in a query.
fn shown(url: &str) -> String {
    let shown = without_logins(url);
    match shown.split_once('?') {
        Some((address, _)) => format!("{address}?…"),
        None => shown.into_owned(),
    }
}

#[cfg(test)]
mod tests;
