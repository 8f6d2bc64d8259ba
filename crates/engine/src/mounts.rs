//! What a RUN sees besides its root: `--mount=type=bind`, `tmpfs`, `cache`, `secret` and `ssh`.
//!
//! Bind mounts show a tree that is made for them; what is written to a writable one is thrown away. Cache mounts are
//! directories of the store that outlive the step, its result and its failure, and are in no key. Secrets go to the
//! step's own memory and nowhere else.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gantry_llb::pb;
use gantry_oci::Digest;
use gantry_sandbox::{Mount, MountKind, Overlay, Tree, with_trees};
use gantry_store::{Lock, Store, TempDir};
use tokio_util::sync::CancellationToken;

use crate::agent::AgentSocket;
use crate::blocking::blocking;
use crate::engine::{Engine, Job};
use crate::error::{At, Fault};
use crate::file::WholeCopy;
use crate::output::{ClientDirectory, Output};
use crate::secrets::Secret;
use crate::select::{Ownership, SourceRoot};

/// The agent that is meant where none is named.
const DEFAULT_AGENT: &str = "default";
/// More steps than ever run at once.
const MAX_PRIVATE_COPIES: usize = 1000;

/// The mounts of one step, with what has to live as long as it runs.
#[derive(Debug, Default)]
pub(crate) struct Mounts {
    pub(crate) list: Vec<Mount>,
    directories: Vec<TempDir>,
    locks: Vec<Lock>,
    agents: Vec<AgentSocket>,
    cancel: CancellationToken,
}

impl Mounts {
    /// Prepares all mounts besides the root.
    pub(crate) async fn prepare(
        engine: &Engine,
        job: &Job,
        exec: &pb::ExecOp,
        inputs: &[Output],
    ) -> Result<Self, Fault> {
        let mut mounts = Self { cancel: job.cancel.clone(), ..Self::default() };
        mounts.lock_caches(engine, job, exec).await?;
        for mount in exec.mounts.iter().filter(|mount| mount.dest != "/") {
            let kind = match mount.mount_type() {
                pb::MountType::Bind => Some(mounts.bind(engine, mount, inputs).await?),
                pb::MountType::Cache => Some(mounts.cache(engine, mount, inputs).await?),
                pb::MountType::Tmpfs => Some(tmpfs(mount)),
                pb::MountType::Secret => secret(job, mount)?,
                pb::MountType::Ssh => mounts.agent(engine, job, mount)?,
            };
            // What is optional and not there is not mounted. Secrets may have relative targets.
            let dest = format!("/{}", mount.dest.trim_start_matches('/'));
            mounts.list.extend(kind.map(|kind| Mount { dest, kind }));
        }
        Ok(mounts)
    }

    /// Waits for the caches that nobody else may use meanwhile: each once, and in one order for all steps, so that no
    /// two steps wait for each other.
    async fn lock_caches(&mut self, engine: &Engine, job: &Job, exec: &pb::ExecOp) -> Result<(), Fault> {
        let options = exec.mounts.iter().filter_map(|mount| mount.cache_opt.as_ref());
        let locked = options.filter(|options| options.sharing() == pb::CacheSharingOpt::Locked);
        let names: BTreeSet<String> = locked.map(cache_name).collect();
        for name in names {
            self.locks.push(job.lock(&engine.store, &format!("cache-{name}")).await?);
        }
        Ok(())
    }

    async fn bind(
        &mut self,
        engine: &Engine,
        mount: &pb::Mount,
        inputs: &[Output],
    ) -> Result<MountKind, Fault> {
        let selector = PathBuf::from(&mount.selector);
        let lower = self.directories_of(engine, mount.input, inputs).await?;
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

    /// The layers of an input, unpacked; files of the client are copied, as a step must not see what is ignored.
    async fn directories_of(
        &mut self,
        engine: &Engine,
        input: i64,
        inputs: &[Output],
    ) -> Result<Vec<PathBuf>, Fault> {
        let output = usize::try_from(input).ok().map(|index| inputs.get(index));
        match output {
            None => Ok(Vec::new()),
            Some(Some(Output::Tree(chain))) => {
                engine.unpack(chain).await?;
                Ok(chain.directories(&engine.store))
            }
            Some(Some(Output::Client(client))) => {
                let (store, client, cancel) =
                    (Arc::clone(&engine.store), client.clone(), self.cancel.clone());
                let copy = blocking(move || copy_client(&store, &client, &cancel)).await?;
                let path = copy.path().to_owned();
                self.directories.push(copy);
                Ok(vec![path])
            }
            Some(None) => Err(Fault::Graph(format!("a step has no input {input}"))),
        }
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
        Ok(Some(MountKind::Bind { source, selector: PathBuf::new(), readonly: true }))
    }

    async fn cache(
        &mut self,
        engine: &Engine,
        mount: &pb::Mount,
        inputs: &[Output],
    ) -> Result<MountKind, Fault> {
        let options = mount.cache_opt.clone().unwrap_or_default();
        let seed = match mount.input {
            0.. => Some(self.directories_of(engine, mount.input, inputs).await?),
            _ => None,
        };
        let (name, lock) = claim(&engine.store, &options)?;
        self.locks.extend(lock);
        let (store, selector, cancel) =
            (Arc::clone(&engine.store), mount.selector.clone(), self.cancel.clone());
        let directory = blocking(move || {
            let directory = store.cache_mount_path(&name);
            let _making = store.lock(&format!("make-cache-{name}"))?;
            if !directory.exists() {
                make_cache(&store, &directory, seed, (&selector, &cancel))?;
            }
            Ok(directory)
        })
        .await?;
        Ok(MountKind::Bind {
            source: Tree::Directory(directory),
            selector: PathBuf::new(),
            readonly: mount.readonly,
        })
    }
}

/// The name of a cache's directory: ids are the user's, and may be anything.
fn cache_name(options: &pb::CacheOpt) -> String {
    Digest::of(&options.id).hex()
}

/// The name of the directory to use: of the cache, or for a private one of the first copy that nobody uses, with the
/// lock that keeps it so.
fn claim(store: &Store, options: &pb::CacheOpt) -> Result<(String, Option<Lock>), Fault> {
    let name = cache_name(options);
    if options.sharing() != pb::CacheSharingOpt::Private {
        return Ok((name, None));
    }
    for copy in 0..MAX_PRIVATE_COPIES {
        let copy = format!("{name}-{copy}");
        if let Some(lock) = store.try_lock(&format!("cache-{copy}"))? {
            return Ok((copy, Some(lock)));
        }
    }
    Err(Fault::Unsupported(format!("more than {MAX_PRIVATE_COPIES} steps with one private cache at once")))
}

/// Makes a cache mount's directory, with the content and look of its seed.
fn make_cache(
    store: &Store,
    directory: &Path,
    seed: Option<Vec<PathBuf>>,
    (selector, cancel): (&str, &CancellationToken),
) -> Result<(), Fault> {
    let temporary = store.temp_dir()?;
    let fresh = temporary.path().join("cache");
    fs::create_dir(&fresh).at("create", &fresh)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).at("set the mode of", &fresh)?;
    if let Some(layers) = seed {
        with_trees(&[Tree::Layers(layers)], |paths| seed_cache(&paths[0], selector, &fresh, cancel))??;
    }
    fs::rename(&fresh, directory).at("rename a cache mount to", directory)
}

fn seed_cache(root: &Path, selector: &str, fresh: &Path, cancel: &CancellationToken) -> Result<(), Fault> {
    let source = SourceRoot { path: root, ignore: None, ownership: Ownership::Kept };
    let directory = format!("/{}", selector.trim_start_matches('/'));
    let copy = WholeCopy { source: &source, directory: &directory, owner: None, cancel };
    // The directory itself is the mount: it looks like what seeds it.
    if let Some(top) = copy.to(fresh)? {
        chown(fresh, Some(top.uid()), Some(top.gid())).at("set the owner of", fresh)?;
        fs::set_permissions(fresh, top.permissions()).at("set the mode of", fresh)?;
    }
    Ok(())
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
        let text = std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
        let text = text.ok_or_else(|| Fault::Secret {
            id: variable.id.clone(),
            problem: "a variable can only hold text, without NUL".to_owned(),
        })?;
        variables.push(format!("{}={text}", variable.name));
    }
    Ok(variables)
}

fn tmpfs(mount: &pb::Mount) -> MountKind {
    let size = mount.tmpfs_opt.as_ref().and_then(|options| u64::try_from(options.size).ok());
    MountKind::Tmpfs { size: size.filter(|size| *size > 0), mode: 0o1777 }
}

fn copy_client(
    store: &Store,
    client: &ClientDirectory,
    cancel: &CancellationToken,
) -> Result<TempDir, Fault> {
    let copy = store.temp_dir()?;
    fs::set_permissions(copy.path(), fs::Permissions::from_mode(0o755)).at("set the mode of", copy.path())?;
    copy_client_to(client, copy.path(), cancel)?;
    Ok(copy)
}

/// Copies what takes part of a client's directory.
pub(crate) fn copy_client_to(
    client: &ClientDirectory,
    target: &Path,
    cancel: &CancellationToken,
) -> Result<(), Fault> {
    let source = client.source()?;
    WholeCopy { source: &source.root(), directory: "/", owner: None, cancel }.to(target).map(|_| ())
}
