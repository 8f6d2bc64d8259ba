//! Follows redirects, with credentials left behind at the door.
//!
//! Registries send downloads to storage hosts with signed addresses. `Authorization` goes to the registry alone
//! (a MUST of the distribution specification; it has been got wrong often). Only reading is redirected: an upload's
//! address comes in `Location` with a 202.

use gantry_oci::BoxFuture;
use hyper::Method;
use hyper::header::{AUTHORIZATION, LOCATION};

use super::{Request, Response, Service};
use crate::Fault;
use crate::endpoint::is_local_literal;

/// Registry, front, storage: two in practice.
const MOST_REDIRECTS: usize = 5;

/// Follows redirects of GET and HEAD.
pub(super) struct Redirect<S> {
    inner: S,
}

impl<S> Redirect<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S: Service> Service for Redirect<S> {
    fn call<'a>(&'a self, mut request: Request<'a>) -> BoxFuture<'a, Result<Response, Fault>> {
        Box::pin(async move {
            for _ in 0..=MOST_REDIRECTS {
                let response = self.inner.call(request.clone()).await?;
                let reads = matches!(request.method, Method::GET | Method::HEAD);
                let Some(location) =
                    response.header(LOCATION).filter(|_| reads && response.status.is_redirection())
                else {
                    return Ok(response);
                };
                let endpoint = &request.access.endpoint;
                let next = endpoint.follow(&request.url, location)?;
                if !endpoint.owns(&next) {
                    request.headers.remove(AUTHORIZATION);
                    if is_local_literal(&next) && !endpoint.is_loopback() {
                        return Err(Fault::Protocol(
                            "the registry redirects to this machine's own addresses".into(),
                        ));
                    }
                }
                request.url = next;
            }
            Err(Fault::Protocol(format!("the registry redirects more than {MOST_REDIRECTS} times")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::script::{Script, access, answer, get};
    use super::*;

    async fn run(
        locations: &[&str],
        authorization: &str,
    ) -> (Result<u16, String>, Vec<(String, Option<String>)>) {
        let answers =
            locations.iter().map(|to| answer(307, &[("location", to)], "")).chain([answer(200, &[], "")]);
        let redirect = Redirect::new(Script::new(answers));
        let access = access();
        let mut request = get(&access);
        request.headers.insert(AUTHORIZATION, authorization.parse().unwrap());
        let result = redirect.call(request).await;
        (result.map(|ok| ok.status.as_u16()).map_err(|error| error.to_string()), redirect.inner.asked())
    }

    #[tokio::test]
    async fn authorization_stays_with_the_registry() {
        let (result, asked) =
            run(&["/v2/other", "https://cdn.test/x", "https://r.test/back"], "Bearer t").await;
        assert_eq!(result, Ok(200));
        let token = Some("Bearer t".to_owned());
        let expected = [
            ("GET r.test/v2/team/app/manifests/1".to_owned(), token.clone()),
            ("GET r.test/v2/other".to_owned(), token),
            ("GET cdn.test/x".to_owned(), None),
            // What was left behind once does not come back.
            ("GET r.test/back".to_owned(), None),
        ];
        assert_eq!(asked, expected);
    }

    #[tokio::test]
    async fn where_redirects_must_not_lead() {
        for (locations, message) in [
            (vec!["http://cdn.test/x"], "from https to plain http at `cdn.test`"),
            (vec!["https://169.254.169.254/latest"], "this machine's own addresses"),
            (vec!["/again"; 6], "more than 5 times"),
        ] {
            let (result, _) = run(&locations, "Bearer t").await;
            assert!(result.as_ref().unwrap_err().contains(message), "{result:?}");
        }
    }
}
