//! The authentication layer against scripted registries and token servers.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

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

fn insufficient() -> Result<Response, Fault> {
    let challenge = format!(r#"{CHALLENGE},error="insufficient_scope""#);
    answer(401, &[("www-authenticate", &challenge)], "")
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
    let (layer, tokens) = layer(
        &[password("p"), password("q")],
        answers,
        vec![token("t1", 300), answer(401, &[], ""), token("t2", 300)],
    );
    let access = access();
    let start = Instant::now();
    call(&layer, &access).await;
    assert_eq!(call(&layer, &access).await, "200 OK");
    // What was asked for a moment ago is shown first; another answer is asked for a second later.
    assert_eq!(shown(&tokens), ["Basic dTpw", "Basic dTpw", "Basic dTpx"]);
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(shown(&layer.inner), ["-", "Bearer t1", "Bearer t1", "Bearer t2"]);
}

#[tokio::test]
async fn refusals_that_are_final() {
    let basic = || answer(401, &[("www-authenticate", "Basic realm=x")], "");
    let denied = r#"{"errors":[{"code":"DENIED","message":"no"}]}"#;
    for (credential, registry, tokens, outcome) in [
        (
            password("p"),
            (0..5).map(|_| refusal()).collect(),
            (0..4).map(|_| token("t1", 300)).collect(),
            "refused the credentials: 401 Unauthorized",
        ),
        (
            password("p"),
            vec![refusal(), insufficient()],
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
        (password("p"), vec![answer(401, &[], ""), answer(200, &[], "")], vec![], "401 Unauthorized"),
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
    request.body = Body::Blob { source: &source, span: 0..3, meter: Arc::default() };
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

#[tokio::test]
async fn a_refusal_that_does_not_say_how_to_authenticate_is_followed_by_a_ping() {
    let answers = vec![answer(401, &[], ""), refusal(), answer(200, &[], "")];
    let (layer, _) = layer(&[password("p")], answers, vec![token("t1", 300)]);
    assert_eq!(call(&layer, &access()).await, "200 OK");
    let asked: Vec<_> = layer.inner.asked().into_iter().map(|(request, _)| request).collect();
    assert_eq!(asked[1], "GET r.test/v2/");
    assert_eq!(shown(&layer.inner), ["-", "-", "Bearer t1"]);
}

#[tokio::test]
async fn a_challenged_scope_is_asked_for_from_then_on() {
    let other = r#"Bearer realm="https://auth.test/token",scope="repository:base:pull""#;
    let lacks = answer(401, &[("www-authenticate", other)], "");
    let answers = vec![refusal(), answer(200, &[], ""), lacks, answer(200, &[], ""), answer(200, &[], "")];
    let tokens = vec![token("t1", 300), token("t2", 0), token("t3", 300)];
    let desk_tokens = Arc::new(Script::new(tokens));
    let source = Turn::new(&[password("p")]);
    let told = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&told);
    let listener = Listener::new(move |event| {
        if let crate::Event::Token { scopes, .. } = event {
            sink.lock().unwrap().push(scopes);
        }
    });
    let desk = Desk::new(source, desk_tokens, Secrets::default(), listener);
    let layer = Auth::new(Script::new(answers), desk);
    let access = access();
    for _ in 0..3 {
        assert_eq!(layer.call(get(&access)).await.unwrap().status, 200);
    }
    let both = "repository:team/app:pull repository:base:pull";
    assert_eq!(*told.lock().unwrap(), ["repository:team/app:pull", both, both]);
}

#[tokio::test]
async fn credentials_that_ran_out_are_told_apart_from_wrong_ones() {
    let basic = || answer(401, &[("www-authenticate", "Basic realm=x")], "");
    let answers = vec![basic(), answer(200, &[], ""), basic(), basic(), basic(), basic(), basic()];
    let (basic_layer, _) = layer(&[password("p")], answers, vec![]);
    let access = access();
    assert_eq!(call(&basic_layer, &access).await, "200 OK");
    let text = call(&basic_layer, &access).await;
    assert!(text.contains("no longer accepts the credentials that it accepted before"), "{text}");
    let tokens = vec![token("t1", 0), answer(401, &[], ""), answer(401, &[], "")];
    let (bearer, _) = layer(&[password("p")], vec![refusal(), answer(200, &[], "")], tokens);
    assert_eq!(call(&bearer, &access).await, "200 OK");
    let text = call(&bearer, &access).await;
    assert!(text.contains("no longer accepts the credentials that it accepted before"), "{text}");
}

#[tokio::test]
async fn the_credential_function_is_not_asked_twice_in_a_second() {
    let basic = || answer(401, &[("www-authenticate", "Basic realm=x")], "");
    // Tokens that are stale when they arrive: each request needs another one.
    let answers = std::iter::once(refusal()).chain((0..20).map(|_| answer(200, &[], "")));
    let tokens = (0..20).map(|_| token("t", 0));
    let source = Turn::new(&[password("p")]);
    let token_server = Arc::new(Script::new(tokens));
    let desk = Desk::new(
        Arc::clone(&source) as Arc<dyn Credentials>,
        token_server,
        Secrets::default(),
        Listener::silent(),
    );
    let layer = Auth::new(Script::new(answers), desk);
    let (access, start) = (access(), Instant::now());
    for _ in 0..20 {
        assert_eq!(call(&layer, &access).await, "200 OK");
    }
    assert!(source.1.load(Ordering::Relaxed) as u64 <= 1 + start.elapsed().as_secs());
    // A password that is refused again and again is asked for again, once per second and not for ever.
    let answers = [basic(), answer(200, &[], "")].into_iter().chain((0..6).map(|_| basic())).collect();
    let (layer, _) = self::layer(&[password("p")], answers, vec![]);
    call(&layer, &access).await;
    let start = Instant::now();
    call(&layer, &access).await;
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn what_servers_quote_of_a_secret_is_not_told() {
    let basic = || answer(401, &[("www-authenticate", "Basic realm=x")], "");
    // base64 of `u:hunter22`, and one that is cut off in the middle where messages end.
    let (pair, password) = ("dTpodW50ZXIyMg", "hunter22");
    for quoted in [format!("it was {pair}== or so"), format!("{}{password}", "x".repeat(395))] {
        let body = format!(r#"{{"errors":[{{"message":"{quoted}"}}]}}"#);
        let final_refusal = || answer(401, &[("www-authenticate", "Basic realm=x")], &body);
        let by_registry = (vec![basic(), final_refusal()], vec![]);
        let by_token_server = (vec![refusal()], vec![answer(401, &[], &body)]);
        let by_broken_server = (vec![refusal()], vec![answer(418, &[], &body)]);
        for (registry, tokens) in [by_registry, by_token_server, by_broken_server] {
            let (layer, _) = layer(&[self::password(password)], registry, tokens);
            let text = call(&layer, &access()).await;
            assert!(text.contains("401") || text.contains("418"), "{text}");
            assert!(!text.contains("hunt") && !text.contains(pair), "{text}");
        }
    }
}
