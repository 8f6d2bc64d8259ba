//! The solver over a real store and real mounts, with images from a table: what is found, what is run, what is shared.
//!
//! Steps here are file operations; RUN is tested where there is a program that can supervise it.

#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use gantry_engine::{Compression, Engine, EngineError, Fault, Job, LayerChain, Solver};
use gantry_llb::{Builder, Definition, Edge, Outcome, Progress, ProgressEvent, pb};
use gantry_oci::{
    BlobSink, BoxFuture, Descriptor, Digest, ImageError, ImageErrorKind, ImagePort, Platform, Reference,
    ResolvedImage,
};
use gantry_sandbox::Sandbox;
use gantry_store::Store;
use gantry_testkit::{BuiltImage, Entry, ImageBuilder};
use tokio_util::sync::CancellationToken;

#[path = "support/copies.rs"]
mod copies;

use copies::{add_copy, copy, edge, named};

const BASE: &str = "docker-image://docker.io/library/base:latest";

/// Images by repository, and the blobs that were asked for.
struct Images {
    images: HashMap<String, BuiltImage>,
    fetched: Mutex<Vec<Digest>>,
}

impl ImagePort for Images {
    fn resolve<'a>(
        &'a self,
        reference: &'a Reference,
        platform: &'a Platform,
    ) -> BoxFuture<'a, Result<ResolvedImage, ImageError>> {
        Box::pin(async move {
            let image = self.images.get(reference.repository());
            let image = image.ok_or_else(|| ImageError::new(ImageErrorKind::NotFound, "no such image"))?;
            Ok(ResolvedImage {
                reference: reference.pinned(image.digest()),
                manifest: (image.digest(), image.bytes.clone()),
                config: image.config.clone(),
                platform: platform.clone(),
            })
        })
    }

    fn fetch<'a>(
        &'a self,
        reference: &'a Reference,
        blob: &'a Descriptor,
        sink: &'a mut dyn BlobSink,
    ) -> BoxFuture<'a, Result<(), ImageError>> {
        Box::pin(async move {
            let image = &self.images[reference.repository()];
            let bytes = image.blobs.iter().find(|bytes| Digest::of(bytes) == blob.digest).unwrap();
            self.fetched.lock().unwrap().push(blob.digest);
            sink.write_all(bytes).unwrap();
            Ok(())
        })
    }
}

/// Remembers how each named vertex ended.
#[derive(Default)]
struct Log {
    names: Mutex<HashMap<Digest, String>>,
    ended: Mutex<Vec<(String, Outcome)>>,
}

impl Progress for Log {
    fn event(&self, event: ProgressEvent) {
        match event {
            ProgressEvent::Started { vertex, name, .. } => {
                self.names.lock().unwrap().insert(vertex, name);
            }
            ProgressEvent::Ended { vertex, outcome } => {
                let name = self.names.lock().unwrap()[&vertex].clone();
                self.ended.lock().unwrap().push((name, outcome));
            }
            _ => {}
        }
    }
}

/// A store, a context directory and a base image.
struct World {
    directory: tempfile::TempDir,
    images: Arc<Images>,
}

impl World {
    fn new() -> Self {
        let passwd = Entry::file("etc/passwd", "app:x:7:8::/:/bin/sh\n");
        let base =
            ImageBuilder::new("linux/amd64").layer(&[Entry::dir("etc"), passwd, Entry::file("old", "old")]);
        let images = HashMap::from([("library/base".to_owned(), base.build())]);
        let images = Arc::new(Images { images, fetched: Mutex::default() });
        let world = Self { directory: tempfile::tempdir().unwrap(), images };
        fs::create_dir(world.context()).unwrap();
        for name in ["a", "b", "ignored-a"] {
            world.write(name, name);
        }
        world
    }

    fn context(&self) -> PathBuf {
        self.directory.path().join("context")
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.context().join(name), content).unwrap();
    }

    fn engine(&self) -> Engine {
        let store = Store::open(&self.directory.path().join("store")).unwrap();
        Engine::new(Arc::new(store), Arc::clone(&self.images) as _, Sandbox::default())
    }

    /// Solves as one command does, and tells which steps ran.
    fn solve(&self, definition: &Definition) -> (Result<LayerChain, EngineError>, Vec<String>) {
        let log = Arc::new(Log::default());
        let job = Job {
            directories: BTreeMap::from([("context".to_owned(), self.context())]),
            ..Job::new(Arc::clone(&log) as _, CancellationToken::new())
        };
        let solver = Solver::new(self.engine(), job);
        let solved = runtime().block_on(solver.solve(definition));
        let ended = log.ended.lock().unwrap();
        let ran = ended.iter().filter(|(name, outcome)| *outcome == Outcome::Done && name != "context");
        (solved, ran.map(|(name, _)| name.clone()).collect())
    }

    /// Solves, and calls `look` with the directory of the result.
    fn look<R: Send + 'static>(
        &self,
        definition: &Definition,
        look: impl FnOnce(&Path) -> R + Send + 'static,
    ) -> R {
        let chain = self.solve(definition).0.unwrap();
        runtime().block_on(self.engine().with_tree(&chain, look)).unwrap()
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().unwrap()
}

fn source(builder: &mut Builder, identifier: &str, exclude: &[&str]) -> Digest {
    let exclude = serde_json::to_string(exclude).unwrap();
    let source = pb::SourceOp {
        identifier: identifier.to_owned(),
        attrs: BTreeMap::from([("local.excludepatterns".to_owned(), exclude)]),
    };
    let platform =
        pb::Platform { os: "linux".into(), architecture: "amd64".into(), ..pb::Platform::default() };
    let platform = identifier.starts_with("docker-image").then_some(platform);
    let op = pb::Op { op: Some(pb::op::Op::Source(source)), platform, ..pb::Op::default() };
    builder.add(op, vec![], named(identifier.split("://").last().unwrap()))
}

/// Two copies into a stage; a file of the first is copied on into the result.
fn two_stages() -> Definition {
    let mut builder = Builder::new();
    let context = source(&mut builder, "local://context", &["ignored*"]);
    let base = source(&mut builder, BASE, &[]);
    let first = add_copy(&mut builder, "first", Some(base), context, copy("/a*", "/in/"));
    let second = add_copy(&mut builder, "second", Some(first), context, copy("/b", "/in/b"));
    let result = add_copy(&mut builder, "result", None, second, copy("/in/a", "/a"));
    builder.finish(Some(edge(result)), vec![])
}

const ALL: [&str; 3] = ["first", "second", "result"];
const NONE: [&str; 0] = [];

#[test]
fn root_a_step_runs_only_if_what_it_depends_on_changed() {
    let world = World::new();
    let definition = two_stages();
    assert_eq!(world.solve(&definition).1, ALL);
    assert_eq!(world.solve(&definition).1, NONE, "nothing changed");
    let a = world.context().join("a");
    fs::File::options().write(true).open(&a).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(world.solve(&definition).1, NONE, "an mtime is no change");
    world.write("ignored-a", "changed");
    world.write("unused", "new");
    assert_eq!(world.solve(&definition).1, NONE, "what is not copied does not count");
    world.write("b", "changed");
    assert_eq!(world.solve(&definition).1, ["second"], "what `result` copies is the same");
    world.write("a", "changed");
    assert_eq!(world.solve(&definition).1, ALL);
    let text = world.look(&definition, |root| fs::read_to_string(root.join("a")).unwrap());
    assert_eq!(text, "changed");
}

#[test]
fn root_what_is_read_as_a_whole_counts_so_beside_a_part_of_it() {
    let mut world = World::new();
    let mut builder = Builder::new();
    let base = source(&mut builder, BASE, &[]);
    let action = |position: i64, src: &str| pb::FileAction {
        input: if position == 0 { -1 } else { position },
        secondary_input: 0,
        output: if position == 1 { 0 } else { -1 },
        action: Some(pb::file_action::Action::Copy(copy(src, "/to/"))),
    };
    let file = pb::FileOp { actions: vec![action(0, "/"), action(1, "/etc")] };
    let op = pb::Op { op: Some(pb::op::Op::File(file)), ..pb::Op::default() };
    let result = builder.add(op, vec![edge(base)], named("both"));
    let definition = builder.finish(Some(edge(result)), vec![]);
    assert_eq!(world.solve(&definition).1, ["both"]);
    assert_eq!(world.solve(&definition).1, NONE);
    let other = ImageBuilder::new("linux/amd64").layer(&[
        Entry::dir("etc"),
        Entry::file("etc/passwd", "app:x:7:8::/:/bin/sh\n"),
        Entry::file("old", "new"),
    ]);
    let images = HashMap::from([("library/base".to_owned(), other.build())]);
    world.images = Arc::new(Images { images, fetched: Mutex::default() });
    assert_eq!(world.solve(&definition).1, ["both"]);
    let text = world.look(&definition, |root| fs::read_to_string(root.join("to/old")).unwrap());
    assert_eq!(text, "new");
}

#[test]
fn root_ignoring_the_cache_runs_everything() {
    let world = World::new();
    assert_eq!(world.solve(&two_stages()).1, ALL);
    let mut wire = two_stages().to_pb();
    wire.metadata.values_mut().for_each(|metadata| metadata.ignore_cache = true);
    let definition = Definition::from_pb(wire).unwrap();
    assert_eq!(world.solve(&definition).1, ALL);
}

#[test]
fn root_an_observer_hears_of_every_tree_once() {
    let world = World::new();
    let definition = two_stages();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    let observer = Arc::new(move |edge: Edge, tree: &LayerChain| {
        hears.lock().unwrap().push((edge.vertex, tree.layers().len()));
    });
    let job = Job {
        directories: BTreeMap::from([("context".to_owned(), world.context())]),
        ..Job::new(Arc::new(Log::default()), CancellationToken::new())
    };
    let solver = Solver::new(world.engine(), job).observed_by(observer);
    runtime().block_on(solver.solve(&definition)).unwrap();
    let heard: Vec<(String, usize)> = heard
        .lock()
        .unwrap()
        .iter()
        .map(|(vertex, layers)| (definition.vertex(vertex).unwrap().name().to_owned(), *layers))
        .collect();
    let names = ["docker.io/library/base:latest", "first", "second", "result"];
    let expected: Vec<_> = names.map(str::to_owned).into_iter().zip([1, 2, 3, 1]).collect();
    assert_eq!(heard, expected);
}

#[test]
fn root_two_solvers_of_one_store_share_the_work() {
    let world = World::new();
    let definition = two_stages();
    let solve = || {
        let (solved, ran) = world.solve(&definition);
        (solved.unwrap(), ran)
    };
    let ((chain, mut ran), (other_chain, other_ran)) = std::thread::scope(|scope| {
        let other = scope.spawn(solve);
        (solve(), other.join().unwrap())
    });
    assert_eq!(chain, other_chain, "both have the very same layers");
    ran.extend(other_ran);
    ran.sort();
    assert_eq!(ran, ["first", "result", "second"], "each step ran once, whoever ran it");
    assert_eq!(world.images.fetched.lock().unwrap().len(), 1, "the base was fetched once");
}

#[test]
fn root_owners_modes_and_merging() {
    let world = World::new();
    fs::create_dir(world.context().join("d")).unwrap();
    world.write("d/file", "new");
    let mut builder = Builder::new();
    let context = source(&mut builder, "local://context", &[]);
    let base = source(&mut builder, BASE, &[]);
    let name = pb::NamedUserOpt { name: "app".into(), input: 0 };
    let user = pb::UserOpt { user: Some(pb::user_opt::User::ByName(name)) };
    let owner = pb::ChownOpt { user: Some(user), group: None };
    let action = pb::FileActionCopy { owner: Some(owner), mode: 0o640, ..copy("/d", "/fresh/place/") };
    let result = add_copy(&mut builder, "result", Some(base), context, action);
    let definition = builder.finish(Some(edge(result)), vec![]);
    let (file, parent, old) = world.look(&definition, |root| {
        use std::os::unix::fs::MetadataExt;
        let look = |path: &str| {
            let metadata = root.join(path).metadata().unwrap();
            (metadata.mode() & 0o7777, metadata.uid(), metadata.gid())
        };
        (look("fresh/place/file"), look("fresh"), fs::read_to_string(root.join("old")).unwrap())
    });
    assert_eq!((file, parent, old.as_str()), ((0o640, 7, 8), (0o640, 7, 8), "old"));
}

#[test]
fn root_export_is_reproducible_and_keeps_base_layers() {
    let world = World::new();
    let chain = world.solve(&two_stages()).0.unwrap();
    let export = |chain| runtime().block_on(world.engine().export(chain, Compression::default())).unwrap();
    let (first, again) = (export(&chain), export(&chain));
    assert_eq!(first.len(), 1, "a copy onto scratch is one layer");
    assert_eq!(first[0].blob, again[0].blob);
    assert!(first[0].created.is_some());

    let mut builder = Builder::new();
    let base = source(&mut builder, BASE, &[]);
    let definition = builder.finish(Some(edge(base)), vec![]);
    let layers = export(&world.solve(&definition).0.unwrap());
    let original = &world.images.images["library/base"].manifest.layers[0];
    assert_eq!(layers[0].blob.descriptor.digest, original.digest);
    assert_eq!(layers[0].blob.origin.as_deref(), Some("docker.io/library/base"));
}

#[test]
fn root_faults_name_their_vertex_and_leave_nothing() {
    let world = World::new();
    let mut builder = Builder::new();
    let context = source(&mut builder, "local://context", &["ignored*"]);
    let missing = add_copy(&mut builder, "missing", None, context, copy("/ignored-a", "/x"));
    let definition = builder.finish(Some(edge(missing)), vec![]);
    let error = world.solve(&definition).0.unwrap_err();
    assert_eq!(error.vertex, Some(missing));
    assert!(matches!(*error.fault, Fault::NotInSource { excluded: true, .. }), "{error:?}");

    let mut builder = Builder::new();
    let image = source(&mut builder, "docker-image://docker.io/library/none:latest", &[]);
    let definition = builder.finish(Some(edge(image)), vec![]);
    let error = world.solve(&definition).0.unwrap_err();
    assert!(matches!(&*error.fault, Fault::Image(error) if error.kind == ImageErrorKind::NotFound));

    for directory in ["store/tmp", "store/locks"] {
        let left = fs::read_dir(world.directory.path().join(directory)).unwrap().count();
        assert_eq!(left, 0, "{directory} is empty");
    }
}

#[test]
fn what_the_engine_cannot_do_is_said_before_any_work() {
    let world = World::new();
    let mut builder = Builder::new();
    let page = source(&mut builder, "https://example.org/file", &[]);
    let definition = builder.finish(Some(edge(page)), vec![]);
    let error = world.engine().preflight(&definition, &Default::default()).unwrap_err();
    assert!(matches!(*error.fault, Fault::Unsupported(_)), "{error:?}");
    assert_eq!(error.vertex, Some(page));
}
