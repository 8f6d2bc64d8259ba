//! `gantry verify`, and what a build refuses to start from and to give away.

use std::fs;

use gantry_testkit::{BuiltImage, Entry, FakeRegistry, ImageBuilder, program};
use insta::assert_snapshot;
use serde_json::Value;

#[path = "support/vertexes.rs"]
mod vertexes;
#[path = "support/world.rs"]
mod world;

use vertexes::Vertexes;
use world::World;

/// The architecture that images here are built for, and another.
const HOST: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
const OTHER: &str = if cfg!(target_arch = "aarch64") { "amd64" } else { "arm64" };

/// An image whose programs are for this architecture, whatever it says.
fn image(platform: &str, architecture: &str) -> BuiltImage {
    ImageBuilder::new(platform)
        .layer(&[Entry::file("bin/sh", program(architecture)).mode(0o755)])
        .config(|config| config.config.cmd = Some(vec!["/bin/sh".to_owned()]))
        .build()
}

/// Puts an image for amd64 and arm64 there whose arm64 half has programs for this architecture.
fn push(registry: &FakeRegistry, tag: &str, arm64: &str) {
    BuiltImage::push_index(
        &[image("linux/amd64", "amd64"), image("linux/arm64", arm64)],
        registry,
        "app",
        tag,
    );
}

#[test]
fn a_table_for_people() {
    let world = World::bare("FROM scratch\n");
    push(&world.registry, "good", "arm64");
    let output =
        world.gantry.run(["verify", "--platform=linux/amd64,linux/arm64", &world.expand("HOST/app:good")]);
    assert_snapshot!(output.code(0).snapshot(), @r"
        status: 0
        --- stdout
        docker://127.0.0.1:[PORT]/app:good
          application/vnd.oci.image.index.v1+json sha256:[DIGEST]
            ok    documents     2 with the right digests, sizes and types
            ok    platforms     linux/amd64, linux/arm64

          linux/amd64 sha256:[DIGEST]
            ok    config        linux/amd64
            ok    layers        1
            ok    blobs         2 of 2 are there
            ok    content       1 of 1 layers known
            ok    entry-point   /bin/sh
            ok    shells        /bin/sh
            ok    path-programs 1 of 1 are native
            ok    programs      1 for amd64, 0 for others

          linux/arm64 sha256:[DIGEST]
            ok    config        linux/arm64
            ok    layers        1
            ok    blobs         2 of 2 are there
            ok    content       1 of 1 layers known
            ok    entry-point   /bin/sh
            ok    shells        /bin/sh
            ok    path-programs 1 of 1 are native
            ok    programs      1 for arm64, 0 for others

          ok
        --- stderr
        ");
    push(&world.registry, "bad", "amd64");
    let output = world.gantry.run(["verify", &world.expand("HOST/app:bad")]);
    assert_snapshot!(output.code(5).snapshot(), @r"
        status: 5
        --- stdout
        docker://127.0.0.1:[PORT]/app:bad
          application/vnd.oci.image.index.v1+json sha256:[DIGEST]
            ok    documents     2 with the right digests, sizes and types
            ok    platforms     linux/amd64, linux/arm64

          linux/amd64 sha256:[DIGEST]
            ok    config        linux/amd64
            ok    layers        1
            ok    blobs         2 of 2 are there
            ok    content       1 of 1 layers known
            ok    entry-point   /bin/sh
            ok    shells        /bin/sh
            ok    path-programs 1 of 1 are native
            ok    programs      1 for amd64, 0 for others

          linux/arm64 sha256:[DIGEST]
            ok    config        linux/arm64
            ok    layers        1
            ok    blobs         2 of 2 are there
            ok    content       1 of 1 layers known
            FAIL  entry-point   /bin/sh is an x86-64 program
            FAIL  shells        /bin/sh is an x86-64 program
            FAIL  path-programs 1 of 1 in PATH are for other machines: /bin/sh is an x86-64 program
            ok    programs      0 for arm64, 1 for others: bin/sh is an x86-64 program

          FAIL
        --- stderr
        error: docker://127.0.0.1:[PORT]/app:bad is not what it says it is: linux/arm64: /bin/sh is an x86-64 program
        ");
    world.assert_nothing_left();
}

#[test]
#[expect(clippy::too_many_lines, reason = "they are the document's")]
fn a_document_for_scripts() {
    let world = World::bare("FROM scratch\n");
    push(&world.registry, "bad", "amd64");
    let output =
        world.gantry.run(["verify", "--format=json", "--deep", &world.expand("HOST/app:bad")]).code(5);
    let document: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(document["reports"][0]["outcome"], "fail");
    assert_eq!(document["reports"][0]["images"][1]["programs"]["byArchitecture"]["amd64"], 1);
    assert_snapshot!(output.snapshot(), @r#"
        status: 5
        --- stdout
        {
          "reports": [
            {
              "subject": "docker://127.0.0.1:[PORT]/app:bad",
              "digest": "sha256:[DIGEST]",
              "mediaType": "application/vnd.oci.image.index.v1+json",
              "outcome": "fail",
              "checks": [
                {
                  "name": "documents",
                  "outcome": "pass",
                  "detail": "2 with the right digests, sizes and types"
                },
                {
                  "name": "platforms",
                  "outcome": "pass",
                  "detail": "linux/amd64, linux/arm64"
                }
              ],
              "images": [
                {
                  "platform": "linux/amd64",
                  "manifest": "sha256:[DIGEST]",
                  "outcome": "pass",
                  "checks": [
                    {
                      "name": "config",
                      "outcome": "pass",
                      "detail": "linux/amd64"
                    },
                    {
                      "name": "layers",
                      "outcome": "pass",
                      "detail": "1"
                    },
                    {
                      "name": "blobs",
                      "outcome": "pass",
                      "detail": "2 of 2 are there"
                    },
                    {
                      "name": "content",
                      "outcome": "pass",
                      "detail": "1 of 1 layers read, with the right digests and diff ids"
                    },
                    {
                      "name": "entry-point",
                      "outcome": "pass",
                      "detail": "/bin/sh"
                    },
                    {
                      "name": "shells",
                      "outcome": "pass",
                      "detail": "/bin/sh"
                    },
                    {
                      "name": "path-programs",
                      "outcome": "pass",
                      "detail": "1 of 1 are native"
                    },
                    {
                      "name": "programs",
                      "outcome": "pass",
                      "detail": "1 for amd64, 0 for others"
                    }
                  ],
                  "programs": {
                    "native": 1,
                    "foreign": 0,
                    "byArchitecture": {
                      "amd64": 1
                    },
                    "foreignExamples": []
                  }
                },
                {
                  "platform": "linux/arm64",
                  "manifest": "sha256:[DIGEST]",
                  "outcome": "fail",
                  "checks": [
                    {
                      "name": "config",
                      "outcome": "pass",
                      "detail": "linux/arm64"
                    },
                    {
                      "name": "layers",
                      "outcome": "pass",
                      "detail": "1"
                    },
                    {
                      "name": "blobs",
                      "outcome": "pass",
                      "detail": "2 of 2 are there"
                    },
                    {
                      "name": "content",
                      "outcome": "pass",
                      "detail": "1 of 1 layers read, with the right digests and diff ids"
                    },
                    {
                      "name": "entry-point",
                      "outcome": "fail",
                      "detail": "/bin/sh is an x86-64 program"
                    },
                    {
                      "name": "shells",
                      "outcome": "fail",
                      "detail": "/bin/sh is an x86-64 program"
                    },
                    {
                      "name": "path-programs",
                      "outcome": "fail",
                      "detail": "1 of 1 in PATH are for other machines: /bin/sh is an x86-64 program"
                    },
                    {
                      "name": "programs",
                      "outcome": "pass",
                      "detail": "0 for arm64, 1 for others: bin/sh is an x86-64 program"
                    }
                  ],
                  "programs": {
                    "native": 0,
                    "foreign": 1,
                    "byArchitecture": {
                      "amd64": 1
                    },
                    "foreignExamples": [
                      "bin/sh is an x86-64 program"
                    ]
                  }
                }
              ]
            }
          ]
        }
        --- stderr
        error: docker://127.0.0.1:[PORT]/app:bad is not what it says it is: linux/arm64: /bin/sh is an x86-64 program
        "#);
}

#[test]
fn exit_codes_tell_what_could_not_be_looked_at() {
    let world = World::bare("FROM scratch\n");
    for (image, code) in [("HOST/app:none", 4), ("./nothing", 4), ("store:app:1", 4), ("No Name", 2)] {
        let _ = world.gantry.run(["verify", &world.expand(image)]).code(code);
    }
    let _ = world.gantry.run(["verify", "--deep", "--no-bytes", "x"]).code(2);
    world.gantry.write("gantry.toml", "[verify]\nallow-foriegn = []\n");
    let output = world.gantry.run(["verify", &world.expand("HOST/app:none")]).code(2);
    assert!(output.stderr.contains("allow-foriegn"), "{}", output.stderr);
}

#[test]
fn one_missing_image_hides_no_other() {
    let world = World::bare("FROM scratch\n");
    push(&world.registry, "good", "arm64");
    push(&world.registry, "bad", "amd64");
    let images = ["HOST/app:none", "HOST/app:good", "HOST/app:bad"].map(|image| world.expand(image));
    let output = world.gantry.run(["verify"].into_iter().chain(images.iter().map(String::as_str))).code(4);
    assert_eq!(output.stdout.matches("linux/arm64 sha256:").count(), 2, "{}", output.stdout);
    for message in
        ["app:none", "app:bad is not what it says it is: linux/arm64: /bin/sh is an x86-64 program"]
    {
        assert!(output.stderr.contains(message), "{}", output.stderr);
    }
}

#[test]
fn rules_of_the_configuration_count() {
    let world = World::bare("FROM scratch\n");
    push(&world.registry, "bad", "amd64");
    world.gantry.write("gantry.toml", "[verify]\nallow-foreign = [\"bin/sh\"]\n");
    let _ = world.gantry.run(["verify", &world.expand("HOST/app:bad")]).success();
}

#[test]
fn root_a_base_with_foreign_programs_is_refused_at_from() {
    let world = World::bare("FROM HOST/base:1\nCOPY Dockerfile /\n");
    image(&format!("linux/{HOST}"), OTHER).push(&world.registry, "base", Some("1"));
    let output = world.build(&["--progress=quiet", "--tag=HOST/app:1", "--push"]).code(5);
    let message = output
        .snapshot()
        .replace(HOST, "[HOST]")
        .replace("x86-64", "[OTHER]")
        .replace("64-bit ARM", "[OTHER]");
    assert_snapshot!(message.replace("an [OTHER]", "a [OTHER]"), @r"
        status: 5
        --- stdout
        --- stderr
        error: `127.0.0.1:[PORT]/base:1@sha256:[DIGEST]` says it is for linux/[HOST], but /bin/sh is a [OTHER] program
         --> Dockerfile:1:1
          |
        1 | FROM 127.0.0.1:[PORT]/base:1
          | ^^^^^^^^^^^^^^^^^^^^^^^^^^^
        hint: whoever published the image mixed up its platforms: use another tag or digest
        hint: if it is meant to be so, `[verify]` in gantry.toml can allow it, and --verify=report only warns
        ");
    assert!(world.registry.manifest("app", "1").is_none());
    world.assert_nothing_left();
    world.dockerfile("FROM scratch AS first\nCOPY Dockerfile /\nFROM HOST/base:1\nCOPY --from=first / /\n");
    let output = world.build(&["--progress=rawjson"]).code(5);
    let steps = Vertexes::read(&output.stderr);
    assert_eq!(steps.executed_sorted(), [""; 0], "nothing was done before");

    world.dockerfile("FROM HOST/base:1\nCOPY Dockerfile /\n");
    // Who knows better may say so, and what is wrong is still said.
    let output = world.build(&["--progress=plain", "--verify=report"]).success();
    assert!(output.stderr.contains("/bin/sh is a"), "{}", output.stderr);
    let output = world.build(&["--progress=plain", "--verify=off"]).success();
    assert!(!output.stderr.contains("/bin/sh is a"), "{}", output.stderr);
    world.gantry.write("gantry.toml", "[verify]\nallow-foreign = [\"bin/sh\"]\n");
    let _ = world.build(&["--progress=quiet"]).success();
}

#[test]
fn root_files_may_be_copied_from_foreign_images() {
    let world = World::bare("FROM scratch\nCOPY --from=HOST/data:1 /bin/sh /data/firmware\n");
    image(&format!("linux/{HOST}"), OTHER).push(&world.registry, "data", Some("1"));
    let _ = world.build(&["--progress=quiet", "--tag=HOST/app:1", "--push"]).success();
}

#[test]
fn root_a_result_with_foreign_programs_leaves_nowhere() {
    let world = World::bare("FROM scratch\nCOPY app /\nCMD [\"/app\"]\n");
    world.gantry.write("app", program(OTHER));
    let archive = world.gantry.home().join("app.tar");
    let output = format!("--output=type=oci,dest={}", archive.display());
    let failed = world.build(&["--progress=quiet", "--tag=HOST/app:1", "--push", &output]).code(5);
    assert!(failed.stderr.contains(&format!("the image for linux/{HOST}: /app is ")), "{}", failed.stderr);
    // Layers may have been sent while it was built; nothing names them.
    assert!(world.registry.logged("PUT", "/manifests/").is_empty() && !archive.exists());
    let _ = world.build(&["--progress=quiet", "--output=type=local,dest=files"]).success();
    let _ = world.build(&["--progress=quiet", "--tag=HOST/app:1", "--push", "--verify=report"]).success();
    let verified = world.gantry.run(["verify", &world.expand("HOST/app:1")]).code(5);
    assert!(verified.stderr.contains("/app is "), "{}", verified.stderr);

    world.gantry.write("app", program(HOST));
    let _ = world.build(&["--progress=quiet", "--tag=HOST/app:2", "--push", &output]).success();
    let _ = world.build(&["--progress=quiet", "--tag=HOST/app:2"]).success();
    // A name with a host is the registry's, whatever the store has of that name.
    let _ = world.build(&["--progress=quiet", "--tag=HOST/app:local"]).success();
    let _ = world.gantry.run(["verify", &world.expand("HOST/app:local")]).code(4);
    for image in ["docker://HOST/app:2", "store:HOST/app:2", "HOST/app:2", &archive.display().to_string()] {
        let _ = world.gantry.run(["verify", "--deep", &world.expand(image)]).success();
    }
}

#[test]
fn root_verdicts_are_kept() {
    let world = World::new("FROM BASE\nRUN true\n");
    let build = || world.build(&["--progress=quiet", "--tag=HOST/app:1"]).success();
    let _ = build();
    let indexes = world.store().join("indexes");
    let count = || fs::read_dir(&indexes).unwrap().count();
    assert!(count() > 0);
    fs::remove_dir_all(&indexes).unwrap();
    let _ = build();
    assert_eq!(count(), 0, "an equal build looks at nothing again");
    // Somebody who asks gets an answer all the same.
    let _ = world.gantry.run(["verify", &world.expand("store:HOST/app:1")]).success();
    assert!(count() > 0);
}

#[test]
fn root_a_base_that_no_step_changes_is_not_unpacked() {
    let world = World::bare("FROM HOST/base:1\nLABEL a=b\nCOPY --link Dockerfile /\n");
    image(&format!("linux/{HOST}"), HOST).push(&world.registry, "base", Some("1"));
    let layer = image(&format!("linux/{HOST}"), HOST).manifest.layers[0].digest.to_string();
    let _ = world.build(&["--progress=quiet", "--tag=HOST/app:1", "--push"]).success();
    assert_eq!(world.registry.logged("GET", &layer).len(), 1, "it is fetched once");
    assert_eq!(fs::read_dir(world.store().join("snapshots")).unwrap().count(), 1, "the copied file's layer");
}

#[test]
fn root_a_dockerfile_may_choose_the_platform_where_nobody_asks_for_one() {
    let world = World::bare(&format!("FROM --platform=linux/{OTHER} HOST/base:1\nCOPY Dockerfile /\n"));
    image(&format!("linux/{OTHER}"), OTHER).push(&world.registry, "base", Some("1"));
    let arguments = ["--progress=quiet", "--tag=HOST/app:1", "--push"];
    let _ = world.build(&arguments).success();
    let wanted = format!("--platform=linux/{OTHER}");
    let _ = world.gantry.run(["verify", &wanted, &world.expand("docker://HOST/app:1")]).success();

    // Who asks for one gets that or nothing.
    let asking = format!("--platform=linux/{HOST}");
    let output = world.build(&[&arguments[..], &[&asking]].concat()).code(5);
    let message = format!("the image for linux/{HOST}: /bin/sh is ");
    assert!(output.stderr.contains(&message), "{}", output.stderr);
}
