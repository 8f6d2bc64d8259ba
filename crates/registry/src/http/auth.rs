//! Puts credentials on requests to the registry, and answers its refusals.
//!
//! No ping as long as a refusal says how to authenticate; one that does not is followed by one. A refusal makes the
//! desk ask for new credentials once per generation of them, whichever request noticed first. New ones that are
//! refused at once are believed to be wrong, unless they are known to be good: then the refusal may be a passing
//! fault, and a few more are tried. There is no loop. An upload that was refused is not sent again from here, since
//! the server may have taken a part of it.

mod challenge;
mod credential;
mod desk;
mod grant;
mod scope;
#[cfg(test)]
mod tests;

use std::time::Instant;

use gantry_oci::BoxFuture;
use hyper::{Method, StatusCode};

use challenge::Challenge;
pub(super) use desk::Desk;
use desk::Refusal;
use grant::{Held, Standing};
pub(crate) use scope::Scope;

use super::{Request, Response, Service};
use crate::Fault;
use crate::error::Answer;

/// New credentials that one request may use: one that another request fetched meanwhile, one of its own, and two
/// more where the registry is known to accept them. Whoever gets none of four accepted never will.
const MOST_RENEWALS: u32 = 4;

/// Authenticates requests.
pub(super) struct Auth<S, T> {
    inner: S,
    desk: Desk<T>,
}

impl<S, T> Auth<S, T> {
    pub(super) fn new(inner: S, desk: Desk<T>) -> Self {
        Self { inner, desk }
    }
}

impl<S: Service, T: Service> Service for Auth<S, T> {
    fn call<'a>(&'a self, request: Request<'a>) -> BoxFuture<'a, Result<Response, Fault>> {
        Box::pin(async move {
            let endpoint = &request.access.endpoint;
            if !endpoint.owns(&request.url) {
                return self.inner.call(request).await;
            }
            let mut held = self.desk.current(request.access, request.duration).await?;
            let mut renewals = 0;
            loop {
                let mut attempt = request.clone();
                held.authorise(&mut attempt.headers);
                let mut response = self.inner.call(attempt).await?;
                // A storage host's refusal says nothing about the registry's credentials.
                if !endpoint.owns(&response.url) {
                    return Ok(response);
                }
                if !is_refusal(&mut response, &held).await {
                    if response.status.is_success() {
                        self.desk.accepted(request.access, &held);
                    }
                    return Ok(response);
                }
                let Some(next) = self.renew(&request, &held, &mut response, renewals).await? else {
                    self.desk.secrets().clean(&mut response).await;
                    return give_up(&request, &held, response).await;
                };
                if !request.is_repeatable() {
                    response.renewed = true;
                    return Ok(response);
                }
                held = next;
                renewals += 1;
            }
        })
    }
}

impl<S: Service, T: Service> Auth<S, T> {
    /// Other credentials than the refused ones. `None` if there are none, or there is no reason to try.
    async fn renew(
        &self,
        request: &Request<'_>,
        held: &Held,
        response: &mut Response,
        renewals: u32,
    ) -> Result<Option<Held>, Fault> {
        let challenge = Challenge::best(&response.headers);
        let scopes_lack = held.is_own() && challenge.as_ref().is_some_and(Challenge::is_insufficient_scope);
        let is_wrong = held.is_own() && (held.is_anonymous() || held.standing() == Standing::Untried);
        if renewals == MOST_RENEWALS || scopes_lack || is_wrong {
            return Ok(None);
        }
        let refusal = match challenge {
            Some(challenge) => Some(Refusal { challenge, from: response.url.clone() }),
            None if self.desk.knows(request.access) => None,
            None => self.ping(request).await?,
        };
        self.desk.renew(request.access, held, refusal).await
    }

    /// Asks the registry itself how to authenticate: some of its refusals do not say.
    async fn ping(&self, request: &Request<'_>) -> Result<Option<Refusal>, Fault> {
        let url = request.access.endpoint.url("");
        let response = self.inner.call(Request::new(Method::GET, url, request.access)).await?;
        let challenge = Challenge::best(&response.headers);
        Ok(challenge.map(|challenge| Refusal { challenge, from: response.url.clone() }))
    }
}

/// Whether new credentials might help.
///
/// Registries that take passwords (ECR first of all) say 403 when one has run out; one that is new has not.
async fn is_refusal(response: &mut Response, held: &Held) -> bool {
    match response.status {
        StatusCode::UNAUTHORIZED => true,
        StatusCode::FORBIDDEN if held.is_old_password(Instant::now()) => true,
        StatusCode::FORBIDDEN if held.is_something() => {
            String::from_utf8_lossy(&response.peek().await).to_ascii_lowercase().contains("expired")
        }
        _ => false,
    }
}

async fn give_up(request: &Request<'_>, held: &Held, mut response: Response) -> Result<Response, Fault> {
    if response.status != StatusCode::UNAUTHORIZED || !held.is_own() {
        return Ok(response);
    }
    let host = request.access.endpoint.name().to_owned();
    if held.is_anonymous() {
        return Err(Fault::NoCredentials { host, repository: request.access.repository().to_owned() });
    }
    let body = response.peek().await;
    let answer = Answer::new(response.status, &body);
    Err(match held.standing() {
        Standing::Accepted => Fault::RanOut { host, answer },
        Standing::Issued | Standing::Untried => Fault::Refused { host, answer },
    })
}
