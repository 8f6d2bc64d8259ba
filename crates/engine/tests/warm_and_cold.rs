//! Whatever happens to a context between two builds: the second, which finds what the first has left, gives what a build
//! from nothing gives. Contexts are changed at random, from fixed seeds.

#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use gantry_engine::{BaseLayers, Compression, Engine, Job, LayerForm, Solver};
use gantry_llb::{Builder, Definition, Progress, ProgressEvent, pb};
use gantry_oci::Digest;
use gantry_sandbox::Sandbox;
use gantry_store::Store;
use rustix::fs::{CWD, FileType, Mode, XattrFlags, mknodat};
use tokio_util::sync::CancellationToken;

#[path = "support/copies.rs"]
mod copies;
#[path = "support/no_images.rs"]
mod no_images;

use copies::{add_copy, copy, edge};
use no_images::NoImages;

const SEEDS: [u64; 2] = [1, 2];
const CHANGES: usize = 20;

/// Steele, Lea and Flood's splitmix.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % limit as u64).unwrap()
    }

    fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }
}

/// What can happen to a file, a directory or a link.
#[derive(Debug, Clone, Copy)]
enum Change {
    Content,
    ContentButNotTime,
    Mode,
    Owner,
    Attribute,
    Rename,
    Retarget,
    Add,
    AddDirectory,
    Remove,
    OtherType,
    HardLink,
    BreakLink,
    Swap,
    Time,
}

const ALL: [Change; 15] = [
    Change::Content,
    Change::ContentButNotTime,
    Change::Mode,
    Change::Owner,
    Change::Attribute,
    Change::Rename,
    Change::Retarget,
    Change::Add,
    Change::AddDirectory,
    Change::Remove,
    Change::OtherType,
    Change::HardLink,
    Change::BreakLink,
    Change::Swap,
    Change::Time,
];

/// A context that changes.
struct Context {
    root: PathBuf,
    random: Random,
}

impl Context {
    fn new(root: &Path, seed: u64) -> Self {
        for file in ["a", "b", "d0/x", "d0/y", "d0/deep/er/z", "d1/x", "d1/no.skip", "top.skip"] {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        symlink("d0", root.join("link")).unwrap();
        symlink("../a", root.join("d1/up")).unwrap();
        Self { root: root.to_owned(), random: Random(seed) }
    }

    /// All that there is, in order.
    fn paths(&self) -> Vec<PathBuf> {
        walk(&self.root).into_iter().map(|path| self.root.join(path)).collect()
    }

    /// One of those for which this holds.
    fn pick(&mut self, wanted: impl Fn(&Path) -> bool) -> Option<PathBuf> {
        let paths: Vec<_> = self.paths().into_iter().filter(|path| wanted(path)).collect();
        (!paths.is_empty()).then(|| self.random.of(&paths).clone())
    }

    fn file(&mut self) -> Option<PathBuf> {
        self.pick(|path| path.is_file() && !path.is_symlink())
    }

    /// Where nothing is.
    fn vacant(&mut self) -> PathBuf {
        let root = self.root.clone();
        let mut path = self.pick(|path| path.is_dir() && !path.is_symlink()).unwrap_or(root);
        path.push(self.random.of(&["n1", "n2", "d2", "n.skip", "\u{e9}"]));
        path
    }

    fn text(&mut self) -> String {
        char::from(b'a' + u8::try_from(self.random.below(26)).unwrap()).to_string().repeat(4)
    }

    /// Makes the change, if there is something for it.
    fn change(&mut self, change: Change) -> Option<()> {
        match change {
            Change::Content => {
                let (path, text) = (self.file()?, self.text());
                fs::write(path, text).ok()
            }
            Change::ContentButNotTime => {
                let (path, text) = (self.file()?, self.text());
                let before = fs::metadata(&path).unwrap().modified().unwrap();
                fs::write(&path, text).unwrap();
                File::options().write(true).open(path).unwrap().set_modified(before).ok()
            }
            Change::Mode => {
                let path = self.pick(|path| !path.is_symlink())?;
                let mode = *self.random.of(&[0o600, 0o644, 0o755, 0o4755, 0o1777, 0o2750]);
                fs::set_permissions(path, Permissions::from_mode(mode)).ok()
            }
            Change::Owner => {
                let path = self.pick(|path| !path.is_symlink())?;
                chown(path, Some(7), Some(8)).ok()
            }
            Change::Attribute => {
                let (path, text) =
                    (self.pick(|path| !path.is_symlink() && (path.is_file() || path.is_dir()))?, self.text());
                rustix::fs::setxattr(path, "user.test", text.as_bytes(), XattrFlags::empty()).ok()
            }
            Change::Rename => {
                let (path, to) = (self.pick(|_| true)?, self.vacant());
                if to.exists() { None } else { fs::rename(path, to).ok() }
            }
            Change::Retarget => {
                let path = self.pick(Path::is_symlink)?;
                let target = *self.random.of(&["a", "d1", "../b", "/d0/x", "missing"]);
                fs::remove_file(&path).unwrap();
                symlink(target, path).ok()
            }
            Change::Add => {
                let (path, text) = (self.vacant(), self.text());
                File::create_new(&path).ok()?;
                fs::write(path, text).ok()
            }
            Change::AddDirectory => fs::create_dir(self.vacant()).ok(),
            Change::Remove => remove(&self.pick(|_| true)?),
            Change::OtherType => {
                let path = self.pick(|_| true)?;
                remove(&path)?;
                match self.random.below(4) {
                    0 => fs::write(path, "file").ok(),
                    1 => fs::create_dir(path).ok(),
                    2 => symlink("a", path).ok(),
                    _ => mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).ok(),
                }
            }
            Change::HardLink => {
                let (path, to) = (self.file()?, self.vacant());
                fs::hard_link(path, to).ok()
            }
            Change::BreakLink => {
                let path = self
                    .pick(|path| fs::symlink_metadata(path).is_ok_and(|it| it.is_file() && it.nlink() > 1))?;
                let content = fs::read(&path).unwrap();
                fs::remove_file(&path).unwrap();
                fs::write(path, content).ok()
            }
            Change::Swap => {
                let (one, other) = (self.file()?, self.file()?);
                let aside = self.root.join("aside");
                fs::rename(&one, &aside).unwrap();
                // Both may be one file.
                let _ = fs::rename(&other, &one);
                fs::rename(aside, other).ok()
            }
            Change::Time => {
                let path = self.file()?;
                let time = UNIX_EPOCH + Duration::from_secs(self.random.below(1_000_000).try_into().unwrap());
                File::options()
                    .write(true)
                    .open(path)
                    .unwrap()
                    .set_times(FileTimes::new().set_modified(time))
                    .ok()
            }
        }
    }
}

fn remove(path: &Path) -> Option<()> {
    match path.is_dir() && !path.is_symlink() {
        true => fs::remove_dir_all(path).ok(),
        false => fs::remove_file(path).ok(),
    }
}

/// The paths below a directory, relative to it, in order.
fn walk(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(root.join(&directory)).unwrap() {
            let entry = entry.unwrap();
            let path = directory.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                open.push(path.clone());
            }
            found.push(path);
        }
    }
    found.sort();
    found
}

struct Silent;

impl Progress for Silent {
    fn event(&self, _: ProgressEvent) {}
}

/// Copies of all kinds: of everything, by wildcard, filtered, of a link's target, from another stage.
fn definition() -> Definition {
    let mut builder = Builder::new();
    let source = pb::SourceOp {
        identifier: "local://context".to_owned(),
        attrs: BTreeMap::from([("local.excludepatterns".to_owned(), r#"["**/*.skip"]"#.to_owned())]),
    };
    let source = pb::Op { op: Some(pb::op::Op::Source(source)), ..pb::Op::default() };
    let context = builder.add(source, vec![], pb::OpMetadata::default());
    let first = add_copy(&mut builder, "first", None, context, copy("/", "/all/"));
    let some = pb::FileActionCopy { exclude_patterns: vec!["**/x".to_owned()], ..copy("/d*", "/some/") };
    let second = add_copy(&mut builder, "second", None, first, copy("/all/n*", "/picked/"));
    let third = add_copy(&mut builder, "third", Some(second), context, some);
    let only = pb::FileActionCopy { include_patterns: vec!["**/y".to_owned()], ..copy("/all", "/only/") };
    let result = add_copy(&mut builder, "result", Some(third), first, only);
    builder.finish(Some(edge(result)), vec![])
}

/// A file, as far as it counts.
type Look = (PathBuf, u32, (u32, u32), Vec<u8>, Vec<u8>, u64);

/// The layers that a build with this store gives, and the files in them; or why it fails.
fn build(store: &Path, context: &Path) -> Result<(Vec<Digest>, Vec<Look>), String> {
    let store = Arc::new(Store::open(store).unwrap());
    let engine = || Engine::new(Arc::clone(&store), Arc::new(NoImages), Sandbox::default());
    let job = Job {
        directories: BTreeMap::from([("context".to_owned(), context.to_owned())]),
        ..Job::new(Arc::new(Silent), CancellationToken::new())
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let chain =
            Solver::new(engine(), job).solve(&definition()).await.map_err(|error| error.fault.to_string())?;
        let base_layers = BaseLayers::default();
        let form = LayerForm { compression: Compression::None, clamp_mtime: Some(0), base_layers };
        let layers = engine().export(&chain, form).await.unwrap();
        let looks = engine().with_tree(&chain, look).await.unwrap();
        Ok((layers.iter().map(|layer| layer.blob.diff_id).collect(), looks))
    })
}

fn look(root: &Path) -> Vec<Look> {
    let mut first_names = HashMap::new();
    let mut looks = Vec::new();
    for (position, path) in walk(root).into_iter().enumerate() {
        let full = root.join(&path);
        let metadata = fs::symlink_metadata(&full).unwrap();
        let content = match metadata.file_type() {
            kind if kind.is_file() => fs::read(&full).unwrap(),
            kind if kind.is_symlink() => fs::read_link(&full).unwrap().as_os_str().as_bytes().to_vec(),
            _ => Vec::new(),
        };
        let mut attribute = [0; 16];
        let length = rustix::fs::lgetxattr(&full, "user.test", &mut attribute[..]).unwrap_or(0);
        let first = *first_names.entry(metadata.ino()).or_insert(position) as u64;
        let owner = (metadata.uid(), metadata.gid());
        looks.push((path, metadata.mode(), owner, content, attribute[..length].to_vec(), first));
    }
    looks
}

#[test]
fn root_a_warm_build_gives_what_a_cold_one_gives() {
    let (mut built, mut different) = (0, 0);
    for seed in SEEDS {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("context")).unwrap();
        let mut context = Context::new(&path("context"), seed);
        let mut history = Vec::new();
        let mut before = None;
        for round in 0..CHANGES {
            let warm = build(&path("warm"), &path("context"));
            let cold = build(&path(&format!("cold-{round}")), &path("context"));
            assert_eq!(warm, cold, "seed {seed} after {history:?}");
            built += usize::from(warm.is_ok());
            different += usize::from(before.replace(warm.clone()) != Some(warm));
            let change = *context.random.of(&ALL);
            if context.change(change).is_some() {
                history.push(change);
            }
        }
    }
    let all = SEEDS.len() * CHANGES;
    assert!(built > all / 2, "only {built} of {all} contexts could be built");
    assert!(different > all / 3, "only {different} of {all} changes changed anything");
}
