//! Credentials in the course of time: tokens that run out, passwords that change, secrets that stay secret.

use std::sync::Arc;
use std::time::Duration;

use gantry_oci::{BlobSource, BytesSource, Descriptor, ImageErrorKind};
use gantry_registry::{Registry, RegistryConfig, Uploaded};
use gantry_testkit::{Access, FakeRegistry, Fault, ImageTarget};

use super::{Told, Wallet, client, config};

const HOUR: Duration = Duration::from_secs(3600);

fn source(seed: u8) -> BytesSource {
    BytesSource::new(vec![seed; 600_000])
}

#[tokio::test]
async fn a_push_needs_one_token_for_all_its_requests() {
    let registry = FakeRegistry::with_access(Access::bearer("me", "right", HOUR));
    let client = Wallet::new("me", "right").client();
    for seed in 0..3 {
        client.push_blob(&registry.reference("team/app"), &source(seed), None).await.unwrap();
    }
    assert_eq!(registry.tokens_issued(), 1);
    // Another repository needs another token, and no refusal to know that.
    client.push_blob(&registry.reference("team/web"), &source(0), None).await.unwrap();
    assert_eq!(registry.tokens_issued(), 2);
    assert_eq!(registry.log().iter().filter(|one| one.status == Some(401)).count(), 1);
}

#[tokio::test]
async fn a_mount_has_both_repositories_in_one_token() {
    let registry = FakeRegistry::with_access(Access::bearer("me", "right", HOUR));
    let source = source(1);
    registry.put_blob("base", &vec![1; 600_000]);
    let client = Wallet::new("me", "right").client();
    let uploaded = client.push_blob(&registry.reference("app"), &source, Some("base")).await.unwrap();
    assert_eq!(uploaded, Uploaded::Mounted);
}

#[tokio::test]
async fn a_token_that_is_refused_in_mid_upload_is_replaced() {
    for access in [Access::bearer("me", "right", HOUR), Access::basic("me", "right")] {
        for late in [false, true] {
            let registry = FakeRegistry::with_access(access.clone());
            let challenge = match access {
                Access::Basic { .. } => "Basic realm=x".to_owned(),
                _ => format!("Bearer realm=\"http://{}/token\",service=\"fake\"", registry.host()),
            };
            let headers = vec![("www-authenticate".to_owned(), challenge)];
            let fault = match late {
                false => Fault::Answer { status: 401, headers, body: Vec::new() },
                true => Fault::LateAnswer { status: 401, headers },
            };
            let mut faults = Some(fault).into_iter();
            registry.on_request(move |seen| if seen.method == "PUT" { faults.next() } else { None });
            let source = source(2);
            Wallet::new("me", "right")
                .client()
                .push_blob(&registry.reference("app"), &source, None)
                .await
                .unwrap();
            assert!(registry.blob("app", &source.digest()).is_some(), "{access:?} {late}");
        }
    }
}

#[tokio::test]
async fn tokens_of_no_length_at_all_are_enough() {
    // The shortest token that can work: it is made anew for every request.
    let registry = FakeRegistry::with_access(Access::bearer("me", "right", Duration::from_secs(1)));
    let client = Wallet::new("me", "right").client();
    for seed in 0..3 {
        client.push_blob(&registry.reference("app"), &source(seed), None).await.unwrap();
        registry.revoke_tokens();
    }
}

#[tokio::test]
async fn a_changed_password_is_picked_up() {
    for access in [
        |password: &str| Access::bearer("me", password, HOUR),
        |password: &str| Access::basic("me", password),
    ] {
        let registry = FakeRegistry::with_access(access("old"));
        let wallet = Wallet::new("me", "old");
        let client = wallet.client();
        client.push_blob(&registry.reference("app"), &source(1), None).await.unwrap();
        wallet.set("me", "new");
        registry.set_access(access("new"));
        client.push_blob(&registry.reference("app"), &source(2), None).await.unwrap();
    }
}

#[tokio::test]
async fn a_wrong_password_fails_at_once() {
    for access in [Access::bearer("me", "right", HOUR), Access::basic("me", "right")] {
        let registry = FakeRegistry::with_access(access);
        let client = Wallet::new("me", "wrong").client();
        let error = client.push_blob(&registry.reference("app"), &source(1), None).await.unwrap_err();
        assert_eq!(error.kind(), ImageErrorKind::Denied);
        let expected = format!("registry `{}` refused the credentials: 401 Unauthorized", registry.host());
        assert!(error.to_string().contains(&expected), "{error}");
        assert!(!error.fault.hints().is_empty());
        assert!(registry.log().len() <= 2, "{:?}", registry.log());
    }
}

#[tokio::test]
async fn without_credentials_pulling_may_work_and_pushing_says_what_to_do() {
    let open =
        Access::Bearer { user: "me".into(), password: "x".into(), lifetime: HOUR, anonymous_pull: true };
    let registry = FakeRegistry::with_access(open);
    let digest = registry.put_blob("app", b"bytes");
    assert!(client().blob_head(&registry.reference("app"), &digest).await.unwrap().is_some());
    let error = client().push_blob(&registry.reference("app"), &source(1), None).await.unwrap_err();
    let expected =
        format!("registry `{}` wants credentials, and none are configured for `app`", registry.host());
    assert!(error.to_string().ends_with(&expected), "{error}");
}

#[tokio::test]
async fn a_redirect_takes_no_credentials_along() {
    let (registry, storage) =
        (FakeRegistry::with_access(Access::basic("me", "right")), FakeRegistry::start());
    let bytes = b"from storage".to_vec();
    let digest = storage.put_blob("app", &bytes);
    let address = format!("http://{}/v2/app/blobs/{digest}?signature=s", storage.host());
    registry.on_request(move |seen| {
        seen.headers.contains_key("authorization").then(|| Fault::status_with(307, "location", &address))
    });
    let mut received = Vec::new();
    let client = Wallet::new("me", "right").client();
    client.fetch_blob(&registry.reference("app"), &Descriptor::of("x", &bytes), &mut received).await.unwrap();
    assert_eq!(received, bytes);
    assert_eq!(storage.log().into_iter().map(|one| one.authorization).collect::<Vec<_>>(), [None]);
}

#[tokio::test]
async fn an_upload_to_another_host_takes_no_credentials_along() {
    let (registry, storage) =
        (FakeRegistry::with_access(Access::basic("me", "right")), FakeRegistry::start());
    storage.on_request(|seen| {
        (seen.method == "PUT").then(|| Fault::LateAnswer { status: 201, headers: vec![] })
    });
    let address = format!("http://{}/v2/app/blobs/uploads/1?_state=x", storage.host());
    registry.on_request(move |seen| {
        let asks = seen.method == "POST" && seen.headers.contains_key("authorization");
        asks.then(|| Fault::status_with(202, "location", &address))
    });
    let client = Wallet::new("me", "right").client();
    client.push_blob(&registry.reference("app"), &source(1), None).await.unwrap();
    let log = storage.log();
    assert_eq!(log.len(), 1);
    assert_eq!((&log[0].authorization, log[0].query.starts_with("_state=x&digest=sha256%3A")), (&None, true));
}

#[tokio::test]
async fn a_planted_secret_is_never_shown() {
    const SECRET: &str = "hunter2-planted";
    for access in [Access::bearer("me", SECRET, HOUR), Access::basic("me", SECRET)] {
        let registry = FakeRegistry::with_access(access);
        // A registry that quotes everything it was sent.
        registry.on_request(move |seen| {
            let sent = seen.headers.get("authorization")?.to_str().unwrap().to_owned();
            let body =
                format!("{{\"errors\":[{{\"code\":\"X\",\"message\":\"{sent} {SECRET}\"}}]}}").into_bytes();
            (seen.path != "/token").then(|| Fault::Answer { status: 400, headers: vec![], body })
        });
        let (told, wallet) = (Told::default(), Wallet::new("me", SECRET));
        let credentials = Arc::new(wallet.clone());
        let client = Registry::new(RegistryConfig { credentials, listener: told.listener(), ..config() });
        let error = client.resolve(&registry.reference("app:1")).await.unwrap_err();
        let sent = registry.log().into_iter().filter_map(|one| one.authorization);
        let secrets: Vec<String> =
            sent.filter_map(|one| one.split_once(' ').map(|(_, secret)| secret.to_owned())).collect();
        assert!(!secrets.is_empty());
        let shown = format!("{error} {error:?} {client:?} {:?} {}", wallet.0, told.text());
        assert!(shown.contains("***"), "{shown}");
        for secret in secrets.iter().map(String::as_str).chain([SECRET]) {
            assert!(!shown.contains(secret), "{secret} is in {shown}");
        }
    }
}
