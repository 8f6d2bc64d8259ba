//! Attestations of a build, from the flags to the bytes that other tools read: in layouts, beside files, in a registry.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic, as tests do")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use gantry_attest::read::{Attestation, Documents};
use gantry_oci::{BoxFuture, Descriptor, Digest, Index, Manifest};
use serde_json::{Value, json};

#[path = "support/world.rs"]
mod world;

use world::World;

const BOTH: &str = "--platform=linux/amd64,linux/arm64";
const DOCKERFILE: &str =
    "FROM scratch\nARG TOKEN\nLABEL a=$TOKEN\nCOPY status /var/lib/dpkg/\nCOPY os-release /etc/\n";
/// The tests' only value that must not get into an attestation of mode `min`.
const CANARY: &str = "canary-7f3a";

fn world() -> World {
    let world = World::bare(DOCKERFILE);
    world.gantry.write(
        "status",
        "Package: hello\nStatus: install ok installed\nVersion: 1:2.10-3\nArchitecture: all\n",
    );
    world.gantry.write("os-release", "ID=debian\nVERSION_ID=13\n");
    world
}

fn build(world: &World, arguments: &[&str]) {
    let output =
        world.build(&[&["--progress=quiet", "--build-arg=SOURCE_DATE_EPOCH=1000000000"], arguments].concat());
    assert_eq!(output.success().stderr, "");
    world.assert_nothing_left();
}

/// A layout that was written as a directory.
struct Layout(PathBuf);

impl Layout {
    fn build(world: &World, arguments: &[&str]) -> Self {
        build(world, &[arguments, &["--output=type=oci,dest=out,tar=false"]].concat());
        Self(world.gantry.directory().join("out"))
    }

    fn blob(&self, digest: &Digest) -> Vec<u8> {
        let bytes = fs::read(self.0.join("blobs/sha256").join(digest.hex())).unwrap();
        assert_eq!(Digest::of(&bytes), *digest);
        bytes
    }

    fn json<T: serde::de::DeserializeOwned>(&self, descriptor: &Descriptor) -> T {
        serde_json::from_slice(&self.blob(&descriptor.digest)).unwrap()
    }

    fn top(&self) -> Index {
        serde_json::from_slice(&fs::read(self.0.join("index.json")).unwrap()).unwrap()
    }

    /// The index of the only image.
    fn index(&self) -> Index {
        self.json(&self.top().manifests[0])
    }

    /// The statements that a manifest holds, by predicate type.
    fn statements(&self, holder: &Descriptor) -> BTreeMap<String, Value> {
        let manifest: Manifest = self.json(holder);
        self.blob(&manifest.config.digest);
        let statement = |layer: Descriptor| {
            assert_eq!(layer.media_type, "application/vnd.in-toto+json");
            let statement: Value = self.json(&layer);
            assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
            assert_eq!(statement["predicateType"], layer.annotations["in-toto.io/predicate-type"]);
            (layer.annotations["in-toto.io/predicate-type"].clone(), statement)
        };
        manifest.layers.into_iter().map(statement).collect()
    }
}

const PROVENANCE: &str = "https://slsa.dev/provenance/v1";
const SPDX: &str = "https://spdx.dev/Document";

#[test]
fn root_in_the_index() {
    let world = world();
    let layout =
        Layout::build(&world, &[BOTH, "--provenance=mode=max", "--sbom=true", "--build-arg=TOKEN=canary"]);
    let index = layout.index();
    let platforms: Vec<_> =
        index.manifests.iter().map(|entry| entry.platform.as_ref().unwrap().to_string()).collect();
    assert_eq!(platforms, ["linux/amd64", "linux/arm64", "unknown/unknown", "unknown/unknown"]);
    for (image, holder) in index.manifests[..2].iter().zip(&index.manifests[2..]) {
        assert!(holder.is_attestation());
        assert_eq!(holder.annotations["vnd.docker.reference.digest"], image.digest.to_string());
        let manifest: Value = layout.json(holder);
        assert_eq!(manifest["subject"]["digest"], json!(image.digest));
        assert_eq!(manifest["artifactType"], "application/vnd.docker.attestation.manifest.v1+json");
        let statements = layout.statements(holder);
        assert_eq!(statements.keys().map(String::as_str).collect::<Vec<_>>(), [PROVENANCE, SPDX]);
        for statement in statements.values() {
            assert_eq!(
                statement["subject"],
                json!([{ "name": "_", "digest": { "sha256": image.digest.hex() } }])
            );
        }
        let package = &statements[SPDX]["predicate"]["packages"][2];
        let purl = &package["externalRefs"][0]["referenceLocator"];
        assert_eq!(purl, "pkg:deb/debian/hello@1:2.10-3?arch=all&distro=debian-13");
        assert_eq!(statements[SPDX]["predicate"]["creationInfo"]["created"], "2001-09-09T01:46:40Z");
        let predicate = &statements[PROVENANCE]["predicate"];
        let request = &predicate["buildDefinition"]["externalParameters"]["request"];
        assert_eq!(request["args"]["build-arg:TOKEN"], "canary");
        assert_eq!(request["locals"], json!([{ "name": "context" }]));
        assert_eq!(predicate["runDetails"]["metadata"]["startedOn"], "2001-09-09T01:46:40Z");
    }
}

#[test]
fn root_one_platform_becomes_an_index_only_with_attestations_in_it() {
    let world = world();
    let plain = Layout::build(&world, &[]).top().manifests[0].clone();
    assert_eq!(
        plain.media_type, "application/vnd.oci.image.manifest.v1+json",
        "nobody asked for attestations"
    );
    let layout = Layout::build(&world, &["--provenance=mode=min"]);
    assert_eq!(layout.top().manifests[0].media_type, "application/vnd.oci.image.index.v1+json");
    assert_eq!(layout.index().manifests[0].digest, plain.digest, "the image itself is the same");
    let layout = Layout::build(&world, &["--provenance=mode=min", "--attest-in=referrers"]);
    let [image, referrer] = layout.top().manifests.try_into().unwrap();
    assert_eq!(image, plain);
    assert_eq!(
        referrer.artifact_type.as_deref(),
        Some("application/vnd.docker.attestation.manifest.v1+json")
    );
    assert_eq!(layout.json::<Value>(&referrer)["subject"]["digest"], json!(plain.digest));
    assert_eq!(layout.statements(&referrer).len(), 1);
}

#[test]
fn root_the_older_form() {
    let world = world();
    let layout =
        Layout::build(&world, &["--attest=type=provenance,mode=min,version=v0.2,oci-artifact=false"]);
    let holder = &layout.index().manifests[1];
    let manifest: Value = layout.json(holder);
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.oci.image.config.v1+json");
    assert_eq!((manifest.get("subject"), manifest.get("artifactType")), (None, None));
    let statements = layout.statements(holder);
    let predicate = &statements["https://slsa.dev/provenance/v0.2"]["predicate"];
    assert_eq!(predicate["invocation"]["configSource"]["entryPoint"], "Dockerfile");
}

/// A machine whose context is the same as any other's, times included.
fn equal_world() -> World {
    let world = World::bare("FROM scratch\nCOPY root /\n");
    world.gantry.write("root/var/lib/dpkg/status", "Package: hello\nVersion: 1\n");
    for path in ["root/var/lib/dpkg/status", "root/var/lib/dpkg", "root/var/lib", "root/var", "root"] {
        let file = fs::File::open(world.gantry.directory().join(path)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)).unwrap();
    }
    world
}

#[test]
fn root_equal_builds_have_equal_attestations() {
    let digests = [(); 2].map(|()| {
        let flags = [BOTH, "--provenance=mode=max", "--sbom=format=cyclonedx"];
        Layout::build(&equal_world(), &flags).top().manifests[0].digest
    });
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn root_mode_min_has_nothing_of_the_users() {
    let world = world();
    let token = format!("--build-arg=TOKEN={CANARY}");
    let label = format!("--label=l={CANARY}");
    for version in ["v1", "v0.2"] {
        let provenance = format!("--provenance=mode=min,version={version}");
        let layout = Layout::build(&world, &[&token, &label, &provenance, "--sbom=true"]);
        let statements = layout.statements(&layout.index().manifests[1]);
        for (kind, statement) in statements {
            assert!(!statement.to_string().contains(CANARY), "{kind}");
        }
    }
}

fn subjects(statement: &Value) -> Vec<&str> {
    statement["subject"].as_array().unwrap().iter().map(|subject| subject["name"].as_str().unwrap()).collect()
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn root_beside_files() {
    let world = world();
    let directory = world.gantry.directory().to_owned();
    build(&world, &["--provenance=true", "--sbom=true", "--output=one", "--output=type=tar,dest=one.tar"]);
    let provenance = read(&directory.join("one/provenance.json"));
    assert_eq!(provenance["predicateType"], PROVENANCE);
    assert_eq!(subjects(&provenance), ["etc/os-release", "var/lib/dpkg/status"]);
    let status = fs::read(directory.join("status")).unwrap();
    assert_eq!(provenance["subject"][1]["digest"]["sha256"], Digest::of(status).hex());
    assert_eq!(read(&directory.join("one/sbom.spdx.json"))["predicateType"], SPDX);
    let mut names = Vec::new();
    let mut archive = tar::Archive::new(fs::File::open(directory.join("one.tar")).unwrap());
    for entry in archive.entries().unwrap() {
        names.push(entry.unwrap().path().unwrap().display().to_string());
    }
    assert!(names.ends_with(&["sbom.spdx.json".to_owned(), "provenance.json".to_owned()]), "{names:?}");
    let flags = ["--attest=type=provenance,filename=p.json", "--attest=type=sbom,format=cyclonedx", BOTH];
    build(&world, &[&flags[..], &["--output=two"]].concat());
    for platform in ["linux_amd64", "linux_arm64"] {
        for name in ["p.json", "sbom.cdx.json"] {
            assert!(directory.join("two").join(platform).join(name).exists(), "{platform}/{name}");
        }
    }
    build(&world, &["--provenance=inline-only=true", "--output=three"]);
    assert!(!directory.join("three/provenance.json").exists());
}

/// A result may have a link where an attestation goes. It must not lead gantry anywhere.
#[test]
fn root_a_link_in_the_result_is_replaced_and_not_followed() {
    let world = World::new("FROM BASE\nRUN ln -s ../victim /provenance.json\n");
    world.gantry.write("victim", "unharmed");
    build(&world, &["--provenance=mode=min", "--output=out", "--output=type=tar,dest=out.tar"]);
    let directory = world.gantry.directory();
    assert_eq!(fs::read_to_string(directory.join("victim")).unwrap(), "unharmed");
    assert_eq!(read(&directory.join("out/provenance.json"))["predicateType"], PROVENANCE);
    let mut archive = tar::Archive::new(fs::File::open(directory.join("out.tar")).unwrap());
    let entries = archive.entries().unwrap().map(|entry| entry.unwrap());
    let kinds: Vec<_> = entries
        .filter(|entry| entry.path().unwrap() == Path::new("provenance.json"))
        .map(|entry| entry.header().entry_type())
        .collect();
    assert_eq!(kinds, [tar::EntryType::Regular]);
}

#[test]
fn root_a_docker_archive_has_none() {
    let world = world();
    build(&world, &["--tag=r.example/a:1", "--output=type=docker,dest=plain.tar"]);
    build(
        &world,
        &[
            "--tag=r.example/a:1",
            "--provenance=true",
            "--sbom=true",
            "--output=type=docker,dest=attested.tar",
        ],
    );
    let file = |name: &str| fs::read(world.gantry.directory().join(name)).unwrap();
    assert!(file("plain.tar") == file("attested.tar"));
}

#[test]
fn root_the_base_image_is_named_by_digest() {
    let world = World::new("FROM BASE\nRUN --network=none true\n");
    let layout = Layout::build(&world, &["--provenance=mode=min", "--platform=linux/amd64"]);
    let statements = layout.statements(&layout.index().manifests[1]);
    let definition = &statements[PROVENANCE]["predicate"]["buildDefinition"];
    let [base] = definition["resolvedDependencies"].as_array().unwrap().as_slice() else {
        panic!("{definition}")
    };
    let digest = base["digest"]["sha256"].as_str().unwrap();
    let host = world.expand("HOST");
    let expected =
        format!("pkg:docker/{host}/library/busybox@latest?digest=sha256:{digest}&platform=linux%2Famd64");
    assert_eq!(base["uri"], expected.as_str());
    let metadata = &statements[PROVENANCE]["predicate"]["runDetails"]["metadata"];
    assert_eq!(metadata["buildkit_hermetic"], true);
    assert_eq!(metadata["buildkit_completeness"], json!({ "request": false, "resolvedDependencies": true }));
}

#[test]
fn root_what_cannot_be_attested_fails() {
    let world = world();
    world.dockerfile("FROM scratch\nCOPY status /var/lib/rpm/Packages\n");
    let output = world.build(&["--sbom=true", "--output=type=oci,dest=x.tar"]).code(1);
    assert!(output.stderr.contains("package database `/var/lib/rpm/Packages`"), "{}", output.stderr);
    let output =
        world.build(&["--provenance=complete-materials=true", "--output=type=oci,dest=x.tar"]).code(1);
    assert!(output.stderr.contains("cannot name everything"), "{}", output.stderr);
    assert!(!world.gantry.directory().join("x.tar").exists());
    for (flag, message) in [
        ("--sbom=generator=docker.io/docker/scout-sbom-indexer", "leave generator= out"),
        ("--attest=type=vex", "there are provenance and sbom"),
        ("--provenance=mode=most", "it is min or max"),
    ] {
        let output = world.build(&[flag, "--output=type=oci,dest=x.tar"]).code(2);
        assert!(output.stderr.contains(message), "{}", output.stderr);
    }
}

/// What was pushed into one repository, as a reader of attestations finds it. The list of referrers is made of what was
/// put there.
struct Pushed<'a> {
    world: &'a World,
    repository: &'static str,
}

impl Pushed<'_> {
    fn get(&self, reference: &str) -> Option<(Descriptor, Vec<u8>)> {
        let (digest, kind, bytes) = self.world.registry.manifest(self.repository, reference)?;
        Some((Descriptor::new(kind, digest, bytes.len() as u64), bytes.to_vec()))
    }

    fn manifests(&self) -> BTreeSet<Digest> {
        let put = self.world.registry.logged("PUT", "/manifests/sha256:");
        put.iter().map(|exchange| exchange.path.rsplit('/').next().unwrap().parse().unwrap()).collect()
    }

    /// The attestations of an image, by predicate type.
    fn read(&self, index: Option<&Index>, image: &Digest) -> BTreeMap<String, Value> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let found = runtime.block_on(gantry_attest::read::read(self, index, image)).unwrap();
        let entry = |found: Attestation| (found.statement.predicate_type.clone(), json!(found.statement));
        found.into_iter().map(entry).collect()
    }
}

impl Documents for Pushed<'_> {
    type Error = String;

    fn manifest<'a>(&'a self, manifest: &'a Descriptor, _: u64) -> BoxFuture<'a, Result<Vec<u8>, String>> {
        let found = self.get(&manifest.digest.to_string()).map(|(_, bytes)| bytes);
        Box::pin(async move { found.ok_or_else(|| format!("there is no manifest {}", manifest.digest)) })
    }

    fn blob<'a>(&'a self, blob: &'a Descriptor, _: u64) -> BoxFuture<'a, Result<Vec<u8>, String>> {
        let found = self.world.registry.blob(self.repository, &blob.digest).map(|bytes| bytes.to_vec());
        Box::pin(async move { found.ok_or_else(|| format!("there is no blob {}", blob.digest)) })
    }

    fn referrers<'a>(&'a self, subject: &'a Digest) -> BoxFuture<'a, Result<Vec<Descriptor>, String>> {
        let manifests = self.manifests();
        let refers = |digest: &Digest| {
            let (descriptor, bytes) = self.get(&digest.to_string())?;
            let document: Value = serde_json::from_slice(&bytes).ok()?;
            let artifact_type = document["artifactType"].as_str().map(str::to_owned);
            (document["subject"]["digest"] == json!(subject))
                .then_some(Descriptor { artifact_type, ..descriptor })
        };
        let found = manifests.iter().filter_map(refers).collect();
        Box::pin(async move { Ok(found) })
    }

    fn tagged<'a>(&'a self, tag: &'a str) -> BoxFuture<'a, Result<Option<Descriptor>, String>> {
        let found = self.get(tag).map(|(descriptor, _)| descriptor);
        Box::pin(async move { Ok(found) })
    }
}

#[test]
fn root_pushed_in_the_index_and_read_back() {
    let world = world();
    build(&world, &[BOTH, "--push", "--tag=HOST/app:1", "--provenance=mode=min", "--sbom=format=cyclonedx"]);
    let pushed = Pushed { world: &world, repository: "app" };
    let (_, bytes) = pushed.get("1").unwrap();
    let index: Index = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(index.manifests.len(), 4);
    for image in &index.manifests[..2] {
        let statements = pushed.read(Some(&index), &image.digest);
        assert_eq!(
            statements.keys().map(String::as_str).collect::<Vec<_>>(),
            ["https://cyclonedx.org/bom", PROVENANCE]
        );
        assert_eq!(statements[PROVENANCE]["subject"][0]["digest"]["sha256"], image.digest.hex());
    }
}

#[test]
fn root_pushed_as_referrers_and_read_back() {
    let world = world();
    build(&world, &["--push", "--tag=HOST/app:plain"]);
    build(&world, &["--push", "--tag=HOST/app:1", "--sbom=1", "--provenance=1", "--attest-in=referrers"]);
    let pushed = Pushed { world: &world, repository: "app" };
    let (image, _) = pushed.get("1").unwrap();
    assert_eq!(
        Some(&image),
        pushed.get("plain").as_ref().map(|(image, _)| image),
        "the tag shows no attestations"
    );
    let statements = pushed.read(None, &image.digest);
    assert_eq!(statements.keys().map(String::as_str).collect::<Vec<_>>(), [PROVENANCE, SPDX]);
}

/// A statement that BuildKit 0.29 made of this Dockerfile with `--provenance=mode=max,version=v1`.
const OF_BUILDKIT: &str = include_str!("support/buildkit-provenance.json");
/// What is in it and not in ours: what differs from run to run, and how BuildKit itself got the Dockerfile.
const LEFT_OUT: [&str; 5] = [
    ".runDetails.metadata.finishedOn",
    ".runDetails.metadata.invocationId",
    ".runDetails.metadata.startedOn",
    ".runDetails.metadata.buildkit_metadata.source.infos[].digestMapping",
    ".runDetails.metadata.buildkit_metadata.source.infos[].llbDefinition",
];
/// What is in ours and not in it: BuildKit leaves out a list without elements.
const ADDED: [&str; 1] = [".buildDefinition.resolvedDependencies"];

/// The places in a document that have a value, without what is below those in `stop`. Digests are all one name.
fn places(value: &Value, place: &str, stop: &[&str], found: &mut BTreeSet<String>) {
    found.insert(place.to_owned());
    match value {
        _ if stop.contains(&place) => {}
        Value::Object(fields) => {
            for (name, value) in fields {
                let name = if name.starts_with("sha256:") { "<digest>" } else { name };
                places(value, &format!("{place}.{name}"), stop, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| places(item, &format!("{place}[]"), stop, found)),
        _ => {}
    }
}

#[test]
fn root_provenance_has_the_shape_of_buildkits() {
    let world = World::bare("FROM scratch\nARG FOO=def\nARG TOKEN\nCOPY a /a\n");
    world.gantry.write("a", "hi\n");
    let flags = [
        "--provenance=mode=max",
        "--build-arg=FOO=bar",
        "--build-arg=TOKEN=canary",
        "--output=type=oci,dest=out,tar=false",
    ];
    assert!(world.build(&flags).success().stdout.is_empty());
    let layout = Layout(world.gantry.directory().join("out"));
    let ours = layout.statements(&layout.index().manifests[1])[PROVENANCE]["predicate"].clone();
    let theirs: Value = serde_json::from_str(OF_BUILDKIT).unwrap();
    let [mut found, mut expected] = [BTreeSet::new(), BTreeSet::new()];
    places(&ours, "", &[], &mut found);
    places(&theirs["predicate"], "", &LEFT_OUT, &mut expected);
    expected.retain(|place| !LEFT_OUT.contains(&place.as_str()));
    expected.extend(ADDED.map(str::to_owned));
    assert_eq!(found, expected);
    let args = "/buildDefinition/externalParameters/request/args";
    assert_eq!(ours.pointer(args), theirs["predicate"].pointer(args));
    let copy = "/buildDefinition/internalParameters/buildConfig/llbDefinition/1";
    assert_eq!(
        ours.pointer(copy),
        theirs["predicate"].pointer(copy),
        "the step is the same, field for field"
    );
}
