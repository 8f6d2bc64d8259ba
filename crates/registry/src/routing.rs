//! Which endpoint answers: mirrors in their order, the registry last; for tags the registry first.
//!
//! What is asked for by digest may come from anywhere, since it is verified. What a tag points at is the registry's to
//! say; a mirror's word is taken only where the registry cannot be asked, and that is told. A mirror is asked once and
//! with its own host's credentials, and whoever could not serve is left alone for a while.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use gantry_oci::Digest;
use hyper::header::CONTENT_TYPE;
use hyper::{Method, StatusCode};

use crate::endpoint::Endpoint;
use crate::hosts::{MirrorRoute, Route};
use crate::http::{Access, Patience, Request, Response, Scope};
use crate::manifests::CONTENT_DIGEST;
use crate::{Event, Fault, Registry};

/// How long an endpoint that could not be reached is not asked again.
const REST: Duration = Duration::from_secs(60);
/// How long a mirror that had wrong bytes is not asked again: longer than most commands live, since such a disk or cache
/// does not become well by itself, and a blob may be on its way for long.
const REST_OF_THE_WRONG: Duration = Duration::from_secs(60 * 60);
/// How long a registry may take to say what a tag points at where a mirror can say it, too. Networks that let only the
/// mirror through drop everything else without a word.
const PATIENCE_WITH_UPSTREAM: Duration = Duration::from_secs(10);

/// Until when endpoints are not asked that were of no use of late, by address.
#[derive(Default)]
pub(crate) struct Health(Mutex<HashMap<String, Instant>>);

impl Health {
    fn is_resting(&self, endpoint: &Endpoint) -> bool {
        let down = self.0.lock().expect("nothing panics while it holds the times");
        down.get(endpoint.base().as_str()).is_some_and(|until| Instant::now() < *until)
    }

    fn rest(&self, endpoint: &Endpoint, duration: Duration) {
        let mut down = self.0.lock().expect("nothing panics while it holds the times");
        down.insert(endpoint.base().to_string(), Instant::now() + duration);
    }
}

/// What a request is about.
enum Subject {
    /// A manifest or a blob by digest.
    Content(Digest),
    /// A manifest by tag.
    Tag,
    /// Something that only the registry knows.
    Other,
}

impl Subject {
    fn of(request: &Request<'_>, path: &str) -> Self {
        let name = path.rsplit_once('/').and_then(|(parent, name)| {
            let kind = parent.rsplit('/').next()?;
            matches!(kind, "manifests" | "blobs").then_some(name)
        });
        match (name, &request.method) {
            (Some(name), &Method::GET | &Method::HEAD) => name.parse().map_or(Self::Tag, Self::Content),
            _ => Self::Other,
        }
    }
}

impl Registry {
    /// Whether some mirror can be asked for content.
    pub(crate) fn has_mirrors(access: &Access) -> bool {
        access.route.as_ref().is_some_and(|route| route.mirrors.iter().any(|mirror| mirror.rights.pull))
    }

    /// Sends a request the way that this route says.
    pub(crate) async fn send_by(&self, route: &Route, request: Request<'_>) -> Result<Response, Fault> {
        let Some(path) = request.access.endpoint.path(&request.url) else {
            return self.send_straight(request).await;
        };
        match Subject::of(&request, &path) {
            Subject::Content(digest) => {
                let mirrors = route.mirrors_with(|rights| rights.pull);
                match self.ask_mirrors(&mirrors, &request, (&path, Some(&digest))).await {
                    Some(response) => Ok(response),
                    None => self.send_straight(request).await,
                }
            }
            Subject::Tag => self.ask_for_tag(route, request, &path).await,
            Subject::Other => self.send_straight(request).await,
        }
    }

    /// The first good answer.
    async fn ask_mirrors(
        &self,
        mirrors: &[&MirrorRoute],
        request: &Request<'_>,
        (path, digest): (&str, Option<&Digest>),
    ) -> Option<Response> {
        for mirror in mirrors {
            if self.health().is_resting(&mirror.endpoint) {
                continue;
            }
            match self.ask_mirror(&mirror.endpoint, request, path).await {
                Ok(mut response) => match flaw(&response, digest) {
                    None => {
                        response.mirror = Some(mirror.endpoint.clone());
                        return Some(response);
                    }
                    Some(reason) => self.skip(&mirror.endpoint, reason),
                },
                Err(fault) => {
                    if is_lost(&fault) {
                        self.health().rest(&mirror.endpoint, REST);
                    }
                    self.skip(&mirror.endpoint, fault.to_string());
                }
            }
        }
        None
    }

    async fn ask_mirror(
        &self,
        mirror: &Endpoint,
        request: &Request<'_>,
        path: &str,
    ) -> Result<Response, Fault> {
        let name = repository_of(path);
        let access = Access {
            endpoint: mirror.clone(),
            route: None,
            patience: Patience::OneTry,
            scopes: vec![Scope::pull(&mirror.repository(name))],
        };
        let mut asked = Request::new(request.method.clone(), mirror.url(path), &access);
        asked.headers = request.headers.clone();
        asked.whole = request.whole;
        asked.takes_slot = request.takes_slot;
        let response = self.send_straight(asked).await?;
        match response.status {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
            _ => Err(response.into_fault().await),
        }
    }

    /// The registry's own answer if it gives one, or the word of a mirror.
    async fn ask_for_tag(&self, route: &Route, request: Request<'_>, path: &str) -> Result<Response, Fault> {
        let mirrors = route.mirrors_with(|rights| rights.resolve);
        if mirrors.is_empty() {
            return self.send_straight(request).await;
        }
        let upstream = &request.access.endpoint;
        let reason = match self.health().is_resting(upstream) {
            true => "it could not be reached a moment ago".to_owned(),
            false => {
                let answer =
                    tokio::time::timeout(PATIENCE_WITH_UPSTREAM, self.send_straight(request.clone()));
                match answer.await {
                    Ok(Ok(response)) if !is_refusal(response.status) => return Ok(response),
                    Ok(Ok(response)) => response.into_fault().await.to_string(),
                    Ok(Err(fault)) if is_lost(&fault) || is_denied(&fault) => {
                        if is_lost(&fault) {
                            self.health().rest(upstream, REST);
                        }
                        fault.to_string()
                    }
                    Ok(Err(fault)) => return Err(fault),
                    Err(_) => {
                        self.health().rest(upstream, REST);
                        format!("no answer within {} s", PATIENCE_WITH_UPSTREAM.as_secs())
                    }
                }
            }
        };
        match self.ask_mirrors(&mirrors, &request, (path, None)).await {
            Some(response) => {
                let mirror = response.mirror.as_ref().map_or("", Endpoint::name).to_owned();
                let host = upstream.name().to_owned();
                self.tell(|| Event::MirrorTrusted { host, mirror, reason });
                Ok(response)
            }
            // Nobody knows better: the registry gets all the time that the policy allows.
            None => self.send_straight(request).await,
        }
    }

    fn skip(&self, mirror: &Endpoint, reason: String) {
        let mirror = mirror.name().to_owned();
        self.tell(|| Event::MirrorSkipped { mirror, reason });
    }

    /// Notes that a mirror's answer turned out to be wrong or incomplete. `true` if another endpoint can be asked.
    pub(crate) fn distrust(&self, mirror: Option<&Endpoint>, fault: &Fault) -> bool {
        let Some(mirror) = mirror else { return false };
        let is_wrong = matches!(fault, Fault::Corrupt(_));
        self.health().rest(mirror, if is_wrong { REST_OF_THE_WRONG } else { REST });
        self.skip(mirror, fault.to_string());
        true
    }
}

/// The repository of a path below `/v2/` whose last two parts say what is asked of it.
fn repository_of(path: &str) -> &str {
    path.rsplitn(3, '/').nth(2).unwrap_or_default()
}

/// What is wrong with a mirror's answer, as far as its headers tell. Portals that want a log-in answer everything with
/// a page of theirs.
fn flaw(response: &Response, digest: Option<&Digest>) -> Option<String> {
    let claim = response.header(CONTENT_DIGEST).and_then(|claim| claim.parse::<Digest>().ok());
    if let (Some(claim), Some(digest)) = (claim, digest)
        && claim != *digest
    {
        return Some(format!("it has digest {claim} under {digest}"));
    }
    let is_page = response.header(CONTENT_TYPE).is_some_and(|kind| kind.starts_with("text/html"));
    is_page.then(|| "it answered with a page for people".to_owned())
}

/// An endpoint that does not answer, or not as one does.
fn is_lost(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::Unreachable { .. }
            | Fault::Handshake { .. }
            | Fault::Broken { .. }
            | Fault::Stalled { .. }
            | Fault::Tls(_)
    )
}

fn is_denied(fault: &Fault) -> bool {
    match fault {
        Fault::NoCredentials { .. } | Fault::Refused { .. } => true,
        // A token server's answer.
        Fault::Answer(answer) => StatusCode::from_u16(answer.status).is_ok_and(is_refusal),
        _ => false,
    }
}

/// An answer that says nothing about the tag.
fn is_refusal(status: StatusCode) -> bool {
    matches!(status.as_u16(), 401 | 403 | 407 | 408 | 425 | 429) || status.is_server_error()
}
