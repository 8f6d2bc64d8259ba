//! Takes secrets out of what servers say.
//!
//! A server may quote what we sent: a token in an error's text, a password in a debugging page. Whatever the
//! authentication layer sent is known here, and does not get from an error's body into a message. Bodies are cleaned as
//! they are: a message is cut, and what is left of a secret at the cut would not be known any more.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use gantry_oci::BoxFuture;

use super::{Request, Response, Service};
use crate::{Fault, Secret};

/// Secrets of a long push: tokens of all repositories through several renewals. Older ones have run out.
const REMEMBERED: usize = 256;
/// A shorter secret would blot out ordinary words, and protects nothing.
const SHORTEST: usize = 4;

/// The secrets that were sent lately.
#[derive(Clone, Default)]
pub(super) struct Secrets(Arc<Mutex<VecDeque<Secret>>>);

impl Secrets {
    pub(super) fn learn(&self, secret: &Secret) {
        let mut secrets = self.0.lock().expect("nothing panics while it holds the secrets");
        if secret.expose().len() < SHORTEST || secrets.contains(secret) {
            return;
        }
        if secrets.len() == REMEMBERED {
            secrets.pop_front();
        }
        secrets.push_back(secret.clone());
    }

    /// Learns an `Authorization` header, and its value without the scheme, which servers decode and quote.
    pub(super) fn learn_header(&self, header: &Secret) {
        self.learn(header);
        if let Some((_, value)) = header.expose().split_once(' ') {
            self.learn(&Secret::new(value.trim_end_matches('=')));
        }
    }

    /// Cleans the body of an error.
    pub(super) async fn clean(&self, response: &mut Response) {
        if response.status.is_client_error() || response.status.is_server_error() {
            let body = response.peek().await;
            let text = self.blot_out(&String::from_utf8_lossy(&body));
            response.replace_body(text.into());
        }
    }

    fn blot_out(&self, text: &str) -> String {
        let secrets = self.0.lock().expect("nothing panics while it holds the secrets");
        secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.expose(), "***"))
    }
}

/// Redacts the bodies of errors. Faults from below are made of clean bodies already.
pub(super) struct Redact<S> {
    inner: S,
    secrets: Secrets,
}

impl<S> Redact<S> {
    pub(super) fn new(inner: S, secrets: Secrets) -> Self {
        Self { inner, secrets }
    }
}

impl<S: Service> Service for Redact<S> {
    fn call<'a>(&'a self, request: Request<'a>) -> BoxFuture<'a, Result<Response, Fault>> {
        Box::pin(async move {
            let mut response = self.inner.call(request).await?;
            self.secrets.clean(&mut response).await;
            Ok(response)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::script::{Script, access, answer, get};
    use super::*;

    #[tokio::test]
    async fn an_error_that_quotes_a_secret_is_redacted() {
        let secrets = Secrets::default();
        secrets.learn(&Secret::new("hunter2"));
        secrets.learn(&Secret::new("the"));
        let redact = Redact::new(Script::new([answer(500, &[], "the token hunter2 is odd")]), secrets);
        let access = access();
        let fault = redact.call(get(&access)).await.unwrap().into_fault().await;
        assert_eq!(fault.to_string(), "500 Internal Server Error: the token *** is odd");
    }
}
