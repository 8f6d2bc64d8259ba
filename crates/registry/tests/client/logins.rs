//! Who we are, and through whom: passwords that change, logins that are tried, proxies on the way.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use gantry_oci::{BlobSource, BytesSource, Descriptor, Digest};
use gantry_registry::{
    Connection, Credential, CredentialSource, CredentialSources, Fault, Hosts, PlainHttp, Proxies, Registry,
    RegistryConfig, Secret,
};
use gantry_testkit::{
    Access, Certificate, FakeRegistry, Fault as Spoilt, ForwardProxy, ImageBuilder, ImageTarget, Quirk,
    TestCa, TlsFront,
};

use super::hosts::{at, client, connected, stocked};
use super::{Told, Wallet, config};

#[tokio::test]
async fn a_password_that_changes_in_its_file_is_picked_up() {
    for access in [Access::basic as fn(&str, &str) -> Access, |user, word| {
        Access::bearer(user, word, Duration::from_secs(60))
    }] {
        let registry = FakeRegistry::with_access(access("me", "old"));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        let write = |password: &str| {
            let text = format!(
                r#"{{"auths": {{"{}": {{"username": "me", "password": "{password}"}}}}}}"#,
                registry.host()
            );
            std::fs::write(&path, text).unwrap();
        };
        write("old");
        let sources = CredentialSources::new(vec![CredentialSource::File(path.clone())], Vec::new());
        let client = Registry::new(RegistryConfig { credentials: Arc::new(sources), ..config() });
        client.push_blob(&registry.reference("app"), &BytesSource::new(vec![1; 10]), None).await.unwrap();
        registry.set_access(access("me", "new"));
        write("new");
        client.push_blob(&registry.reference("app"), &BytesSource::new(vec![2; 10]), None).await.unwrap();
    }
}

#[tokio::test]
async fn a_password_that_a_program_changes_is_picked_up_by_all_clients() {
    let directory = tempfile::tempdir().unwrap();
    let (runs, secret) = (directory.path().join("runs"), directory.path().join("secret"));
    let say = |password: &str| {
        std::fs::write(&secret, format!("{{\"Username\":\"me\",\"Secret\":\"{password}\"}}")).unwrap();
    };
    let script = format!("cat >> {}; cat {}", runs.display(), secret.display());
    let registry = FakeRegistry::with_access(Access::basic("me", "old"));
    let names: Vec<_> = (0..8).map(|number| registry.reference(&format!("app{number}:1"))).collect();
    for number in 0..8 {
        ImageBuilder::new("linux/amd64").build().push(&registry, &format!("app{number}"), Some("1"));
    }
    let source = CredentialSource::Command {
        prefix: registry.host(),
        command: ["/bin/sh", "-c", &script].map(str::to_owned).into(),
        origin: "test".to_owned(),
    };
    let credentials =
        Arc::new(CredentialSources::new(vec![source], vec![("PATH".into(), "/bin:/usr/bin".into())]));
    let first = Registry::new(RegistryConfig { credentials, ..config() });
    let second = first.afresh();
    let start = std::time::Instant::now();
    for password in ["old", "new"] {
        say(password);
        registry.set_access(Access::basic("me", password));
        let all =
            [&first, &second].into_iter().flat_map(|client| names.iter().map(|name| client.resolve(name)));
        for resolved in futures_util::future::join_all(all).await {
            resolved.unwrap();
        }
    }
    let runs = std::fs::read_to_string(&runs).unwrap().lines().count() as u64;
    assert!(runs >= 2 && runs <= 1 + start.elapsed().as_secs(), "{runs} runs in {:?}", start.elapsed());
}

#[tokio::test]
async fn a_proxy_is_asked_for_hosts_elsewhere_and_never_for_loopback() {
    let (proxy, near) = (stocked(), stocked());
    let address = format!("http://me:hunter2@{}", proxy.host());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    proxy.on_request(move |request| {
        sink.lock().unwrap().push(request.headers.get("proxy-authorization").is_some());
        None
    });
    let plain = Connection { http: Some(PlainHttp::Yes), ..Connection::default() };
    let told = Told::default();
    let client = Registry::new(RegistryConfig {
        hosts: Arc::new(Hosts::new(vec![connected("far.test", plain)])),
        proxies: Proxies::from_variables(|name| (name == "HTTP_PROXY").then(|| address.clone())).unwrap(),
        listener: told.listener(),
        ..config()
    });
    client.resolve(&at("far.test", "app:1")).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), [true]);
    client.resolve(&near.reference("app:1")).await.unwrap();
    assert_eq!((proxy.log().len(), near.log().len()), (1, 1));
    assert!(!told.text().contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_and_pushes_go_through_tunnels() {
    let (ca, access) = (TestCa::new(), Access::bearer("me", "right", Duration::from_secs(60)));
    let basic = Some("Basic YTpiOmM=".to_owned());
    let pair = Some("a:b:c".to_owned());
    // An address, so that a proxy can be given it where names are looked up here.
    for (scheme, host, http, login) in [
        ("http", "far.test", PlainHttp::No, basic.clone()),
        ("http", "203.0.113.7:5000", PlainHttp::No, basic),
        ("socks5", "203.0.113.7:5000", PlainHttp::No, pair.clone()),
        ("socks5", "203.0.113.7:5000", PlainHttp::Yes, pair.clone()),
        ("socks5h", "far.test", PlainHttp::No, pair.clone()),
        ("socks5h", "far.test:80", PlainHttp::Yes, pair),
        ("socks5h", "far.test", PlainHttp::No, None),
    ] {
        let case = format!("{scheme} {host} {http:?}");
        let registry = FakeRegistry::with_access(access.clone());
        let front = TlsFront::start(&registry.host(), &ca, Certificate::SelfSigned);
        let backend = if http == PlainHttp::No { front.host().to_owned() } else { registry.host() };
        let proxy = match scheme {
            "http" => ForwardProxy::connect(&backend),
            _ => ForwardProxy::socks5(&backend),
        };
        let user = if login.is_some() { "a:b%3Ac@" } else { "" };
        let address = format!("{scheme}://{user}{}", proxy.host());
        let connection = Connection { http: Some(http), skip_verify: Some(true), ..Connection::default() };
        let password = Credential::Password { user: "me".to_owned(), password: Secret::new("right") };
        let told = Told::default();
        let client = Registry::new(RegistryConfig {
            hosts: Arc::new(Hosts::new(vec![connected(host, connection)])),
            proxies: Proxies::from_variables(|name| (name == "ALL_PROXY").then(|| address.clone())).unwrap(),
            credentials: Arc::new(Wallet(Arc::new(Mutex::new(password)))),
            listener: told.listener(),
            ..config()
        });
        let (source, name) = (BytesSource::new(vec![7; 3_000_000]), at(host, "app"));
        // Its own token server is a host like every other, and as far away.
        let realm = format!(
            "Bearer realm=\"{}://{host}/token\"",
            if http == PlainHttp::No { "https" } else { "http" }
        );
        registry.on_request(move |seen| {
            let bare = seen.path != "/token" && !seen.headers.contains_key("authorization");
            bare.then(|| Spoilt::status_with(401, "www-authenticate", &realm))
        });
        client.push_blob(&name, &source, None).await.unwrap_or_else(|error| panic!("{case}: {error}"));
        let blob = Descriptor::new("x", source.digest(), source.size());
        let mut received = Vec::new();
        client
            .fetch_blob(&name, &blob, &mut received)
            .await
            .unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(Digest::of(&received), source.digest(), "{case}");
        let port = if http == PlainHttp::No { ":443" } else { ":80" };
        let to = if host.contains(':') { host.to_owned() } else { format!("{host}{port}") };
        let tunnels = proxy.tunnels();
        assert!(!tunnels.is_empty(), "{case}");
        assert!(tunnels.iter().all(|one| (&one.to, &one.login) == (&to, &login)), "{case}: {tunnels:?}");
        assert!(!told.text().contains("b:c") && !told.text().contains("right"), "{case}");
    }
}

#[tokio::test]
async fn a_login_is_tried() {
    for access in [Access::basic("me", "right"), Access::bearer("me", "right", Duration::from_secs(60))] {
        let registry = FakeRegistry::with_access(access);
        let client = client(Vec::new());
        let password =
            |word: &str| Credential::Password { user: "me".to_owned(), password: Secret::new(word) };
        assert_eq!(client.check_login(&registry.host(), password("right")).await.unwrap(), None);
        let error = client.check_login(&registry.host(), password("hunter2")).await.unwrap_err();
        assert!(matches!(error.fault, Fault::Refused { .. }), "{error}");
        assert!(!error.to_string().contains("hunter2"));
    }
}

#[tokio::test]
async fn a_login_asks_for_an_identity_token_and_nothing_else_does() {
    let registry = FakeRegistry::with_access(Access::bearer("me", "right", Duration::from_secs(60)));
    registry.set_quirks(&[Quirk::IdentityTokens]);
    let (told, me) = (Told::default(), "me".to_owned());
    let client = Registry::new(RegistryConfig { listener: told.listener(), ..config() });
    let password = Credential::Password { user: me.clone(), password: Secret::new("right") };
    client.check_known_login(&registry.host(), password.clone()).await.unwrap();
    let token = client.check_login(&registry.host(), password.clone()).await.unwrap().unwrap();
    let offline = |query: &String| query.contains("offline_token=true");
    let asked: Vec<_> = registry.logged("GET", "/token").into_iter().map(|one| one.query).collect();
    assert_eq!(asked.iter().map(offline).collect::<Vec<_>>(), [false, true], "{asked:?}");
    assert!(!told.text().contains("identity-of-me"), "{}", told.text());
    // It does what the password does, and needs no further one.
    let token = Credential::IdentityToken { user: me, token };
    assert_eq!(client.check_login(&registry.host(), token.clone()).await.unwrap(), None);
    ImageBuilder::new("linux/amd64").build().push(&registry, "app", Some("1"));
    for credential in [token, password] {
        let credentials = Arc::new(Wallet(Arc::new(Mutex::new(credential))));
        let client = Registry::new(RegistryConfig { credentials, ..config() });
        client.resolve(&registry.reference("app:1")).await.unwrap();
    }
    let asked: Vec<_> = registry.logged("GET", "/token").into_iter().map(|one| one.query).collect();
    assert_eq!(asked.iter().filter(|asked| offline(asked)).count(), 1, "{asked:?}");
    registry.set_quirks(&[]);
    let stale = Credential::IdentityToken { user: "me".to_owned(), token: Secret::new("identity-of-me") };
    let error = client.check_login(&registry.host(), stale).await.unwrap_err();
    assert!(matches!(error.fault, Fault::Refused { .. }), "{error}");
}
