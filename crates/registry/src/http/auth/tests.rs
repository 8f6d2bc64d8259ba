//! The authentication layer against scripted registries and token servers.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::redact::Secrets;
use super::super::script::{Script, access, answer, get};
use super::super::{Access, Body};
use super::*;
use crate::{Credential, CredentialError, Credentials, Listener, Secret};

const CHALLENGE: &str =
    r#"Bearer realm="https://auth.test/token",service="r.test",scope="repository:team/app:pull""#;

/// Gives its credentials in turn, the last one for ever.
struct Turn(Vec<Credential>, AtomicUsize);

impl Turn {
    fn new(credentials: &[Credential]) -> Arc<Self> {
        Arc::new(Self(credentials.to_vec(), AtomicUsize::new(0)))
    }
}

impl Credentials for Turn {
    fn find<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Credential, CredentialError>> {
        let turn = self.1.fetch_add(1, Ordering::Relaxed).min(self.0.len() - 1);
        Box::pin(async move { Ok(self.0[turn].clone()) })
    }
}

fn password(password: &str) -> Credential {
    Credential::Password { user: "u".to_owned(), password: Secret::new(password) }
}

fn token(token: &str, lifetime: u64) -> Result<Response, Fault> {
    answer(200, &[], &format!(r#"{{"token":"{token}","expires_in":{lifetime}}}"#))
}

fn refusal() -> Result<Response, Fault> {
    answer(401, &[("www-authenticate", CHALLENGE)], "")
}

type Layer = Auth<Script, Arc<Script>>;

fn layer(
    credentials: &[Credential],
    registry: Vec<Result<Response, Fault>>,
    tokens: Vec<Result<Response, Fault>>,
) -> (Layer, Arc<Script>) {
    let tokens = Arc::new(Script::new(tokens));
    let desk = Desk::new(Turn::new(credentials), Arc::clone(&tokens), Secrets::default(), Listener::silent());
    (Auth::new(Script::new(registry), desk), tokens)
}

async fn call(layer: &Layer, access: &Access) -> String {
    match layer.call(get(access)).await {
        Ok(response) => response.status.to_string(),
        Err(fault) => fault.to_string(),
    }
}

fn shown(script: &Script) -> Vec<String> {
    script
        .asked()
        .into_iter()
        .map(|(_, authorization)| authorization.unwrap_or_else(|| "-".to_owned()))
        .collect()
}

#[tokio::test]
async fn a_token_is_fetched_after_a_refusal_and_kept() {
    let answers = vec![refusal(), answer(200, &[], ""), answer(200, &[], "")];
    let (layer, tokens) = layer(&[password("p")], answers, vec![token("t1", 300)]);
    let access = access();
    assert_eq!(call(&layer, &access).await, "200 OK");
    assert_eq!(call(&layer, &access).await, "200 OK");
    assert_eq!(shown(&layer.inner), ["-", "Bearer t1", "Bearer t1"]);
    assert_eq!(tokens.asked(), [("GET auth.test/token".to_owned(), Some("Basic dTpw".to_owned()))]);
}

#[tokio::test]
async fn a_stale_token_is_renewed_before_it_is_refused() {
    let answers = vec![refusal(), answer(200, &[], ""), answer(200, &[], "")];
    let (layer, _) = layer(&[password("p")], answers, vec![token("t1", 0), token("t2", 300)]);
    let access = access();
    call(&layer, &access).await;
    call(&layer, &access).await;
    assert_eq!(shown(&layer.inner), ["-", "Bearer t1", "Bearer t2"]);
}

#[tokio::test]
async fn a_refused_token_is_replaced_once_with_the_credentials_of_the_moment() {
    let answers = vec![refusal(), answer(200, &[], ""), refusal(), answer(200, &[], "")];
    let (layer, tokens) =
        layer(&[password("p"), password("q")], answers, vec![token("t1", 300), token("t2", 300)]);
    let access = access();
    call(&layer, &access).await;
    assert_eq!(call(&layer, &access).await, "200 OK");
    assert_eq!(shown(&tokens), ["Basic dTpw", "Basic dTpx"]);
    assert_eq!(shown(&layer.inner), ["-", "Bearer t1", "Bearer t1", "Bearer t2"]);
}

#[tokio::test]
async fn refusals_that_are_final() {
    let basic = || answer(401, &[("www-authenticate", "Basic realm=x")], "");
    let denied = r#"{"errors":[{"code":"DENIED","message":"no"}]}"#;
    for (credential, registry, tokens, outcome) in [
        (
            password("p"),
            vec![refusal(), refusal()],
            vec![token("t1", 300)],
            "refused the credentials: 401 Unauthorized",
        ),
        (
            password("p"),
            vec![refusal()],
            vec![answer(401, &[], denied)],
            "refused the credentials: 401 Unauthorized: DENIED: no",
        ),
        (
            Credential::Anonymous,
            vec![refusal(), refusal()],
            vec![token("t1", 300)],
            "none are configured for `team/app`",
        ),
        (
            Credential::Anonymous,
            vec![refusal()],
            vec![answer(401, &[], "")],
            "none are configured for `team/app`",
        ),
        (Credential::Anonymous, vec![basic()], vec![], "none are configured for `team/app`"),
        (password("p"), vec![basic(), basic()], vec![], "refused the credentials: 401 Unauthorized"),
        (password("p"), vec![answer(401, &[], "")], vec![], "401 Unauthorized"),
        (password("p"), vec![refusal(), answer(403, &[], denied)], vec![token("t1", 300)], "403 Forbidden"),
        (password("p"), vec![refusal()], vec![answer(200, &[], "{}")], "answered without a token"),
    ] {
        let (layer, _) = layer(&[credential], registry, tokens);
        let text = call(&layer, &access()).await;
        assert!(text.ends_with(outcome), "{text} instead of {outcome}");
    }
}

#[tokio::test]
async fn a_403_that_means_expiry_renews_once() {
    let basic = answer(401, &[("www-authenticate", "Basic realm=x")], "");
    let expired = || answer(403, &[], "your authorization token has EXPIRED");
    let answers = vec![basic, answer(200, &[], ""), expired(), answer(200, &[], "")];
    let (layer, _) = layer(&[password("p"), password("q")], answers, vec![]);
    let access = access();
    assert_eq!(call(&layer, &access).await, "200 OK");
    assert_eq!(call(&layer, &access).await, "200 OK");
    assert_eq!(shown(&layer.inner), ["-", "Basic dTpw", "Basic dTpw", "Basic dTpx"]);
}

#[tokio::test]
async fn an_identity_token_is_exchanged_or_else_shown_as_a_password() {
    let identity = Credential::IdentityToken { user: "<token>".to_owned(), token: Secret::new("idt") };
    for (tokens, asked) in [
        (vec![token("t", 300)], vec![("POST auth.test/token", None)]),
        (
            vec![answer(405, &[], ""), token("t", 300)],
            vec![("POST auth.test/token", None), ("GET auth.test/token", Some("Basic PHRva2VuPjppZHQ="))],
        ),
    ] {
        let (layer, tokens) =
            layer(std::slice::from_ref(&identity), vec![refusal(), answer(200, &[], "")], tokens);
        assert_eq!(call(&layer, &access()).await, "200 OK");
        let asked: Vec<_> = asked.into_iter().map(|(a, b)| (a.to_owned(), b.map(str::to_owned))).collect();
        assert_eq!(tokens.asked(), asked);
    }
}

#[tokio::test]
async fn concurrent_refusals_cost_one_token() {
    let answers = vec![refusal(), answer(200, &[], ""), answer(200, &[], ""), answer(200, &[], "")];
    let (layer, tokens) = layer(&[password("p")], answers, vec![token("t1", 300)]);
    let access = access();
    // The script's futures are ready at once, so the three run in an order of the joiner's.
    let results = Mutex::new(Vec::new());
    futures_util::future::join_all((0..3).map(|_| async {
        let status = call(&layer, &access).await;
        results.lock().unwrap().push(status);
    }))
    .await;
    assert_eq!(results.into_inner().unwrap(), ["200 OK"; 3]);
    assert_eq!(tokens.asked().len(), 1);
}

#[tokio::test]
async fn a_refused_upload_is_renewed_but_not_repeated() {
    let source = gantry_oci::BytesSource::new(vec![1, 2, 3]);
    let (layer, _) = layer(&[password("p")], vec![refusal()], vec![token("t1", 300)]);
    let access = access();
    let mut request = get(&access);
    request.body = Body::Blob { source: &source, offset: 0 };
    let response = layer.call(request).await.unwrap();
    assert!(response.renewed && response.status == 401);
}

#[tokio::test]
async fn token_servers_that_get_no_credentials() {
    for (realm, message) in [
        ("http://auth.test/token", "does not use https"),
        ("https://u:p@auth.test/token", "has a user name in its address"),
        ("https://169.254.169.254/token", "is on this machine"),
        ("ftp://auth.test/", "does not use https"),
    ] {
        let refusal = answer(401, &[("www-authenticate", &format!("Bearer realm=\"{realm}\""))], "");
        let (layer, tokens) = layer(&[password("p")], vec![refusal], vec![]);
        let text = call(&layer, &access()).await;
        assert!(text.contains(message), "{text}");
        assert!(tokens.asked().is_empty());
    }
}
