//! What a RUN sees besides its root: `--mount=type=bind`, `tmpfs`, `cache`, `secret` and `ssh`.
//!
//! Bind mounts show a tree that is made for them; what is written to a writable one is thrown away. Cache mounts are
//! directories (or, by their seed, files) of the store that outlive the step, its result and its failure, and are in no key. Secrets go to the
//! step's own memory and nowhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gantry_llb::pb;
use gantry_oci::Digest;
use gantry_sandbox::{Mount, MountKind, Overlay, Tree, with_trees};
use gantry_store::{Lock, Store, TempDir};
use tokio_util::sync::CancellationToken;

use crate::agent::AgentSocket;
use crate::blocking::blocking;
use crate::engine::{Engine, Job};
use crate::error::{At, Fault};
use crate::file::{Look, MergedTimes, WholeCopy};
use crate::keys::Keyed;
use crate::output::Output;
use crate::rooted;
use crate::secrets::Secret;
use crate::select::{Ownership, SourceRoot};
use crate::solver::Solver;

/// The agent that is meant where none is named.
const DEFAULT_AGENT: &str = "default";
/// More steps than ever run at once.
const MAX_COPIES: usize = 1000;
/// The last user of a cache has it alone for the moment in which it gives it up: long enough to wait for that, and nothing
/// beside the cost of an empty cache.
const RELEASE: Duration = Duration::from_millis(20);

/// The mounts of one step, with what has to live as long as it runs.
#[derive(Debug, Default)]
pub(crate) struct Mounts {
    pub(crate) list: Vec<Mount>,
    directories: Vec<TempDir>,
    locks: Vec<Lock>,
    /// The directory in use by the name of its cache.
    caches: BTreeMap<String, String>,
    agents: Vec<AgentSocket>,
}

/// What a mount shows: these directories over one another, or what is at a path of them.
struct Shown {
    directories: Vec<PathBuf>,
    selector: PathBuf,
}

impl Mounts {
    /// Prepares all mounts besides the root.
    pub(crate) async fn prepare(
        solver: &Solver,
        exec: &pb::ExecOp,
        keyed: &Keyed,
        inputs: &[Output],
    ) -> Result<Self, Fault> {
        let (engine, job) = (&solver.engine, &solver.job);
        let mut mounts = Self::default();
        mounts.lock_caches(engine, job, exec, inputs).await?;
        let cwd = exec.meta.as_ref().map(|meta| meta.cwd.as_str()).unwrap_or_default();
        for (position, mount) in exec.mounts.iter().enumerate().filter(|(_, mount)| mount.dest != "/") {
            let shown = || shown(solver, (position, mount), keyed, inputs);
            let kind = match mount.mount_type() {
                pb::MountType::Bind => Some(mounts.bind(engine, mount, shown().await?)?),
                pb::MountType::Cache => {
                    let seed = if mount.input < 0 { None } else { Some(shown().await?) };
                    Some(mounts.cache(solver, (mount, seed), inputs).await?)
                }
                pb::MountType::Tmpfs => Some(tmpfs(mount)),
                pb::MountType::Secret => secret(job, mount)?,
                pb::MountType::Ssh => mounts.agent(engine, job, mount)?,
            };
            // What is optional and not there is not mounted. Secrets may have relative targets.
            let dest = rooted::clean(&Path::new(cwd).join(&mount.dest));
            mounts.list.extend(kind.map(|kind| Mount { dest: dest.to_string_lossy().into_owned(), kind }));
        }
        Ok(mounts)
    }

    /// Waits for the caches that nobody else may use meanwhile: each once, and in one order for all steps, so that no
    /// two steps wait for each other.
    async fn lock_caches(
        &mut self,
        engine: &Engine,
        job: &Job,
        exec: &pb::ExecOp,
        inputs: &[Output],
    ) -> Result<(), Fault> {
        let caches = exec.mounts.iter().filter(|mount| mount.mount_type() == pb::MountType::Cache);
        let locked = caches.filter(|mount| sharing(mount) == pb::CacheSharingOpt::Locked);
        let pools: BTreeSet<String> = locked.map(|mount| cache_pool(mount, inputs)).collect();
        for pool in pools {
            self.locks.push(job.lock(&engine.store, &lock_name(&pool)).await?);
            self.caches.insert(pool.clone(), pool);
        }
        Ok(())
    }

    fn bind(&mut self, engine: &Engine, mount: &pb::Mount, shown: Shown) -> Result<MountKind, Fault> {
        let Shown { directories: lower, selector } = shown;
        let source = match mount.readonly {
            true => Tree::Layers(lower),
            false => {
                let store = &engine.store;
                let directory = store.temp_dir()?;
                let overlay = Overlay {
                    lower,
                    upper: directory.path().join("upper"),
                    work: directory.path().join("work"),
                };
                for path in [&overlay.upper, &overlay.work] {
                    fs::create_dir(path).at("create", path)?;
                }
                self.directories.push(directory);
                Tree::Overlay(overlay)
            }
        };
        Ok(MountKind::Bind { source, selector, readonly: mount.readonly })
    }

    fn agent(&mut self, engine: &Engine, job: &Job, mount: &pb::Mount) -> Result<Option<MountKind>, Fault> {
        let options = mount.ssh_opt.clone().unwrap_or_default();
        let id = if options.id.is_empty() { DEFAULT_AGENT } else { &options.id };
        let upstream = match job.agents.get(id) {
            None if options.optional => return Ok(None),
            None => return Err(Fault::MissingAgent(id.to_owned())),
            Some(upstream) => upstream,
        };
        let mode = options.mode & 0o777;
        let socket = AgentSocket::start(&engine.store, upstream, (options.uid, options.gid), mode)?;
        let source = Tree::Directory(socket.path());
        self.agents.push(socket);
        // Steps give their socket to other users of theirs, by chown or chmod.
        Ok(Some(MountKind::Bind { source, selector: PathBuf::new(), readonly: false }))
    }

    async fn cache(
        &mut self,
        solver: &Solver,
        (mount, seed): (&pb::Mount, Option<Shown>),
        inputs: &[Output],
    ) -> Result<MountKind, Fault> {
        let store = &solver.engine.store;
        let name = self.claim(store, cache_pool(mount, inputs), sharing(mount)).await?;
        // One with a seed is made of what the seed has there, and shown as a whole.
        let selector = if seed.is_some() { PathBuf::new() } else { PathBuf::from(&mount.selector) };
        let (store, cancel) = (Arc::clone(store), solver.job.cancel.clone());
        let directory = blocking(move || {
            let directory = store.cache_mount_path(&name);
            let _making = store.lock(&format!("make-cache-{name}"))?;
            if !directory.exists() {
                make_cache(&store, &directory, seed, &cancel)?;
            }
            Ok(directory)
        })
        .await?;
        Ok(MountKind::Bind { source: Tree::Directory(directory), selector, readonly: mount.readonly })
    }

    /// The name of a directory of the cache that this step may use: the first that nobody else has, or, for a shared
    /// one, that nobody has alone. A step uses only one of them, by whatever number of mounts.
    async fn claim(
        &mut self,
        store: &Store,
        pool: String,
        sharing: pb::CacheSharingOpt,
    ) -> Result<String, Fault> {
        if let Some(directory) = self.caches.get(&pool) {
            return Ok(directory.clone());
        }
        for copy in 0..MAX_COPIES {
            let directory = if copy == 0 { pool.clone() } else { format!("{pool}-{copy}") };
            let mut lock = try_lock_cache(store, &directory, sharing)?;
            if lock.is_none() && copy == 0 {
                tokio::time::sleep(RELEASE).await;
                lock = try_lock_cache(store, &directory, sharing)?;
            }
            if let Some(lock) = lock {
                self.locks.push(lock);
                self.caches.insert(pool, directory.clone());
                return Ok(directory);
            }
        }
        Err(Fault::Unsupported(format!("more than {MAX_COPIES} steps with one private cache at once")))
    }
}

/// What a mount shows of its input, here to be mounted.
async fn shown(
    solver: &Solver,
    (position, mount): (usize, &pb::Mount),
    keyed: &Keyed,
    inputs: &[Output],
) -> Result<Shown, Fault> {
    let engine = &solver.engine;
    let Ok(input) = usize::try_from(mount.input) else {
        return Ok(Shown { directories: Vec::new(), selector: PathBuf::from(&mount.selector) });
    };
    match inputs.get(input) {
        Some(Output::Tree(chain)) => {
            engine.unpack(chain).await?;
            let directories = chain.directories(&engine.store);
            Ok(Shown { directories, selector: PathBuf::from(&mount.selector) })
        }
        Some(Output::Client(_)) => {
            let selection = keyed.selected.get(&position).expect("a key has what mounts show of the client");
            let copy = selection.copied(&engine.store, &solver.job.cancel).await?;
            let selector = selection.items.first().map(|item| PathBuf::from(&item.name)).unwrap_or_default();
            Ok(Shown { directories: vec![copy], selector })
        }
        None => Err(Fault::Graph(format!("a step has no input {input}"))),
    }
}

fn try_lock_cache(
    store: &Store,
    directory: &str,
    sharing: pb::CacheSharingOpt,
) -> Result<Option<Lock>, Fault> {
    let name = lock_name(directory);
    Ok(match sharing {
        pb::CacheSharingOpt::Shared => store.try_share_lock(&name)?,
        pb::CacheSharingOpt::Private | pb::CacheSharingOpt::Locked => store.try_lock(&name)?,
    })
}

fn sharing(mount: &pb::Mount) -> pb::CacheSharingOpt {
    mount.cache_opt.as_ref().map(pb::CacheOpt::sharing).unwrap_or_default()
}

/// The name of a cache, of which there may be several directories. It is the id and the tree that seeds it: who asks for
/// another owner or another source asks for another cache. Ids are the user's, and may be anything.
fn cache_pool(mount: &pb::Mount, inputs: &[Output]) -> String {
    let id = mount.cache_opt.as_ref().map(|options| options.id.as_str()).unwrap_or_default();
    let seed = usize::try_from(mount.input).ok().and_then(|input| inputs.get(input));
    let name = match seed {
        None => Digest::of(id),
        Some(seed) => {
            let layers: Vec<String> = match seed {
                Output::Tree(chain) => chain.layers().iter().map(ToString::to_string).collect(),
                // What it holds today is the seed of a directory that is not there, and nothing else.
                Output::Client(client) => vec!["client".to_owned(), client.name.clone()],
            };
            // Framed by the lengths: a selector may look like a layer.
            let fields = [id, mount.selector.as_str()].into_iter().chain(layers.iter().map(String::as_str));
            Digest::of(fields.map(|field| format!("{} {field}", field.len())).collect::<String>())
        }
    };
    name.hex()
}

fn lock_name(directory: &str) -> String {
    format!("cache-{directory}")
}

/// Makes what a cache mount shows: a directory with the content and look of its seed, or a file, if that is one.
fn make_cache(
    store: &Store,
    place: &Path,
    seed: Option<Shown>,
    cancel: &CancellationToken,
) -> Result<(), Fault> {
    let temporary = store.temp_dir()?;
    let fresh = temporary.path().join("cache");
    match seed {
        None => empty_cache(&fresh)?,
        Some(Shown { directories, selector }) => {
            let seed = [Tree::Layers(directories)];
            with_trees(&seed, |paths| seed_cache(&paths[0], &selector, &fresh, cancel))??;
        }
    }
    fs::rename(&fresh, place).at("rename a cache mount to", place)
}

fn empty_cache(fresh: &Path) -> Result<(), Fault> {
    fs::create_dir(fresh).at("create", fresh)?;
    fs::set_permissions(fresh, fs::Permissions::from_mode(0o755)).at("set the mode of", fresh)
}

fn seed_cache(root: &Path, selector: &Path, fresh: &Path, cancel: &CancellationToken) -> Result<(), Fault> {
    // What is nowhere is told by the copy.
    if let Ok(path) = rooted::resolve(root, selector)
        && fs::symlink_metadata(&path).is_ok_and(|found| found.is_file())
    {
        return seed_file(&path, fresh);
    }
    empty_cache(fresh)?;
    let source = SourceRoot { path: root, filter: None, ownership: Ownership::Kept };
    let directory = rooted::clean(selector).to_string_lossy().into_owned();
    let copy = WholeCopy {
        source: &source,
        directory: &directory,
        look: Look::new(None, -1),
        merged: MergedTimes::OfSource,
        cancel,
    };
    // The directory itself is the mount: it looks like what seeds it.
    if let Some(top) = copy.to(fresh)? {
        chown(fresh, Some(top.uid()), Some(top.gid())).at("set the owner of", fresh)?;
        fs::set_permissions(fresh, top.permissions()).at("set the mode of", fresh)?;
    }
    Ok(())
}

/// A cache that is one file: it looks like what seeds it.
fn seed_file(path: &Path, fresh: &Path) -> Result<(), Fault> {
    fs::copy(path, fresh).at("copy to a cache mount", path)?;
    let look = fs::metadata(path).at("read", path)?;
    chown(fresh, Some(look.uid()), Some(look.gid())).at("set the owner of", fresh)?;
    // Another owner takes away what the mode says about users and groups.
    fs::set_permissions(fresh, look.permissions()).at("set the mode of", fresh)?;
    let times = look.modified().map(|time| FileTimes::new().set_modified(time));
    let set = times.and_then(|times| File::options().write(true).open(fresh)?.set_times(times));
    set.at("set the time of", fresh)
}

/// A secret as a file in memory.
fn secret(job: &Job, mount: &pb::Mount) -> Result<Option<MountKind>, Fault> {
    let options = mount.secret_opt.clone().unwrap_or_default();
    let secret = job.secrets.wanted(&options.id, options.optional)?;
    Ok(secret.map(|secret| MountKind::File {
        contents: secret.reveal().to_vec(),
        mode: options.mode & 0o777,
        uid: options.uid,
        gid: options.gid,
        readonly: true,
    }))
}

/// The variables of a step that are secrets, as `NAME=value`.
pub(crate) fn secret_variables(job: &Job, exec: &pb::ExecOp) -> Result<Vec<String>, Fault> {
    let mut variables = Vec::new();
    for variable in &exec.secretenv {
        // As with BuildKit, a variable whose optional secret is not there is empty.
        let secret = job.secrets.wanted(&variable.id, variable.optional)?;
        let bytes = secret.as_ref().map(Secret::reveal).unwrap_or_default();
        if bytes.contains(&0) {
            let problem = "a variable cannot hold NUL".to_owned();
            return Err(Fault::Secret { id: variable.id.clone(), problem });
        }
        variables.push(format!("{}={}", variable.name, text_of(bytes)));
    }
    Ok(variables)
}

/// The text that the reference makes of a secret: of each byte that is not UTF-8, a replacement character.
fn text_of(secret: &[u8]) -> String {
    let mut text = String::new();
    for chunk in secret.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text
}

fn tmpfs(mount: &pb::Mount) -> MountKind {
    let size = mount.tmpfs_opt.as_ref().and_then(|options| u64::try_from(options.size).ok());
    MountKind::Tmpfs { size: size.filter(|size| *size > 0), readonly: mount.readonly }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_that_are_no_text_lose_what_is_none() {
        for (secret, text) in [
            (&b"plain"[..], "plain"),
            (b"a\xff\xfeb", "a\u{fffd}\u{fffd}b"),
            ("\u{20ac}".as_bytes(), "\u{20ac}"),
            // Each byte of a character that breaks off.
            (b"\xe2\x82", "\u{fffd}\u{fffd}"),
        ] {
            assert_eq!(text_of(secret), text, "{secret:?}");
        }
    }

    #[tokio::test]
    async fn a_cache_that_is_just_being_given_up_is_not_taken_for_used() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        for sharing in [pb::CacheSharingOpt::Shared, pb::CacheSharingOpt::Private] {
            let releasing = store.try_lock(&lock_name("pool")).unwrap().unwrap();
            let mut mounts = Mounts::default();
            // The claim looks first, then the other one lets go.
            let claim = mounts.claim(&store, "pool".to_owned(), sharing);
            let (claimed, ()) = tokio::join!(claim, async { drop(releasing) });
            assert_eq!(claimed.unwrap(), "pool", "{sharing:?}");
        }
        let _used = store.try_lock(&lock_name("pool")).unwrap().unwrap();
        let mut mounts = Mounts::default();
        let claimed = mounts.claim(&store, "pool".to_owned(), pb::CacheSharingOpt::Shared).await;
        assert_eq!(claimed.unwrap(), "pool-1");
    }
}
