//! Hosts and their settings: TLS in all its forms, mirrors, passwords in files that change.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gantry_oci::{BlobSource, BytesSource, Descriptor, Digest, ImagePort, Reference, media_type};
use gantry_registry::{
    Connection, Credential, CredentialError, CredentialSource, CredentialSources, Credentials, Fault,
    HostPattern, HostRule, HostSettings, Hosts, KeyPair, Location, MachineFiles, Mirror, Origin, PlainHttp,
    Proxies, Registry, RegistryConfig, RemoteBlob, RetryPolicy, Rights, Secret,
};
use gantry_testkit::{
    Access, Certificate, Entry, FakeRegistry, Fault as Spoilt, ImageBuilder, ImageTarget, TestCa, TlsFront,
};

use super::{Told, config, platform};

fn rule(host: &str, settings: HostSettings) -> HostRule {
    let pattern = HostPattern::Prefix(host.to_owned());
    HostRule { pattern, origin: Origin::new("test", ""), settings }
}

fn client(rules: Vec<HostRule>) -> Registry {
    Registry::new(RegistryConfig { hosts: Arc::new(Hosts::new(rules)), ..config() })
}

/// TLS where loopback would mean plain HTTP.
fn tls() -> Connection {
    Connection { http: Some(PlainHttp::No), ..Connection::default() }
}

fn connected(host: &str, connection: Connection) -> HostRule {
    rule(host, HostSettings { connection, ..HostSettings::default() })
}

fn at(host: &str, rest: &str) -> Reference {
    format!("{host}/{rest}").parse().unwrap()
}

/// A registry with one manifest, `app:1`.
fn stocked() -> FakeRegistry {
    let registry = FakeRegistry::start();
    ImageBuilder::new("linux/amd64").build().push(&registry, "app", Some("1"));
    registry
}

#[tokio::test]
async fn certificates_are_believed_only_with_reason() {
    let (registry, ca) = (stocked(), TestCa::new());
    for (kind, trusts, refusal) in [
        (Certificate::Good, true, None),
        (Certificate::Good, false, Some("UnknownIssuer")),
        (Certificate::SelfSigned, true, Some("certificate")),
        (Certificate::OtherName, true, Some("not valid for")),
        (Certificate::Expired, true, Some("expired")),
    ] {
        let front = TlsFront::start(&registry.host(), &ca, kind);
        let connection = if trusts { Connection { ca: vec![ca.file()], ..tls() } } else { tls() };
        let result =
            client(vec![connected(front.host(), connection)]).resolve(&at(front.host(), "app:1")).await;
        match refusal {
            None => assert!(result.is_ok(), "{kind:?}: {result:?}"),
            Some(words) => {
                let error = result.unwrap_err();
                assert!(matches!(error.fault, Fault::Handshake { .. }), "{kind:?}: {error:?}");
                assert!(error.to_string().contains(words), "{kind:?}: {error}");
                assert!(!error.fault.hints().is_empty());
            }
        }
    }
}

#[tokio::test]
async fn what_does_not_matter_at_one_host_matters_at_the_next() {
    let (registry, ca) = (stocked(), TestCa::new());
    let lenient = TlsFront::start(&registry.host(), &ca, Certificate::SelfSigned);
    let strict = TlsFront::start(&registry.host(), &ca, Certificate::SelfSigned);
    let skip = Connection { skip_verify: Some(true), ..tls() };
    let client = client(vec![connected(lenient.host(), skip), connected(strict.host(), tls())]);
    assert!(client.resolve(&at(lenient.host(), "app:1")).await.is_ok());
    let error = client.resolve(&at(strict.host(), "app:1")).await.unwrap_err();
    assert!(matches!(error.fault, Fault::Handshake { .. }), "{error}");

    // Nor where a lenient host sends us.
    let location = format!("https://{}/v2/app/elsewhere", strict.host());
    registry.on_request(move |seen| {
        seen.path.contains("manifests").then(|| Spoilt::status_with(307, "location", &location))
    });
    let error = client.resolve(&at(lenient.host(), "app:1")).await.unwrap_err();
    assert!(matches!(error.fault, Fault::Handshake { .. }), "{error}");
}

#[tokio::test]
async fn a_registry_may_want_to_see_a_certificate() {
    let (registry, ca) = (stocked(), TestCa::new());
    let front = TlsFront::start_for_clients_of(&registry.host(), &ca);
    let trusting = Connection { ca: vec![ca.file()], ..tls() };
    let result =
        client(vec![connected(front.host(), trusting.clone())]).resolve(&at(front.host(), "app:1")).await;
    assert!(result.is_err(), "{result:?}");
    assert!(registry.log().is_empty());
    let (certificate, key) = ca.client();
    let showing = Connection { client: Some(KeyPair { certificate, key }), ..trusting };
    client(vec![connected(front.host(), showing)]).resolve(&at(front.host(), "app:1")).await.unwrap();
}

/// The files of docker, for a registry with an authority of its own.
#[tokio::test]
async fn certificates_of_the_machine_are_found() {
    let (registry, ca) = (stocked(), TestCa::new());
    let front = TlsFront::start_for_clients_of(&registry.host(), &ca);
    let etc = tempfile::tempdir().unwrap();
    let directory = etc.path().join("docker/certs.d").join(front.host());
    std::fs::create_dir_all(&directory).unwrap();
    let (certificate, key) = ca.client();
    for (from, to) in [(ca.file(), "ca.crt"), (certificate, "me.cert"), (key, "me.key")] {
        std::fs::copy(from, directory.join(to)).unwrap();
    }
    let (mut rules, warnings) = machine(etc.path().to_owned()).read();
    assert_eq!(warnings, Vec::<String>::new());
    rules.push(connected(front.host(), tls()));
    client(rules).resolve(&at(front.host(), "app:1")).await.unwrap();
}

#[tokio::test]
async fn podmans_insecure_means_without_verification_or_without_tls() {
    let (registry, ca) = (stocked(), TestCa::new());
    let front = TlsFront::start(&registry.host(), &ca, Certificate::SelfSigned);
    let both =
        Connection { http: Some(PlainHttp::WithoutTls), skip_verify: Some(true), ..Connection::default() };
    for host in [registry.host(), front.host().to_owned()] {
        let client = client(vec![connected(&host, both.clone())]);
        client.resolve(&at(&host, "app:1")).await.unwrap();
        client.push_blob(&at(&host, "app:1"), &BytesSource::new(vec![7; 1000]), None).await.unwrap();
    }
}

/// One break of the connection once decided for plain HTTP, for as long as the process ran.
#[tokio::test]
async fn a_fault_that_passes_does_not_decide_for_plain_http() {
    let (registry, ca) = (stocked(), TestCa::new());
    let front = TlsFront::start(&registry.host(), &ca, Certificate::SelfSigned);
    let both =
        Connection { http: Some(PlainHttp::WithoutTls), skip_verify: Some(true), ..Connection::default() };
    let hosts = Arc::new(Hosts::new(vec![connected(front.host(), both.clone())]));
    let retry = RetryPolicy { tries: 1, ..RetryPolicy::default() };
    let client = Registry::new(RegistryConfig { hosts, retry, ..config() });
    let reference = at(front.host(), "app:1");
    registry.on_request(|_| Some(Spoilt::Drop { after: 0 }));
    assert!(client.resolve(&reference).await.is_err());
    registry.on_request(|_| None);
    client.resolve(&reference).await.unwrap();

    // Nobody there: neither TLS nor plain HTTP was spoken.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let rules = Hosts::new(vec![connected(&port.to_string(), both)]);
    let retry = RetryPolicy { tries: 1, ..RetryPolicy::default() };
    let client = Registry::new(RegistryConfig { hosts: Arc::new(rules), retry, ..config() });
    let error = client.resolve(&at(&port.to_string(), "app:1")).await.unwrap_err();
    assert!(matches!(error.fault, Fault::Unreachable { .. }), "{error}");
    assert!(client.resolve(&at(&port.to_string(), "app:1")).await.is_err());
}

fn machine(etc: PathBuf) -> MachineFiles {
    MachineFiles { etc, user: None, docker: None, registries_conf: None }
}

/// Credentials by host; everybody else is nobody.
struct ByHost(Vec<(String, &'static str)>);

impl Credentials for ByHost {
    fn find<'a>(
        &'a self,
        host: &'a str,
        _: &'a str,
    ) -> gantry_oci::BoxFuture<'a, Result<Credential, CredentialError>> {
        let known = self.0.iter().find(|(own, _)| own == host);
        let credential = known.map_or(Credential::Anonymous, |(_, password)| Credential::Password {
            user: "me".to_owned(),
            password: Secret::new(*password),
        });
        Box::pin(async { Ok(credential) })
    }
}

fn mirror_of(host: &str, path: &str, rights: Rights) -> Mirror {
    Mirror {
        location: Location::of_names(&format!("{host}{path}")).unwrap(),
        rights,
        proxy: false,
        connection: Connection::default(),
    }
}

fn mirrored(upstream: &str, mirrors: Vec<Mirror>) -> HostRule {
    rule(upstream, HostSettings { mirrors: Some(mirrors), ..HostSettings::default() })
}

/// A registry and a mirror of it that both have `app:1`, the mirror below `hub`.
fn pair() -> (FakeRegistry, FakeRegistry) {
    let (upstream, mirror) = (FakeRegistry::start(), FakeRegistry::start());
    let image = ImageBuilder::new("linux/amd64").layer(&[Entry::file("a", b"content")]).build();
    image.push(&upstream, "app", Some("1"));
    image.push(&mirror, "hub/app", Some("1"));
    (upstream, mirror)
}

async fn pull(client: &Registry, reference: &Reference) -> Result<(), String> {
    let image = client.resolve_for(reference).await?;
    for layer in image {
        let mut sink = Vec::new();
        client.fetch_blob(reference, &layer, &mut sink).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The layers of an image, by way of the port that builds use.
trait Layers {
    async fn resolve_for(&self, reference: &Reference) -> Result<Vec<Descriptor>, String>;
}

impl Layers for Registry {
    async fn resolve_for(&self, reference: &Reference) -> Result<Vec<Descriptor>, String> {
        let image = ImagePort::resolve(self, reference, &platform("linux/amd64")).await;
        let image = image.map_err(|error| error.to_string())?;
        let manifest: gantry_oci::Manifest = serde_json::from_slice(&image.manifest.1).unwrap();
        Ok(manifest.layers)
    }
}

#[tokio::test]
async fn the_registry_names_the_digest_and_the_mirror_serves_it() {
    let (upstream, mirror) = pair();
    upstream.set_access(Access::basic("me", "upstream-word"));
    let told = Told::default();
    let client = Registry::new(RegistryConfig {
        credentials: Arc::new(ByHost(vec![(upstream.host(), "upstream-word")])),
        hosts: Arc::new(Hosts::new(vec![mirrored(
            &upstream.host(),
            vec![mirror_of(&mirror.host(), "/hub", Rights::BY_DIGEST)],
        )])),
        listener: told.listener(),
        ..config()
    });
    pull(&client, &upstream.reference("app:1")).await.unwrap();
    let asked = |registry: &FakeRegistry| -> Vec<String> {
        registry
            .log()
            .iter()
            .map(|one| format!("{} {}", one.method, &one.path[..one.path.len().min(24)]))
            .collect()
    };
    assert_eq!(asked(&upstream), ["HEAD /v2/app/manifests/1", "HEAD /v2/app/manifests/1"]);
    assert!(mirror.logged("GET", "/v2/hub/app/manifests/sha256:").len() == 1, "{:?}", asked(&mirror));
    assert!(mirror.logged("GET", "/v2/hub/app/blobs/sha256:").len() == 2, "{:?}", asked(&mirror));
    assert!(mirror.log().iter().all(|one| one.authorization.is_none() && one.query.is_empty()));
    assert!(!told.text().contains("MirrorTrusted"));
}

#[tokio::test]
async fn whatever_a_mirror_cannot_serve_comes_from_the_next() {
    type Spoil = fn() -> Option<Spoilt>;
    let spoils: [(&str, Spoil); 8] = [
        ("404", || Some(Spoilt::status(404))),
        ("429", || Some(Spoilt::status_with(429, "retry-after", "600"))),
        ("503", || Some(Spoilt::status(503))),
        ("401", || Some(Spoilt::status_with(401, "www-authenticate", "Basic realm=x"))),
        ("403", || Some(Spoilt::status(403))),
        ("dropped", || Some(Spoilt::Drop { after: 0 })),
        ("truncated", || Some(Spoilt::Truncate { after: 3 })),
        ("a page", || Some(Spoilt::Headers(vec![("content-type".into(), "text/html".into())]))),
    ];
    for (name, spoil) in spoils {
        let (upstream, mirror) = pair();
        mirror.on_request(move |_| spoil());
        let told = Told::default();
        let rules = vec![mirrored(
            &upstream.host(),
            vec![
                // Nothing listens there.
                mirror_of("127.0.0.1:1", "", Rights::READ),
                mirror_of(&mirror.host(), "/hub", Rights::READ),
            ],
        )];
        let (hosts, listener) = (Arc::new(Hosts::new(rules)), told.listener());
        let client = Registry::new(RegistryConfig { hosts, listener, ..config() });
        pull(&client, &upstream.reference("app:1")).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!mirror.log().is_empty(), "{name}");
        let skipped = format!("MirrorSkipped {{ mirror: \"{}\"", mirror.host());
        assert!(told.text().contains(&skipped), "{name}: {}", told.text());
        assert!(told.text().contains("mirror: \"127.0.0.1:1\", reason: \"cannot reach"), "{}", told.text());
    }
}

#[tokio::test]
async fn a_mirror_that_lies_is_not_believed() {
    let (upstream, mirror) = pair();
    mirror.on_request(|seen| {
        seen.path.contains("/manifests/").then(|| Spoilt::Body(b"{\"schemaVersion\": 2}".to_vec()))
    });
    let client =
        client(vec![mirrored(&upstream.host(), vec![mirror_of(&mirror.host(), "/hub", Rights::READ)])]);
    let reference = upstream.reference("app:1");
    let digest: Digest = upstream.manifest("app", "1").unwrap().0;
    let resolved = client.resolve(&reference.pinned(digest)).await.unwrap();
    assert_eq!(resolved.digest, digest);
    assert_eq!(upstream.logged("GET", "/manifests/").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_with_wrong_bytes_under_a_digest_is_passed_over() {
    // One that is hashed here, and one that is hashed on a thread.
    for size in [1000, 3_000_000] {
        let (right, wrong) = (vec![b'r'; size], vec![b'w'; size]);
        let blob = Descriptor::of("x", &right);
        let mirrors = [FakeRegistry::start(), FakeRegistry::start()];
        for mirror in &mirrors {
            mirror.put_blob("hub/app", &right);
            let wrong = wrong.clone();
            mirror.on_request(move |_| Some(Spoilt::Body(wrong.clone())));
        }
        let upstream = FakeRegistry::start();
        upstream.put_blob("app", &right);
        let hubs = || mirrors.iter().map(|mirror| mirror_of(&mirror.host(), "/hub", Rights::READ)).collect();
        let from = upstream.reference("app");
        let asked = || mirrors.iter().map(|mirror| mirror.log().len()).collect::<Vec<_>>();

        let pulling = client(vec![mirrored(&upstream.host(), hubs())]);
        let mut received = Vec::new();
        pulling.fetch_blob(&from, &blob, &mut received).await.unwrap();
        assert!(received == right, "{size}");
        assert_eq!(asked(), [1, 1]);
        pulling.fetch_blob(&from, &blob, &mut std::io::sink()).await.unwrap();
        assert_eq!(asked(), [1, 1], "they are left alone");

        let (copying, to) = (client(vec![mirrored(&upstream.host(), hubs())]), FakeRegistry::start());
        let source = RemoteBlob::new(&copying, &from, &blob);
        copying.push_blob(&to.reference("copy"), &source, None).await.unwrap();
        assert!(to.blob("copy", &blob.digest).is_some());
        assert_eq!(asked(), [2, 2], "each was believed once");

        // Where nobody has the right bytes, the registry is what is at fault.
        let lies = wrong.clone();
        upstream.on_request(move |_| Some(Spoilt::Body(lies.clone())));
        let trusting = client(vec![mirrored(&upstream.host(), hubs())]);
        let error = trusting.fetch_blob(&from, &blob, &mut received).await.unwrap_err();
        assert!(matches!(error.fault, Fault::Corrupt(_)), "{error}");
        let source = RemoteBlob::new(&trusting, &from, &blob);
        let error = trusting.push_blob(&to.reference("other"), &source, None).await.unwrap_err();
        assert!(error.to_string().contains("instead of"), "{error}");
        assert!(to.blob("other", &blob.digest).is_none());
    }
}

#[tokio::test]
async fn a_mirror_speaks_for_a_registry_that_cannot() {
    for (name, fault) in
        [("429", Spoilt::status(429)), ("403", Spoilt::status(403)), ("502", Spoilt::status(502))]
    {
        let (upstream, mirror) = pair();
        upstream.on_request(move |_| Some(fault.clone()));
        let told = Told::default();
        let rules =
            |rights| vec![mirrored(&upstream.host(), vec![mirror_of(&mirror.host(), "/hub", rights)])];
        let client = Registry::new(RegistryConfig {
            hosts: Arc::new(Hosts::new(rules(Rights::READ))),
            listener: told.listener(),
            ..config()
        });
        pull(&client, &upstream.reference("app:1")).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(told.text().contains("MirrorTrusted"), "{name}: {}", told.text());
        // One that has no say does not speak.
        let client = super::hosts::client(rules(Rights::BY_DIGEST));
        assert!(pull(&client, &upstream.reference("app:1")).await.is_err(), "{name}");
    }
    // That there is no such tag is an answer.
    let (upstream, mirror) = pair();
    upstream.on_request(|_| Some(Spoilt::status(404)));
    let client =
        client(vec![mirrored(&upstream.host(), vec![mirror_of(&mirror.host(), "/hub", Rights::READ)])]);
    let error = pull(&client, &upstream.reference("app:1")).await.unwrap_err();
    assert!(error.contains("404 Not Found"), "{error}");
    assert!(mirror.log().is_empty());
}

#[tokio::test]
async fn pushes_go_to_the_registry_unless_a_mirror_takes_them() {
    let source = BytesSource::new(vec![1; 1000]);
    let (upstream, mirror) = pair();
    let rules = |rights| vec![mirrored(&upstream.host(), vec![mirror_of(&mirror.host(), "/hub", rights)])];
    let reference = upstream.reference("new:1");
    client(rules(Rights::READ)).push_blob(&reference, &source, None).await.unwrap();
    assert!(upstream.blob("new", &source.digest()).is_some() && mirror.log().is_empty());
    let taking = client(rules(Rights { pull: true, resolve: true, push: true }));
    taking.push_blob(&reference, &source, None).await.unwrap();
    assert!(mirror.blob("hub/new", &source.digest()).is_some());
    // What a mirror has is not in the repository that is pushed to.
    let blob = Descriptor::new(media_type::LAYER_GZIP, mirror.put_blob("hub/fresh", b"mirrored"), 8);
    let fresh = upstream.reference("fresh:1");
    let reading = client(rules(Rights::READ));
    assert!(!reading.mount_blob(&fresh, &blob, None).await.unwrap());
    upstream.put_blob("fresh", b"mirrored");
    assert!(reading.mount_blob(&fresh, &blob, None).await.unwrap());
    let shorter = Descriptor { size: 7, ..blob };
    assert!(!reading.mount_blob(&fresh, &shorter, None).await.unwrap(), "nor is what has another size");
    // What was pushed is read where it was put.
    let before = upstream.log().len();
    assert!(taking.blob_head(&reference, &source.digest()).await.unwrap().is_some());
    assert_eq!(upstream.log().len(), before);
}

#[tokio::test]
async fn a_proxy_of_containerds_files_is_told_the_registry() {
    let (upstream, mirror) = pair();
    ImageBuilder::new("linux/amd64").layer(&[Entry::file("a", b"content")]).build().push(
        &mirror,
        "app",
        Some("1"),
    );
    let etc = tempfile::tempdir().unwrap();
    let directory = etc.path().join("containerd/certs.d").join(upstream.host());
    std::fs::create_dir_all(&directory).unwrap();
    let text = format!(
        "server = \"http://{}\"\n[host.\"http://{}\"]\ncapabilities = [\"pull\"]\n\
         [host.\"http://{1}\".header]\nx-team = \"blue\"\n",
        upstream.host(),
        mirror.host()
    );
    std::fs::write(directory.join("hosts.toml"), text).unwrap();
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    mirror.on_request(move |request| {
        sink.lock().unwrap().push(request.headers.get("x-team").cloned());
        None
    });
    let (rules, warnings) = machine(etc.path().to_owned()).read();
    assert_eq!(warnings, Vec::<String>::new());
    pull(&client(rules), &upstream.reference("app:1")).await.unwrap();
    let expected = format!("ns={}", upstream.host().replace(':', "%3A"));
    assert!(mirror.log().len() >= 3 && mirror.log().iter().all(|one| one.query == expected));
    assert!(seen.lock().unwrap().iter().all(|header| header.as_ref().is_some_and(|value| value == "blue")));
    assert!(upstream.log().iter().all(|one| one.query.is_empty()));
}

#[tokio::test]
async fn registries_conf_moves_and_blocks() {
    let registry = stocked();
    ImageBuilder::new("linux/amd64").build().push(&registry, "moved/app", Some("1"));
    let etc = tempfile::tempdir().unwrap();
    let directory = etc.path().join("containers/registries.conf.d");
    std::fs::create_dir_all(&directory).unwrap();
    let text = format!(
        "[[registry]]\nprefix = \"docker.io/team\"\nlocation = \"{}/moved\"\n\
         [[registry]]\nprefix = \"*.evil.test\"\nblocked = true\n",
        registry.host()
    );
    std::fs::write(directory.join("10-move.conf"), text).unwrap();
    std::fs::write(directory.join("20-broken.conf"), "[[registry]\n").unwrap();
    let (rules, warnings) = machine(etc.path().to_owned()).read();
    assert!(
        warnings.len() == 1 && warnings[0].contains("20-broken.conf` is not used: line 1"),
        "{warnings:?}"
    );
    let client = client(rules);
    client.resolve(&"docker.io/team/app:1".parse().unwrap()).await.unwrap();
    assert_eq!(registry.log()[0].path, "/v2/moved/app/manifests/1");
    let error = client.resolve(&"very.evil.test/app:1".parse().unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("`very.evil.test/app` is blocked by"), "{error}");
    assert!(error.to_string().contains("10-move.conf: [[registry]] *.evil.test"), "{error}");
}

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
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    proxy.on_request(move |request| {
        sink.lock().unwrap().push(request.headers.get("proxy-authorization").is_some());
        None
    });
    let plain = Connection { http: Some(PlainHttp::Yes), ..Connection::default() };
    let told = Told::default();
    let client = Registry::new(RegistryConfig {
        hosts: Arc::new(Hosts::new(vec![connected("far.test", plain)])),
        proxies: Proxies::from_variables(|name| (name == "HTTP_PROXY").then(|| address.clone())),
        listener: told.listener(),
        ..config()
    });
    client.resolve(&at("far.test", "app:1")).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), [true]);
    client.resolve(&near.reference("app:1")).await.unwrap();
    assert_eq!((proxy.log().len(), near.log().len()), (1, 1));
    assert!(!told.text().contains("hunter2"));
}

#[tokio::test]
async fn a_login_is_tried() {
    for access in [Access::basic("me", "right"), Access::bearer("me", "right", Duration::from_secs(60))] {
        let registry = FakeRegistry::with_access(access);
        let client = client(Vec::new());
        client.check_login(&registry.host(), "me", &Secret::new("right")).await.unwrap();
        let error = client.check_login(&registry.host(), "me", &Secret::new("hunter2")).await.unwrap_err();
        assert!(matches!(error.fault, Fault::Refused { .. }), "{error}");
        assert!(!error.to_string().contains("hunter2"));
    }
}
