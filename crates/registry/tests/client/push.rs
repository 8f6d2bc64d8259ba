//! Writing: what is not sent twice, what survives which fault, what is refused.

use std::io::{self, Read};

use gantry_oci::{BlobSource, BytesSource, Descriptor, Digest, media_type};
use gantry_registry::{Precondition, Uploaded};
use gantry_testkit::{Entry, FakeRegistry, Fault, ImageBuilder, ImageTarget};

use super::client;

fn large() -> BytesSource {
    BytesSource::new((0..1_000_000u32).flat_map(|number| number.to_le_bytes()).collect())
}

fn is_upload(seen: &gantry_testkit::Seen<'_>) -> bool {
    seen.method == "PUT" && seen.path.contains("/blobs/uploads/")
}

#[tokio::test]
async fn an_image_is_pushed_and_nothing_is_sent_twice() {
    let registry = FakeRegistry::start();
    let image = ImageBuilder::new("linux/amd64").layer(&[Entry::file("a", "b")]).build();
    let (client, target) = (client(), registry.reference("team/app:1"));
    for blob in &image.blobs {
        let source = BytesSource::new(blob.clone());
        let sent = Uploaded::Sent(blob.len() as u64);
        assert_eq!(client.push_blob(&target, &source, None).await.unwrap(), sent);
        assert_eq!(client.push_blob(&target, &source, None).await.unwrap(), Uploaded::Existed);
    }
    let digest = client.push_manifest_by_digest(&target, media_type::MANIFEST, &image.bytes).await.unwrap();
    assert_eq!(digest, image.digest());
    assert!(registry.manifest("team/app", "1").is_none(), "no tag yet");
    client.push_tag(&target, media_type::MANIFEST, &image.bytes).await.unwrap();
    let (stored, media_type, bytes) = registry.manifest("team/app", "1").unwrap();
    assert_eq!((stored, &media_type[..], &bytes[..]), (digest, media_type::MANIFEST, &image.bytes[..]));
}

#[tokio::test]
async fn mounts_and_what_becomes_of_those_that_fail() {
    let source = BytesSource::new(vec![7; 1000]);
    for (in_base, fault, expected) in [
        (true, None, Uploaded::Mounted),
        (false, None, Uploaded::Sent(1000)),
        (true, Some(Fault::status(401)), Uploaded::Sent(1000)),
        (true, Some(Fault::status(405)), Uploaded::Sent(1000)),
    ] {
        let registry = FakeRegistry::start();
        if in_base {
            registry.put_blob("base", &source_bytes(&source));
        }
        let mut faults = fault.into_iter();
        registry.on_request(move |seen| if seen.method == "POST" { faults.next() } else { None });
        let uploaded = client().push_blob(&registry.reference("app"), &source, Some("base")).await.unwrap();
        assert_eq!(uploaded, expected);
        assert!(registry.blob("app", &source.digest()).is_some());
    }
}

#[tokio::test]
async fn a_mount_that_becomes_an_upload_uses_the_session_that_it_got() {
    let registry = FakeRegistry::start();
    client().push_blob(&registry.reference("app"), &large(), Some("base")).await.unwrap();
    assert_eq!(registry.logged("POST", "/blobs/uploads/").len(), 1);
}

fn source_bytes(source: &impl BlobSource) -> Vec<u8> {
    let mut bytes = Vec::new();
    source.open(0).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

#[tokio::test]
async fn an_upload_that_breaks_off_goes_on_where_the_registry_says() {
    let registry = FakeRegistry::start();
    let source = large();
    let mut faults = vec![Fault::Drop { after: 1_500_000 }, Fault::Drop { after: 1_000_000 }];
    registry.on_request(move |seen| if is_upload(seen) { faults.pop() } else { None });
    client().push_blob(&registry.reference("app"), &source, None).await.unwrap();
    assert!(registry.blob("app", &source.digest()).is_some());
    let puts: Vec<_> = registry
        .logged("PUT", "/uploads/")
        .into_iter()
        .map(|one| (one.range, one.received, one.status))
        .collect();
    assert_eq!(
        puts,
        [
            (None, 1_000_000, None),
            (Some("1000000-3999999".to_owned()), 1_500_000, None),
            (Some("2500000-3999999".to_owned()), 1_500_000, Some(201)),
        ]
    );
}

#[tokio::test]
async fn faults_of_an_upload_that_are_survived() {
    for (fault, sessions) in [
        (Fault::status(503), 2),
        (Fault::status_with(429, "retry-after", "0"), 2),
        (Fault::Drop { after: 0 }, 2),
        (Fault::Drop { after: 4_000_000 }, 1),
    ] {
        let registry = FakeRegistry::start();
        let source = large();
        let mut faults = Some(fault.clone()).into_iter();
        registry.on_request(move |seen| if is_upload(seen) { faults.next() } else { None });
        client().push_blob(&registry.reference("app"), &source, None).await.unwrap();
        assert!(registry.blob("app", &source.digest()).is_some(), "{fault:?}");
        assert_eq!(registry.logged("POST", "/uploads/").len(), sessions, "{fault:?}");
    }
}

#[tokio::test]
async fn a_registry_that_is_wrong_about_offsets_gets_the_blob_from_the_start() {
    let registry = FakeRegistry::start();
    let source = large();
    let mut drop = Some(Fault::Drop { after: 1_000_000 });
    registry.on_request(move |seen| match (is_upload(seen), seen.method) {
        (true, _) => drop.take(),
        (false, "GET") => Some(Fault::Headers(vec![("range".to_owned(), "0-1999999".to_owned())])),
        _ => None,
    });
    client().push_blob(&registry.reference("app"), &source, None).await.unwrap();
    assert!(registry.blob("app", &source.digest()).is_some());
    assert_eq!(registry.logged("POST", "/uploads/").len(), 2);
}

#[tokio::test]
async fn an_upload_that_never_moves_is_given_up() {
    let registry = FakeRegistry::start();
    registry.on_request(|seen| {
        let moves = is_upload(seen) || seen.method == "PATCH";
        moves.then_some(Fault::Drop { after: 0 })
    });
    let error = client().push_blob(&registry.reference("app"), &large(), None).await.unwrap_err();
    assert!(error.to_string().contains("broke"), "{error}");
    // What is lost twice at the same place is tried in smaller requests.
    let [whole, chunks] = ["PUT", "PATCH"].map(|method| registry.logged(method, "/uploads/").len());
    assert_eq!((whole, chunks), (2, 6));
}

#[tokio::test]
async fn refusals_name_object_repository_and_reason() {
    let registry = FakeRegistry::start();
    let body = br#"{"errors":[{"code":"DENIED","message":"quota exceeded"}]}"#.to_vec();
    registry.on_request(move |seen| {
        is_upload(seen).then(|| Fault::Answer { status: 403, headers: vec![], body: body.clone() })
    });
    let source = BytesSource::new(vec![1, 2, 3]);
    let error = client().push_blob(&registry.reference("team/app"), &source, None).await.unwrap_err();
    let expected = format!(
        "pushing blob {} to {}/team/app: 403 Forbidden: DENIED: quota exceeded",
        source.digest(),
        registry.host()
    );
    assert_eq!(error.to_string(), expected);
    assert_eq!(registry.logged("PUT", "/uploads/").len(), 1);
    assert_eq!(registry.logged("DELETE", "/uploads/").len(), 1, "the session is given back");
}

#[tokio::test]
async fn a_blob_that_is_rejected_from_the_start_is_not_sent_again() {
    let registry = FakeRegistry::start();
    registry.on_request(|seen| is_upload(seen).then(|| Fault::LateAnswer { status: 400, headers: vec![] }));
    let error = client().push_blob(&registry.reference("app"), &large(), None).await.unwrap_err();
    assert!(error.to_string().ends_with("400 Bad Request"), "{error}");
    assert_eq!(registry.logged("PUT", "/uploads/").len(), 1);
}

#[tokio::test]
async fn what_a_registry_claims_to_have_stored_is_compared() {
    let registry = FakeRegistry::start();
    let lie = Fault::Headers(vec![("docker-content-digest".to_owned(), Digest::of("other").to_string())]);
    registry.on_request(move |seen| (seen.method == "PUT").then(|| lie.clone()));
    let error =
        client().push_blob(&registry.reference("app"), &BytesSource::new(vec![1]), None).await.unwrap_err();
    assert!(error.to_string().contains("claims digest"), "{error}");
    let index = br#"{"schemaVersion":2,"manifests":[]}"#;
    let error = client().push_tag(&registry.reference("app:1"), media_type::INDEX, index).await.unwrap_err();
    assert!(error.to_string().contains("claims digest"), "{error}");
}

/// A blob that cannot be read to its end.
struct Broken;

impl BlobSource for Broken {
    fn digest(&self) -> Digest {
        Digest::of("broken")
    }

    fn size(&self) -> u64 {
        1_000_000
    }

    fn open(&self, _: u64) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(io::repeat(0).take(300_000)))
    }
}

#[tokio::test]
async fn a_source_that_cannot_be_read_is_not_the_registrys_fault() {
    let registry = FakeRegistry::start();
    let error = client().push_blob(&registry.reference("app"), &Broken, None).await.unwrap_err();
    assert!(
        error.to_string().ends_with("cannot read the bytes to send: the blob is shorter than its size"),
        "{error}"
    );
    assert_eq!(registry.logged("PUT", "/uploads/").len(), 1);
}

#[tokio::test]
async fn an_empty_blob_is_a_blob() {
    let registry = FakeRegistry::start();
    let source = BytesSource::new(Vec::new());
    client().push_blob(&registry.reference("app"), &source, None).await.unwrap();
    assert!(registry.blob("app", &source.digest()).is_some());
}

#[tokio::test]
async fn a_blob_is_mounted_without_its_bytes_or_not_at_all() {
    let registry = FakeRegistry::start();
    let bytes = b"a base layer".to_vec();
    let blob = Descriptor::of(media_type::LAYER_GZIP, &bytes);
    registry.put_blob("base", &bytes);
    let app = registry.reference("app");
    assert!(!client().mount_blob(&app, &blob, None).await.unwrap());
    assert_eq!(registry.logged("POST", "/uploads/"), [], "there is nothing to ask for");
    assert!(!client().mount_blob(&app, &blob, Some("elsewhere")).await.unwrap());
    assert_eq!(registry.logged("DELETE", "/uploads/").len(), 1, "the session is given back");
    assert!(client().mount_blob(&app, &blob, Some("base")).await.unwrap());
    assert!(client().mount_blob(&app, &blob, Some("elsewhere")).await.unwrap(), "it is there now");
    assert_eq!(registry.logged("POST", "/uploads/").len(), 2);
    assert_eq!(registry.logged("PUT", "/uploads/"), []);

    assert!(client().has_blob(&app, &blob).await.unwrap());
    assert!(!client().has_blob(&registry.reference("other"), &blob).await.unwrap());
    let longer = Descriptor { size: blob.size + 1, ..blob };
    let error = client().has_blob(&app, &longer).await.unwrap_err();
    assert!(error.to_string().ends_with("the registry has 12 bytes instead of 13"), "{error}");
}

#[tokio::test]
async fn a_tag_is_written_on_conditions() {
    let index = br#"{"schemaVersion":2,"manifests":[]}"#;
    let old = br#"{"schemaVersion":2,"manifests":[],"annotations":{"old":"1"}}"#;
    let before = Digest::of(old);
    let strong = "\"a name of the registry's own\"";
    for (etag, precondition, headers) in [
        (None, Precondition::None, [None, None]),
        (None, Precondition::Absent, [None, Some("*".to_owned())]),
        (Some(strong), Precondition::Still(before), [Some(strong.to_owned()), None]),
        (Some("W/\"weak\""), Precondition::Still(before), [None, None]),
        (None, Precondition::Still(before), [None, None]),
        // Our own first try, whose answer was lost.
        (Some(strong), Precondition::Still(Digest::of("long gone")), [None, None]),
    ] {
        let registry = FakeRegistry::start();
        let there: &[u8] =
            if precondition == Precondition::Still(Digest::of("long gone")) { index } else { old };
        registry.put_manifest("app", Some("1"), media_type::INDEX, there);
        registry.on_request(move |seen| {
            if seen.method != "PUT" {
                return etag.map(|etag| Fault::Headers(vec![("etag".to_owned(), etag.to_owned())]));
            }
            let found = ["if-match", "if-none-match"]
                .map(|name| seen.headers.get(name).map(|value| value.to_str().unwrap().to_owned()));
            (found != headers).then(|| Fault::status(412))
        });
        let tag = registry.reference("app:1");
        client().push_tag_if(&tag, (media_type::INDEX, index), precondition).await.unwrap();
        assert_eq!(registry.manifest("app", "1").unwrap().2, index[..], "{precondition:?}");
    }
}

#[tokio::test]
async fn a_tag_that_is_something_else_is_not_written() {
    let index = br#"{"schemaVersion":2,"manifests":[]}"#;
    let registry = FakeRegistry::start();
    let still = Precondition::Still(Digest::of("before"));
    for (there, message) in [(false, "it does not exist"), (true, "it points at sha256:")] {
        if there {
            registry.put_manifest("app", Some("1"), media_type::INDEX, b"{}");
        }
        let tag = registry.reference("app:1");
        let refused = client().push_tag_if(&tag, (media_type::INDEX, index), still).await.unwrap_err();
        let text = refused.to_string();
        assert!(text.contains("412 Precondition Failed") && text.contains(message), "{text}");
    }
    assert_eq!(registry.logged("PUT", "/manifests/"), []);
    registry.on_request(|_| Some(Fault::status(412)));
    let tag = registry.reference("app:1");
    let refused = client().push_tag_if(&tag, (media_type::INDEX, index), Precondition::Absent).await;
    assert!(refused.unwrap_err().to_string().contains("412 Precondition Failed"));
}
