//! What a build gives: every kind of `--output`, the files for scripts, standard output, and the flags that change
//! what is in the image.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic, as tests do")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Output as Finished, Stdio};
use std::time::{Duration, SystemTime};

use gantry_oci::{Descriptor, Digest, Document, ImageConfig, Index, Manifest};
use gantry_testkit::{FlatImage, FlatKind};
use serde_json::Value;

#[path = "support/world.rs"]
mod world;

use world::World;

/// Two platforms, without a step that would need an emulator.
const BOTH: &str = "--platform=linux/amd64,linux/arm64";

/// A few files on nothing, one per platform.
const FILES: &str =
    "FROM scratch\nARG TARGETARCH\nCOPY app.txt /etc/\nCOPY Dockerfile /only-$TARGETARCH\nENV A=1\n";

fn world() -> World {
    let world = World::bare(FILES);
    world.gantry.write("app.txt", "app\n");
    world
}

/// Builds, and checks that progress is quiet where nobody asked for it.
#[track_caller]
fn build(world: &World, arguments: &[&str]) -> String {
    let output = world.build(&[&["--progress=quiet"], arguments].concat()).success();
    assert_eq!(output.stderr, "", "a quiet build says nothing");
    world.assert_nothing_left();
    output.stdout
}

/// The paths in an image that are not directories, with the short text of each.
fn files(image: &FlatImage) -> BTreeMap<String, String> {
    let tree = image.after(image.layers());
    let text = |kind: &FlatKind| match kind {
        FlatKind::Regular { text, .. } => text.clone(),
        _ => None,
    };
    tree.iter().filter_map(|(path, file)| Some((path.clone(), text(&file.kind)?))).collect()
}

fn expected(architecture: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("etc/app.txt".to_owned(), "app\n".to_owned()),
        (format!("only-{architecture}"), FILES.to_owned()),
    ])
}

fn json(path: impl AsRef<Path>) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The names and contents of an archive's files.
fn entries(archive: impl Read) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(archive);
    let mut found = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        assert!(found.insert(path.clone(), bytes).is_none(), "{path} is there twice");
    }
    found
}

/// The names of all files below a directory.
fn listing(directory: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(next) = directories.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => directories.push(path),
                false => {
                    names.insert(path.strip_prefix(directory).unwrap().display().to_string());
                }
            }
        }
    }
    names
}

fn set<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

// ---- Images as files ----

#[test]
fn root_oci_archive_and_directory() {
    let world = world();
    let tag = "--tag=registry.example/app:1";
    build(&world, &[BOTH, tag, "--output=type=oci,dest=app.tar", "--output=type=oci,dest=app,tar=false"]);
    for layout in ["app.tar", "app"] {
        let images = FlatImage::read(&world.gantry.directory().join(layout));
        let found: Vec<_> =
            images.iter().map(|(platform, image)| (platform.as_str(), files(image))).collect();
        assert_eq!(
            found,
            [("linux/amd64", expected("amd64")), ("linux/arm64", expected("arm64"))],
            "{layout}"
        );
    }
    let directory = world.gantry.directory().join("app");
    let index: Index = serde_json::from_slice(&fs::read(directory.join("index.json")).unwrap()).unwrap();
    assert_eq!(names(&index), [("registry.example/app:1".to_owned(), "1".to_owned())]);
    let archived = entries(fs::File::open(world.gantry.directory().join("app.tar")).unwrap());
    assert_eq!(archived["index.json"], fs::read(directory.join("index.json")).unwrap());
    assert_eq!(archived["oci-layout"], fs::read(directory.join("oci-layout")).unwrap());
    // Again over what is there: the same bytes.
    let before = fs::read(world.gantry.directory().join("app.tar")).unwrap();
    build(&world, &[BOTH, tag, "--output=type=oci,dest=app.tar", "--output=type=oci,dest=app,tar=false"]);
    assert!(before == fs::read(world.gantry.directory().join("app.tar")).unwrap(), "the archive differs");
}

#[test]
fn root_an_oci_directory_keeps_its_other_images() {
    let world = world();
    let directory = world.gantry.directory().join("app");
    let output = "--output=type=oci,dest=app,tar=false";
    for arguments in [&["--tag=r.test/a:1"][..], &["--tag=r.test/b:1"], &["--tag=r.test/b:1"], &[], &[]] {
        build(&world, &[arguments, &[output]].concat());
    }
    let index: Index = serde_json::from_slice(&fs::read(directory.join("index.json")).unwrap()).unwrap();
    let mut found = names(&index);
    found.sort();
    let named = |full: &str, tag: &str| (full.to_owned(), tag.to_owned());
    assert_eq!(found, [named("", "latest"), named("r.test/a:1", "1"), named("r.test/b:1", "1")]);
    // No part of a file, and no lock, is left beside it.
    let top: BTreeSet<String> =
        listing(&directory).iter().map(|path| path.split('/').next().unwrap().to_owned()).collect();
    assert_eq!(top, set(["blobs", "index.json", "oci-layout"]));
}

#[test]
fn root_an_archive_has_the_layers_of_the_base_image() {
    let world = World::new("FROM BASE\nENV A=1\n");
    build(&world, &["--platform=linux/arm64", "--output=type=oci,dest=app.tar"]);
    let images = FlatImage::read(&world.gantry.directory().join("app.tar"));
    let image = &images["linux/arm64"];
    assert_eq!(image.layers(), 1);
    assert!(image.after(1).contains_key("bin/busybox"), "the layer was fetched for the archive");
}

/// The names that an index gives, by containerd's annotation and by OCI's.
fn names(index: &Index) -> Vec<(String, String)> {
    let annotation = |entry: &Descriptor, key: &str| entry.annotations.get(key).cloned().unwrap_or_default();
    let both = |entry: &Descriptor| {
        let full = annotation(entry, "io.containerd.image.name");
        (full, annotation(entry, "org.opencontainers.image.ref.name"))
    };
    index.manifests.iter().map(both).collect()
}

#[test]
fn root_docker_archive() {
    let world = world();
    build(&world, &["--tag=registry.example/app:1", "--output=type=docker,dest=app.tar"]);
    let archived = entries(fs::File::open(world.gantry.directory().join("app.tar")).unwrap());
    let manifest: Value = serde_json::from_slice(&archived["manifest.json"]).unwrap();
    let [image] = manifest.as_array().unwrap().as_slice() else { panic!("one image: {manifest}") };
    assert_eq!(image["RepoTags"], serde_json::json!(["registry.example/app:1"]));
    let config: ImageConfig = serde_json::from_slice(&archived[image["Config"].as_str().unwrap()]).unwrap();
    let layers = image["Layers"].as_array().unwrap();
    assert_eq!(layers.len(), config.rootfs.diff_ids.len());
    assert!(layers.iter().all(|layer| archived.contains_key(layer.as_str().unwrap())), "{layers:?}");
    // It is an OCI layout, too.
    let images = FlatImage::read(&world.gantry.directory().join("app.tar"));
    assert_eq!(images.len(), 1);
}

#[test]
fn root_an_image_is_loaded_by_dockers_command() {
    let mut world = world();
    let path = format!("{}:/usr/bin:/bin", world.gantry.directory().join("bin").display());
    world.gantry = world.gantry.env("PATH", path);
    let docker = |script: &str| {
        world.gantry.write("bin/docker", format!("#!/bin/sh\n{script}\n"));
        let path = world.gantry.directory().join("bin/docker");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    docker("echo \"$@\" > called; cat > loaded.tar; echo Loaded");
    let read = |name: &str| fs::read(world.gantry.directory().join(name)).unwrap();
    for (flag, called) in [("--load", "load\n"), ("--output=type=docker,context=c", "--context c load\n")] {
        let output = world.build(&[flag, "--tag=r.test/a:1"]).success();
        assert_eq!(output.stdout, "", "{flag}");
        assert_eq!(String::from_utf8(read("called")).unwrap(), called);
        assert!(entries(read("loaded.tar").as_slice()).contains_key("manifest.json"));
    }
    docker("echo no engine >&2; exit 1");
    let failed = world.build(&["--load"]).code(10);
    assert!(failed.stderr.contains("`docker load` failed: no engine"), "{}", failed.stderr);
    // What is not there is found out before anything is done.
    fs::remove_file(world.gantry.directory().join("bin/docker")).unwrap();
    let path = world.gantry.directory().join("bin");
    world.gantry = world.gantry.env("PATH", path);
    world.gantry.write("Dockerfile", "FROM no-such.test/image\n");
    let failed = world.build(&["--load"]).code(2);
    assert!(failed.stderr.contains("no `docker` command"), "{}", failed.stderr);
}

/// Whoever builds, where and when: with an epoch and rewritten times, equal inputs give equal bytes.
#[test]
fn root_equal_builds_give_equal_outputs() {
    const STEPS: &str = "FROM BASE\nRUN mkdir -p /d/e && date > /dev/null && echo 1 > /d/e/f && mkfifo /d/p\nCOPY app.txt sub /etc/\n\
        WORKDIR /w\nCOPY --link app.txt /x/y/\nRUN rm -r /d/e && ln /etc/app.txt /l && ln -s l /s && touch /bin\n";
    let outputs = |umask: &str, age: u64| {
        let mut world = World::new(STEPS);
        world.gantry = world.gantry.wrapped_by(["sh", "-c", &format!("umask {umask}; exec \"$0\" \"$@\"")]);
        for name in ["app.txt", "sub/b", "sub/a"] {
            world.gantry.write(name, name);
            let file = fs::File::options().write(true).open(world.gantry.directory().join(name)).unwrap();
            file.set_permissions(fs::Permissions::from_mode(0o640)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
        }
        fs::set_permissions(world.gantry.directory().join("sub"), fs::Permissions::from_mode(0o755)).unwrap();
        let form = "rewrite-timestamp=true,compression=zstd";
        let done = world.build(&[
            "--build-arg=SOURCE_DATE_EPOCH=1450000000",
            "--tag=r.test/a:1",
            &format!("--output=type=oci,dest=oci.tar,{form}"),
            &format!("--output=type=docker,dest=docker.tar,{form}"),
            "--output=type=tar,dest=files.tar",
            "--iidfile=id",
        ]);
        assert_eq!(done.success().stdout, "");
        let read = |name: &str| (name.to_owned(), fs::read(world.gantry.directory().join(name)).unwrap());
        ["oci.tar", "docker.tar", "files.tar", "id"].map(read)
    };
    for ((name, one), (_, other)) in outputs("022", 10).into_iter().zip(outputs("077", 100_000)) {
        assert!(one == other, "{name} differs");
    }
}

/// Compression is told by the media types; what is in the layers stays the same.
#[test]
fn root_layers_are_compressed_anew() {
    let world = World::new("FROM BASE\nCOPY Dockerfile /etc/\n");
    let layers = |output: &str| {
        build(&world, &["--platform=linux/arm64", "--output", &format!("type=oci,dest=x.tar,{output}")]);
        let archive = entries(fs::File::open(world.gantry.directory().join("x.tar")).unwrap());
        let blob = |digest: &Digest| &archive[&format!("blobs/sha256/{}", digest.hex())];
        let index: Index = serde_json::from_slice(&archive["index.json"]).unwrap();
        let manifest: Manifest = serde_json::from_slice(blob(&index.manifests[0].digest)).unwrap();
        let config: ImageConfig = serde_json::from_slice(blob(&manifest.config.digest)).unwrap();
        let types = manifest.layers.iter().map(|layer| {
            assert_eq!(Digest::of(blob(&layer.digest)), layer.digest);
            layer.media_type.rsplit('.').next().unwrap().to_owned()
        });
        (types.collect::<Vec<_>>(), config.rootfs.diff_ids)
    };
    let (types, content) = layers("compression=gzip");
    assert_eq!(types, ["tar+gzip", "tar+gzip"]);
    for (output, wanted) in [
        ("compression=zstd", ["tar+gzip", "tar+zstd"]),
        ("compression=zstd,force-compression=true", ["tar+zstd", "tar+zstd"]),
        ("compression=uncompressed,force-compression=true", ["tar", "tar"]),
        ("compression-level=1,force-compression=true", ["tar+gzip", "tar+gzip"]),
    ] {
        let (types, found) = layers(output);
        assert_eq!((types, found), (wanted.map(str::to_owned).to_vec(), content.clone()), "{output}");
    }
    assert_eq!(FlatImage::read(&world.gantry.directory().join("x.tar"))["linux/arm64"].layers(), 2);
}

#[test]
fn root_docker_archive_holds_one_platform() {
    let world = world();
    let output = world.build(&[BOTH, "--output=type=docker,dest=app.tar"]).code(2);
    assert!(output.stderr.contains("holds one platform"), "{}", output.stderr);
    assert!(!world.gantry.directory().join("app.tar").exists());
}

#[test]
fn root_image_in_the_store() {
    let world = world();
    build(&world, &[BOTH, "--tag=registry.example/app:1", "--output=type=image,name=registry.example/app:2"]);
    build(&world, &["--tag=registry.example/other"]);
    let index: Index = serde_json::from_slice(&fs::read(world.store().join("index.json")).unwrap()).unwrap();
    let found: BTreeSet<_> = names(&index).into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        found,
        set(["registry.example/app:1", "registry.example/app:2", "registry.example/other:latest"])
    );
    for entry in &index.manifests {
        let bytes = fs::read(world.store().join("blobs/sha256").join(entry.digest.hex())).unwrap();
        assert!(Document::parse(&bytes, Some(&entry.media_type)).is_ok());
    }
    // A name moves to what is built next.
    let before =
        index.manifests.iter().find(|entry| entry.annotations.values().any(|name| name.ends_with("app:1")));
    world.gantry.write("app.txt", "changed\n");
    build(&world, &[BOTH, "--tag=registry.example/app:1"]);
    let index: Index = serde_json::from_slice(&fs::read(world.store().join("index.json")).unwrap()).unwrap();
    let after: Vec<_> = index
        .manifests
        .iter()
        .filter(|entry| entry.annotations.values().any(|name| name.ends_with("app:1")))
        .collect();
    assert_eq!(after.len(), 1);
    assert_ne!(after[0].digest, before.unwrap().digest);
}

// ---- File systems ----

#[test]
fn root_files() {
    let world = world();
    build(&world, &["--platform=linux/arm64", "--output=type=local,dest=one", "--output=short"]);
    build(&world, &[BOTH, "--output=type=local,dest=both"]);
    let directory = world.gantry.directory();
    for name in ["one", "short"] {
        assert_eq!(listing(&directory.join(name)), set(["etc/app.txt", "only-arm64"]), "{name}");
    }
    assert_eq!(
        listing(&directory.join("both")),
        set([
            "linux_amd64/etc/app.txt",
            "linux_amd64/only-amd64",
            "linux_arm64/etc/app.txt",
            "linux_arm64/only-arm64"
        ])
    );
    assert_eq!(fs::read_to_string(directory.join("one/etc/app.txt")).unwrap(), "app\n");
}

#[test]
fn root_file_system_archive() {
    let world = world();
    build(&world, &["--platform=linux/arm64", "--output=type=tar,dest=one.tar"]);
    build(&world, &[BOTH, "--output=type=tar,dest=both.tar"]);
    let names = |archive: &str| -> BTreeSet<String> {
        let entries = entries(fs::File::open(world.gantry.directory().join(archive)).unwrap());
        entries.into_keys().filter(|name| !name.ends_with('/')).collect()
    };
    assert_eq!(names("one.tar"), set(["etc/app.txt", "only-arm64"]));
    assert_eq!(
        names("both.tar"),
        set([
            "linux_amd64/etc/app.txt",
            "linux_amd64/only-amd64",
            "linux_arm64/etc/app.txt",
            "linux_arm64/only-arm64"
        ])
    );
}

#[test]
fn root_archives_to_standard_output() {
    let world = world();
    for (output, file) in
        [("-", "etc/app.txt"), ("type=tar,dest=-", "etc/app.txt"), ("type=oci", "index.json")]
    {
        let finished = raw(&world, &["--progress=plain", "--output", output], b"");
        assert!(entries(finished.stdout.as_slice()).contains_key(file), "--output {output}");
    }
    let both = world.build(&["--output=-", "--output=type=oci,dest=-"]).code(2);
    assert!(both.stderr.contains("cannot both go to standard output"), "{}", both.stderr);
}

/// Runs with this standard input; output as bytes.
#[track_caller]
fn raw(world: &World, arguments: &[&str], stdin: &[u8]) -> Finished {
    let mut command = world.gantry.command(world.arguments(arguments));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin).unwrap();
    let finished = child.wait_with_output().unwrap();
    assert!(finished.status.success(), "{}", String::from_utf8_lossy(&finished.stderr));
    finished
}

// ---- What scripts read ----

#[test]
fn root_files_for_scripts() {
    let world = world();
    let id = build(
        &world,
        &[
            "--quiet",
            "--iidfile=id",
            "--metadata-file=meta.json",
            "--tag=r.example/a:1",
            "--tag=r.example/b:2",
        ],
    );
    let directory = world.gantry.directory();
    let metadata = json(directory.join("meta.json"));
    let keys: Vec<_> = metadata.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "containerimage.config.digest",
            "containerimage.descriptor",
            "containerimage.digest",
            "image.name",
            "buildx.build.provenance",
            "gantry.platforms",
        ]
    );
    assert_eq!(metadata["image.name"], "r.example/a:1,r.example/b:2");
    assert_eq!(metadata["containerimage.descriptor"]["platform"]["os"], "linux");
    assert_eq!(metadata["buildx.build.provenance"]["invocation"]["configSource"]["entryPoint"], "Dockerfile");
    let config = metadata["containerimage.config.digest"].as_str().unwrap();
    assert_eq!(id, format!("{config}\n"), "--quiet prints the id and nothing else");
    assert_eq!(fs::read_to_string(directory.join("id")).unwrap(), config);
    assert_eq!(metadata["containerimage.descriptor"]["digest"], metadata["containerimage.digest"]);
    let manifest: Digest = metadata["containerimage.digest"].as_str().unwrap().parse().unwrap();
    let bytes = fs::read(world.store().join("blobs/sha256").join(manifest.hex())).unwrap();
    let Document::Manifest(manifest) = Document::parse(&bytes, None).unwrap() else { panic!("one platform") };
    assert_eq!(manifest.config.digest.to_string(), config);
}

#[test]
fn root_files_for_scripts_of_several_platforms() {
    let world = world();
    let id = build(&world, &["-q", BOTH, "--iidfile=id", "--metadata-file=meta.json"]);
    let metadata = json(world.gantry.directory().join("meta.json"));
    let index = metadata["containerimage.digest"].as_str().unwrap();
    assert_eq!(metadata.get("containerimage.config.digest"), None, "there are several configs");
    assert_eq!(metadata.get("image.name"), None, "nobody gave a name");
    assert_eq!(id, format!("{index}\n"));
    assert_eq!(fs::read_to_string(world.gantry.directory().join("id")).unwrap(), index);
    let platforms = metadata["gantry.platforms"].as_object().unwrap();
    assert_eq!(platforms.keys().collect::<Vec<_>>(), ["linux/amd64", "linux/arm64"]);
    assert!(metadata["buildx.build.provenance/linux/arm64"].is_object(), "{metadata}");
    for platform in platforms.values() {
        assert_eq!(platform["layers"].as_array().unwrap().len(), 2, "{platform}");
    }
}

#[test]
fn root_a_failed_build_writes_no_files_for_scripts() {
    let world = World::bare("FROM scratch\nCOPY missing /\n");
    let output = world.build(&["-q", "--iidfile=id", "--metadata-file=meta.json", "--output=out"]).code(1);
    assert_eq!(output.stdout, "");
    assert_eq!(listing(world.gantry.directory()), set(["Dockerfile"]));
}

#[test]
fn root_warnings_for_scripts() {
    let world = World::bare("FROM scratch AS Base\nCOPY Dockerfile /\n");
    let warnings = |setting: &str| {
        let arguments = world.arguments(&["-q", BOTH, "--metadata-file=meta.json"]);
        let output = world.gantry.command(arguments).env("BUILDX_METADATA_WARNINGS", setting).output();
        assert!(output.unwrap().status.success());
        json(world.gantry.directory().join("meta.json")).get("buildx.build.warnings").cloned()
    };
    assert_eq!((warnings(""), warnings("0"), warnings("maybe")), (None, None, None));
    let found = warnings("true").unwrap();
    assert_eq!(found.as_array().unwrap().len(), 1, "each once, for all platforms: {found}");
    assert_eq!(found[0]["sourceInfo"]["filename"], "Dockerfile");
    assert_eq!(found[0]["range"][0]["start"]["line"], 1);
    assert!(found[0]["url"].as_str().unwrap().contains("stage-name-casing"), "{found}");
}

#[test]
fn root_quiet_goes_with_no_other_progress() {
    let world = world();
    let refused = world.build(&["-q", "--progress=plain"]).code(2);
    assert!(refused.stderr.contains("--quiet and --progress=plain"), "{}", refused.stderr);
    let _ = world.gantry.run(["publish", "x", "-q", "--progress=tty"]).code(2);
    for mode in ["auto", "quiet", "none"] {
        let output = world.build(&["-q", &format!("--progress={mode}")]).success();
        assert!(
            output.stdout.starts_with("sha256:") && output.stderr.is_empty(),
            "{mode}: {}",
            output.stderr
        );
    }
    // What all commands of a job have is no wish about this one.
    let output = world.gantry.command(world.arguments(&["-q"])).env("BUILDKIT_PROGRESS", "plain").output();
    assert!(output.unwrap().status.success());
}

// ---- What is in the image ----

/// The config of the image that these arguments give.
fn config(world: &World, arguments: &[&str]) -> ImageConfig {
    build(world, &[arguments, &["--metadata-file=meta.json"]].concat());
    let metadata = json(world.gantry.directory().join("meta.json"));
    let digest: Digest = metadata["containerimage.config.digest"].as_str().unwrap().parse().unwrap();
    serde_json::from_slice(&fs::read(world.store().join("blobs/sha256").join(digest.hex())).unwrap()).unwrap()
}

#[test]
fn root_labels() {
    let world = World::bare("FROM scratch\nLABEL a=1 b=2\n");
    let config = config(&world, &["--label=b=3", "--label", "c=with spaces", "--label=d"]);
    let labels = config.config.labels.unwrap();
    let labels: Vec<_> = labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(labels, [("a", "1"), ("b", "3"), ("c", "with spaces"), ("d", "")]);
}

#[test]
fn root_target() {
    let world = World::bare("FROM scratch AS one\nENV STAGE=one\nFROM scratch AS two\nENV STAGE=two\n");
    for (arguments, stage) in [(&["--target=one"][..], "one"), (&["--target=TWO"], "two"), (&[], "two")] {
        let env = config(&world, arguments).config.env.unwrap();
        assert!(env.contains(&format!("STAGE={stage}")), "{arguments:?}: {env:?}");
    }
}

#[test]
fn root_build_args() {
    let world = World::bare(
        "FROM scratch\nARG GIVEN=default\nARG FROM_OUTSIDE=default\nARG UNSET=default\nENV ALL=$GIVEN,$FROM_OUTSIDE,$UNSET\n",
    );
    let world = World { gantry: world.gantry.env("FROM_OUTSIDE", "outside"), ..world };
    let arguments = ["--build-arg=GIVEN=a=b", "--build-arg=FROM_OUTSIDE", "--build-arg=UNSET"];
    let env = config(&world, &arguments).config.env.unwrap();
    assert!(env.contains(&"ALL=a=b,outside,default".to_owned()), "{env:?}");
}

#[test]
fn root_dockerfile_from_elsewhere() {
    let world = world();
    world.gantry.write("../other/Dockerfile.prod", "FROM scratch\nCOPY app.txt /prod.txt\n");
    build(&world, &["--file=../other/Dockerfile.prod", "--output=prod"]);
    assert_eq!(listing(&world.gantry.directory().join("prod")), set(["prod.txt"]));
    raw(&world, &["--file=-", "--output=piped"], b"FROM scratch\nCOPY app.txt /piped.txt\n");
    assert_eq!(listing(&world.gantry.directory().join("piped")), set(["piped.txt"]));
}
