//! Puts credentials on requests to the registry, and answers its refusals.
//!
//! No ping: the first 401 says how to authenticate. A refusal makes the desk ask for new credentials once per
//! generation of them, whichever request noticed first; there is no loop. An upload that was refused is not sent
//! again from here, since the server may have taken a part of it.

mod challenge;
mod desk;
mod grant;
mod scope;
#[cfg(test)]
mod tests;

use gantry_oci::BoxFuture;
use reqwest::StatusCode;

pub(super) use desk::Desk;
use grant::Held;
pub(crate) use scope::Scope;

use super::{Request, Response, Service};
use crate::Fault;
use crate::error::Answer;

/// New credentials that one request may use: one that another request fetched meanwhile, and one of its own.
const MOST_RENEWALS: u32 = 2;

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
            let mut held = self.desk.current(request.access).await?;
            let mut renewals = 0;
            loop {
                let mut attempt = request.clone();
                held.authorise(&mut attempt.headers);
                let mut response = self.inner.call(attempt).await?;
                // A storage host's refusal says nothing about the registry's credentials.
                if !endpoint.owns(&response.url) || !is_refusal(&mut response, &held).await {
                    return Ok(response);
                }
                if held.is_own() || renewals == MOST_RENEWALS {
                    return give_up(&request, &held, response).await;
                }
                let Some(next) =
                    self.desk.renew(request.access, &held, (&response.headers, &response.url)).await?
                else {
                    return Ok(response);
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

/// Whether new credentials might help.
///
/// Registries that take passwords (ECR first of all) say 403 when one has run out.
async fn is_refusal(response: &mut Response, held: &Held) -> bool {
    match response.status {
        StatusCode::UNAUTHORIZED => true,
        StatusCode::FORBIDDEN if held.is_password() => true,
        StatusCode::FORBIDDEN if held.is_something() => {
            String::from_utf8_lossy(&response.peek().await).to_ascii_lowercase().contains("expired")
        }
        _ => false,
    }
}

async fn give_up(request: &Request<'_>, held: &Held, mut response: Response) -> Result<Response, Fault> {
    if response.status != StatusCode::UNAUTHORIZED {
        return Ok(response);
    }
    let host = request.access.endpoint.name().to_owned();
    if held.is_anonymous() {
        return Err(Fault::NoCredentials { host, repository: request.access.repository().to_owned() });
    }
    let body = response.peek().await;
    Err(Fault::Refused { host, answer: Answer::new(response.status, &body) })
}
