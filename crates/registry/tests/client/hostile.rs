//! Registries that mean harm, or might as well: what they may not learn, and what they may not make us do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gantry_oci::{
    BlobSource, BytesSource, Descriptor, Digest, Document, ImageErrorKind, ImagePort, media_type,
};
use gantry_registry::{Fault as RegistryFault, Registry, RegistryConfig, RetryPolicy};
use gantry_testkit::{Access, FakeRegistry, Fault, ImageBuilder, ImageTarget, Seen};

use super::{Told, Wallet, client, config, platform};

const HOUR: Duration = Duration::from_secs(3600);

fn large() -> BytesSource {
    BytesSource::new((0..5_000_000u32).flat_map(|number| number.to_le_bytes()).collect())
}

fn impatient() -> RegistryConfig {
    let retry = RetryPolicy { silence: Duration::from_millis(300), tries: 3, ..config().retry };
    RegistryConfig { retry, ..config() }
}

#[tokio::test]
async fn an_answer_that_overtakes_a_large_body_is_heard() {
    let source = large();
    for status in [400, 403, 409, 413, 429, 500] {
        for _ in 0..5 {
            let registry = FakeRegistry::start();
            let fault = Fault::error(status, "DENIED", "said and hung up");
            registry.on_request(move |seen| (seen.length() > 1000).then(|| fault.clone()));
            let retry = RetryPolicy { tries: 1, ..config().retry };
            let client = Registry::new(RegistryConfig { retry, ..config() });
            let error = client.push_blob(&registry.reference("app"), &source, None).await.unwrap_err();
            let RegistryFault::Answer(answer) = &error.fault else { panic!("{status}: {error}") };
            assert_eq!((answer.status, &answer.detail[..]), (status, "DENIED: said and hung up"));
        }
    }
}

#[tokio::test]
async fn bodies_without_end_are_cut_off() {
    let image = ImageBuilder::new("linux/amd64").build();
    type Which = fn(&Seen<'_>) -> bool;
    let cases: [(&str, u16, Which); 4] = [
        ("manifest", 200, |seen| seen.path.contains("/manifests/")),
        ("token", 200, |seen| seen.path == "/token"),
        ("error", 400, |seen| seen.path.contains("/manifests/")),
        ("config", 200, |seen| seen.method == "GET" && seen.path.contains("/blobs/")),
    ];
    for (name, status, which) in cases {
        let registry = FakeRegistry::with_access(Access::bearer("me", "right", HOUR));
        image.push(&registry, "app", Some("1"));
        let endless = Fault::Endless { status, headers: vec![], piece: vec![b'x'; 64 * 1024] };
        registry.on_request(move |seen| which(seen).then(|| endless.clone()));
        let client = Wallet::new("me", "right").client();
        let start = Instant::now();
        let result =
            ImagePort::resolve(&client, &registry.reference("app:1"), &platform("linux/amd64")).await;
        assert!(result.is_err(), "{name}");
        assert!(start.elapsed() < Duration::from_secs(10), "{name}");
    }
}

#[tokio::test]
async fn compressed_answers_are_not_unpacked() {
    let registry = FakeRegistry::start();
    let image = ImageBuilder::new("linux/amd64").build();
    image.push(&registry, "app", Some("1"));
    let said = Fault::Headers(vec![("content-encoding".to_owned(), "gzip".to_owned())]);
    registry.on_request(move |_| Some(said.clone()));
    // What was hashed is what came, whatever the header says: a bomb stays as small as it is.
    assert_eq!(client().resolve(&registry.reference("app:1")).await.unwrap().bytes, image.bytes);
}

#[tokio::test]
async fn digests_in_headers_are_compared() {
    let registry = FakeRegistry::start();
    let image = ImageBuilder::new("linux/amd64").build();
    let digest = image.push(&registry, "app", Some("1"));
    let lie = Fault::Headers(vec![("docker-content-digest".to_owned(), Digest::of("other").to_string())]);
    registry.on_request(move |_| Some(lie.clone()));
    let (client, reference) = (client(), registry.reference("app:1"));
    let pinned = reference.pinned(digest);
    for error in [
        client.resolve(&reference).await.unwrap_err(),
        client.resolve(&pinned).await.unwrap_err(),
        client.head(&pinned).await.unwrap_err(),
        client.push_tag(&reference, media_type::MANIFEST, &image.bytes).await.unwrap_err(),
        client.push_blob(&reference, &BytesSource::new(b"new".to_vec()), None).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ImageErrorKind::Corrupt, "{error}");
    }
    let blob = b"blob".to_vec();
    registry.put_blob("app", &blob);
    let other = Fault::Body(b"blub".to_vec());
    registry.on_request(move |_| Some(other.clone()));
    let error =
        client.fetch_blob(&reference, &Descriptor::of("x", &blob), &mut Vec::new()).await.unwrap_err();
    assert_eq!(error.kind(), ImageErrorKind::Corrupt, "{error}");
}

#[tokio::test]
async fn documents_of_two_kinds_are_refused() {
    let registry = FakeRegistry::start();
    let digest = Digest::of("x");
    let descriptor = format!(r#"{{"mediaType":"{}","digest":"{digest}","size":1}}"#, media_type::CONFIG);
    for (document, announced) in [
        (
            format!(r#"{{"schemaVersion":2,"config":{descriptor},"layers":[],"manifests":[]}}"#),
            media_type::INDEX,
        ),
        (
            format!(
                r#"{{"schemaVersion":2,"mediaType":"{}","config":{descriptor},"layers":[]}}"#,
                media_type::MANIFEST
            ),
            media_type::INDEX,
        ),
        (
            format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[]}}"#, media_type::MANIFEST),
            media_type::MANIFEST,
        ),
        (
            format!(r#"{{"schemaVersion":2,"config":{descriptor},"config":{descriptor},"layers":[]}}"#),
            media_type::MANIFEST,
        ),
        ("[]".to_owned(), media_type::MANIFEST),
    ] {
        assert!(Document::parse(document.as_bytes(), Some(announced)).is_err(), "{document}");
        registry.put_manifest("app", Some("1"), announced, document.as_bytes());
        let result =
            ImagePort::resolve(&client(), &registry.reference("app:1"), &platform("linux/amd64")).await;
        assert_eq!(result.unwrap_err().kind, ImageErrorKind::Corrupt, "{document}");
    }
}

#[tokio::test]
async fn a_blob_that_is_longer_than_promised_is_not_read_on() {
    let registry = FakeRegistry::start();
    let blob = vec![b'x'; 1000];
    registry.put_blob("app", &blob);
    let endless = Fault::Endless { status: 200, headers: vec![], piece: vec![b'x'; 1000] };
    registry.on_request(move |_| Some(endless.clone()));
    let mut received = Vec::new();
    let blob = Descriptor::of("x", &blob);
    let error = client().fetch_blob(&registry.reference("app"), &blob, &mut received).await.unwrap_err();
    assert!(error.to_string().contains("more than the 1000 bytes promised"), "{error}");
    assert!(received.len() <= 1000);
}

#[tokio::test]
async fn a_token_server_that_redirects_gets_the_credentials_nowhere() {
    let (registry, other) =
        (FakeRegistry::with_access(Access::bearer("me", "right", HOUR)), FakeRegistry::start());
    let address = format!("http://{}/token", other.host());
    registry.on_request(move |seen| {
        (seen.path == "/token").then(|| Fault::status_with(307, "location", &address))
    });
    let error = Wallet::new("me", "right").client().resolve(&registry.reference("app:1")).await.unwrap_err();
    assert!(error.to_string().contains("307"), "{error}");
    assert!(other.log().is_empty());
}

#[tokio::test]
async fn a_token_server_on_another_host_gets_credentials_and_the_registry_alone_the_token() {
    let tokens = FakeRegistry::with_access(Access::bearer("me", "right", HOUR));
    let registry = FakeRegistry::start();
    let challenge = format!("Bearer realm=\"http://{}/token\"", tokens.host());
    registry.on_request(move |seen| {
        let bare = !seen.headers.contains_key("authorization");
        bare.then(|| Fault::status_with(401, "www-authenticate", &challenge))
    });
    ImageBuilder::new("linux/amd64").build().push(&registry, "app", Some("1"));
    Wallet::new("me", "right").client().resolve(&registry.reference("app:1")).await.unwrap();
    let shown = |registry: &FakeRegistry| {
        registry.log().into_iter().filter_map(|one| one.authorization).collect::<Vec<_>>()
    };
    assert!(shown(&tokens).iter().all(|one| one.starts_with("Basic ")) && shown(&tokens).len() == 1);
    assert!(shown(&registry).iter().all(|one| one.starts_with("Bearer ")) && shown(&registry).len() == 1);
}

#[tokio::test]
async fn servers_that_dawdle_with_an_answer_are_given_up() {
    let blob = vec![7; 400_000];
    for fault in [Fault::StallAnswer { after: 100 }, Fault::DripAnswer] {
        let registry = FakeRegistry::start();
        registry.put_blob("app", &blob);
        let dawdles = fault.clone();
        registry.on_request(move |_| Some(dawdles.clone()));
        let (client, blob) = (Registry::new(impatient()), Descriptor::of("x", &blob));
        let error = client.fetch_blob(&registry.reference("app"), &blob, &mut Vec::new()).await.unwrap_err();
        assert!(matches!(error.fault, RegistryFault::Stalled { .. }), "{fault:?}: {error}");
    }
}

#[tokio::test]
async fn servers_that_dawdle_with_a_request_are_given_up() {
    for after in [0, 1000] {
        let registry = FakeRegistry::start();
        registry.on_request(move |seen| (seen.length() > 1000).then_some(Fault::StallRequest { after }));
        let client = Registry::new(impatient());
        let error = client.push_blob(&registry.reference("app"), &large(), None).await.unwrap_err();
        assert!(matches!(error.fault, RegistryFault::Stalled { .. }), "{after}: {error}");
    }
}

#[tokio::test]
async fn a_stall_that_passes_is_survived() {
    let registry = FakeRegistry::start();
    let source = large();
    let mut faults = vec![Fault::StallRequest { after: 3_000_000 }].into_iter();
    registry.on_request(move |seen| if seen.length() > 1000 { faults.next() } else { None });
    let client = Registry::new(impatient());
    client.push_blob(&registry.reference("app"), &source, None).await.unwrap();
    assert!(registry.blob("app", &source.digest()).is_some());
    let mut faults = vec![Fault::StallAnswer { after: 3_000_000 }].into_iter();
    registry.on_request(move |seen| if seen.method == "GET" { faults.next() } else { None });
    let blob = Descriptor::new("x", source.digest(), source.size());
    client.fetch_blob(&registry.reference("app"), &blob, &mut Vec::new()).await.unwrap();
}

#[tokio::test]
async fn a_wait_of_decades_is_refused_in_words() {
    let registry = FakeRegistry::start();
    registry.on_request(|_| Some(Fault::status_with(429, "retry-after", "1000000000")));
    let error = client().resolve(&registry.reference("app:1")).await.unwrap_err();
    assert!(
        error.to_string().ends_with("429 Too Many Requests: it asks to be left alone for 1000000000 s"),
        "{error}"
    );
    assert_eq!(registry.log().len(), 1);
}

#[tokio::test]
async fn kept_connections_that_have_ended_are_no_fault() {
    let registry = FakeRegistry::start();
    ImageBuilder::new("linux/amd64").build().push(&registry, "app", Some("1"));
    let retry = RetryPolicy { tries: 1, ..RetryPolicy::default() };
    let client = Registry::new(RegistryConfig { retry, ..config() });
    let reference = registry.reference("app:1");
    client.resolve(&reference).await.unwrap();
    // The next request's connection is cut before it is answered, as one is that idled too long.
    let mut faults = Some(Fault::Drop { after: 0 }).into_iter();
    registry.on_request(move |_| faults.next());
    client.resolve(&reference).await.unwrap();
}

#[tokio::test]
async fn planted_secrets_are_in_no_error_and_no_event_of_any_fault() {
    const SECRET: &str = "canary-of-the-password";
    for row in gantry_testkit::fault_matrix::fatal_rows() {
        let registry = FakeRegistry::with_access(Access::bearer("me", SECRET, HOUR));
        (row.install)(&registry);
        let (told, wallet) = (Told::default(), Wallet::new("me", SECRET));
        let credentials = Arc::new(wallet.clone());
        let client = Registry::new(RegistryConfig { credentials, listener: told.listener(), ..config() });
        let reference = registry.reference("app:1");
        let pulled = client.resolve(&reference).await.map(drop);
        let source = BytesSource::new(b"x".to_vec());
        let pushed = client.push_blob(&reference, &source, None).await.map(drop);
        let shown = format!("{pulled:?} {pushed:?} {}", told.text());
        let texts = [pulled, pushed].map(|result| result.err().map(|error| error.to_string()));
        let shown = format!("{shown} {texts:?}");
        let tokens = registry.log().into_iter().filter_map(|one| one.authorization);
        let secrets: Vec<String> = tokens.filter_map(|one| Some(one.split_once(' ')?.1.to_owned())).collect();
        for secret in secrets.iter().map(String::as_str).chain([SECRET]) {
            assert!(!shown.contains(secret), "{}: {shown}", row.name);
        }
        assert_eq!(source.size(), 1);
    }
}
