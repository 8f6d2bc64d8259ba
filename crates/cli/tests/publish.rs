//! Publishing: results that are published again, layers that are sent early, names, and annotations.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic, as tests do")]

use std::collections::BTreeMap;
use std::fs;

use gantry_oci::{Digest, Document, Index, Manifest};
use gantry_testkit::{Fault, ImageTarget};
use serde_json::{Value, json};

#[path = "support/complete.rs"]
mod complete;
#[path = "support/publishing.rs"]
mod publishing;
#[path = "support/world.rs"]
mod world;

use complete::complete;
use publishing::{build, built, digest, json, publish, published, refused, world};
use world::World;

// ---- Results ----

#[test]
fn root_a_result_is_published_without_its_sources() {
    let world = world();
    let built = build(&world, "1\n", &["--tag=HOST/app:1"]);
    assert!(world.registry.log().is_empty(), "nobody asked for a push");
    fs::rename(world.gantry.directory().join("meta.json"), world.gantry.directory().join("built.json"))
        .unwrap();
    for file in ["Dockerfile", "app.txt"] {
        fs::remove_file(world.gantry.directory().join(file)).unwrap();
    }
    let hex = built.hex();
    for (number, result) in
        ["HOST/app:1", &built.to_string(), &hex[..4], &hex[..12], "built.json"].iter().enumerate()
    {
        let tag = format!("HOST/copy{number}:x");
        let output = publish(&world, &[result, "--tag", &tag, "--metadata-file=meta.json"]).success();
        assert!(output.stderr.contains(&format!("copy{number}:x as {built}")), "{}", output.stderr);
        assert_eq!(complete(&world.registry, &format!("copy{number}"), "x"), Some(built), "{result}");
        let mut published = json(world.gantry.directory().join("meta.json"));
        assert_eq!(published["image.name"], world.expand(&tag));
        let mut before = json(world.gantry.directory().join("built.json"));
        before.as_object_mut().unwrap().retain(|key, _| !key.starts_with("buildx.build."));
        published["image.name"] = before["image.name"].clone();
        assert_eq!(published, before, "it says of the image what the build said, but not how it was built");
    }
    // Without a name, under those that it was built with.
    published(&world, &[&hex[..8]]);
    assert_eq!(complete(&world.registry, "app", "1"), Some(built));
    world.assert_nothing_left();
}

#[test]
fn root_results_are_listed_and_told_apart() {
    let world = world();
    assert_eq!(publish(&world, &["--list"]).success().stdout, "RESULT  BUILT  PLATFORMS  NAMES\n");
    let first = build(&world, "1\n", &["--tag=r.example/app:1"]);
    let second = build(&world, "2\n", &["--tag=r.example/app:1", "--output=type=oci,dest=x.tar"]);
    published(&world, &[&first.to_string(), "--tag=HOST/app:old"]);
    let list = publish(&world, &["--list"]).success().stdout;
    for part in [&first.hex()[..12], &second.hex()[..12], "linux/amd64,linux/arm64", "r.example/app:1"] {
        assert!(list.contains(part), "{list}");
    }
    assert!(list.contains(&world.expand("HOST/app:old (published)")), "{list}");

    let document = publish(&world, &["--list", "--format=json"]).success().stdout;
    let document: Value = serde_json::from_str(&document).unwrap();
    let result = |digest: &Digest| {
        let results = document["results"].as_array().unwrap().clone();
        results.into_iter().find(|one| one["digest"] == digest.to_string()).unwrap()
    };
    let (newest, oldest) = (result(&second), result(&first));
    assert_eq!(newest["platforms"], json!(["linux/amd64", "linux/arm64"]));
    assert_eq!(newest["outputs"].as_array().unwrap().len(), 1);
    assert_eq!(document["unfinished"], json!([]));
    let name = |result: &Value, name: &str| {
        let names = result["names"].as_array().unwrap().clone();
        names.into_iter().find(|one| one["name"] == world.expand(name)).unwrap()
    };
    let published = name(&oldest, "HOST/app:old");
    let time: &str = published["published"].as_str().unwrap();
    assert!(time.parse::<jiff::Timestamp>().is_ok(), "{time}");
    assert_eq!(published["current"], true);
    let lost = name(&oldest, "r.example/app:1");
    assert_eq!((&lost["current"], &lost["published"]), (&json!(false), &Value::Null));
    refused(&world, &["--format=json", "r.example/app:1"], 2);

    let unknown = publish(&world, &["r.example/other:1", "--tag=HOST/x:1"]).code(4);
    assert!(unknown.stderr.contains("has no result `r.example/other:1`"), "{}", unknown.stderr);
    let short = publish(&world, &[&first.hex()[..3], "--tag=HOST/x:1"]).code(4);
    assert!(short.stderr.contains("has no result"), "{}", short.stderr);
    let unnamed = build(&world, "3\n", &[]);
    let output = publish(&world, &[&unnamed.to_string()]).code(2);
    assert!(output.stderr.contains("no name to publish it under"), "{}", output.stderr);
    refused(&world, &["Dockerfile", "--tag=HOST/x:1"], 2);
    refused(&world, &[], 2);
}

#[test]
fn root_base_layers_are_mounted_or_fetched_when_they_are_needed() {
    let world = World::new("FROM BASE\nENV A=1\n");
    built(&world, &["--tag=HOST/app:1", "--platform=linux/arm64", "--metadata-file=meta.json"]);
    let image = digest(&world, "meta.json");
    let blobs = world.store().join("blobs/sha256");
    let (_, _, bytes) = {
        published(&world, &["meta.json"]);
        world.registry.manifest("app", "1").unwrap()
    };
    let manifest: Manifest = serde_json::from_slice(&bytes).unwrap();
    let layer = blobs.join(manifest.layers[0].digest.hex());
    // A result's base layer may be gone from the store: the registry has it next door.
    fs::remove_file(&layer).unwrap();
    published(&world, &["meta.json", "--tag=HOST/near:1"]);
    assert_eq!(complete(&world.registry, "near", "1"), Some(image));
    assert!(!layer.exists(), "a mount moves no bytes");
    let sent = world.registry.logged("PUT", "/v2/near/blobs/");
    assert_eq!(sent.len(), 1, "only the config was sent: {sent:?}");
    // Another registry has to be sent the bytes.
    let far = gantry_testkit::FakeRegistry::start();
    let tag = format!("--tag={}/far:1", far.host());
    published(&world, &["meta.json", &tag]);
    assert_eq!(complete(&far, "far", "1"), Some(image));
    assert!(layer.exists());
}

#[test]
fn root_layers_are_sent_while_later_steps_run() {
    let world = World::new(
        "FROM BASE\nCOPY app.txt /\nRUN --mount=type=cache,id=gate,target=/gate until [ -e /gate/open ]; do sleep 0.01; done\n",
    );
    world.gantry.write("app.txt", "1\n");
    // The step ends when the registry has got a blob of this image: without early uploads, never.
    let mounts = world.store().join("cache-mounts");
    world.registry.on_request(move |seen| {
        if seen.method == "PUT" && seen.path.contains("/app/blobs/") {
            for mount in fs::read_dir(&mounts).unwrap() {
                fs::write(mount.unwrap().path().join("open"), "").unwrap();
            }
        }
        None
    });
    let output =
        world.build(&["--progress=plain", "--push", "--tag=HOST/app:1", "--tag=HOST/second:1"]).success();
    assert!(complete(&world.registry, "app", "1").is_some());
    assert_eq!(complete(&world.registry, "second", "1"), complete(&world.registry, "app", "1"));
    let mut stored = BTreeMap::new();
    for put in world.registry.logged("PUT", "/blobs/").iter().filter(|put| put.status == Some(201)) {
        *stored.entry(put.query.clone()).or_insert(0) += 1;
    }
    let digests = stored.keys().filter(|query| query.contains("digest=")).count();
    assert_eq!(
        (digests, stored.values().sum::<i32>()),
        (3, 3),
        "each blob was sent once: {stored:?} {}",
        output.stderr
    );
    world.assert_nothing_left();
}

#[test]
fn root_what_cannot_be_sent_early_is_sent_in_the_end() {
    let world = world();
    let mut left = 1;
    world.registry.on_request(move |seen| {
        let refuse = seen.method == "POST" && left > 0;
        left -= i32::from(refuse);
        refuse.then(|| Fault::status(403))
    });
    let output = world.build(&["--progress=plain", "--push", "--tag=HOST/app:1"]).success();
    assert!(output.stderr.contains("is sent to"), "{}", output.stderr);
    assert!(output.stderr.contains("tried again when the build is done"), "{}", output.stderr);
    assert!(complete(&world.registry, "app", "1").is_some());
}

#[test]
fn root_a_result_that_lost_a_part_is_not_published() {
    let world = world();
    let image = build(&world, "1\n", &["--tag=HOST/app:1"]);
    let manifest =
        json(world.gantry.directory().join("meta.json"))["gantry.platforms"]["linux/arm64"].clone();
    let parts = ["/layers/0/digest", "/config", "/manifest"]
        .map(|at| manifest.pointer(at).unwrap().as_str().unwrap());
    for part in parts {
        let digest: Digest = part.parse().unwrap();
        fs::remove_file(world.store().join("blobs/sha256").join(digest.hex())).unwrap();
        let said = refused(&world, &[&image.to_string()], 4);
        assert!(said.contains(&digest.hex()), "{said}");
        assert!(world.registry.manifest("app", "1").is_none());
    }
    // The same build makes it whole again.
    build(&world, "1\n", &["--tag=HOST/app:1"]);
    published(&world, &[&image.to_string()]);
    assert_eq!(complete(&world.registry, "app", "1"), Some(image));
}

// ---- Names and annotations ----

fn index(world: &World, repository: &str, reference: &str) -> Index {
    let (_, media_type, bytes) = world.registry.manifest(repository, reference).unwrap();
    match Document::parse(&bytes, Some(&media_type)).unwrap() {
        Document::Index(index) => index,
        Document::Manifest(_) => panic!("{repository}:{reference} is no index"),
    }
}

#[test]
fn root_push_by_digest() {
    let world = world();
    let image = build(
        &world,
        "1\n",
        &["--output=type=image,name=HOST/app,push-by-digest=true,name-canonical=true,push=true"],
    );
    assert_eq!(json(world.gantry.directory().join("meta.json"))["image.name"], world.expand("HOST/app"));
    assert!(world.registry.manifest("app", &image.to_string()).is_some());
    assert!(world.registry.manifest("app", "latest").is_none());
    let output = world
        .build(&["--tag=HOST/app:1", "--output=type=registry,name=HOST/app,push-by-digest=true"])
        .code(2);
    assert!(output.stderr.contains("writes no tag"), "{}", output.stderr);
    // A name without a tag of its own is a repository, and --push is push=true.
    for flags in [
        &["--tag=HOST/by", "--output=type=image,push-by-digest=true,name-canonical=true,push=true"][..],
        &["--push", "--output=type=image,push-by-digest=true,name=HOST/by"],
    ] {
        let other = build(&world, "2\n", flags);
        assert_eq!(json(world.gantry.directory().join("meta.json"))["image.name"], world.expand("HOST/by"));
        assert!(world.registry.manifest("by", &other.to_string()).is_some(), "{flags:?}");
        assert!(world.registry.manifest("by", "latest").is_none(), "{flags:?}");
    }
    // Its name says where to, and that no tag is written.
    published(&world, &[&image.to_string(), "--metadata-file=again.json"]);
    assert!(world.registry.manifest("app", "latest").is_none());
    assert_eq!(json(world.gantry.directory().join("again.json"))["image.name"], world.expand("HOST/app"));
    published(&world, &[&image.to_string(), "--tag=HOST/app:1"]);
    assert_eq!(complete(&world.registry, "app", "1"), Some(image));
}

#[test]
fn root_annotations_on_four_levels() {
    let world = world();
    let annotate = [
        "--annotation=all=1",
        "--annotation=manifest[linux/arm64]:all=2",
        "--annotation=index,manifest-descriptor[linux/amd64],index-descriptor:some=x=y",
    ];
    let outputs =
        ["--output=type=oci,dest=app,tar=false,annotation-index.from=output", "--push", "--tag=HOST/app:1"];
    build(&world, "1\n", &[&annotate[..], &outputs].concat());
    let pairs = |annotations: &BTreeMap<String, String>| -> Vec<String> {
        annotations.iter().map(|(key, value)| format!("{key}: {value}")).collect()
    };
    let index = index(&world, "app", "1");
    assert_eq!(pairs(&index.annotations), ["from: output", "some: x=y"]);
    let expected = [("all: 1", vec!["some: x=y".to_owned()]), ("all: 2", vec![])];
    for (entry, (of_manifest, of_entry)) in index.manifests.iter().zip(expected) {
        let (_, _, bytes) = world.registry.manifest("app", &entry.digest.to_string()).unwrap();
        let manifest: Manifest = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(
            (pairs(&manifest.annotations), pairs(&entry.annotations)),
            (vec![of_manifest.to_owned()], of_entry)
        );
    }
    assert_eq!(
        json(world.gantry.directory().join("meta.json"))["containerimage.descriptor"]["annotations"]["some"],
        "x=y"
    );
    let layout: Index =
        serde_json::from_slice(&fs::read(world.gantry.directory().join("app/index.json")).unwrap()).unwrap();
    assert_eq!(layout.manifests[0].annotations["some"], "x=y");
    for (arguments, message) in [
        (["--annotation=index:a=b", "--platform=linux/amd64"], "is for an index"),
        (["--annotation=config:a=b", "--platform=linux/amd64"], "not a type"),
    ] {
        let output = world.build(&arguments).code(2);
        assert!(output.stderr.contains(message), "{}", output.stderr);
    }
}
