//! What a RUN sees besides its root: `--mount=type=bind`, `tmpfs` and `cache`.
//!
//! Bind mounts show a tree that is made for them; what is written to a writable one is thrown away. Cache mounts are
//! directories of the store that outlive the step, its result and its failure, and are in no key.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gantry_llb::pb;
use gantry_oci::Digest;
use gantry_sandbox::{Mount, MountKind, Overlay, Tree, with_trees};
use gantry_store::{Lock, Store, TempDir};

use crate::engine::Engine;
use crate::error::{At, Fault};
use crate::file::{Copier, Look, ModeChange};
use crate::images::blocking;
use crate::output::{ClientDirectory, Output};
use crate::select::{Ownership, SourceRoot, select, whole};

/// The mounts of one step, with what has to live as long as it runs.
#[derive(Debug, Default)]
pub(crate) struct Mounts {
    pub(crate) list: Vec<Mount>,
    directories: Vec<TempDir>,
    locks: Vec<Lock>,
}

impl Mounts {
    /// Prepares all mounts besides the root.
    pub(crate) async fn prepare(
        engine: &Engine,
        exec: &pb::ExecOp,
        inputs: &[Output],
    ) -> Result<Self, Fault> {
        let mut mounts = Self::default();
        for mount in exec.mounts.iter().filter(|mount| mount.dest != "/") {
            let kind = match mount.mount_type() {
                pb::MountType::Bind => mounts.bind(engine, mount, inputs).await?,
                pb::MountType::Cache => mounts.cache(engine, mount, inputs).await?,
                pb::MountType::Tmpfs => tmpfs(mount),
                other => return Err(Fault::Unsupported(format!("a mount of the type {other:?}"))),
            };
            mounts.list.push(Mount { dest: mount.dest.clone(), kind });
        }
        Ok(mounts)
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
            None => self.empty(&engine.store),
            Some(Some(Output::Tree(chain))) if chain.layers().is_empty() => self.empty(&engine.store),
            Some(Some(Output::Tree(chain))) => {
                engine.unpack(chain).await?;
                Ok(chain.directories(&engine.store))
            }
            Some(Some(Output::Client(client))) => {
                let (store, client) = (Arc::clone(&engine.store), client.clone());
                let copy = blocking(move || copy_client(&store, &client)).await?;
                let path = copy.path().to_owned();
                self.directories.push(copy);
                Ok(vec![path])
            }
            Some(None) => Err(Fault::Graph(format!("a step has no input {input}"))),
        }
    }

    fn empty(&mut self, store: &Store) -> Result<Vec<PathBuf>, Fault> {
        let directory = store.temp_dir()?;
        let path = directory.path().to_owned();
        self.directories.push(directory);
        Ok(vec![path])
    }

    async fn cache(
        &mut self,
        engine: &Engine,
        mount: &pb::Mount,
        inputs: &[Output],
    ) -> Result<MountKind, Fault> {
        let options = mount.cache_opt.clone().unwrap_or_default();
        let name = Digest::of(&options.id).hex();
        let seed = match mount.input {
            0.. => Some(self.directories_of(engine, mount.input, inputs).await?),
            _ => None,
        };
        let (store, selector) = (Arc::clone(&engine.store), mount.selector.clone());
        let sharing = options.sharing();
        let (directory, lock) = blocking(move || {
            let _making = store.lock(&format!("make-cache-{name}"))?;
            let (directory, lock) = claim(&store, &name, sharing)?;
            if !directory.exists() {
                make_cache(&store, &directory, seed, &selector)?;
            }
            Ok((directory, lock))
        })
        .await?;
        self.locks.extend(lock);
        Ok(MountKind::Bind {
            source: Tree::Directory(directory),
            selector: PathBuf::new(),
            readonly: mount.readonly,
        })
    }
}

/// The directory of a cache mount, with the lock that its sharing mode asks for.
fn claim(store: &Store, name: &str, sharing: pb::CacheSharingOpt) -> Result<(PathBuf, Option<Lock>), Fault> {
    let directory = store.cache_mount_path(name);
    match sharing {
        pb::CacheSharingOpt::Shared => Ok((directory, None)),
        pb::CacheSharingOpt::Locked => Ok((directory, Some(store.lock(&format!("cache-{name}"))?))),
        pb::CacheSharingOpt::Private => {
            // The first copy that nobody uses.
            for copy in 0.. {
                if let Some(lock) = store.try_lock(&format!("cache-{name}-{copy}"))? {
                    return Ok((store.cache_mount_path(&format!("{name}-{copy}")), Some(lock)));
                }
            }
            unreachable!("there are more numbers than processes")
        }
    }
}

/// Makes a cache mount's directory, with the content and look of its seed.
fn make_cache(
    store: &Store,
    directory: &Path,
    seed: Option<Vec<PathBuf>>,
    selector: &str,
) -> Result<(), Fault> {
    let temporary = store.temp_dir()?;
    let fresh = temporary.path().join("cache");
    fs::create_dir(&fresh).at("create", &fresh)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).at("set the mode of", &fresh)?;
    if let Some(layers) = seed {
        with_trees(&[Tree::Layers(layers)], |paths| seed_cache(&paths[0], selector, &fresh))??;
    }
    fs::rename(&fresh, directory).at("rename a cache mount to", directory)
}

fn seed_cache(root: &Path, selector: &str, fresh: &Path) -> Result<(), Fault> {
    let everything = whole(&format!("/{}", selector.trim_start_matches('/')));
    let source = SourceRoot { path: root, ignore: None, ownership: Ownership::Kept };
    let copier = Copier {
        root: fresh,
        action: &everything,
        mode: ModeChange::Keep,
        look: Look::new(None, -1),
        ownership: Ownership::Kept,
    };
    for item in select(&source, &everything)? {
        copier.copy(&item)?;
        // The directory itself is the mount: it looks like what seeds it.
        if let Some(top) = item.entries.first() {
            use std::os::unix::fs::MetadataExt;
            chown(fresh, Some(top.metadata.uid()), Some(top.metadata.gid())).at("set the owner of", fresh)?;
            fs::set_permissions(fresh, top.metadata.permissions()).at("set the mode of", fresh)?;
        }
    }
    Ok(())
}

fn tmpfs(mount: &pb::Mount) -> MountKind {
    let size = mount.tmpfs_opt.as_ref().and_then(|options| u64::try_from(options.size).ok());
    MountKind::Tmpfs { size: size.filter(|size| *size > 0), mode: 0o1777 }
}

fn copy_client(store: &Store, client: &ClientDirectory) -> Result<TempDir, Fault> {
    let copy = store.temp_dir()?;
    fs::set_permissions(copy.path(), fs::Permissions::from_mode(0o755)).at("set the mode of", copy.path())?;
    let everything = whole("/");
    let source = client.source()?;
    let copier = Copier {
        root: copy.path(),
        action: &everything,
        mode: ModeChange::Keep,
        look: Look::new(None, -1),
        ownership: Ownership::Root,
    };
    select(&source.root(), &everything)?.iter().try_for_each(|item| copier.copy(item))?;
    Ok(copy)
}
