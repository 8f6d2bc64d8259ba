//! The fault matrix, for pushing and for pulling; and a thousand pushes through a registry that fails by chance.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gantry_oci::{BlobSource, BytesSource, Digest, ImagePort, Reference, media_type};
use gantry_registry::{Registry, RegistryConfig, RegistryError, RetryPolicy};
use gantry_testkit::fault_matrix::{self, FaultRow, PASSWORD, USER};
use gantry_testkit::{Access, BuiltImage, FakeRegistry, ImageTarget, chaos};

use super::{Wallet, config};

const PUSHES: usize = 1000;
/// As many as a busy machine runs, and enough that a second is not wasted on a wait.
const AT_ONCE: usize = 32;
const PROBABILITY: f64 = 0.2;
/// What faults may cost: bytes of blobs that arrive, in relation to those of the images.
const MOST_BYTES: f64 = 1.3;

fn matrix_client() -> Registry {
    Registry::new(RegistryConfig { credentials: Arc::new(Wallet::new(USER, PASSWORD)), ..config() })
}

async fn push(client: &Registry, target: &Reference, image: &BuiltImage) -> Result<(), RegistryError> {
    for blob in &image.blobs {
        client.push_blob(target, &BytesSource::new(blob.clone()), Some("base")).await?;
    }
    client.push_manifest_by_digest(target, media_type::MANIFEST, &image.bytes).await?;
    client.head(target).await?;
    client.push_tag(target, media_type::MANIFEST, &image.bytes).await.map(drop)
}

fn assert_stored(registry: &FakeRegistry, repository: &str, tag: &str, image: &BuiltImage, row: &str) {
    let (digest, _, bytes) = registry.manifest(repository, tag).unwrap_or_else(|| panic!("{row}: no tag"));
    assert_eq!((digest, &bytes[..]), (image.digest(), &image.bytes[..]), "{row}");
    for blob in &image.blobs {
        let stored = registry.blob(repository, &Digest::of(blob)).unwrap_or_else(|| panic!("{row}: no blob"));
        assert!(stored[..] == blob[..], "{row}: a blob is wrong");
    }
}

async fn pull(client: &Registry, reference: &Reference) -> Result<Vec<Vec<u8>>, gantry_oci::ImageError> {
    let resolved = ImagePort::resolve(client, reference, &"linux/arm64".parse().unwrap()).await?;
    let manifest: gantry_oci::Manifest = serde_json::from_slice(&resolved.manifest.1).unwrap();
    let mut blobs = Vec::new();
    for layer in &manifest.layers {
        let mut bytes = Vec::new();
        ImagePort::fetch(client, reference, layer, &mut bytes).await?;
        blobs.push(bytes);
    }
    blobs.push(resolved.config);
    Ok(blobs)
}

async fn push_row(row: &FaultRow, image: &BuiltImage) {
    let registry = FakeRegistry::start();
    (row.install)(&registry);
    let target = registry.reference("team/app:1");
    if let Err(error) = push(&matrix_client(), &target, image).await {
        panic!("{}: {error}\n{:#?}", row.name, registry.log());
    }
    assert_stored(&registry, "team/app", "1", image, row.name);
}

#[tokio::test]
async fn every_row_is_survived_by_a_push() {
    let [image, _] = fault_matrix::images();
    let rows = fault_matrix::rows().into_iter().filter(|row| row.on.pushes());
    futures_util::future::join_all(rows.map(|row| {
        let image = image.clone();
        async move { push_row(&row, &image).await }
    }))
    .await;
}

#[tokio::test]
async fn every_row_is_survived_by_a_pull() {
    let images = fault_matrix::images();
    let rows = fault_matrix::rows().into_iter().filter(|row| row.on.pulls());
    let all = rows.map(|row| {
        let images = images.clone();
        async move {
            let registry = FakeRegistry::start();
            BuiltImage::push_index(&images, &registry, "team/app", "1");
            (row.install)(&registry);
            match pull(&matrix_client(), &registry.reference("team/app:1")).await {
                Ok(blobs) => assert!(blobs == images[1].blobs, "{}: wrong bytes", row.name),
                Err(error) => panic!("{}: {error}\n{:#?}", row.name, registry.log()),
            }
        }
    });
    futures_util::future::join_all(all).await;
}

#[tokio::test]
async fn fatal_rows_end_in_their_class_of_error() {
    let images = fault_matrix::images();
    for row in fault_matrix::fatal_rows() {
        let registry = FakeRegistry::start();
        BuiltImage::push_index(&images, &registry, "team/app", "1");
        (row.install)(&registry);
        if row.on.pushes() {
            let error = push(&matrix_client(), &registry.reference("new:1"), &images[0]).await.unwrap_err();
            assert_eq!(error.kind(), row.kind, "pushing, {}: {error}", row.name);
        }
        if row.on.pulls() {
            let error = pull(&matrix_client(), &registry.reference("team/app:1")).await.unwrap_err();
            assert_eq!(error.kind, row.kind, "pulling, {}: {error}", row.name);
        }
        assert!(registry.manifest("new", "1").is_none(), "{}", row.name);
        assert!(registry.log().len() < 60, "{}: {} requests", row.name, registry.log().len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_pushes_through_a_registry_that_fails_one_time_in_five() {
    let registry = FakeRegistry::with_access(Access::bearer(USER, PASSWORD, Duration::from_secs(3600)));
    registry.on_request(chaos(7, PROBABILITY));
    let [image, _] = fault_matrix::images();
    // As often as faults come here, the default would give up one request of some hundred thousand.
    let retry = RetryPolicy {
        tries: 15,
        first_delay: Duration::from_micros(100),
        longest_delay: Duration::from_millis(5),
        ..RetryPolicy::default()
    };
    let credentials = Arc::new(Wallet::new(USER, PASSWORD));
    let start = Instant::now();
    let workers = (0..AT_ONCE).map(|worker| {
        // A client each: one alone has few connections to a registry.
        let config = RegistryConfig { credentials: credentials.clone(), retry: retry.clone(), ..config() };
        let (client, host, image) = (Registry::new(config), registry.host(), image.clone());
        tokio::spawn(async move {
            for push_number in (worker..PUSHES).step_by(AT_ONCE) {
                let target: Reference = format!("{host}/app{push_number}:1").parse().unwrap();
                push(&client, &target, &image).await.unwrap();
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.unwrap();
    }
    for number in 0..PUSHES {
        assert_stored(&registry, &format!("app{number}"), "1", &image, "chaos");
    }
    let wanted: usize = image.blobs.iter().map(Vec::len).sum::<usize>() * PUSHES;
    let ratio = registry.uploaded_bytes() as f64 / wanted as f64;
    assert!(ratio <= MOST_BYTES, "{ratio} of the bytes were sent, in {:?}", start.elapsed());
}

#[tokio::test]
async fn a_pull_survives_chance_too() {
    let registry = FakeRegistry::with_access(Access::bearer(USER, PASSWORD, Duration::from_secs(3600)));
    let images = fault_matrix::images();
    BuiltImage::push_index(&images, &registry, "team/app", "1");
    registry.on_request(chaos(11, PROBABILITY));
    for _ in 0..50 {
        let blobs = pull(&matrix_client(), &registry.reference("team/app:1")).await.unwrap();
        assert!(blobs == images[1].blobs);
    }
}

#[tokio::test]
async fn what_arrived_is_not_sent_again() {
    let [image, _] = fault_matrix::images();
    let large = BytesSource::new(image.blobs.iter().max_by_key(|blob| blob.len()).unwrap().clone());
    for name in [
        "401 with challenge in mid-body",
        "401 without challenge in mid-body",
        "503 in mid-body",
        "reset in mid-body",
        "closed in mid-body, twice",
        "the answer to a complete upload is lost",
        "413 before the body",
        "413, and a chunk is lost",
    ] {
        let row = fault_matrix::rows().into_iter().find(|row| row.name == name).unwrap();
        let registry = FakeRegistry::start();
        (row.install)(&registry);
        matrix_client().push_blob(&registry.reference("app"), &large, None).await.unwrap();
        assert_eq!(registry.uploaded_bytes(), large.size(), "{name}: {:#?}", registry.log());
    }
}

#[tokio::test]
async fn a_tag_that_cannot_be_moved_is_no_error_if_it_is_ours() {
    let registry = FakeRegistry::start();
    registry.set_quirks(&[gantry_testkit::Quirk::ImmutableTags]);
    let [ours, other] = fault_matrix::images();
    ours.push(&registry, "app", Some("1"));
    let client = matrix_client();
    let target = registry.reference("app:1");
    client.push_tag(&target, media_type::MANIFEST, &ours.bytes).await.unwrap();
    other.push(&registry, "app", None);
    let error = client.push_tag(&target, media_type::MANIFEST, &other.bytes).await.unwrap_err();
    assert!(error.to_string().contains("TAG_INVALID"), "{error}");
}
