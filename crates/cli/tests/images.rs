//! `gantry image` and `gantry vendor` as people and scripts use them: output, files and exit codes.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic, as tests do")]

use std::fs;

use base64::Engine;
use gantry_oci::{Descriptor, Digest, Index, Platform, media_type};
use gantry_testkit::{
    Access, BuiltImage, Entry, FakeRegistry, GantryCommand, ImageBuilder, ImageTarget, Output,
};
use insta::assert_snapshot;
use serde_json::{Value, json};

/// A machine and two registries, `A` and `B` in arguments and files.
struct World {
    gantry: GantryCommand,
    a: FakeRegistry,
    b: FakeRegistry,
}

impl World {
    fn new() -> Self {
        let gantry = GantryCommand::new(env!("CARGO_BIN_EXE_gantry")).env("BUILDKIT_PROGRESS", "quiet");
        Self { gantry, a: FakeRegistry::start(), b: FakeRegistry::start() }
    }

    fn expand(&self, text: &str) -> String {
        text.replace("A/", &format!("{}/", self.a.host())).replace("B/", &format!("{}/", self.b.host()))
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.gantry.run(arguments.iter().map(|argument| self.expand(argument)))
    }

    /// Standard output of a run that ends well.
    #[track_caller]
    fn out(&self, arguments: &[&str]) -> String {
        self.run(arguments).success().stdout
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.gantry.directory().join(name)).unwrap()
    }
}

fn image(platform: &str) -> BuiltImage {
    let built = ImageBuilder::new(platform).layer(&[Entry::file("app", platform)]);
    built.config(|config| config.config.env = Some(vec!["A=<1>".to_owned()])).build()
}

/// An index of two platforms and provenance of the first, as BuildKit lays it out.
fn push_attested(registry: &FakeRegistry, repository: &str) -> Digest {
    let images = [image("linux/amd64"), image("linux/arm/v7")];
    let statement =
        br#"{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"https://slsa.dev/provenance/v1","predicate":{"buildType":"test","a":1}}"#;
    let mut attestation = ImageBuilder::new("linux/amd64").build().manifest;
    let config = registry.put_blob(repository, &ImageBuilder::new("linux/amd64").build().config);
    assert_eq!(config, attestation.config.digest);
    let mut layer = Descriptor::of("application/vnd.in-toto+json", statement);
    layer.annotations.insert("in-toto.io/predicate-type".into(), "https://slsa.dev/provenance/v1".into());
    registry.put_blob(repository, statement);
    attestation.layers.push(layer);
    let bytes = serde_json::to_vec(&attestation).unwrap();
    registry.put_manifest(repository, None, media_type::MANIFEST, &bytes);
    let platform: Platform = "unknown/unknown".parse().unwrap();
    let mut entry = Descriptor::of(media_type::MANIFEST, &bytes).with_platform(platform);
    entry.annotations.insert("vnd.docker.reference.type".into(), "attestation-manifest".into());
    entry.annotations.insert("vnd.docker.reference.digest".into(), images[0].digest().to_string());
    let mut entries = Vec::new();
    for image in &images {
        image.push(registry, repository, None);
        entries.push(image.descriptor());
    }
    entries.push(entry);
    let bytes = serde_json::to_vec(&Index::new(entries)).unwrap();
    registry.put_manifest(repository, Some("1"), media_type::INDEX, &bytes)
}

/// The expectations were recorded with `docker buildx imagetools inspect`, whose columns have spaces at their ends.
#[test]
fn inspect_shows_what_imagetools_shows() {
    let world = World::new();
    push_attested(&world.a, "app");
    let output = world.run(&["image", "inspect", "A/app:1"]).success();
    let marked = output.snapshot().replace(" \n", "·\n");
    assert_snapshot!(marked, @r"
    status: 0
    --- stdout
    Name:      127.0.0.1:[PORT]/app:1
    MediaType: application/vnd.oci.image.index.v1+json
    Digest:    sha256:[DIGEST]
              ·
    Manifests:·
      Name:        127.0.0.1:[PORT]/app:1@sha256:[DIGEST]
      MediaType:   application/vnd.oci.image.manifest.v1+json
      Platform:    linux/amd64
                  ·
      Name:        127.0.0.1:[PORT]/app:1@sha256:[DIGEST]
      MediaType:   application/vnd.oci.image.manifest.v1+json
      Platform:    linux/arm/v7
                  ·
      Name:        127.0.0.1:[PORT]/app:1@sha256:[DIGEST]
      MediaType:   application/vnd.oci.image.manifest.v1+json
      Platform:    unknown/unknown
      Annotations:·
        vnd.docker.reference.digest: sha256:[DIGEST]
        vnd.docker.reference.type:   attestation-manifest
    --- stderr
    ");
    assert_eq!(world.out(&["image", "inspect", "A/app:1", "--format", "{{ .Manifest }}"]), output.stdout);
}

#[test]
fn inspect_with_templates() {
    let world = World::new();
    let digest = push_attested(&world.a, "app");
    let single = image("linux/amd64").push(&world.a, "one", Some("1"));
    let format = |name: &str, template: &str| world.out(&["image", "inspect", name, "--format", template]);
    assert_eq!(format("A/app:1", "{{.Name}}"), world.expand("A/app:1"));
    assert_eq!(format("A/app:1", "{{.Manifest.Digest}}"), digest.to_string());
    assert_eq!(format("A/one:1", "{{.Manifest.Digest}}"), single.to_string());
    let platforms = "{{range .Manifest.Manifests}}{{.Platform.OS}}/{{.Platform.Architecture}} {{end}}";
    assert_eq!(format("A/app:1", platforms), "linux/amd64 linux/arm unknown/unknown ");
    let env = "{\n  \"Env\": [\n    \"A=\\u003c1\\u003e\"\n  ]\n}";
    assert_eq!(format("A/one:1", "{{json .Image.Config}}"), env);
    assert_eq!(format("A/app:1", "{{json (index .Image \"linux/arm/v7\").Config}}"), env);
    let provenance = "{\n  \"linux/amd64\": {\n    \"SLSA\": {\n      \"a\": 1,\n      \"buildType\": \"test\"\n    }\n  }\n}";
    assert_eq!(format("A/app:1", "{{json .Provenance}}"), provenance);
    assert_eq!(format("A/one:1", "{{json .Provenance}}{{json .SBOM}}"), "{}{}");
    let whole: Value = serde_json::from_str(&format("A/one:1", "{{json .}}")).unwrap();
    let keys: Vec<_> = whole.as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["name", "manifest", "image"]);
    assert_eq!(
        world.out(&["image", "inspect", "--raw", "A/app:1"]).as_bytes(),
        world.a.manifest("app", "1").unwrap().2
    );
    assert_snapshot!(world.run(&["image", "inspect", "A/app:1", "--format", "{{.Nam}}"]).snapshot(), @r"
    status: 2
    --- stdout
    --- stderr
    error: --format: template: can't evaluate field Nam
    hint: the fields are .Name, .Manifest, .Image, .Provenance and .SBOM, as with `docker buildx imagetools inspect`
    ");
    assert_snapshot!(world.run(&["image", "inspect", "A/none:1"]).snapshot(), @r"
    status: 4
    --- stdout
    --- stderr
    error: there is no `127.0.0.1:[PORT]/none:1`
    hint: check the name and the tag, and that it was pushed
    ");
}

/// An artifact of one layer.
fn push_artifact(
    registry: &FakeRegistry,
    kind: &str,
    content: &Value,
    more: Value,
    tag: Option<&str>,
) -> Descriptor {
    let content = serde_json::to_vec(content).unwrap();
    let layer = Descriptor::of(kind, &content);
    registry.put_blob("app", &content);
    registry.put_blob("app", b"{}");
    let config = Descriptor::of("application/vnd.oci.empty.v1+json", b"{}");
    let mut manifest = serde_json::to_value(gantry_oci::Manifest::new(config, vec![layer])).unwrap();
    manifest.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    let bytes = serde_json::to_vec(&manifest).unwrap();
    registry.put_manifest("app", tag, media_type::MANIFEST, &bytes);
    Descriptor { artifact_type: Some(kind.to_owned()), ..Descriptor::of(media_type::MANIFEST, &bytes) }
}

#[test]
fn inspect_finds_what_cosign_attached() {
    let world = World::new();
    let digest = image("linux/amd64").push(&world.a, "app", Some("1"));
    let envelope = |predicate_type: &str, predicate: Value| {
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "predicateType": predicate_type,
            "subject": [],
            "predicate": predicate,
        });
        let payload = base64::engine::general_purpose::STANDARD.encode(statement.to_string());
        json!({ "payloadType": "application/vnd.in-toto+json", "payload": payload, "signatures": [] })
    };
    let spdx = envelope("https://spdx.dev/Document", json!({ "name": "app" }));
    let tag = format!("sha256-{}.att", digest.hex());
    push_artifact(&world.a, "application/vnd.dsse.envelope.v1+json", &spdx, json!({}), Some(&tag));
    let kind = "application/vnd.dev.sigstore.bundle.v0.3+json";
    let provenance = envelope("https://slsa.dev/provenance/v1", json!({ "a": 1 }));
    let bundle = json!({ "mediaType": kind, "dsseEnvelope": provenance });
    let subject = image("linux/amd64").descriptor();
    let subject = json!({ "mediaType": subject.media_type, "digest": subject.digest, "size": subject.size });
    let artifact =
        push_artifact(&world.a, kind, &bundle, json!({ "artifactType": kind, "subject": subject }), None);
    let listed = serde_json::to_vec(&Index::new(vec![artifact])).unwrap();
    world.a.put_manifest("app", Some(&format!("sha256-{}", digest.hex())), media_type::INDEX, &listed);
    let shown =
        world.out(&["image", "inspect", "A/app:1", "--format", "{{.SBOM.SPDX.name}} {{.Provenance.SLSA.a}}"]);
    assert_eq!(shown, "app 1");
}

#[test]
fn single_things_are_printed_as_crane_prints_them() {
    let world = World::new();
    let digest = push_attested(&world.a, "app");
    let arm = image("linux/arm/v7");
    assert_eq!(world.out(&["image", "ls", "A/app"]), "1\n");
    assert_eq!(world.out(&["image", "digest", "A/app:1"]), format!("{digest}\n"));
    let platform = "--platform=linux/arm/v7";
    assert_eq!(world.out(&["image", "digest", platform, "A/app:1"]), format!("{}\n", arm.digest()));
    assert_eq!(world.out(&["image", "manifest", platform, "A/app:1"]).as_bytes(), arm.bytes);
    assert_eq!(world.out(&["image", "config", platform, "A/app:1"]).as_bytes(), arm.config);
    let blob = format!("A/app@{}", arm.manifest.config.digest);
    assert_eq!(world.out(&["image", "blob", &blob]).as_bytes(), arm.config);
    assert_eq!(world.run(&["image", "blob", "A/app:1"]).status.code(), Some(2));
    let error = world.run(&["image", "digest", "--platform=linux/s390x", "A/app:1"]).code(4).stderr;
    assert!(error.contains("has no linux/s390x: it has linux/amd64, linux/arm/v7"), "{error}");
}

#[test]
fn an_index_is_made_as_imagetools_makes_it() {
    let world = World::new();
    for (platform, tag) in [("linux/amd64", "amd"), ("linux/arm/v7", "arm")] {
        image(platform).push(&world.a, "app", Some(tag));
    }
    let annotations = ["--annotation", "index:a=b", "--annotation", "manifest-descriptor[linux/amd64]:c=<d>"];
    let create = |more: &[&str]| {
        let arguments = [&["image", "create"], more, &annotations, &["A/app:amd", "A/app:arm"]].concat();
        world.run(
            &arguments
                .iter()
                .map(|argument| world.expand(argument))
                .collect::<Vec<_>>()
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>(),
        )
    };
    let shown = create(&["--dry-run"]).success();
    assert_snapshot!(shown.snapshot(), @r#"
    status: 0
    --- stdout
    {
      "schemaVersion": 2,
      "mediaType": "application/vnd.oci.image.index.v1+json",
      "manifests": [
        {
          "mediaType": "application/vnd.oci.image.manifest.v1+json",
          "digest": "sha256:[DIGEST]",
          "size": 401,
          "annotations": {
            "c": "\u003cd\u003e"
          },
          "platform": {
            "architecture": "amd64",
            "os": "linux"
          }
        },
        {
          "mediaType": "application/vnd.oci.image.manifest.v1+json",
          "digest": "sha256:[DIGEST]",
          "size": 401,
          "platform": {
            "architecture": "arm",
            "os": "linux",
            "variant": "v7"
          }
        }
      ],
      "annotations": {
        "a": "b"
      }
    }
    --- stderr
    "#);
    assert_eq!(world.a.manifest("app", "all"), None, "a dry run writes nothing");
    drop(create(&["-t", "A/app:all", "-t", "B/other/app:1", "--metadata-file", "made.json"]).success());
    for (registry, repository, tag) in [(&world.a, "app", "all"), (&world.b, "other/app", "1")] {
        let (_, _, bytes) = registry.manifest(repository, tag).unwrap();
        assert_eq!(format!("{}\n", String::from_utf8(bytes.to_vec()).unwrap()), shown.stdout);
    }
    let metadata: Value = serde_json::from_str(&world.file("made.json")).unwrap();
    let digest = world.a.manifest("app", "all").unwrap().0;
    assert_eq!(metadata["containerimage.digest"], digest.to_string());
    // Appending to a tag, sources from a file, and by digest in the repository of the tag.
    world.gantry.write("source.json", format!("{{\"digest\":\"{}\"}}", image("linux/arm/v7").digest()));
    world.out(&["image", "create", "-t", "A/app:amd", "--append", "--file", "source.json"]);
    let (_, _, bytes) = world.a.manifest("app", "amd").unwrap();
    assert_eq!(serde_json::from_slice::<Index>(&bytes).unwrap().manifests.len(), 2);
    assert_eq!(world.run(&["image", "create", "A/app:amd"]).status.code(), Some(2), "no name");
    assert_eq!(world.run(&["image", "create", "--dry-run"]).status.code(), Some(2), "no source");
}

#[test]
fn annotations_and_tags() {
    let world = World::new();
    push_attested(&world.a, "app");
    world.out(&[
        "image",
        "annotate",
        "A/app:1",
        "-t",
        "A/app:2",
        "--annotation",
        "index,manifest[linux/amd64]:a=b",
    ]);
    let (digest, _, bytes) = world.a.manifest("app", "2").unwrap();
    let index: Index = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(index.annotations["a"], "b");
    let amd = &index.manifests[0];
    assert_ne!(amd.digest, image("linux/amd64").digest());
    assert_eq!(index.manifests[1].digest, image("linux/arm/v7").digest());
    assert_eq!(index.manifests[2].annotations["vnd.docker.reference.digest"], amd.digest.to_string());
    let (_, _, manifest) = world.a.manifest("app", &amd.digest.to_string()).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&manifest).unwrap()["annotations"]["a"], "b");

    let before = world.a.log().len();
    world.out(&["image", "tag", "A/app:2", "3", "A/app:latest"]);
    for tag in ["3", "latest"] {
        assert_eq!(world.a.manifest("app", tag).unwrap().0, digest);
    }
    assert!(world.a.log()[before..].iter().all(|one| !one.path.contains("/blobs/")), "no blob is touched");
    let error = world.run(&["image", "tag", "A/app:2", "B/app:1"]).code(2).stderr;
    assert!(error.contains("gantry image copy"), "{error}");

    // The policy is that of all commands that move tags: of a flag, or else of the configuration.
    let immutable = ["image", "tag", "--tag-policy=immutable", "A/app:1", "3"];
    let refused = world.run(&immutable).code(6).stderr;
    assert!(refused.contains("app:3"), "{refused}");
    fs::write(world.gantry.directory().join("gantry.toml"), "[publish]\ntag-policy = \"immutable\"\n")
        .unwrap();
    let _ = world.run(&["image", "tag", "A/app:1", "3"]).code(6);
    assert_eq!(world.a.manifest("app", "3").unwrap().0, digest, "the tag has not moved");
    world.out(&["image", "tag", "A/app:1", "4"]);
    world.out(&["image", "tag", "--tag-policy=overwrite", "A/app:1", "3"]);
    assert_ne!(world.a.manifest("app", "3").unwrap().0, digest);
}

#[test]
fn copies_between_registries_and_layouts() {
    let world = World::new();
    let digest = push_attested(&world.a, "app");
    let pinned = world.expand(&format!("B/copy:1@{digest}\n"));
    assert_eq!(world.out(&["image", "copy", "A/app:1", "B/copy:1"]), pinned);
    assert_eq!(world.out(&["image", "copy", "A/app:1", "B/copy:1"]), pinned, "again, with nothing to do");
    assert_eq!(world.b.manifest("copy", "1"), world.a.manifest("app", "1"));
    world.out(&["image", "copy", "A/app:1", "oci-layout://layout:one"]);
    world.out(&["image", "copy", "oci-layout://layout:one", "oci-layout://archive.tar:two"]);
    world.out(&["image", "copy", "oci-layout://archive.tar:two", "B/again:1"]);
    assert_eq!(world.b.manifest("again", "1").unwrap().0, digest);
    assert_eq!(world.out(&["image", "ls", "oci-layout://layout"]), "one\n");
    let error = world.run(&["image", "copy", "oci-layout://layout:none", "B/x:1"]).code(4).stderr;
    assert!(
        error.contains("there is no `oci-layout://layout:none`") && error.contains("the layout has: one"),
        "{error}"
    );
    let mut left: Vec<_> =
        fs::read_dir(world.gantry.directory()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["archive.tar", "layout"], "nothing is left beside what was asked for");
    let trimmed = world.out(&["image", "copy", "--platform=linux/arm/v7", "A/app:1", "B/trim:1"]);
    assert!(!trimmed.contains(&digest.to_string()));
    assert!(!world.gantry.home().join("store").exists(), "copying needs no store");
    for flag in ["--trim", "--sparse"] {
        let error = world.run(&["image", "copy", flag, "A/app:1", "B/flag:1"]).code(2).stderr;
        assert!(error.contains(flag) && error.contains("--platform"), "{error}");
    }
}

/// Flags go before the file, and the form of either goes for the platforms of either.
#[test]
fn in_which_form_platforms_are_vendored() {
    const IN_FILE: &str = "platforms = [\"linux/amd64\"]\n";
    const SPARSE: &str = "form = \"sparse\"\n";
    let all: &[(&str, &[&str], bool)] = &[
        (IN_FILE, &[], false),
        (&[IN_FILE, SPARSE].concat(), &[], true),
        (&[IN_FILE, SPARSE].concat(), &["--trim"], false),
        (SPARSE, &["--platform=linux/amd64"], true),
        (SPARSE, &["--platform=linux/amd64", "--trim"], false),
        (IN_FILE, &["--sparse"], true),
    ];
    for (section, flags, sparse) in all {
        let world = World::new();
        world.b.set_quirks(&[gantry_testkit::Quirk::SparseIndexes]);
        let digest = push_attested(&world.a, "app");
        let text = world
            .expand(&format!("[vendor]\nto = \"B/third\"\n{section}[vendor.images]\n\"A/app\" = [\"1\"]\n"));
        fs::write(world.gantry.directory().join("gantry.toml"), text).unwrap();
        world.out(&[&["vendor"], *flags].concat());
        assert_eq!(world.b.manifest("third/app", "1").unwrap().0 == digest, *sparse, "{section} {flags:?}");
    }
    let world = World::new();
    fs::write(world.gantry.directory().join("thirdparty.txt"), world.expand("A/app: 1\n")).unwrap();
    let error = world.run(&["vendor", "--to=B/third", "--sparse"]).code(2).stderr;
    assert!(error.contains("--sparse") && error.contains("--platform"), "{error}");
}

#[test]
fn vendoring_tells_what_it_did() {
    let world = World::new();
    push_attested(&world.a, "team/app");
    image("linux/amd64").push(&world.a, "tool", Some("2"));
    world.gantry.write("thirdparty.txt", world.expand("# ours\n\n  A/team/app: 1   # the app\nA/tool: 2\n"));
    let to = world.expand("--to=B/p/thirdparty");
    let columns = |output: &Output| {
        let lines = output.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        lines.map(|words| [words[1], words[words.len().min(5) - 1]].join(" ")).collect::<Vec<_>>().join("\n")
    };
    let checked = world.run(&["vendor", &to, "--check"]).code(5);
    assert_eq!(columns(&checked), "TAG STATE\n1 absent\n2 absent");
    assert_eq!(
        checked.stderr,
        "error: 2 of 2 images are out of date\nhint: run `gantry vendor` without --check to copy them\n"
    );
    assert!(!world.gantry.directory().join("thirdparty.lock").exists(), "checking writes nothing");

    let copied = world.run(&["vendor", &to]).success();
    assert_eq!(columns(&copied), "TAG STATE\n1 copied\n2 copied");
    assert_eq!(world.b.manifest("p/thirdparty/team/app", "1"), world.a.manifest("team/app", "1"));
    let lock = world.file("thirdparty.lock");
    assert!(lock.contains("destination = \"team/app:1\"") && lock.contains("version = 1"), "{lock}");
    world.out(&["vendor", &to, "--check"]);
    world.out(&["vendor", &to, "--locked"]);
    let json = world.out(&["vendor", &to, "--format=json"]);
    let report: Value = serde_json::from_str(&json).unwrap();
    let first = &report["images"][0];
    assert_eq!(
        (&first["state"], &first["bytesMoved"], &first["tag"]),
        (&"up to date".into(), &0.into(), &"1".into())
    );
    assert_eq!(first["destination"], world.expand("B/p/thirdparty/team/app:1"));
    assert_eq!(world.file("thirdparty.lock"), lock);

    image("linux/arm64").push(&world.a, "tool", Some("2"));
    let drifted = world.run(&["vendor", &to, "--locked"]).code(5);
    assert!(
        columns(&drifted).ends_with("2 drifted") && drifted.stderr.contains("has moved"),
        "{}",
        drifted.stderr
    );
    world.a.set_access(Access::basic("somebody", "else"));
    let denied = world.run(&["vendor", &to, "--check"]).code(3);
    assert!(columns(&denied).ends_with("1 failed\n2 failed"), "{}", denied.stdout);
}

#[test]
fn mistakes_in_the_list() {
    let world = World::new();
    let vendor = |list: &str| {
        world.gantry.write("list.txt", list);
        world.run(&["vendor", "--file=list.txt", "--to=B/t"]).code(2).snapshot()
    };
    assert_snapshot!(vendor("# images\ndocker.io/alpine 3.15\n"), @r"
    status: 2
    --- stdout
    --- stderr
    error: `docker.io/alpine` is not followed by a colon and tags
     --> list.txt:2:1
      |
    2 | docker.io/alpine 3.15
      | ^^^^^^^^^^^^^^^^^^^^^
    hint: did you mean `docker.io/alpine: 3.15`?
    ");
    assert_snapshot!(vendor("quay.io/a/b: 1\nghcr.io/a/b: 1\n"), @r"
    status: 2
    --- stdout
    --- stderr
    error: `quay.io/a/b:1` (line 1) and `ghcr.io/a/b:1` (line 2) would both be `127.0.0.1:[PORT]/t/a/b:1`
    hint: the first part of a name, its registry, is not part of the copy's name: copy one of them elsewhere
    ");
    assert_snapshot!(world.run(&["vendor", "--to=B/t"]).code(2).snapshot(), @r"
    status: 2
    --- stdout
    --- stderr
    error: there is no thirdparty.txt, and no [vendor.images] in gantry.toml
    hint: name a list with --file; a line of it is `docker.io/alpine: 3.20`
    ");
}

#[test]
fn the_list_in_the_configuration() {
    let world = World::new();
    push_attested(&world.a, "app");
    let text = "[vendor]\nto = \"B/mine\"\n[vendor.images]\n\"A/app\" = { tags = [\"1\"], platforms = [\"linux/amd64\"] }\n";
    world.gantry.write("gantry.toml", world.expand(text));
    world.out(&["vendor"]);
    let (_, _, bytes) = world.b.manifest("mine/app", "1").unwrap();
    assert_eq!(serde_json::from_slice::<Index>(&bytes).unwrap().manifests.len(), 2, "one platform, attested");
    assert!(world.file("thirdparty.lock").contains("platforms = [\"linux/amd64\"]\nform = \"trim\""));
    world.gantry.write("thirdparty.txt", "a: 1\n");
    assert_eq!(world.run(&["vendor"]).status.code(), Some(2), "two lists");
}
