//! Verification of whole images wherever they are: in a registry, in layouts, in archives, in the store.

#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod files;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use gantry_oci::{Descriptor, Digest, ImageConfig, Index, Platform, media_type};
use gantry_release::{
    Class, Depth, Error, Event, Events, Gantry, Outcome, RegistrySettings, Rules, Settings, Subject, Terms,
    VerifyReport, VerifyRequest, verify,
};
use gantry_testkit::{
    BuiltImage, Entry, FakeRegistry, Fault, ImageBuilder, ImageTarget, LayoutDirectory, program,
};
use tokio_util::sync::CancellationToken;

struct Silent;

impl Events for Silent {
    fn event(&self, _event: Event) {}
}

/// A store of its own, and a way to ask.
struct World {
    home: tempfile::TempDir,
    gantry: Gantry,
}

impl World {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let settings = Settings {
            root: home.path().join("store"),
            registries: RegistrySettings::nothing(home.path()),
            terms: Terms::default(),
        };
        Self { gantry: Gantry::open(settings).unwrap(), home }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    async fn ask(&self, subject: &str, platforms: &[&str], depth: Depth) -> Result<VerifyReport, Error> {
        let platforms: Vec<Platform> = platforms.iter().map(|text| text.parse().unwrap()).collect();
        let subject = Subject::find(&self.gantry, subject)?;
        let request = VerifyRequest { subject, platforms, depth, rules: Rules::default() };
        verify(&self.gantry, &request, Arc::new(Silent), &CancellationToken::new()).await
    }

    /// What failed, as `name: detail`; digests are written `#`.
    async fn failures(&self, subject: &str, platforms: &[&str], depth: Depth) -> Vec<String> {
        let report = self.ask(subject, platforms, depth).await.unwrap();
        let checks = report.checks.iter().chain(report.images.iter().flat_map(|image| &image.checks));
        let failed = checks.filter(|check| check.outcome == Outcome::Fail);
        let failed: Vec<_> =
            failed.map(|check| format!("{}: {}", check.name.as_str(), nameless(&check.detail))).collect();
        assert_eq!(failed.is_empty(), report.outcome != Outcome::Fail, "{report:?}");
        failed
    }
}

fn nameless(text: &str) -> String {
    let words = text.split(' ').map(|word| match word.split_once("sha256:") {
        Some((before, rest)) => {
            format!("{before}#{}", rest.trim_start_matches(|c: char| c.is_ascii_hexdigit()))
        }
        None => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// An image for one platform, with programs for an architecture.
fn image(platform: &str, architecture: &str) -> BuiltImage {
    let program = program(architecture);
    ImageBuilder::new(platform)
        .layer(&[Entry::file("bin/busybox", &program).mode(0o755), Entry::symlink("bin/sh", "busybox")])
        .layer(&[Entry::file("app", &program).mode(0o755), Entry::file("version", platform)])
        .config(|config| config.config.entrypoint = Some(vec!["/app".to_owned()]))
        .build()
}

fn honest() -> [BuiltImage; 2] {
    [image("linux/amd64", "amd64"), image("linux/arm64", "arm64")]
}

const BOTH: [&str; 2] = ["linux/arm64", "linux/amd64"];
const NOTHING: [&str; 0] = [];

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_image_is_fine_everywhere() {
    let (world, registry) = (World::new(), FakeRegistry::start());
    BuiltImage::push_index(&honest(), &registry, "app", "1");
    let layout = LayoutDirectory::create(world.path("layout"));
    BuiltImage::push_index(&honest(), &layout, "app", "1");
    let archive = world.path("layout.tar");
    tar(layout.path(), &archive);
    compress(&archive);
    for subject in [
        registry.reference("app:1").to_string(),
        format!("docker://{}", registry.reference("app:1")),
        layout.path().display().to_string(),
        format!("oci:{}:1", layout.path().display()),
        archive.display().to_string(),
        format!("oci-archive:{}:1", archive.display()),
        format!("{}.gz", archive.display()),
    ] {
        for depth in [Depth::Documents, Depth::Programs, Depth::Everything] {
            assert_eq!(world.failures(&subject, &BOTH, depth).await, NOTHING, "{subject} {depth:?}");
        }
        let report = world.ask(&subject, &[], Depth::Programs).await.unwrap();
        let names: Vec<_> =
            report.images.iter().map(|image| image.platform.as_ref().unwrap().to_string()).collect();
        assert_eq!(names, ["linux/amd64", "linux/arm64"], "{subject}");
        assert_eq!(report.images[1].programs.as_ref().unwrap().native, 2, "{subject}");
        assert_eq!(report.outcome, Outcome::Pass, "{subject}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn swapped_platforms_are_found_in_the_bytes() {
    let (world, registry) = (World::new(), FakeRegistry::start());
    let swapped = [image("linux/amd64", "arm64"), image("linux/arm64", "amd64")];
    let layout = LayoutDirectory::create(world.path("layout"));
    BuiltImage::push_index(&swapped, &registry, "app", "1");
    BuiltImage::push_index(&swapped, &layout, "app", "1");
    for subject in [registry.reference("app:1").to_string(), layout.path().display().to_string()] {
        let failures = world.failures(&subject, &BOTH, Depth::Programs).await;
        assert_eq!(
            failures,
            [
                "entry-point: /app is a 64-bit ARM program",
                "shells: /bin/sh is a 64-bit ARM program",
                "path-programs: 1 of 1 in PATH are for other machines: /bin/busybox is a 64-bit ARM program",
                "entry-point: /app is an x86-64 program",
                "shells: /bin/sh is an x86-64 program",
                "path-programs: 1 of 1 in PATH are for other machines: /bin/busybox is an x86-64 program",
            ]
        );
        assert_eq!(world.failures(&subject, &BOTH, Depth::Documents).await, NOTHING, "documents agree");
    }
    let single = LayoutDirectory::create(world.path("single"));
    image("linux/arm64", "amd64").push(&single, "app", Some("1"));
    let subject = single.path().display().to_string();
    let report = world.ask(&subject, &["linux/arm64"], Depth::Programs).await.unwrap();
    assert_eq!(report.first_failure().unwrap(), "linux/arm64: /app is an x86-64 program");
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_are_read_once_and_not_where_they_are_known() {
    let (world, registry) = (World::new(), FakeRegistry::start());
    let images = honest();
    BuiltImage::push_index(&images, &registry, "app", "1");
    let subject = registry.reference("app:1").to_string();
    let layers: Vec<String> = images
        .iter()
        .flat_map(|image| &image.manifest.layers)
        .map(|layer| layer.digest.to_string())
        .collect();
    let mut seen = 0;
    let mut read = || {
        let log = registry.log();
        let is_layer = |path: &str| layers.iter().any(|layer| path.contains(layer));
        let count = log[seen..].iter().filter(|one| one.method == "GET" && is_layer(&one.path)).count();
        seen = log.len();
        count
    };
    assert_eq!(world.failures(&subject, &[], Depth::Programs).await, NOTHING);
    assert_eq!(read(), 4);
    assert_eq!(world.failures(&subject, &[], Depth::Programs).await, NOTHING);
    assert_eq!(read(), 0, "their indexes are in the store");
    assert_eq!(world.failures(&subject, &[], Depth::Everything).await, NOTHING);
    assert_eq!(read(), 4);
    assert_eq!(fs::read_dir(world.path("store/blobs/sha256")).unwrap().count(), 0, "only indexes are kept");
    for index in fs::read_dir(world.path("store/indexes")).unwrap() {
        fs::write(index.unwrap().path(), b"damaged").unwrap();
    }
    assert_eq!(world.failures(&subject, &[], Depth::Programs).await, NOTHING);
    assert_eq!(read(), 4, "damaged ones are made anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_cannot_borrow_the_index_of_another_layer() {
    let (world, registry) = (World::new(), FakeRegistry::start());
    let honest = image("linux/arm64", "arm64");
    honest.push(&registry, "app", Some("good"));
    let good = registry.reference("app:good").to_string();
    assert_eq!(world.failures(&good, &[], Depth::Programs).await, NOTHING);
    // The config is the honest image's, and so are the diff ids; the layers are of the other machine.
    let lying = image("linux/arm64", "amd64");
    let mut manifest = lying.manifest.clone();
    manifest.config = honest.manifest.config.clone();
    for blob in &lying.blobs {
        registry.put_blob("app", blob);
    }
    let bytes = serde_json::to_vec(&manifest).unwrap();
    registry.put_manifest("app", Some("bad"), media_type::MANIFEST, &bytes);
    let bad = registry.reference("app:bad").to_string();
    let failures = world.failures(&bad, &[], Depth::Programs).await;
    assert_eq!(failures, ["content: layer #: its content is #, but the config says #"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn platforms_are_compared_as_a_set() {
    let (world, registry) = (World::new(), FakeRegistry::start());
    let [amd64, arm64] = honest();
    let armv6 = image("linux/arm/v6", "arm");
    BuiltImage::push_index(&[amd64.clone(), arm64.clone(), armv6], &registry, "app", "three");
    BuiltImage::push_index(&[amd64.clone(), amd64.clone(), arm64], &registry, "app", "twice");
    amd64.push(&registry, "app", Some("one"));
    let other = "platforms: linux/arm64 is missing; linux/amd64 is there and was not asked for";
    for (tag, platforms, expected) in [
        ("three", &["linux/amd64", "linux/arm64", "linux/arm/v6"][..], ""),
        ("three", &BOTH[..], "platforms: linux/arm/v6 is there and was not asked for"),
        (
            "three",
            &["linux/amd64", "linux/arm64", "linux/arm/v7"],
            "platforms: linux/arm/v7 is missing; linux/arm/v6 is there and was not asked for",
        ),
        ("twice", &BOTH, "platforms: linux/amd64 is there 2 times"),
        ("one", &["linux/amd64"], ""),
        ("one", &["linux/arm64"], other),
    ] {
        let subject = registry.reference(&format!("app:{tag}")).to_string();
        let failures = world.failures(&subject, platforms, Depth::Programs).await;
        assert_eq!(failures.join(" | "), expected, "{tag} {platforms:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_documents_say_has_to_agree() {
    let (world, registry) = (World::new(), FakeRegistry::start());
    let index_of = |tag: &str, entries: Vec<Descriptor>| {
        let bytes = serde_json::to_vec(&Index::new(entries)).unwrap();
        registry.put_manifest("app", Some(tag), media_type::INDEX, &bytes);
    };
    let platform = |text: &str| text.parse::<Platform>().unwrap();
    let changed = |platform: &str, change: &dyn Fn(&mut ImageConfig)| {
        ImageBuilder::new(platform).layer(&[Entry::file("a", "b")]).config(change).build()
    };
    let good = image("linux/arm64", "arm64");
    good.push(&registry, "app", None);
    index_of("label", vec![good.descriptor().with_platform(platform("linux/amd64"))]);
    index_of("size", vec![Descriptor { size: 7, ..good.descriptor() }]);
    index_of("type", vec![Descriptor { media_type: media_type::INDEX.to_owned(), ..good.descriptor() }]);
    index_of("lost", vec![Descriptor { digest: Digest::of("lost"), ..good.descriptor() }, good.descriptor()]);
    let variant = changed("linux/arm/v7", &|_| {});
    variant.push(&registry, "app", None);
    index_of("variant", vec![variant.descriptor().with_platform(platform("linux/arm/v6"))]);
    changed("linux/arm64", &|config| config.rootfs.diff_ids.clear()).push(&registry, "app", Some("fewer"));
    let other = vec![Digest::of("other")];
    changed("linux/arm64", &|config| config.rootfs.diff_ids.clone_from(&other)).push(
        &registry,
        "app",
        Some("diff-id"),
    );
    let both = [&good.bytes[..good.bytes.len() - 1], b",\"manifests\":[]}"].concat();
    registry.put_manifest("app", Some("both"), media_type::MANIFEST, &both);
    for (tag, expected) in [
        ("label", "config: it is listed for linux/amd64, and its config says linux/arm64"),
        ("size", "documents: # with 7 bytes is listed, and #"),
        ("type", "documents: #: the document"),
        ("lost", "documents: resolving"),
        ("variant", "config: it is listed for linux/arm/v6, and its config says linux/arm/v7"),
        ("fewer", "layers: the manifest has 1 layers, the config 0 diff ids"),
        ("diff-id", "content: layer #: its content is #, but the config says #"),
        ("both", "documents: #: the document has both"),
    ] {
        let subject = registry.reference(&format!("app:{tag}")).to_string();
        let failures = world.failures(&subject, &[], Depth::Programs).await;
        assert!(failures.first().is_some_and(|first| first.starts_with(expected)), "{tag}: {failures:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_have_to_be_there_and_be_themselves() {
    let world = World::new();
    let good = image("linux/arm64", "arm64");
    let layer = good.manifest.layers[0].clone();
    let same_size = vec![7; usize::try_from(layer.size).unwrap()];
    for (name, spoil, shallow, deep) in [
        ("missing", None, "blobs: # is missing", "blobs: # is missing"),
        ("short", Some(b"x".to_vec()), "blobs: # has 1 bytes", "blobs: # has 1 bytes"),
        ("other", Some(same_size), "", "content: # with"),
    ] {
        let layout = LayoutDirectory::create(world.path(name));
        good.push(&layout, "app", Some("1"));
        let subject = layout.path().display().to_string();
        // Its indexes are known from now on.
        assert_eq!(world.failures(&subject, &[], Depth::Programs).await, NOTHING);
        match spoil {
            None => fs::remove_file(layout.blob_path(&layer.digest)).unwrap(),
            Some(bytes) => fs::write(layout.blob_path(&layer.digest), bytes).unwrap(),
        }
        let found = world.failures(&subject, &[], Depth::Programs).await.join(" ");
        assert!(found.starts_with(shallow) && found.is_empty() == shallow.is_empty(), "{name}: {found}");
        let found = world.failures(&subject, &[], Depth::Everything).await.join(" ");
        assert!(found.starts_with(deep), "{name}: {found}");
    }
    let registry = FakeRegistry::start();
    good.push(&registry, "app", Some("1"));
    registry.on_request(move |seen| {
        let is_layer = seen.method == "HEAD" && seen.path.contains(&layer.digest.to_string());
        is_layer.then(|| Fault::status(404))
    });
    let subject = registry.reference("app:1").to_string();
    assert_eq!(world.failures(&subject, &[], Depth::Programs).await, ["blobs: # is missing"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn attestations_are_no_platforms_and_point_at_images() {
    let (world, registry) = (World::new(), FakeRegistry::start());
    let good = image("linux/arm64", "arm64");
    good.push(&registry, "app", None);
    let statement = ImageBuilder::new("unknown/unknown").build();
    statement.push(&registry, "app", None);
    for (tag, subject, expected) in [
        ("good", good.digest(), &[][..]),
        ("stray", Digest::of("elsewhere"), &["attestations: 1 of 1 point at nothing in the index: #"][..]),
    ] {
        let mut entry = statement.descriptor();
        let mut annotate = |key: &str, value: String| entry.annotations.insert(key.to_owned(), value);
        annotate("vnd.docker.reference.type", "attestation-manifest".to_owned());
        annotate("vnd.docker.reference.digest", subject.to_string());
        let bytes = serde_json::to_vec(&Index::new(vec![good.descriptor(), entry])).unwrap();
        registry.put_manifest("app", Some(tag), media_type::INDEX, &bytes);
        let subject = registry.reference(&format!("app:{tag}")).to_string();
        for depth in [Depth::Programs, Depth::Everything] {
            assert_eq!(world.failures(&subject, &["linux/arm64"], depth).await, expected, "{tag}");
        }
    }
    let lost = statement.manifest.config.digest.to_string();
    registry.on_request(move |seen| seen.path.contains(&lost).then(|| Fault::status(404)));
    let subject = registry.reference("app:good").to_string();
    assert_eq!(world.failures(&subject, &[], Depth::Programs).await, ["blobs: # is missing"]);
    let failures = world.failures(&subject, &[], Depth::Everything).await;
    assert!(failures[0].starts_with("attestations: pulling blob"), "{failures:?}");
}

/// What evades no check although it says that it is something else.
#[tokio::test(flavor = "multi_thread")]
async fn disguises_do_not_help() {
    let (world, registry) = (World::new(), FakeRegistry::start());
    let lying = image("linux/amd64", "arm64");
    lying.push(&registry, "app", None);
    let index_of = |tag: &str, entries: Vec<Descriptor>| {
        let bytes = serde_json::to_vec(&Index::new(entries)).unwrap();
        registry.put_manifest("app", Some(tag), media_type::INDEX, &bytes);
    };
    let with_layers = |tag: &str, change: &dyn Fn(&mut Descriptor)| {
        let mut manifest = lying.manifest.clone();
        manifest.layers.iter_mut().for_each(change);
        let bytes = serde_json::to_vec(&manifest).unwrap();
        registry.put_manifest("app", Some(tag), media_type::MANIFEST, &bytes);
    };
    let marked = |entry: Descriptor| {
        let annotation = ("vnd.docker.reference.type".to_owned(), "attestation-manifest".to_owned());
        Descriptor { annotations: [annotation].into(), ..entry }
    };
    with_layers("urls", &|layer| layer.urls = vec!["https://elsewhere.example/x".to_owned()]);
    with_layers("foreign", &|layer| {
        layer.media_type = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip".to_owned();
    });
    index_of("marked", vec![marked(lying.descriptor())]);
    index_of("marked-nameless", vec![marked(Descriptor { platform: None, ..lying.descriptor() })]);
    let mut referring = lying.manifest.clone();
    referring.extra.insert("subject".to_owned(), serde_json::json!(lying.descriptor()));
    referring.extra.insert("artifactType".to_owned(), serde_json::json!("application/x"));
    let bytes = serde_json::to_vec(&referring).unwrap();
    registry.put_manifest("app", None, media_type::MANIFEST, &bytes);
    let entry = Descriptor::of(media_type::MANIFEST, &bytes).with_platform("linux/amd64".parse().unwrap());
    index_of("referring", vec![entry, lying.descriptor()]);
    for tag in ["urls", "foreign", "marked", "marked-nameless", "referring"] {
        let subject = registry.reference(&format!("app:{tag}")).to_string();
        let failures = world.failures(&subject, &[], Depth::Programs).await;
        let wanted = "entry-point: /app is a 64-bit ARM program".to_owned();
        assert!(failures.contains(&wanted), "{tag}: {failures:?}");
        let said = failures
            .contains(&"documents: # is marked as an attestation, but listed for linux/amd64".to_owned());
        assert_eq!(said, tag == "marked", "{failures:?}");
    }
    let mut artifact = lying.manifest.clone();
    artifact.config.media_type = "application/x".to_owned();
    let bytes = serde_json::to_vec(&artifact).unwrap();
    registry.put_manifest("app", None, media_type::MANIFEST, &bytes);
    let entry = Descriptor::of(media_type::MANIFEST, &bytes).with_platform("linux/arm64".parse().unwrap());
    let real = image("linux/amd64", "amd64");
    real.push(&registry, "app", None);
    index_of("artifact", vec![entry, real.descriptor()]);
    let subject = registry.reference("app:artifact").to_string();
    let failures = world.failures(&subject, &BOTH, Depth::Programs).await;
    assert_eq!(failures, ["config: it is listed for linux/arm64, and it is no image but application/x"]);
    index_of("empty", Vec::new());
    let subject = registry.reference("app:empty").to_string();
    assert_eq!(world.failures(&subject, &[], Depth::Programs).await, ["platforms: there is no image"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_layers_may_be_elsewhere_and_ordinary_ones_may_not() {
    let (world, registry) = (World::new(), FakeRegistry::start());
    let good = image("linux/amd64", "amd64");
    good.push(&registry, "app", None);
    for (tag, media_type, expected) in [
        ("foreign", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", &[][..]),
        ("ordinary", media_type::LAYER_GZIP, &["blobs: # is missing"][..]),
    ] {
        let mut manifest = good.manifest.clone();
        manifest.layers[0].digest = Digest::of("nowhere");
        manifest.layers[0].urls = vec!["https://elsewhere.example/x".to_owned()];
        manifest.layers[0].media_type = media_type.to_owned();
        let bytes = serde_json::to_vec(&manifest).unwrap();
        registry.put_manifest("app", Some(tag), media_type::MANIFEST, &bytes);
        let subject = registry.reference(&format!("app:{tag}")).to_string();
        assert_eq!(world.failures(&subject, &[], Depth::Programs).await, expected, "{tag}");
        let report = world.ask(&subject, &[], Depth::Programs).await.unwrap();
        assert_ne!(report.outcome, Outcome::Pass, "{tag}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_that_names_no_variant_is_doubtful_and_not_wrong() {
    let (world, registry) = (World::new(), FakeRegistry::start());
    let silent = ImageBuilder::new("linux/arm/v6")
        .layer(&[Entry::file("app", program("arm")).mode(0o755)])
        .config(|config| config.variant.clear())
        .build();
    silent.push(&registry, "app", None);
    let entry = silent.descriptor().with_platform("linux/arm/v6".parse().unwrap());
    let bytes = serde_json::to_vec(&Index::new(vec![entry])).unwrap();
    registry.put_manifest("app", Some("1"), media_type::INDEX, &bytes);
    let subject = registry.reference("app:1").to_string();
    let report = world.ask(&subject, &["linux/arm/v6"], Depth::Programs).await.unwrap();
    assert_eq!(report.outcome, Outcome::Warn, "{report:?}");
    let check = &report.images[0].checks[0];
    assert_eq!(check.detail, "it is listed for linux/arm/v6, and its config names no variant");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_looked_at_is_an_error() {
    let (world, registry) = (World::new(), FakeRegistry::start());
    let text = world.path("text");
    fs::write(&text, "no archive").unwrap();
    let layout = LayoutDirectory::create(world.path("layout"));
    honest()[0].push(&layout, "app", Some("1"));
    for (subject, class) in [
        (registry.reference("app:none").to_string(), Class::NotFound),
        (format!("store:{}", Digest::of("nothing")), Class::NotFound),
        (Digest::of("nothing").to_string(), Class::NotFound),
        ("store:app:1".to_owned(), Class::NotFound),
        ("./nowhere".to_owned(), Class::NotFound),
        (format!("oci:{}:2", layout.path().display()), Class::NotFound),
        (text.display().to_string(), Class::Verification),
        ("Not A Name".to_owned(), Class::Usage),
    ] {
        let error = world.ask(&subject, &[], Depth::Programs).await.unwrap_err();
        assert_eq!(error.class, class, "{subject}: {error}");
    }
    registry.on_request(|_| Some(Fault::status(403)));
    let subject = registry.reference("app:1").to_string();
    let error = world.ask(&subject, &[], Depth::Programs).await.unwrap_err();
    assert_eq!(error.class, Class::Denied, "{error}");
    // Port 1 is nobody's.
    let error = world.ask("127.0.0.1:1/app:1", &[], Depth::Programs).await.unwrap_err();
    assert_eq!(error.class, Class::Publish, "as with every other command on images: {error}");
}

fn tar(directory: &Path, archive: &Path) {
    let status = Command::new("tar").arg("-C").arg(directory).arg("-cf").arg(archive).arg(".").status();
    assert!(status.unwrap().success());
}

fn compress(archive: &Path) {
    assert!(Command::new("gzip").arg("--keep").arg(archive).status().unwrap().success());
}
