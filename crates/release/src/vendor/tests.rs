//! Vendoring over fake registries.

use futures_util::{StreamExt, stream};
use gantry_oci::Digest;
use gantry_testkit::{Access, BuiltImage, FakeRegistry, Fault, ImageTarget, fault_matrix};

use super::{Lock, VendorImage, VendorMode, VendorReport, VendorRequest, VendorState, vendor};
use crate::copy::{Attached, PlatformForm, Platforms};
use crate::error::{Class, Error};
use crate::image::testing::{contents, image, images, push_index};

/// Rows of the fault matrix tried at once.
const ROWS_AT_ONCE: usize = 8;

/// Two registries, and a list of what is copied from one to the other.
struct World {
    source: FakeRegistry,
    target: FakeRegistry,
    request: VendorRequest,
}

fn world(images: &[(&str, &str)]) -> World {
    let (source, target) = (FakeRegistry::start(), FakeRegistry::start());
    let image = |(name, tag): &(&str, &str)| {
        VendorImage::new(&format!("{}/{name}", source.host()), tag, Vec::new()).unwrap()
    };
    let request = VendorRequest {
        images: images.iter().map(image).collect(),
        to: format!("{}/thirdparty", target.host()),
        platforms: None,
        form: PlatformForm::Trim,
        attached: Attached::default(),
        mode: VendorMode::Update,
        lock: None,
    };
    World { source, target, request }
}

impl World {
    async fn run(&self) -> Result<VendorReport, Error> {
        vendor(&images().0, &self.request).await
    }

    /// Runs, remembers the lock, and tells the states.
    async fn states(&mut self) -> Vec<VendorState> {
        let report = self.run().await.unwrap();
        if self.request.mode == VendorMode::Update {
            self.request.lock = Some(Lock::parse(&report.lock.render()).unwrap());
        }
        report.results.iter().map(|result| result.state).collect()
    }

    fn requests(&self) -> usize {
        self.source.log().len() + self.target.log().len()
    }

    fn written(&self) -> usize {
        self.target.log().iter().filter(|one| !matches!(one.method.as_str(), "GET" | "HEAD")).count()
    }
}

#[tokio::test]
async fn sixty_unchanged_images_are_a_hundred_and_twenty_requests() {
    let names: Vec<String> = (0..60).map(|number| format!("team/app{number}")).collect();
    let list: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
    let mut world = world(&list);
    for (name, _) in &list {
        push_index(&world.source, name, "1", name);
    }
    assert_eq!(world.states().await, [VendorState::Copied; 60]);
    assert_eq!(
        contents(&world.target, "thirdparty/team/app7", "1"),
        contents(&world.source, "team/app7", "1")
    );
    let base = image("linux/amd64", "").manifest.layers[0].digest;
    let read = world.source.logged("GET", &format!("/blobs/{base}")).len();
    assert_eq!(read, 1, "the layer that all have is read once");

    let before = world.requests();
    assert_eq!(world.states().await, [VendorState::UpToDate; 60]);
    assert_eq!(world.requests() - before, 120);
    world.request.lock = None;
    assert_eq!(world.states().await, [VendorState::UpToDate; 60], "with or without a lock");
    assert_eq!(world.requests() - before, 240);
    let heads =
        |registry: &FakeRegistry| registry.log().iter().rev().take(120).all(|one| one.method == "HEAD");
    assert!(heads(&world.source) && heads(&world.target));
}

#[tokio::test]
async fn only_what_has_changed_is_copied() {
    let mut world = world(&[("a", "1"), ("b", "1")]);
    push_index(&world.source, "a", "1", "a");
    let old = push_index(&world.source, "b", "1", "b");
    assert_eq!(world.states().await, [VendorState::Copied; 2]);
    let new = push_index(&world.source, "b", "1", "b, again");
    world.request.mode = VendorMode::Check;
    let writes = world.written();
    let report = world.run().await.unwrap();
    assert!(report.is_out_of_date() && report.worst().is_none());
    assert_eq!(report.results[1].state, VendorState::Drifted);
    assert_eq!((report.results[1].source_digest, report.results[1].digest), (Some(new), Some(old)));
    assert_eq!(world.written(), writes, "checking writes nothing");
    world.request.mode = VendorMode::Update;
    assert_eq!(world.states().await, [VendorState::UpToDate, VendorState::Copied]);
    assert_eq!(world.target.manifest("thirdparty/b", "1").unwrap().0, new);
}

#[tokio::test]
async fn a_fault_of_one_image_is_not_a_fault_of_the_others() {
    let mut world = world(&[("gone", "1"), ("a", "1"), ("broken", "1"), ("denied", "1")]);
    for name in ["a", "broken", "denied"] {
        push_index(&world.source, name, "1", name);
    }
    world.target.on_request(|seen| {
        let of = |name: &str| seen.path.contains(name);
        match (of("/broken/"), of("/denied/")) {
            (true, _) => Some(Fault::status(500)),
            (_, true) => Some(Fault::status(403)),
            _ => None,
        }
    });
    let report = world.run().await.unwrap();
    let states: Vec<_> = report.results.iter().map(|result| result.state).collect();
    assert_eq!(
        states,
        [VendorState::Failed, VendorState::Copied, VendorState::Failed, VendorState::Failed],
        "what cannot be asked is not taken for absent"
    );
    let classes: Vec<_> =
        report.results.iter().filter_map(|result| result.error.as_ref()).map(|e| e.class).collect();
    assert_eq!(classes, [Class::NotFound, Class::Publish, Class::Denied]);
    assert_eq!(report.worst().unwrap().class, Class::Denied);
    assert_eq!(
        world.target.logged("PUT", "/broken/").len() + world.target.logged("POST", "/broken/").len(),
        0
    );
    assert!(report.lock.render().contains("/a:1") && !report.lock.render().contains("gone"));
    world.request.mode = VendorMode::Check;
    world.request.images.truncate(2);
    let absent = world.run().await.unwrap();
    assert_eq!(absent.results[0].state, VendorState::Failed, "a source that is gone is an error");
}

#[tokio::test]
async fn two_images_with_one_name_are_refused_before_any_request() {
    let mut world = world(&[("a/b", "1")]);
    world.request.images.push(VendorImage::new("quay.test/a/b", "1", Vec::new()).unwrap());
    let error = world.run().await.unwrap_err();
    assert_eq!(error.class, Class::Usage);
    assert_eq!(world.requests(), 0);
}

#[tokio::test]
async fn the_lock_tells_a_tag_that_has_moved() {
    let mut world = world(&[("a", "1"), ("b", "1")]);
    world.request.mode = VendorMode::Locked;
    assert_eq!(world.run().await.unwrap_err().class, Class::Usage, "there is no lock");
    world.request.mode = VendorMode::Update;
    push_index(&world.source, "a", "1", "a");
    let old = push_index(&world.source, "b", "1", "b");
    world.states().await;
    push_index(&world.source, "b", "1", "b, moved");
    world.request.mode = VendorMode::Locked;
    let report = world.run().await.unwrap();
    assert_eq!(report.results[0].state, VendorState::UpToDate);
    assert_eq!(report.results[1].state, VendorState::Drifted);
    let error = report.worst().unwrap();
    assert!(error.class == Class::Verification && error.message.contains("has moved"), "{error}");
    assert_eq!(world.target.manifest("thirdparty/b", "1").unwrap().0, old, "what was there stays");
    // Elsewhere the same lock copies what is as it was.
    let other = FakeRegistry::start();
    world.request.to = format!("{}/elsewhere", other.host());
    let report = world.run().await.unwrap();
    assert_eq!(report.results[0].state, VendorState::Copied);
    assert_eq!(other.manifest("elsewhere/b", "1"), None);
    world.request.images.push(VendorImage::new("c.test/c", "1", Vec::new()).unwrap());
    assert_eq!(world.run().await.unwrap_err().class, Class::Verification, "the lock lacks an image");
}

#[tokio::test]
async fn some_platforms() {
    let mut world = world(&[("a", "1")]);
    let source = push_index(&world.source, "a", "1", "a");
    let wanted = vec!["linux/arm64".parse().unwrap()];
    world.request.platforms = Some(Platforms { wanted, form: PlatformForm::Trim });
    assert_eq!(world.states().await, [VendorState::Copied]);
    let (trimmed, ..) = world.target.manifest("thirdparty/a", "1").unwrap();
    assert_ne!(trimmed, source);
    let before = world.requests();
    assert_eq!(world.states().await, [VendorState::UpToDate]);
    assert_eq!(world.requests() - before, 2, "the lock knows what the trimmed index is");
    for mode in [VendorMode::Check, VendorMode::Locked] {
        world.request.mode = mode;
        assert_eq!(world.states().await, [VendorState::UpToDate], "{mode:?}");
    }
    world.request.mode = VendorMode::Check;
    world.request.lock = None;
    assert_eq!(world.states().await, [VendorState::UpToDate], "without a lock it is made and compared");
    world.request.mode = VendorMode::Update;
    world.states().await;
    world.request.platforms = None;
    assert_eq!(world.states().await, [VendorState::Copied], "all platforms now");
    assert_eq!(world.target.manifest("thirdparty/a", "1").unwrap().0, source);
}

#[tokio::test]
async fn an_index_that_was_copied_sparse_is_not_taken_for_whole() {
    let mut world = world(&[("a", "1")]);
    world.target.set_quirks(&[gantry_testkit::Quirk::SparseIndexes]);
    let source = push_index(&world.source, "a", "1", "a");
    let sparse = |platform: &str| {
        let wanted = vec![platform.parse().unwrap()];
        Some(Platforms { wanted, form: PlatformForm::Sparse })
    };
    let arm = image("linux/arm64", "a").digest().to_string();
    world.request.platforms = sparse("linux/amd64");
    assert_eq!(world.states().await, [VendorState::Copied]);
    assert_eq!(world.target.manifest("thirdparty/a", "1").unwrap().0, source);
    assert_eq!(world.target.manifest("thirdparty/a", &arm), None);
    for platforms in [None, sparse("linux/arm64"), sparse("linux/amd64")] {
        let asked_before = platforms == sparse("linux/amd64");
        world.request.platforms = platforms;
        world.request.mode = VendorMode::Check;
        let expected = if asked_before { VendorState::UpToDate } else { VendorState::Drifted };
        assert_eq!(world.states().await, [expected], "{:?}", world.request.platforms);
        assert_eq!(world.target.manifest("thirdparty/a", &arm), None, "checking writes nothing");
    }
    world.request.platforms = sparse("linux/arm64");
    let lock = world.request.lock.take();
    assert_eq!(world.states().await, [VendorState::Drifted], "a sparse index tells nothing of its entries");
    world.request.lock = lock;
    world.request.platforms = None;
    world.request.mode = VendorMode::Update;
    assert_eq!(world.states().await, [VendorState::Copied]);
    contents(&world.target, "thirdparty/a", "1");
    for mode in [VendorMode::Check, VendorMode::Locked] {
        world.request.mode = mode;
        assert_eq!(world.states().await, [VendorState::UpToDate], "{mode:?}");
    }
}

#[tokio::test]
async fn tags_pinned_to_a_digest() {
    let mut world = world(&[]);
    let old = push_index(&world.source, "a", "1", "old");
    push_index(&world.source, "a", "1", "new");
    let name = format!("{}/a", world.source.host());
    let gone = Digest::of("gone");
    for tag in [format!("1@{old}"), format!("@{old}"), format!("2@{gone}")] {
        world.request.images.push(VendorImage::new(&name, &tag, Vec::new()).unwrap());
    }
    assert_eq!(world.states().await, [VendorState::Copied, VendorState::Copied, VendorState::Failed]);
    assert_eq!(world.target.manifest("thirdparty/a", "1").unwrap().0, old);
    assert_eq!(world.states().await[..2], [VendorState::UpToDate; 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_of_the_fault_matrix_is_survived() {
    let rows = fault_matrix::rows().into_iter().map(|row| async move {
        let world = world(&[("team/app", "1"), ("team/app", "2")]);
        let images = fault_matrix::images();
        for tag in ["1", "2"] {
            BuiltImage::push_index(&images, &world.source, "team/app", tag);
        }
        if row.on.pulls() {
            (row.install)(&world.source);
        }
        if row.on.pushes() {
            (row.install)(&world.target);
        }
        let report = world.run().await.unwrap();
        let errors: Vec<_> =
            report.results.iter().filter_map(|result| Some(result.error.as_ref()?.message.clone())).collect();
        if errors.is_empty() {
            for tag in ["1", "2"] {
                assert_eq!(
                    contents(&world.target, "thirdparty/team/app", tag),
                    contents(&world.source, "team/app", tag),
                    "{}",
                    row.name
                );
            }
        }
        (row.name, errors)
    });
    let results: Vec<_> = stream::iter(rows).buffer_unordered(ROWS_AT_ONCE).collect().await;
    let failed: Vec<_> = results.into_iter().filter(|(_, errors)| !errors.is_empty()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[tokio::test]
async fn credentials_are_asked_for_once_and_not_for_each_image() {
    let mut world = world(&[("a", "1"), ("b", "1")]);
    for name in ["a", "b"] {
        push_index(&world.source, name, "1", name);
    }
    world.target.set_access(Access::bearer(
        fault_matrix::USER,
        fault_matrix::PASSWORD,
        std::time::Duration::from_secs(300),
    ));
    assert_eq!(world.states().await, [VendorState::Copied; 2]);
    let report = world.run().await.unwrap();
    assert!(report.results.iter().all(|result| result.state == VendorState::UpToDate));
}
