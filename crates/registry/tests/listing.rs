//! What a registry lists (tags, referrers), and blobs of one registry as sources for another.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic, as tests do")]

use std::io::Read;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gantry_oci::{BlobSource, Descriptor, Digest, Index, Manifest, media_type};
use gantry_registry::{
    Connection, HostPattern, HostRule, HostSettings, Hosts, Location, Mirror, Origin, Registry,
    RegistryConfig, RegistryError, RemoteBlob, RetryPolicy, Rights, listed_referrer,
};
use gantry_testkit::{FakeRegistry, Fault, ImageTarget};

fn client() -> Registry {
    let retry = RetryPolicy { first_delay: Duration::ZERO, ..RetryPolicy::default() };
    Registry::new(RegistryConfig { retry, ..RegistryConfig::default() })
}

/// An answer with this JSON.
fn json(body: &str, headers: &[(&str, String)]) -> Fault {
    let mut headers: Vec<_> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    headers.push(("content-type".to_owned(), media_type::INDEX.to_owned()));
    Fault::Answer { status: 200, headers, body: body.as_bytes().to_vec() }
}

/// Answers the requests whose path contains `part` with these, one after the other, the last for ever.
fn answers(registry: &FakeRegistry, part: &'static str, answers: Vec<Fault>) {
    let mut answers = answers.into_iter().peekable();
    let mut last = None;
    registry.on_request(move |seen| {
        if !seen.path.contains(part) {
            return None;
        }
        last = answers.next().or(last.take());
        last.clone()
    });
}

fn link(target: &str) -> (&'static str, String) {
    ("link", format!("<{target}>; rel=\"next\""))
}

#[tokio::test]
async fn tags_come_over_pages() {
    let registry = FakeRegistry::start();
    let repository = registry.reference("team/app");
    let absolute = format!("http://{}/v2/team/app/tags/list?n=1000&last=c", registry.host());
    answers(
        &registry,
        "/tags/list",
        vec![
            json(r#"{"name":"team/app","tags":["a","b"]}"#, &[link("/v2/team/app/tags/list?n=1000&last=b")]),
            json(r#"{"tags":["c"]}"#, &[link(&absolute)]),
            json(r#"{"tags":null}"#, &[]),
        ],
    );
    assert_eq!(client().tags(&repository).await.unwrap(), ["a", "b", "c"]);
    let queries: Vec<_> = registry.log().into_iter().map(|one| one.query).collect();
    assert_eq!(queries, ["n=1000", "n=1000&last=b", "n=1000&last=c"]);
}

#[tokio::test]
async fn pages_that_lead_nowhere_good_are_refused() {
    for (next, message) in [
        ("/v2/team/app/tags/list?n=1000", "lead in a circle"),
        ("http://127.0.0.1:1/v2/team/app/tags/list", "is on another server"),
        ("ftp://a/b", "not HTTP's"),
    ] {
        let registry = FakeRegistry::start();
        answers(&registry, "/tags/list", vec![json(r#"{"tags":["a"]}"#, &[link(next)])]);
        let error = client().tags(&registry.reference("team/app")).await.unwrap_err().to_string();
        assert!(error.contains(message), "{next}: {error}");
    }
    // Pages without end.
    let registry = FakeRegistry::start();
    let mut page = 0;
    registry.on_request(move |_| {
        page += 1;
        Some(json(r#"{"tags":["a"]}"#, &[link(&format!("?page={page}"))]))
    });
    let error = client().tags(&registry.reference("team/app")).await.unwrap_err().to_string();
    assert!(error.contains("more than 1000 pages"), "{error}");
    let registry = FakeRegistry::start();
    let error = client().tags(&registry.reference("team/none")).await.unwrap_err().to_string();
    assert!(error.contains("listing the tags of") && error.contains("404"), "{error}");
}

fn entry(name: &str, kind: &str) -> Descriptor {
    Descriptor {
        artifact_type: Some(kind.to_owned()),
        ..Descriptor::of(media_type::MANIFEST, name.as_bytes())
    }
}

fn index(entries: &[Descriptor]) -> String {
    serde_json::to_string(&Index::new(entries.to_vec())).unwrap()
}

#[tokio::test]
async fn referrers_by_the_api() {
    let registry = FakeRegistry::start();
    let subject = Digest::of("subject");
    let all = [entry("a", "test/a"), entry("b", "test/b"), entry("a", "test/a")];
    let install = |pages: Vec<Fault>| answers(&registry, "/referrers/", pages);
    let pages = || vec![json(&index(&all[..1]), &[link("?page=2")]), json(&index(&all[1..]), &[])];
    install(pages());
    let repository = registry.reference("team/app");
    let found = client().referrers(&repository, &subject, None).await.unwrap();
    assert_eq!(found, all[..2], "each once");
    install(pages());
    // The registry did not filter, though it was asked to.
    let found = client().referrers(&repository, &subject, Some("test/b")).await.unwrap();
    assert_eq!(found, all[1..2]);
    assert!(registry.log().iter().any(|one| one.query == "artifactType=test%2Fb"));
    install(vec![json("<html>", &[])]);
    assert!(client().referrers(&repository, &subject, None).await.is_err());
    install(vec![Fault::status(403)]);
    assert!(client().referrers(&repository, &subject, None).await.is_err(), "not taken for an absent API");
}

#[tokio::test]
async fn referrers_by_the_fallback_tag() {
    let registry = FakeRegistry::start();
    let subject = Digest::of("subject");
    let repository = registry.reference("team/app");
    let client = client();
    assert_eq!(client.referrers(&repository, &subject, None).await.unwrap(), []);
    let tag = subject.to_string().replace(':', "-");
    registry.put_manifest("team/app", Some(&tag), media_type::INDEX, index(&[entry("a", "x")]).as_bytes());
    assert_eq!(client.referrers(&repository, &subject, None).await.unwrap(), [entry("a", "x")]);
    assert_eq!(client.referrers(&repository, &subject, Some("y")).await.unwrap(), []);
    registry.put_manifest("team/app", Some(&tag), media_type::MANIFEST, b"{}");
    assert_eq!(client.referrers(&repository, &subject, None).await.unwrap(), [], "no index, no referrers");
}

/// A manifest with a subject, whose blobs are in the repository.
fn referrer(registry: &FakeRegistry, subject: &Digest, kind: &str) -> Vec<u8> {
    registry.put_blob("team/app", b"{}");
    let config = Descriptor::of("application/vnd.oci.empty.v1+json", b"{}");
    let mut manifest = Manifest::new(config.clone(), vec![config]);
    manifest.annotations.insert("kind".into(), kind.into());
    manifest.extra.insert("artifactType".into(), kind.into());
    let subject = Descriptor::new(media_type::MANIFEST, *subject, 7);
    manifest.extra.insert("subject".into(), serde_json::to_value(subject).unwrap());
    serde_json::to_vec(&manifest).unwrap()
}

fn listed(registry: &FakeRegistry, subject: &Digest) -> Vec<Descriptor> {
    let tag = subject.to_string().replace(':', "-");
    let Some((_, _, bytes)) = registry.manifest("team/app", &tag) else { return Vec::new() };
    serde_json::from_slice::<Index>(&bytes).unwrap().manifests
}

/// Pushes a manifest and lists it.
async fn push(registry: &FakeRegistry, bytes: &[u8]) -> Result<(), RegistryError> {
    let (client, repository) = (client(), registry.reference("team/app"));
    client.push_manifest_by_digest(&repository, media_type::MANIFEST, bytes).await?;
    let (subject, entry) = listed_referrer(media_type::MANIFEST, bytes).unwrap();
    client.list_referrers(&repository, &subject, &[entry]).await
}

#[tokio::test]
async fn referrers_are_listed_where_the_registry_does_not() {
    let registry = FakeRegistry::start();
    let subject = Digest::of("subject");
    let documents = ["a", "b", "c", "d"].map(|kind| referrer(&registry, &subject, kind));
    let (client, repository) = (client(), registry.reference("team/app"));
    client.push_manifest_by_digest(&repository, media_type::MANIFEST, &documents[0]).await.unwrap();
    assert_eq!(listed(&registry, &subject), [], "a push by digest writes no tag");
    let pushes = documents.iter().map(|bytes| push(&registry, bytes));
    for pushed in futures_util::future::join_all(pushes).await {
        pushed.unwrap();
    }
    let mut found = listed(&registry, &subject);
    found.sort_by_key(|entry| entry.artifact_type.clone());
    let kinds: Vec<_> = found.iter().filter_map(|entry| entry.artifact_type.as_deref()).collect();
    assert_eq!(kinds, ["a", "b", "c", "d"], "none overwrites another");
    assert_eq!(found[0].digest, Digest::of(&documents[0]));
    assert_eq!(found[0].annotations["kind"], "a");
    push(&registry, &documents[0]).await.unwrap();
    assert_eq!(listed(&registry, &subject).len(), 4, "no duplicates");

    let other = Digest::of("other");
    answers(&registry, "/referrers/", vec![json(&index(&[]), &[])]);
    push(&registry, &referrer(&registry, &other, "a")).await.unwrap();
    assert_eq!(listed(&registry, &other), [], "the registry keeps its own list");
}

#[tokio::test]
async fn what_is_no_list_stays() {
    let registry = FakeRegistry::start();
    let subject = Digest::of("subject");
    let tag = subject.to_string().replace(':', "-");
    let before = registry.put_manifest("team/app", Some(&tag), media_type::MANIFEST, b"{}");
    let error = push(&registry, &referrer(&registry, &subject, "a")).await.unwrap_err().to_string();
    assert!(error.contains("is no index"), "{error}");
    assert_eq!(registry.manifest("team/app", &tag).unwrap().0, before);
}

#[tokio::test]
async fn a_list_that_changed_meanwhile_is_read_again() {
    for etag in [None, Some("\"1\"")] {
        let registry = FakeRegistry::start();
        let subject = Digest::of("subject");
        let tag = subject.to_string().replace(':', "-");
        let old = index(&[entry("old", "x")]);
        registry.put_manifest("team/app", None, media_type::MANIFEST, b"old");
        if etag.is_some() {
            registry.put_manifest("team/app", Some(&tag), media_type::INDEX, old.as_bytes());
        }
        let conditions = Arc::new(Mutex::new(Vec::new()));
        let seen_conditions = Arc::clone(&conditions);
        registry.on_request(move |seen| {
            if !seen.path.ends_with(&tag) {
                return None;
            }
            if seen.method == "GET" {
                return etag.map(|etag| Fault::Headers(vec![("etag".into(), etag.into())]));
            }
            let text = |name: &str| seen.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
            let mut conditions = seen_conditions.lock().unwrap();
            conditions.push((text("if-match"), text("if-none-match")));
            (conditions.len() == 1).then(|| Fault::LateAnswer { status: 412, headers: vec![] })
        });
        push(&registry, &referrer(&registry, &subject, "a")).await.unwrap();
        assert_eq!(listed(&registry, &subject).len(), 1 + usize::from(etag.is_some()));
        let wanted = match etag {
            Some(etag) => (Some(etag.to_owned()), None),
            None => (None, Some("*".to_owned())),
        };
        assert_eq!(*conditions.lock().unwrap(), [wanted.clone(), wanted], "one was refused");
    }
}

/// Reads a source on a thread, as an upload does.
async fn read(blob: &RemoteBlob, offset: u64) -> std::io::Result<Vec<u8>> {
    let mut reader = blob.open(offset)?;
    tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map(|_| bytes)
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn a_remote_blob_can_be_opened_anywhere_and_is_taken_up_where_it_broke_off() {
    let registry = FakeRegistry::start();
    let content: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let digest = registry.put_blob("team/app", &content);
    let (client, repository) = (client(), registry.reference("team/app"));
    let blob = RemoteBlob::find(&client, &repository, &digest).await.unwrap().unwrap();
    assert_eq!((blob.digest(), blob.size()), (digest, content.len() as u64));
    let mut cut = 3;
    registry.on_request(move |seen| {
        cut -= i32::from(seen.method == "GET");
        (seen.method == "GET" && cut >= 0).then_some(Fault::Truncate { after: 250_000 })
    });
    assert!(read(&blob, 0).await.unwrap() == content);
    let ranges: Vec<_> = registry.logged("GET", "/blobs/").into_iter().map(|one| one.range).collect();
    assert_eq!(ranges.len(), 4, "three were cut off");
    assert!(ranges[1..].iter().all(Option::is_some), "{ranges:?}");
    assert!(read(&blob, 1_000_001).await.unwrap() == content[1_000_001..]);
    assert!(read(&blob, content.len() as u64).await.unwrap().is_empty());
    assert!(RemoteBlob::find(&client, &repository, &Digest::of("none")).await.unwrap().is_none());
}

#[tokio::test]
async fn a_remote_blob_with_other_content_is_not_read_to_its_end() {
    let registry = FakeRegistry::start();
    let content = vec![1; 100_000];
    let digest = registry.put_blob("team/app", &content);
    let (client, repository) = (client(), registry.reference("team/app"));
    let blob = RemoteBlob::new(&client, &repository, &Descriptor::new("", digest, 100_000));
    for (body, message) in [
        (vec![2; 100_000], "instead of"),
        (vec![1; 100_001], "offers 100001 bytes instead of 100000"),
        (Vec::new(), "offers 0 bytes instead of 100000"),
    ] {
        registry.on_request(move |_| Some(Fault::Body(body.clone())));
        let error = read(&blob, 0).await.unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    registry.on_request(|_| None);
    assert!(read(&blob, 0).await.unwrap() == content, "another opening gets what is right");
}

#[tokio::test]
async fn a_remote_blob_is_read_like_any_other_whatever_stands_in_the_way() {
    let content: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let range = |value: &str| Fault::Answer {
        status: 206,
        headers: vec![("content-range".to_owned(), value.to_owned())],
        body: vec![0; 10],
    };
    for (faults, outcome) in [
        (vec![Fault::status(416)], None),
        (vec![range("bytes 250000-250009/400000")], Some("instead of `bytes 250000-399999/400000`")),
        (vec![range("bytes 250000-399999/400001")], Some("instead of `bytes 250000-399999/400000`")),
    ] {
        let registry = FakeRegistry::start();
        let digest = registry.put_blob("team/app", &content);
        let repository = registry.reference("team/app");
        let blob = RemoteBlob::new(&client(), &repository, &Descriptor::new("", digest, 400_000));
        let mut faults = [Fault::Truncate { after: 250_000 }].into_iter().chain(faults);
        registry.on_request(move |_| faults.next());
        match (read(&blob, 0).await, outcome) {
            (Ok(found), None) => assert!(found == content),
            (Err(error), Some(words)) => assert!(error.to_string().contains(words), "{error}"),
            (found, _) => panic!("{:?} instead of {outcome:?}", found.map(|bytes| bytes.len())),
        }
    }
}

#[tokio::test]
async fn a_mirror_that_cannot_serve_a_remote_blob_is_passed_over() {
    let content = vec![1; 100_000];
    let faults: [fn() -> Fault; 4] = [
        || Fault::Body(vec![1; 5]),
        || Fault::Truncate { after: 50_000 },
        || Fault::status_with(206, "content-range", "bytes 1-2/3"),
        || Fault::status(503),
    ];
    for fault in faults {
        let (registry, mirror) = (FakeRegistry::start(), FakeRegistry::start());
        let digest = registry.put_blob("app", &content);
        mirror.put_blob("app", &content);
        mirror.on_request(move |_| Some(fault()));
        let location = Location::of_names(&format!("http://{}", mirror.host())).unwrap();
        let mirrors = Some(vec![Mirror {
            location,
            rights: Rights::READ,
            proxy: false,
            connection: Connection::default(),
        }]);
        let rule = HostRule {
            pattern: HostPattern::Prefix(registry.host()),
            origin: Origin::new("test", ""),
            settings: HostSettings { mirrors, ..HostSettings::default() },
        };
        let retry = RetryPolicy { first_delay: Duration::ZERO, ..RetryPolicy::default() };
        let hosts = Arc::new(Hosts::new(vec![rule]));
        let client = Registry::new(RegistryConfig { retry, hosts, ..RegistryConfig::default() });
        let blob =
            RemoteBlob::new(&client, &registry.reference("app"), &Descriptor::new("", digest, 100_000));
        assert!(read(&blob, 0).await.unwrap() == content);
        assert!(!mirror.log().is_empty());
    }
}
