//! Which image of a layout, an archive or the store is meant, and archives of `docker save`.

use std::fs;

use gantry_oci::{Descriptor, Digest, ImageConfig, Index, Manifest, media_type};
use gantry_release::{Class, Depth};
use gantry_testkit::{FakeRegistry, ImageTarget, LayoutDirectory};

use super::{NOTHING, World, image, tar};

/// Signatures and attestations beside an image are no images of it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_attached_in_a_layout_is_no_image() {
    let world = World::new();
    let layout = LayoutDirectory::create(world.path("layout"));
    let good = image("linux/arm64", "arm64");
    let subject = layout.path().display().to_string();
    good.push(&layout, "app", Some("1"));
    let attach = |name: Option<&str>, config: &str, layer: &str, refers: bool| {
        let (config_bytes, layer_bytes) = (b"{}", format!("{{\"for\":\"{name:?} {layer}\"}}"));
        layout.put_blob("app", config_bytes);
        layout.put_blob("app", layer_bytes.as_bytes());
        let layer = Descriptor::of(layer, layer_bytes.as_bytes());
        let mut manifest = Manifest::new(Descriptor::of(config, config_bytes), vec![layer]);
        if refers {
            manifest.extra.insert("subject".to_owned(), serde_json::json!(good.descriptor()));
        }
        let bytes = serde_json::to_vec(&manifest).unwrap();
        layout.put_manifest("app", Some(name.unwrap_or("nameless")), media_type::MANIFEST, &bytes);
        Descriptor::of(media_type::MANIFEST, &bytes)
    };
    let signature = format!("sha256-{}.sig", good.digest().hex());
    attach(Some(&signature), media_type::CONFIG, "application/vnd.dev.cosign.simplesigning.v1+json", false);
    let referrer = attach(None, "application/vnd.oci.empty.v1+json", "application/vnd.in-toto+json", true);
    let list = serde_json::to_vec(&Index::new(vec![referrer])).unwrap();
    let tag = format!("sha256-{}", good.digest().hex());
    layout.put_manifest("app", Some(&tag), media_type::INDEX, &list);
    for depth in [Depth::Documents, Depth::Programs, Depth::Everything] {
        assert_eq!(world.failures(&subject, &["linux/arm64"], depth).await, NOTHING, "{depth:?}");
    }
    // Nor does it become one where it is asked for by name.
    let failures = world.failures(&format!("oci:{subject}:{signature}"), &[], Depth::Programs).await;
    assert_eq!(failures, ["platforms: there is no image"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_several_images_has_to_be_named() {
    let world = World::new();
    let layout = LayoutDirectory::create(world.path("layout"));
    let path = layout.path().display().to_string();
    image("linux/amd64", "amd64").push(&layout, "app", Some("one"));
    image("linux/amd64", "386").push(&layout, "app", Some("two"));
    let error = world.ask(&path, &[], Depth::Programs).await.unwrap_err();
    assert_eq!(error.class, Class::Usage, "{error}");
    assert_eq!(error.hints, ["name one of them, as in `oci:DIR:NAME`: one, two"]);
    for spelling in [format!("oci:{path}:one"), format!("oci-layout://{path}:one")] {
        assert_eq!(world.failures(&spelling, &[], Depth::Programs).await, NOTHING, "{spelling}");
    }
    let digest = image("linux/amd64", "amd64").digest();
    let by_digest = format!("oci-layout://{path}@{digest}");
    assert_eq!(world.failures(&by_digest, &[], Depth::Programs).await, NOTHING);
    // The same name twice says nothing.
    image("linux/amd64", "386").push(&layout, "app", Some("one"));
    let error = world.ask(&format!("oci:{path}:one"), &[], Depth::Programs).await.unwrap_err();
    assert_eq!(error.class, Class::Usage, "{error}");
    assert!(error.message.contains("has several images `one`"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_with_a_registry_mean_the_registry() {
    let (world, registry) = (World::new(), FakeRegistry::start());
    let store = gantry_store::Store::open(&world.path("store")).unwrap();
    let local = image("linux/amd64", "amd64");
    for blob in local.blobs.iter().chain([&local.bytes]) {
        store.put_blob(blob).unwrap();
    }
    let name = registry.reference("app:1").to_string();
    let names = [name.clone(), "docker.io/library/app:1".to_owned()];
    store.name_image(&local.descriptor(), &names).unwrap();
    let error = world.ask(&name, &[], Depth::Programs).await.unwrap_err();
    assert_eq!(error.class, Class::NotFound, "the registry does not have it: {error}");
    for there in [format!("store:{name}"), "app:1".to_owned(), local.digest().to_string()] {
        assert_eq!(world.failures(&there, &["linux/amd64"], Depth::Programs).await, NOTHING, "{there}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_of_docker_save_without_manifests() {
    let world = World::new();
    let directory = world.path("saved");
    let bad = image("linux/arm64", "amd64");
    let config: ImageConfig = serde_json::from_slice(&bad.config).unwrap();
    for (number, blob) in bad.blobs[..2].iter().enumerate() {
        let mut tar = Vec::new();
        std::io::copy(&mut gantry_layer::decompressed(&**blob).unwrap(), &mut tar).unwrap();
        assert_eq!(Digest::of(&tar), config.rootfs.diff_ids[number]);
        let layer = directory.join(format!("layer{number}"));
        fs::create_dir_all(&layer).unwrap();
        fs::write(layer.join("layer.tar"), tar).unwrap();
    }
    fs::write(directory.join("config.json"), &bad.config).unwrap();
    let list =
        r#"[{"Config":"config.json","RepoTags":["app:1"],"Layers":["layer0/layer.tar","layer1/layer.tar"]}]"#;
    fs::write(directory.join("manifest.json"), list).unwrap();
    let archive = world.path("saved.tar");
    tar(&directory, &archive);
    for subject in [archive.display().to_string(), format!("docker-archive:{}:app:1", archive.display())] {
        let report = world.ask(&subject, &["linux/arm64"], Depth::Everything).await.unwrap();
        assert_eq!(report.first_failure().unwrap(), "linux/arm64: /app is an x86-64 program");
    }
    // Other tools than Docker compress the layers.
    for (number, blob) in bad.blobs[..2].iter().enumerate() {
        fs::write(directory.join(format!("{number}.tar.gz")), blob).unwrap();
    }
    let compressed = list.replace("layer0/layer.tar", "0.tar.gz").replace("layer1/layer.tar", "1.tar.gz");
    fs::write(directory.join("manifest.json"), &compressed).unwrap();
    tar(&directory, &archive);
    let subject = archive.display().to_string();
    let report = world.ask(&subject, &["linux/arm64"], Depth::Everything).await.unwrap();
    assert_eq!(report.first_failure().unwrap(), "linux/arm64: /app is an x86-64 program");
    fs::write(directory.join("1.tar.gz"), &bad.blobs[0]).unwrap();
    tar(&directory, &archive);
    let failures = world.failures(&subject, &[], Depth::Everything).await;
    assert_eq!(failures[0], "content: layer #: its content is #, but the config says #");
    let other = Digest::of("other").hex();
    for (list, message) in [
        (
            list.replace(r#","layer1/layer.tar""#, ""),
            "it lists 1 layers for a config with 2 diff ids".to_owned(),
        ),
        (list.replace("layer1/layer.tar", "layer2/layer.tar"), "it has no `layer2/layer.tar`".to_owned()),
        (list.replace("config.json", &format!("{other}.json")), format!("`{other}.json` has the digest")),
        ("[]".replace('[', "{"), "is no archive of images".to_owned()),
    ] {
        fs::write(directory.join(format!("{other}.json")), &bad.config).unwrap();
        fs::write(directory.join("manifest.json"), list).unwrap();
        tar(&directory, &archive);
        let error = world.ask(&archive.display().to_string(), &[], Depth::Programs).await.unwrap_err();
        assert!(error.message.contains(&message), "{error}");
        assert_eq!(error.class, Class::Verification);
    }
}
