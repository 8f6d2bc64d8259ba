//! Results of a store that were put there by hand, published to a fake registry.

use std::sync::Mutex;
use std::time::Duration;

use gantry_oci::{Descriptor, Index, Manifest, media_type};
use gantry_testkit::{BuiltImage as Image, Entry, FakeRegistry, ImageBuilder, program};

use super::*;
use crate::gantry::Settings;
use crate::registries::RegistrySettings;
use crate::verify::VerifyMode;

/// Far longer than anything here takes; a hook that is waited for takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Events for Heard {
    fn event(&self, event: Event) {
        let text = match event {
            Event::Tagged { reference, .. } => format!("tagged {reference}"),
            Event::Warning { message, .. } => message,
            _ => return,
        };
        self.0.lock().unwrap().push(text);
    }
}

struct World {
    _home: tempfile::TempDir,
    gantry: Gantry,
    registry: FakeRegistry,
    heard: Arc<Heard>,
    cancel: CancellationToken,
}

impl World {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut registries = RegistrySettings::nothing(home.path());
        registries.environment = std::env::vars_os().filter(|(name, _)| name == "PATH").collect();
        let settings = Settings { root: home.path().join("store"), registries, terms: Terms::default() };
        Self {
            gantry: Gantry::open(settings).unwrap(),
            _home: home,
            registry: FakeRegistry::start(),
            heard: Arc::default(),
            cancel: CancellationToken::new(),
        }
    }

    fn name(&self, rest: &str) -> String {
        self.registry.reference(rest).to_string()
    }

    /// Records an image as a build for these platforms does.
    fn built(&self, image: &Image, platforms: &[&str], referrers: Vec<Descriptor>, names: &[&str]) -> Digest {
        let store = self.gantry.store();
        for bytes in image.blobs.iter().chain([&image.config, &image.bytes]) {
            store.put_blob(bytes).unwrap();
        }
        let built = BuiltImage {
            root: Descriptor { platform: None, ..image.descriptor() },
            referrers,
            platforms: platforms.iter().map(ToString::to_string).collect(),
            outputs: Vec::new(),
        };
        let names: Vec<_> = names.iter().map(|name| self.name(name)).collect();
        store.put_image_result(&built, &names, &[]).unwrap();
        built.root.digest
    }

    fn request(&self, result: &str, tags: &[&str]) -> PublishRequest {
        PublishRequest {
            result: result.to_owned(),
            tags: tags.iter().map(|tag| self.registry.reference(tag)).collect(),
            terms: Terms::default(),
            verify: VerifyPolicy::default(),
        }
    }

    async fn publish(&self, request: PublishRequest) -> Result<BuildReport, Error> {
        let events = Arc::clone(&self.heard) as _;
        let published = publish(&self.gantry, request, events, self.cancel.clone());
        tokio::time::timeout(PATIENCE, published).await.expect("it ends")
    }

    fn tag(&self, repository: &str, tag: &str) -> Option<Digest> {
        self.registry.manifest(repository, tag).map(|(digest, ..)| digest)
    }

    fn heard(&self) -> Vec<String> {
        std::mem::take(&mut self.heard.0.lock().unwrap())
    }
}

fn image(version: &str) -> Image {
    ImageBuilder::new("linux/amd64").layer(&[Entry::file("version", version)]).build()
}

const AMD64: [&str; 1] = ["linux/amd64"];

#[tokio::test]
async fn a_name_that_a_later_result_got_is_not_moved_back() {
    let world = World::new();
    let (one, two) = (image("one"), image("two"));
    let first = world.built(&one, &AMD64, vec![], &["app:1"]);
    let second = world.built(&two, &AMD64, vec![], &["app:1"]);
    // Nothing has changed: the first image again, under another name.
    world.built(&one, &AMD64, vec![], &["app:2"]);
    world.publish(world.request(&world.name("app:1"), &[])).await.unwrap();
    assert_eq!(world.tag("app", "1"), Some(second));
    world.heard();
    world.publish(world.request(&first.to_string(), &[])).await.unwrap();
    assert_eq!((world.tag("app", "1"), world.tag("app", "2")), (Some(second), Some(first)));
    assert!(world.heard().iter().any(|one| one.starts_with("not published as") && one.contains("app:1")));
    // Who says the name gets it.
    world.publish(world.request(&first.to_string(), &["app:1"])).await.unwrap();
    assert_eq!(world.tag("app", "1"), Some(first));
    let error = world.publish(world.request(&second.to_string(), &[])).await.unwrap_err();
    assert_eq!(error.class, Class::Usage, "{error}");
    assert!(error.message.contains("another result was built or published"), "{error}");
    assert_eq!(world.tag("app", "1"), Some(first));
}

#[tokio::test]
async fn what_did_not_end_takes_no_name_back() {
    let world = World::new();
    let old = world.built(&image("old"), &AMD64, vec![], &[]);
    let new = world.built(&image("new"), &AMD64, vec![], &[]);
    let fault = gantry_testkit::Fault::status(403);
    world.registry.on_request(move |seen| seen.path.ends_with("/manifests/1").then(|| fault.clone()));
    world.publish(world.request(&old.to_string(), &["app:1", "app:2"])).await.unwrap_err();
    world.registry.on_request(|_| None);
    world.publish(world.request(&new.to_string(), &["app:1"])).await.unwrap();
    world.publish(world.request(&old.to_string(), &[])).await.unwrap();
    assert_eq!((world.tag("app", "1"), world.tag("app", "2")), (Some(new), Some(old)));
    assert_eq!(unfinished(&world.gantry).unwrap(), [], "nothing is left to do");
}

#[tokio::test]
async fn what_somebody_works_on_is_not_forgotten() {
    let world = World::new();
    let root = world.built(&image("x"), &AMD64, vec![], &[]);
    let store = world.gantry.store();
    let id = store.begin_publication(&root, &[world.name("app:1")], "{}").unwrap();
    let lock = store.try_lock_publication(&id).unwrap();
    assert!(forget(&world.gantry, &root.to_string()).is_err());
    assert_eq!(store.publications().unwrap().len(), 1);
    drop(lock);
    forget(&world.gantry, &root.to_string()).unwrap();
    assert_eq!(store.publications().unwrap(), []);
}

#[tokio::test]
async fn the_platforms_are_those_of_the_build() {
    let world = World::new();
    let root = world.built(&image("x"), &["linux/arm64"], vec![], &["app:1"]);
    let error = world.publish(world.request(&root.to_string(), &[])).await.unwrap_err();
    assert_eq!(error.class, Class::Verification, "{error}");
    assert!(error.message.contains("is for linux/amd64, but was to be for linux/arm64"), "{error}");
    assert_eq!(world.tag("app", "1"), None);
}

#[tokio::test]
async fn what_no_build_verified_is_verified() {
    let world = World::new();
    let foreign = ImageBuilder::new("linux/amd64")
        .layer(&[Entry::file("app", program("arm64")).mode(0o755)])
        .config(|config| config.config.entrypoint = Some(vec!["/app".to_owned()]))
        .build();
    let root = world.built(&foreign, &AMD64, vec![], &["app:1"]).to_string();
    let error = world.publish(world.request(&root, &[])).await.unwrap_err();
    assert_eq!(error.class, Class::Verification, "{error}");
    assert_eq!(world.registry.log(), [], "nothing leaves the machine");
    let report = VerifyPolicy { mode: VerifyMode::Report, ..VerifyPolicy::default() };
    world.publish(PublishRequest { verify: report, ..world.request(&root, &[]) }).await.unwrap();
    assert!(world.tag("app", "1").is_some());
}

#[tokio::test]
async fn referrers_are_listed_when_all_is_signed() {
    let world = World::new();
    let image = image("x");
    let empty = Descriptor::of("application/vnd.oci.empty.v1+json", b"{}");
    world.gantry.store().put_blob(b"{}").unwrap();
    let mut referrer = Manifest::new(empty.clone(), vec![empty]);
    referrer.extra.insert("subject".to_owned(), serde_json::to_value(image.descriptor()).unwrap());
    let bytes = serde_json::to_vec(&referrer).unwrap();
    world.gantry.store().put_blob(&bytes).unwrap();
    let referrer = Descriptor::of(media_type::MANIFEST, &bytes);
    let root = world.built(&image, &AMD64, vec![referrer.clone()], &["app:1"]);
    let list = root.to_string().replace(':', "-");
    let signed = |command: &str| {
        let mut request = world.request(&root.to_string(), &[]);
        request.terms.sign = Some(command.to_owned());
        request
    };
    world.publish(signed("false")).await.unwrap_err();
    assert!(world.tag("app", &referrer.digest.to_string()).is_some());
    assert_eq!(world.tag("app", &list), None, "no tag was written");
    world.publish(signed("true")).await.unwrap();
    let (_, _, bytes) = world.registry.manifest("app", &list).unwrap();
    let listed: Index = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(listed.manifests.iter().map(|one| one.digest).collect::<Vec<_>>(), [referrer.digest]);
}

#[tokio::test]
async fn a_hook_that_leaves_something_behind_is_not_waited_for() {
    let world = World::new();
    let root = world.built(&image("x"), &AMD64, vec![], &["app:1"]);
    for command in ["sleep 600.0905 & true", "setsid sleep 90 & true"] {
        let mut request = world.request(&root.to_string(), &["app:1"]);
        request.terms.sign = Some(command.to_owned());
        world.publish(request).await.unwrap();
    }
    assert_eq!(world.tag("app", "1"), Some(root));
}

#[tokio::test]
async fn a_tag_that_is_being_written_when_the_command_is_stopped_is_reported() {
    let world = World::new();
    let root = world.built(&image("x"), &AMD64, vec![], &["app:1", "app:2"]);
    let cancel = world.cancel.clone();
    world.registry.on_request(move |seen| {
        if seen.method == "PUT" && seen.path.ends_with("/manifests/1") {
            cancel.cancel();
        }
        None
    });
    let error = world.publish(world.request(&root.to_string(), &[])).await.unwrap_err();
    assert_eq!(error.class, Class::Cancelled);
    let tag = world.name("app:1");
    assert!(error.hints.iter().any(|hint| hint.contains(&tag)), "{:?}", error.hints);
    assert!(world.heard().contains(&format!("tagged {tag}")));
    assert_eq!((world.tag("app", "1"), world.tag("app", "2")), (Some(root), None));
}
