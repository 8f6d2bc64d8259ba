//! Mirrors: what they are asked for, what they are believed, and which files name them.

use std::sync::Arc;

use gantry_oci::{BlobSource, BoxFuture, BytesSource, Descriptor, Digest, ImagePort, Reference, media_type};
use gantry_registry::{
    Connection, Credential, CredentialError, Credentials, Fault, HostRule, HostSettings, Hosts, Location,
    Mirror, Registry, RegistryConfig, RemoteBlob, Rights, Secret,
};
use gantry_testkit::{Access, Entry, FakeRegistry, Fault as Spoilt, ImageBuilder, ImageTarget};

use super::hosts::{client, machine, rule, stocked};
use super::{Told, config, platform};

/// Credentials by host; everybody else is nobody.
struct ByHost(Vec<(String, &'static str)>);

impl Credentials for ByHost {
    fn find<'a>(&'a self, host: &'a str, _: &'a str) -> BoxFuture<'a, Result<Credential, CredentialError>> {
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
