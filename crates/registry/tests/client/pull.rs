//! Resolving and reading: what is verified, what is resumed, which platform is taken.

use std::sync::Arc;

use gantry_oci::{Descriptor, Digest, ImageErrorKind, ImagePort, Index, media_type};
use gantry_registry::{Fault as RegistryFault, PlainHttp, Registry, RegistryConfig};
use gantry_testkit::{BuiltImage, Entry, FakeRegistry, Fault, ImageBuilder, ImageTarget};

use super::{client, config, platform};

fn image(platform: &str) -> BuiltImage {
    ImageBuilder::new(platform).layer(&[Entry::file("etc/platform", platform)]).build()
}

fn large_blob() -> Vec<u8> {
    (0..1_000_000u32).flat_map(|number| number.to_le_bytes()).collect()
}

async fn fetch(
    registry: &FakeRegistry,
    blob: &Descriptor,
) -> Result<Vec<u8>, gantry_registry::RegistryError> {
    let mut bytes = Vec::new();
    client().fetch_blob(&registry.reference("app"), blob, &mut bytes).await.map(|()| bytes)
}

#[tokio::test]
async fn an_image_is_resolved_and_its_blobs_are_read() {
    let registry = FakeRegistry::start();
    let built = image("linux/amd64");
    let digest = built.push(&registry, "team/app", Some("1"));
    let client = client();
    let reference = registry.reference("team/app:1");
    let resolved = client.resolve(&reference).await.unwrap();
    assert_eq!(
        (resolved.digest, &resolved.media_type[..], &resolved.bytes),
        (digest, media_type::MANIFEST, &built.bytes)
    );
    let head = client.head(&reference).await.unwrap().unwrap();
    assert_eq!((head.digest, head.size), (digest, built.bytes.len() as u64));
    assert_eq!(client.head(&registry.reference("team/app:2")).await.unwrap(), None);
    assert_eq!(client.manifest(&reference, &digest).await.unwrap().bytes, built.bytes);
    let layer = &built.manifest.layers[0];
    assert!(client.has_blob(&reference, layer).await.unwrap());
    assert!(client.blob_head(&reference, &Digest::of("other")).await.unwrap().is_none());
    let mut bytes = Vec::new();
    client.fetch_blob(&reference, layer, &mut bytes).await.unwrap();
    assert_eq!(Digest::of(&bytes), layer.digest);
}

#[tokio::test]
async fn an_index_gives_the_best_platform_and_says_what_it_has() {
    let registry = FakeRegistry::start();
    let images = ["linux/amd64", "linux/arm/v6", "linux/arm/v5", "linux/arm64"].map(image);
    let index = BuiltImage::push_index(&images, &registry, "app", "1");
    let client = client();
    let reference = registry.reference("app:1");
    for (wanted, expected) in [
        ("linux/amd64", 0),
        ("linux/amd64/v3", 0),
        ("linux/arm/v7", 1),
        ("linux/arm/v5", 2),
        ("linux/arm64", 3),
    ] {
        let resolved = ImagePort::resolve(&client, &reference, &platform(wanted)).await.unwrap();
        assert_eq!(resolved.manifest.0, images[expected].digest(), "{wanted}");
        assert_eq!(resolved.config, images[expected].config, "{wanted}");
        assert_eq!(resolved.reference.digest(), Some(&index), "{wanted}");
    }
    let error = ImagePort::resolve(&client, &reference, &platform("linux/riscv64")).await.unwrap_err();
    assert_eq!(error.kind, ImageErrorKind::NoPlatform);
    let expected =
        "the image has no linux/riscv64: it has linux/amd64, linux/arm/v5, linux/arm/v6, linux/arm64";
    assert!(error.message.ends_with(expected), "{}", error.message);
    assert_eq!(registry.logged("GET", "/manifests/1").len(), 1, "the tag is looked up once");
}

#[tokio::test]
async fn attestations_are_passed_over_nested_indexes_are_searched_unnamed_platforms_are_opened() {
    let registry = FakeRegistry::start();
    let (amd64, arm64) = (image("linux/amd64"), image("linux/arm64"));
    let inner = BuiltImage::push_index(std::slice::from_ref(&arm64), &registry, "app", "inner");
    let inner_size = registry.manifest("app", "inner").unwrap().2.len() as u64;
    amd64.push(&registry, "app", None);
    let mut attestation = image("linux/s390x").descriptor();
    attestation.annotations.insert("vnd.docker.reference.type".into(), "attestation-manifest".into());
    let mut unnamed = amd64.descriptor();
    unnamed.platform = None;
    let nested = Descriptor::new(media_type::INDEX, inner, inner_size);
    let index = serde_json::to_vec(&Index::new(vec![attestation, nested, unnamed])).unwrap();
    registry.put_manifest("app", Some("1"), media_type::INDEX, &index);
    let client = client();
    let reference = registry.reference("app:1");
    for expected in [&amd64, &arm64] {
        let wanted = expected.descriptor().platform.unwrap();
        let resolved = ImagePort::resolve(&client, &reference, &wanted).await.unwrap();
        assert_eq!(resolved.manifest.0, expected.digest());
    }
    let error = ImagePort::resolve(&client, &reference, &platform("linux/s390x")).await.unwrap_err();
    assert!(error.message.ends_with("it has linux/amd64, linux/arm64"), "{}", error.message);
}

#[tokio::test]
async fn artifacts_beside_an_image_are_no_platform_and_only_so_many_entries_are_opened() {
    let registry = FakeRegistry::start();
    let built = image("linux/amd64");
    built.push(&registry, "app", None);
    let unnamed = |number: usize| {
        let config = format!("no JSON {number}").into_bytes();
        registry.put_blob("app", &config);
        let config = Descriptor::of("application/vnd.test.config", &config);
        let manifest = serde_json::to_vec(&gantry_oci::Manifest::new(config, vec![])).unwrap();
        registry.put_manifest("app", None, media_type::MANIFEST, &manifest);
        Descriptor::of(media_type::MANIFEST, &manifest)
    };
    let reference = registry.reference("app:1");
    for artifacts in [1, 30] {
        let mut entries: Vec<_> = (0..artifacts).map(unnamed).collect();
        entries.push(built.descriptor());
        let index = serde_json::to_vec(&Index::new(entries)).unwrap();
        registry.put_manifest("app", Some("1"), media_type::INDEX, &index);
        let before = registry.logged("GET", "/manifests/").len();
        let resolved = ImagePort::resolve(&client(), &reference, &platform("linux/amd64")).await.unwrap();
        assert_eq!(resolved.manifest.0, built.digest());
        let opened = registry.logged("GET", "/manifests/").len() - before;
        assert_eq!(opened, 2 + artifacts.min(16), "the index, the artifacts, the image");
        let error = ImagePort::resolve(&client(), &reference, &platform("linux/arm64")).await.unwrap_err();
        let words = if artifacts > 16 { "more than 16 entries" } else { "it has linux/amd64" };
        assert!(error.message.contains(words), "{error}");
    }
}

#[tokio::test]
async fn an_image_without_index_has_the_platform_of_its_config() {
    let registry = FakeRegistry::start();
    image("linux/arm64").push(&registry, "app", Some("1"));
    let reference = registry.reference("app:1");
    assert!(ImagePort::resolve(&client(), &reference, &platform("linux/arm64")).await.is_ok());
    let error = ImagePort::resolve(&client(), &reference, &platform("linux/amd64")).await.unwrap_err();
    assert_eq!(error.kind, ImageErrorKind::NoPlatform);
}

#[tokio::test]
async fn one_digest_for_all_platforms_even_if_the_tag_moves() {
    let registry = FakeRegistry::start();
    let first = BuiltImage::push_index(&["linux/amd64", "linux/arm64"].map(image), &registry, "app", "1");
    let (client, reference) = (client(), registry.reference("app:1"));
    let (amd64, arm64) = (platform("linux/amd64"), platform("linux/arm64"));
    let one = ImagePort::resolve(&client, &reference, &amd64).await.unwrap();
    BuiltImage::push_index(&["linux/arm64"].map(image), &registry, "app", "1");
    let two = ImagePort::resolve(&client, &reference, &arm64).await.unwrap();
    assert_eq!([one.reference.digest(), two.reference.digest()], [Some(&first); 2]);
}

#[tokio::test]
async fn concurrent_lookups_of_a_tag_are_one_request() {
    let registry = FakeRegistry::start();
    BuiltImage::push_index(&["linux/amd64", "linux/arm64"].map(image), &registry, "app", "1");
    let (client, reference) = (client(), registry.reference("app:1"));
    let (amd64, arm64) = (platform("linux/amd64"), platform("linux/arm64"));
    let (one, two) = tokio::join!(
        ImagePort::resolve(&client, &reference, &amd64),
        ImagePort::resolve(&client, &reference, &arm64)
    );
    assert!(one.is_ok() && two.is_ok());
    assert_eq!(registry.logged("GET", "/manifests/1").len(), 1);
}

#[tokio::test]
async fn truncated_downloads_are_resumed_where_they_broke_off() {
    let registry = FakeRegistry::start();
    let bytes = large_blob();
    registry.put_blob("app", &bytes);
    let mut faults = vec![Fault::Truncate { after: 1_500_000 }, Fault::Truncate { after: 1_000_000 }];
    registry.on_request(move |seen| seen.path.contains("/blobs/").then(|| faults.pop()).flatten());
    let fetched = fetch(&registry, &Descriptor::of("x", &bytes)).await.unwrap();
    assert!(fetched == bytes);
    let ranges: Vec<_> = registry.logged("GET", "/blobs/").into_iter().map(|one| one.range).collect();
    assert_eq!(ranges, [None, Some("bytes=1000000-".to_owned()), Some("bytes=2500000-".to_owned())]);
}

#[tokio::test]
async fn a_server_without_ranges_is_resumed_by_skipping() {
    let registry = FakeRegistry::start();
    let bytes = large_blob();
    registry.put_blob("app", &bytes);
    let whole = Fault::Answer { status: 200, headers: vec![], body: bytes.clone() };
    let mut faults = vec![whole, Fault::Truncate { after: 1_000_000 }];
    registry.on_request(move |_| faults.pop());
    assert!(fetch(&registry, &Descriptor::of("x", &bytes)).await.unwrap() == bytes);
}

#[tokio::test]
async fn content_that_is_not_what_was_promised_is_refused() {
    let registry = FakeRegistry::start();
    let bytes = b"0123456789".to_vec();
    let digest = registry.put_blob("app", &bytes);
    let blob = Descriptor::of("x", &bytes);
    let range = |value: &str| Fault::Answer {
        status: 206,
        headers: vec![("content-range".to_owned(), value.to_owned())],
        body: b"456789".to_vec(),
    };
    for (faults, message) in [
        (vec![Fault::Body(b"9876543210".to_vec())], "the content has digest"),
        (vec![Fault::Body(b"01234567890".to_vec())], "offers 11 bytes instead of 10"),
        (vec![Fault::Body(b"0123".to_vec())], "offers 4 bytes instead of 10"),
        (
            vec![Fault::Truncate { after: 4 }, range("bytes 3-9/10")],
            "sent range `bytes 3-9/10` instead of `bytes 4-9/10`",
        ),
        (vec![Fault::Truncate { after: 4 }, range("bytes 4-9/11")], "instead of `bytes 4-9/10`"),
    ] {
        let mut faults = faults.into_iter();
        registry.on_request(move |_| faults.next());
        let error = fetch(&registry, &blob).await.unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("pulling blob {digest} from ")) && error.contains(message),
            "{error}"
        );
    }
}

#[tokio::test]
async fn manifests_that_are_not_what_was_asked_for_are_refused() {
    let registry = FakeRegistry::start();
    let (built, other) = (image("linux/amd64"), image("linux/arm64"));
    let digest = built.push(&registry, "app", Some("1"));
    let lie = Fault::Headers(vec![("docker-content-digest".to_owned(), other.digest().to_string())]);
    for (reference, fault, message) in [
        (format!("app@{digest}"), Fault::Body(other.bytes.clone()), "sent content with digest"),
        ("app:1".to_owned(), Fault::Body(other.bytes.clone()), "claims digest"),
        ("app:1".to_owned(), lie, "claims digest"),
        ("app:1".to_owned(), Fault::Body(vec![b' '; 9 * 1024 * 1024]), "is larger than"),
    ] {
        registry.on_request(move |_| Some(fault.clone()));
        let error = client().resolve(&registry.reference(&reference)).await.unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    }
    let other_type =
        Fault::Headers(vec![("content-type".to_owned(), media_type::DOCKER_MANIFEST.to_owned())]);
    registry.on_request(move |_| Some(other_type.clone()));
    let error = ImagePort::resolve(&client(), &registry.reference("app:1"), &platform("linux/amd64"))
        .await
        .unwrap_err();
    assert_eq!(error.kind, ImageErrorKind::Corrupt, "{error}");
}

#[tokio::test]
async fn a_registry_that_is_busy_is_asked_again_when_it_says() {
    let registry = FakeRegistry::start();
    image("linux/amd64").push(&registry, "app", Some("1"));
    let mut faults =
        vec![Fault::status(500), Fault::Drop { after: 0 }, Fault::status_with(503, "retry-after", "1")];
    registry.on_request(move |_| faults.pop());
    let start = std::time::Instant::now();
    client().resolve(&registry.reference("app:1")).await.unwrap();
    assert!(start.elapsed() >= std::time::Duration::from_secs(1));
    let statuses: Vec<_> = registry.log().into_iter().map(|one| one.status).collect();
    assert_eq!(statuses, [Some(503), None, Some(500), Some(200)]);
}

#[tokio::test]
async fn what_is_not_there_and_who_is_not_there() {
    let registry = FakeRegistry::start();
    let error = client().resolve(&registry.reference("app:1")).await.unwrap_err();
    assert_eq!(error.kind(), ImageErrorKind::NotFound);
    assert!(
        error.to_string().ends_with("app:1: 404 Not Found: MANIFEST_UNKNOWN: manifest unknown"),
        "{error}"
    );
    let (host, reference) = (registry.host(), registry.reference("app:1"));
    drop(registry);
    let error = client().resolve(&reference).await.unwrap_err();
    let expected = format!("resolving {reference}: cannot reach registry `{host}`: connection refused");
    assert_eq!((error.to_string(), error.kind()), (expected, ImageErrorKind::Unavailable));
    assert!(matches!(&error.fault, RegistryFault::Unreachable { .. }) && !error.fault.hints().is_empty());
}

#[tokio::test]
async fn a_registry_without_tls_is_not_spoken_to_in_plain_http_unless_configured() {
    let registry = FakeRegistry::start();
    let hosts = super::speaks(&registry.host(), PlainHttp::No);
    let client = Registry::new(RegistryConfig { hosts, ..config() });
    let error = client.resolve(&registry.reference("app:1")).await.unwrap_err();
    let expected = format!("cannot speak TLS with registry `{}`: it does not answer in TLS", registry.host());
    assert!(error.to_string().ends_with(&expected), "{error}");
    assert_eq!(error.fault.hints().len(), 1);
    assert!(registry.log().is_empty());
}

#[tokio::test]
async fn many_downloads_at_a_time_all_arrive() {
    let registry = FakeRegistry::start();
    let blobs: Vec<Vec<u8>> = (0..40u8).map(|number| vec![number; 100_000]).collect();
    for blob in &blobs {
        registry.put_blob("app", blob);
    }
    let (client, reference) = (Arc::new(client()), registry.reference("app"));
    let all = blobs.iter().map(|blob| {
        let (client, reference) = (Arc::clone(&client), reference.clone());
        async move {
            let mut bytes = Vec::new();
            client.fetch_blob(&reference, &Descriptor::of("x", blob), &mut bytes).await.unwrap();
            bytes == *blob
        }
    });
    assert!(futures_util::future::join_all(all).await.into_iter().all(|equal| equal));
}

#[tokio::test]
async fn a_registry_that_is_busy_gets_fewer_requests_at_a_time() {
    let registry = FakeRegistry::start();
    registry.set_quirks(&[gantry_testkit::Quirk::Busy(2)]);
    let blobs: Vec<Vec<u8>> = (0..60u8).map(|number| vec![number; 200_000]).collect();
    for blob in &blobs {
        registry.put_blob("app", blob);
    }
    let (client, reference) = (client(), registry.reference("app"));
    let all = blobs.iter().map(|blob| async {
        let mut bytes = Vec::new();
        client.fetch_blob(&reference, &Descriptor::of("x", blob), &mut bytes).await.unwrap();
        bytes == *blob
    });
    assert!(futures_util::future::join_all(all).await.into_iter().all(|equal| equal));
    let refused = registry.log().iter().filter(|one| one.status == Some(429)).count();
    assert!(refused < 40, "{refused} of {} requests were refused", registry.log().len());
}

#[tokio::test]
async fn a_registry_that_cannot_go_on_where_it_broke_off_sends_all_of_it() {
    let registry = FakeRegistry::start();
    let bytes = large_blob();
    registry.put_blob("app", &bytes);
    let mut faults = vec![Fault::status(416), Fault::Truncate { after: 1_000_000 }];
    registry.on_request(move |_| faults.pop());
    assert!(fetch(&registry, &Descriptor::of("x", &bytes)).await.unwrap() == bytes);
}

#[tokio::test]
async fn many_looks_at_what_is_forbidden_do_not_wait_for_each_other() {
    let registry = FakeRegistry::start();
    registry.set_quirks(&[gantry_testkit::Quirk::ForbiddenHead]);
    let (client, names) = (client(), (0..12).map(|number| registry.reference(&format!("app:{number}"))));
    let names: Vec<_> = names.collect();
    let looks = futures_util::future::join_all(names.iter().map(|name| client.head(name)));
    // Each needs a second request while its first answer is still there: all slots once waited for one another.
    let found = tokio::time::timeout(std::time::Duration::from_secs(30), looks).await.unwrap();
    assert!(found.into_iter().all(|found| found.unwrap().is_none()));
}
