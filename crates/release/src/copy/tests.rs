//! Copies between fake registries and layouts: what arrives, what it costs, and what goes wrong.

use std::sync::{Arc, Weak};

use futures_util::{StreamExt, stream};
use gantry_oci::{Descriptor, Digest, ImageErrorKind, Manifest, media_type};
use gantry_testkit::{Access, Exchange, FakeRegistry, Fault, ImageBuilder, ImageTarget, fault_matrix};

use super::{Attached, CopyReport, CopyRequest, CopyState, PlatformForm, Platforms, Trust, copy};
use crate::error::{Class, Error};
use crate::image::Place;
use crate::image::testing::{contents, image, images, push_index};
use crate::image::{CreateRequest, CreateSource, create};
use crate::publish::TagPolicy;

/// Rows of the fault matrix tried at once.
const ROWS_AT_ONCE: usize = 8;

fn request(source: impl std::fmt::Display, destination: impl std::fmt::Display) -> CopyRequest {
    CopyRequest {
        source: source.to_string().parse().unwrap(),
        destination: destination.to_string().parse().unwrap(),
        platforms: None,
        attached: Attached::default(),
        trust: Trust::default(),
        policy: TagPolicy::Overwrite,
        all_tags: false,
    }
}

fn platforms(form: PlatformForm, names: &[&str]) -> Option<Platforms> {
    Some(Platforms { wanted: names.iter().map(|name| name.parse().unwrap()).collect(), form })
}

async fn run(request: &CopyRequest) -> Result<CopyReport, Error> {
    Ok(copy(&images().0, request).await?.swap_remove(0))
}

fn at(registry: &FakeRegistry, rest: &str) -> String {
    registry.reference(rest).to_string()
}

fn requests(registry: &FakeRegistry) -> Vec<String> {
    registry.log().iter().map(|one| format!("{} {}", one.method, one.path)).collect()
}

/// Bytes of bodies that a registry received or was asked for as blobs.
fn blob_bytes(log: &[Exchange]) -> u64 {
    let reads = log.iter().filter(|one| one.method == "GET" && one.path.contains("/blobs/")).count() as u64;
    reads + log.iter().filter(|one| one.path.contains("/blobs/")).map(|one| one.received).sum::<u64>()
}

#[tokio::test]
async fn every_byte_arrives_as_it_was_and_costs_nothing_the_second_time() {
    let (source, target) = (FakeRegistry::start(), FakeRegistry::start());
    let digest = push_index(&source, "team/app", "1", "x");
    let request = request(at(&source, "team/app:1"), at(&target, "copy/app:2"));
    let report = run(&request).await.unwrap();
    assert_eq!((report.state, report.digest, report.source_digest), (CopyState::Copied, digest, digest));
    assert_eq!(target.manifest("copy/app", "2"), source.manifest("team/app", "1"));
    assert_eq!(contents(&target, "copy/app", "2"), contents(&source, "team/app", "1"));
    // The tag is the last that is written.
    let written: Vec<_> = target.logged("PUT", "/manifests/");
    assert_eq!(written.last().unwrap().path, "/v2/copy/app/manifests/2");
    assert_eq!(target.logged("PUT", "/manifests/2").len(), 1);

    let before = (source.log().len(), target.log().len());
    let report = run(&request).await.unwrap();
    assert_eq!((report.state, report.bytes, report.mounts), (CopyState::UpToDate, 0, 0));
    assert_eq!(requests(&source)[before.0..], ["HEAD /v2/team/app/manifests/1"]);
    assert_eq!(requests(&target)[before.1..], ["HEAD /v2/copy/app/manifests/2"]);
}

#[tokio::test]
async fn inside_a_registry_no_blob_moves() {
    let registry = FakeRegistry::start();
    let digest = push_index(&registry, "team/app", "1", "x");
    let before = registry.log().len();
    let report = run(&request(at(&registry, "team/app:1"), at(&registry, "other/app:1"))).await.unwrap();
    assert_eq!((report.digest, report.bytes), (digest, 0));
    assert!(report.mounts > 0);
    assert_eq!(contents(&registry, "other/app", "1"), contents(&registry, "team/app", "1"));
    assert_eq!(blob_bytes(&registry.log()[before..]), 0);
    // In the same repository not even mounts are needed.
    let report = run(&request(at(&registry, "team/app:1"), at(&registry, "team/app:2"))).await.unwrap();
    assert_eq!((report.state, report.bytes, report.mounts), (CopyState::Copied, 0, 0));
    assert_eq!(registry.manifest("team/app", "2").unwrap().0, digest);
}

#[tokio::test]
async fn a_mount_that_is_refused_becomes_a_transfer_inside_the_registry() {
    let registry = FakeRegistry::start();
    push_index(&registry, "team/app", "1", "x");
    registry.set_quirks(&[gantry_testkit::Quirk::Mount(202)]);
    let report = run(&request(at(&registry, "team/app:1"), at(&registry, "other/app:1"))).await.unwrap();
    assert!(report.bytes > 0 && report.mounts == 0);
    assert_eq!(contents(&registry, "other/app", "1"), contents(&registry, "team/app", "1"));
}

#[tokio::test]
async fn of_copies_that_need_one_blob_one_sends_it() {
    let (source, target) = (FakeRegistry::start(), FakeRegistry::start());
    for tag in ["1", "2", "3"] {
        push_index(&source, "team/app", tag, tag);
    }
    let request = CopyRequest { all_tags: true, ..request(at(&source, "team/app"), at(&target, "copy/app")) };
    let reports = copy(&images().0, &request).await.unwrap();
    assert_eq!(reports.len(), 3);
    let bases =
        source.logged("GET", &format!("/blobs/{}", image("linux/amd64", "1").manifest.layers[0].digest));
    assert_eq!(bases.len(), 1, "the base layer is read once");
    for tag in ["1", "2", "3"] {
        assert_eq!(contents(&target, "copy/app", tag), contents(&source, "team/app", tag));
    }
}

/// An image that says when it was made.
fn made(registry: &FakeRegistry, tag: &str, year: u16) -> Digest {
    let time = format!("{year}-01-01T00:00:00Z");
    let image = ImageBuilder::new("linux/amd64").config(|config| config.created = Some(time)).build();
    image.push(registry, "app", Some(tag));
    image.digest()
}

#[tokio::test]
async fn tags_move_as_the_policy_allows() {
    use TagPolicy::{Forward, Immutable, Overwrite};
    let directory = tempfile::tempdir().unwrap();
    let source = FakeRegistry::start();
    let (old, new) = (made(&source, "old", 2020), made(&source, "new", 2021));
    let target = FakeRegistry::start();
    let destinations = [
        at(&target, "copy/app:1"),
        format!("oci-layout://{}:1", directory.path().join("layout").display()),
        format!("oci-layout://{}:1", directory.path().join("layout.tar").display()),
    ];
    for destination in destinations {
        let there = async || {
            let place = destination.parse().unwrap();
            crate::image::digest(&images().0, &place, None).await.unwrap()
        };
        for (tag, policy, allowed, digest) in [
            ("old", Immutable, true, old),
            ("old", Immutable, true, old),
            ("new", Immutable, false, old),
            ("new", Forward, true, new),
            ("old", Forward, false, new),
            ("new", Forward, true, new),
            ("old", Overwrite, true, old),
        ] {
            let case = format!("{destination}: {tag} {policy:?}");
            let sent = target.logged("PUT", "/manifests/").len();
            let copying = CopyRequest { policy, ..request(at(&source, &format!("app:{tag}")), &destination) };
            match run(&copying).await {
                Ok(_) => assert!(allowed, "{case}"),
                Err(error) => {
                    assert!(!allowed && error.class == Class::Publish, "{case}: {error:?}");
                    assert!(error.hints[0].contains("--tag-policy overwrite"), "{case}: {error:?}");
                }
            }
            assert_eq!(there().await, digest, "{case}");
            if policy == Immutable && !allowed {
                assert_eq!(target.logged("PUT", "/manifests/").len(), sent, "{case}: nothing is sent for it");
            }
        }
    }
}

#[tokio::test]
async fn of_several_tags_none_moves_if_one_must_not() {
    let registry = FakeRegistry::start();
    let (old, new) = (made(&registry, "old", 2020), made(&registry, "new", 2021));
    let name = |tag: &str| at(&registry, &format!("app:{tag}")).parse::<Place>().unwrap();
    let request = CreateRequest {
        sources: vec![CreateSource::Name(name("old"))],
        tags: vec![name("free"), name("new")],
        policy: TagPolicy::Forward,
        ..CreateRequest::default()
    };
    let error = create(&images().0, &request).await.unwrap_err();
    assert!(error.message.contains("which is newer"), "{error:?}");
    assert!(registry.manifest("app", "free").is_none());
    assert_eq!(registry.manifest("app", "new").unwrap().0, new);
    let request = CreateRequest { policy: TagPolicy::Overwrite, ..request };
    create(&images().0, &request).await.unwrap();
    assert_eq!(registry.manifest("app", "new").unwrap().0, old);
}

#[tokio::test]
async fn some_platforms_trimmed() {
    let (source, target) = (FakeRegistry::start(), FakeRegistry::start());
    let digest = push_index(&source, "team/app", "1", "x");
    let request = CopyRequest {
        platforms: platforms(PlatformForm::Trim, &["linux/amd64"]),
        ..request(at(&source, "team/app:1"), at(&target, "copy/app:1"))
    };
    let report = run(&request).await.unwrap();
    assert_ne!(report.digest, digest);
    let (_, _, bytes) = target.manifest("copy/app", "1").unwrap();
    let index: gantry_oci::Index = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(index.manifests.len(), 2, "the image and its attestation");
    assert_eq!(index.annotations[super::select::SOURCE_DIGEST], digest.to_string());
    contents(&target, "copy/app", "1");
    // Nothing is written when it is there already.
    let before = target.log().len();
    assert_eq!(run(&request).await.unwrap().state, CopyState::UpToDate);
    assert_eq!(requests(&target)[before..], ["HEAD /v2/copy/app/manifests/1"]);

    let missing = CopyRequest { platforms: platforms(PlatformForm::Trim, &["linux/s390x"]), ..request };
    let error = run(&missing).await.unwrap_err();
    assert_eq!(error.class, Class::NotFound);
    assert!(
        error.message.ends_with("the image has no linux/s390x: it has linux/amd64, linux/arm64"),
        "{error}"
    );
}

#[tokio::test]
async fn some_platforms_of_the_original_index() {
    let source = FakeRegistry::start();
    let digest = push_index(&source, "team/app", "1", "x");
    let directory = tempfile::tempdir().unwrap();
    let layout = format!("oci-layout://{}:1", directory.path().join("layout").display());
    let request = CopyRequest {
        platforms: platforms(PlatformForm::Sparse, &["linux/arm64"]),
        ..request(at(&source, "team/app:1"), layout)
    };
    assert_eq!(run(&request).await.unwrap().digest, digest);
    let blobs = std::fs::read_dir(directory.path().join("layout/blobs/sha256")).unwrap().count();
    assert_eq!(blobs, 5, "the index, and one image of two layers");

    // A registry that wants an index to be whole refuses it, and no tag is written.
    let target = FakeRegistry::start();
    let request = CopyRequest { destination: at(&target, "copy/app:1").parse().unwrap(), ..request };
    let error = run(&request).await.unwrap_err();
    assert!(error.hints.iter().any(|hint| hint.contains("--trim")), "{error:?}");
    assert_eq!(target.manifest("copy/app", "1"), None);
}

/// A manifest that refers to another one.
fn referrer(registry: &FakeRegistry, subject: &Descriptor, kind: &str) -> Descriptor {
    let config = Descriptor::of("application/vnd.oci.empty.v1+json", b"{}");
    registry.put_blob("team/app", b"{}");
    let layer = Descriptor::of("text/plain", kind.as_bytes());
    registry.put_blob("team/app", kind.as_bytes());
    let mut manifest = Manifest::new(config, vec![layer]);
    manifest.extra.insert("artifactType".into(), kind.into());
    manifest.extra.insert("subject".into(), serde_json::to_value(subject).unwrap());
    let bytes = serde_json::to_vec(&manifest).unwrap();
    registry.put_manifest("team/app", None, media_type::MANIFEST, &bytes);
    Descriptor { artifact_type: Some(kind.to_owned()), ..Descriptor::of(media_type::MANIFEST, &bytes) }
}

fn list(registry: &FakeRegistry, subject: &Digest, entries: Vec<Descriptor>) {
    let index = serde_json::to_vec(&gantry_oci::Index::new(entries)).unwrap();
    let tag = subject.to_string().replace(':', "-");
    registry.put_manifest("team/app", Some(&tag), media_type::INDEX, &index);
}

#[tokio::test]
async fn what_is_attached_comes_along_on_request() {
    let (source, target) = (FakeRegistry::start(), FakeRegistry::start());
    let digest = push_index(&source, "team/app", "1", "x");
    let (_, _, bytes) = source.manifest("team/app", "1").unwrap();
    let root = Descriptor::of(media_type::INDEX, &bytes);
    let sbom = referrer(&source, &root, "test/sbom");
    let signature = referrer(&source, &sbom, "test/signature");
    list(&source, &root.digest, vec![sbom.clone()]);
    list(&source, &sbom.digest, vec![signature.clone()]);
    let child = image("linux/arm64", "x");
    let cosign = format!("sha256-{}.sig", child.digest().hex());
    let signed = image("linux/amd64", "signature").push(&source, "team/app", Some(&cosign));

    let plain = request(at(&source, "team/app:1"), at(&target, "copy/app:1"));
    run(&plain).await.unwrap();
    assert_eq!(target.manifest("copy/app", &cosign), None, "not unless it is asked for");
    let request = CopyRequest { attached: Attached::new(true, true), ..plain };
    assert_eq!(run(&request).await.unwrap().state, CopyState::Copied);
    for entry in [&sbom, &signature] {
        contents(&target, "copy/app", &entry.digest.to_string());
    }
    for (subject, entry) in [(&digest, &sbom), (&sbom.digest, &signature)] {
        let tag = subject.to_string().replace(':', "-");
        let (_, _, bytes) = target.manifest("copy/app", &tag).unwrap();
        let listed: gantry_oci::Index = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(listed.manifests, vec![entry.clone()]);
    }
    assert_eq!(target.manifest("copy/app", &cosign).unwrap().0, signed);
    assert_eq!(run(&request).await.unwrap().state, CopyState::UpToDate);

    // And through a layout.
    let directory = tempfile::tempdir().unwrap();
    let archive = format!("oci-layout://{}:1", directory.path().join("image.tar").display());
    let third = FakeRegistry::start();
    let pack = CopyRequest { destination: archive.parse().unwrap(), ..request };
    run(&pack).await.unwrap();
    let unpack = CopyRequest {
        source: archive.parse().unwrap(),
        destination: at(&third, "copy/app:1").parse().unwrap(),
        ..pack
    };
    assert_eq!(run(&unpack).await.unwrap().digest, digest);
    assert_eq!(contents(&third, "copy/app", "1"), contents(&source, "team/app", "1"));
    contents(&third, "copy/app", &signature.digest.to_string());
    assert_eq!(third.manifest("copy/app", &cosign).unwrap().0, signed);
}

#[tokio::test]
async fn a_tag_that_moves_meanwhile_does_not_matter() {
    let (source, target) = (Arc::new(FakeRegistry::start()), FakeRegistry::start());
    let digest = push_index(source.as_ref(), "team/app", "1", "old");
    let weak: Weak<FakeRegistry> = Arc::downgrade(&source);
    let mut moved = false;
    source.on_request(move |seen| {
        if seen.method == "GET" && !std::mem::replace(&mut moved, true) {
            push_index(weak.upgrade()?.as_ref(), "team/app", "1", "new");
        }
        None
    });
    let report = run(&request(at(&source, "team/app:1"), at(&target, "copy/app:1"))).await.unwrap();
    assert_eq!(report.digest, digest);
    assert_eq!(target.manifest("copy/app", "1").unwrap().0, digest);
    contents(&target, "copy/app", "1");
    assert_ne!(source.manifest("team/app", "1").unwrap().0, digest);
}

#[tokio::test]
async fn what_is_no_image_or_not_what_it_says_is_refused() {
    let source = FakeRegistry::start();
    let schema1 = br#"{"schemaVersion":1,"name":"a","tag":"1","fsLayers":[]}"#;
    let kind = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    source.put_manifest("team/app", Some("old"), kind, schema1);
    let target = FakeRegistry::start();
    let error = run(&request(at(&source, "team/app:old"), at(&target, "a:1"))).await.unwrap_err();
    assert!(error.class == Class::Verification && error.message.contains("schema 1"), "{error}");

    push_index(&source, "team/app", "1", "x");
    source.on_request(|seen| {
        let spoil = seen.method == "GET" && seen.path.contains("/blobs/");
        spoil.then(|| Fault::Body(b"something else".to_vec()))
    });
    let error = run(&request(at(&source, "team/app:1"), at(&target, "a:1"))).await.unwrap_err();
    assert_eq!(error.class, Class::Verification, "{error}");
    assert_eq!(target.manifest("a", "1"), None);

    let error = run(&request(at(&source, "team/none:1"), at(&target, "a:1"))).await.unwrap_err();
    assert_eq!(error.class, Class::NotFound, "{error}");
    target.set_access(Access::basic("somebody", "else"));
    let error = run(&request(at(&source, "team/app:1"), at(&target, "a:1"))).await.unwrap_err();
    assert_eq!(error.class, Class::Denied, "{error}");
}

#[tokio::test]
async fn foreign_layers_are_told_and_not_copied() {
    let source = FakeRegistry::start();
    let mut built = image("windows/amd64", "x");
    built.push(&source, "team/app", None);
    let mut foreign =
        Descriptor::of("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", b"not here");
    foreign.urls = vec!["https://elsewhere.test/layer".to_owned()];
    built.manifest.layers.insert(0, foreign);
    let bytes = serde_json::to_vec(&built.manifest).unwrap();
    source.put_manifest("team/app", Some("1"), media_type::MANIFEST, &bytes);
    let directory = tempfile::tempdir().unwrap();
    let layout = format!("oci-layout://{}", directory.path().join("layout").display());
    let (images, told) = images();
    let report = copy(&images, &request(at(&source, "team/app:1"), layout)).await.unwrap().swap_remove(0);
    assert_eq!(report.foreign, ["https://elsewhere.test/layer"]);
    assert!(told.text().contains("foreign layers are not copied: https://elsewhere.test/layer"));
}

#[tokio::test]
async fn an_ordinary_layer_with_addresses_is_copied() {
    let (source, target) = (FakeRegistry::start(), FakeRegistry::start());
    let mut built = image("linux/amd64", "x");
    built.push(&source, "team/app", None);
    built.manifest.layers[0].urls = vec!["https://elsewhere.test/layer".to_owned()];
    let bytes = serde_json::to_vec(&built.manifest).unwrap();
    source.put_manifest("team/app", Some("1"), media_type::MANIFEST, &bytes);
    let directory = tempfile::tempdir().unwrap();
    let layout = format!("oci-layout://{}", directory.path().join("layout").display());
    let first = run(&request(at(&source, "team/app:1"), &layout)).await.unwrap();
    assert_eq!(first.foreign, Vec::<String>::new());
    run(&request(&layout, at(&target, "copy/app:1"))).await.unwrap();
    assert_eq!(contents(&target, "copy/app", "1"), contents(&source, "team/app", "1"));
}

#[tokio::test]
async fn a_referrer_of_a_withdrawn_type_is_told_and_not_copied() {
    let (source, target) = (FakeRegistry::start(), FakeRegistry::start());
    push_index(&source, "team/app", "1", "x");
    let (_, _, bytes) = source.manifest("team/app", "1").unwrap();
    let root = Descriptor::of(media_type::INDEX, &bytes);
    let sbom = referrer(&source, &root, "test/sbom");
    let artifact = Descriptor::of("application/vnd.oci.artifact.manifest.v1+json", b"{}");
    list(&source, &root.digest, vec![artifact.clone(), sbom.clone()]);
    let request = CopyRequest {
        attached: Attached::new(true, false),
        ..request(at(&source, "team/app:1"), at(&target, "copy/app:1"))
    };
    let (images, told) = images();
    copy(&images, &request).await.unwrap();
    contents(&target, "copy/app", &sbom.digest.to_string());
    let told = told.text();
    assert!(told.contains("attached, but not copied") && told.contains(&artifact.digest.to_string()));
}

#[tokio::test]
async fn a_copy_that_is_stopped_leaves_no_tag() {
    let (source, target) = (FakeRegistry::start(), FakeRegistry::start());
    push_index(&source, "team/app", "1", "x");
    let (images, _) = images();
    let cancel = images.cancel.clone();
    target.on_request(move |seen| {
        if seen.method == "PUT" && seen.path.contains("/manifests/") {
            cancel.cancel();
        }
        None
    });
    let error = copy(&images, &request(at(&source, "team/app:1"), at(&target, "a:1"))).await.unwrap_err();
    assert_eq!(error.class, Class::Cancelled);
    assert_eq!(target.manifest("a", "1"), None);
}

/// A source of the matrix's images, and an empty target.
fn matrix() -> (FakeRegistry, FakeRegistry) {
    let (source, target) = (FakeRegistry::start(), FakeRegistry::start());
    gantry_testkit::BuiltImage::push_index(&fault_matrix::images(), &source, "team/app", "1");
    (source, target)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_of_the_fault_matrix_is_survived() {
    let rows = fault_matrix::rows().into_iter().map(|row| async move {
        let (source, target) = matrix();
        if row.on.pulls() {
            (row.install)(&source);
        }
        if row.on.pushes() {
            (row.install)(&target);
        }
        let copied = run(&request(at(&source, "team/app:1"), at(&target, "copy/app:1"))).await;
        let complete = copied.is_ok() && target.manifest("copy/app", "1").is_some();
        if complete {
            assert_eq!(
                contents(&target, "copy/app", "1"),
                contents(&source, "team/app", "1"),
                "{}",
                row.name
            );
        }
        (row.name, copied.err().map(|error| error.message))
    });
    let results: Vec<_> = stream::iter(rows).buffer_unordered(ROWS_AT_ONCE).collect().await;
    let failed: Vec<_> = results.into_iter().filter(|(_, error)| error.is_some()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_survived_has_its_class() {
    let rows = fault_matrix::fatal_rows().into_iter().map(|row| async move {
        let (source, target) = matrix();
        let spoiled = if row.on.pulls() { &source } else { &target };
        (row.install)(spoiled);
        let error = run(&request(at(&source, "team/app:1"), at(&target, "copy/app:1"))).await.unwrap_err();
        let expected = match row.kind {
            ImageErrorKind::NotFound | ImageErrorKind::NoPlatform => Class::NotFound,
            ImageErrorKind::Denied => Class::Denied,
            ImageErrorKind::Unavailable => Class::Publish,
            ImageErrorKind::Corrupt => Class::Verification,
        };
        assert_eq!(error.class, expected, "{}: {error}", row.name);
        assert_eq!(target.manifest("copy/app", "1"), None, "{}", row.name);
    });
    stream::iter(rows).buffer_unordered(ROWS_AT_ONCE).collect::<Vec<()>>().await;
}

#[tokio::test]
async fn docker_registry_to_docker_registry() {
    let (source, target) = (gantry_testkit::DockerRegistry::start(), gantry_testkit::DockerRegistry::start());
    let digest = push_index(&source, "team/app", "1", "x");
    let (from, to) = (source.reference("team/app:1"), target.reference("copy/app:1"));
    let report = run(&request(&from, &to)).await.unwrap();
    assert_eq!((report.digest, report.state), (digest, CopyState::Copied));
    let inside = run(&request(&to, target.reference("other/app:1"))).await.unwrap();
    assert_eq!((inside.digest, inside.bytes), (digest, 0));
    assert!(inside.mounts > 0);
    let location: Place = to.to_string().parse().unwrap();
    assert_eq!(crate::image::digest(&images().0, &location, None).await.unwrap(), digest);
    assert_eq!(run(&request(&from, &to)).await.unwrap().state, CopyState::UpToDate);
}
