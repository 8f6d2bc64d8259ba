//! The sandbox's root: the overlay with its stub layer, and the move into it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid};
use rustix::mount::{MountAttrFlags, MoveMountFlags, UnmountFlags, move_mount};

use crate::detached;
use crate::error::During;
use crate::overlay::{Layers, fresh_directory};
use crate::stage::Stage;
use crate::stubs::{self, Kind};
use crate::{Error, Overlay, Security, Spec, User, resolve};

/// What may be mounted on in `/proc`: figures about the machine.
const REPLACEABLE: [&str; 10] = [
    "cpuinfo",
    "diskstats",
    "loadavg",
    "meminfo",
    "slabinfo",
    "stat",
    "swaps",
    "sys/crypto/fips_enabled",
    "sys/kernel/ns_last_pid",
    "uptime",
];

/// A root that is mounted on the stage.
#[derive(Debug)]
pub(super) struct Root {
    tree: OwnedFd,
    /// Mount points that the tree does not have by itself.
    stubs: Vec<PathBuf>,
    readonly: bool,
}

impl Root {
    /// Mounts the root, with all of `points` in it.
    pub(super) fn assemble(spec: &Spec, points: &[(&str, Kind)], stage: &mut Stage) -> Result<Self, Error> {
        let stubs = build_stubs(&spec.root, points, stage)?;
        let stub_layer = stubs::layer(&spec.root);
        let mut lower: Vec<&Path> = spec.root.lower.iter().map(PathBuf::as_path).collect();
        lower.extend((!stubs.is_empty()).then_some(stub_layer.as_path()));
        let path = if lower.is_empty() {
            spec.root.upper.clone()
        } else {
            stage.overlay(Layers { lower: &lower, upper: Some((&spec.root.upper, &spec.root.work)) })?
        };
        // Also a bare upper directory must be a mount, to have flags and to be pivoted to.
        let root = Self { tree: detached::clone(&path)?, stubs, readonly: spec.readonly_root };
        let mut attributes = MountAttrFlags::empty();
        if spec.security == Security::Sandbox {
            // Its capabilities let it make device nodes; they must not work.
            attributes |= MountAttrFlags::MOUNT_ATTR_NODEV;
        }
        detached::set_attributes(&root.tree, attributes)?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        let target = stage.directory()?;
        move_mount(root.tree.as_fd(), "", CWD, &target, flags)
            .during("attach the root on", target.display())?;
        Ok(root)
    }

    /// Attaches `mount` at `dest`. What is missing there can only be inside of an earlier mount, and is created.
    pub(super) fn attach(&self, mount: &OwnedFd, dest: &str, kind: Kind) -> Result<(), Error> {
        let place = resolve::resolve(self.tree.as_fd(), dest)?;
        if place.depth() == 0 {
            return Err(Error::InvalidSpec(format!("cannot mount on {dest:?}, which is the root")));
        }
        stubs::create(self.tree.as_fd(), &place, kind)?;
        let target = resolve::open(self.tree.as_fd(), &place)?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(mount.as_fd(), "", target.as_fd(), "", flags).during("mount on", dest)
    }

    /// Fails if `dest` is `/proc` or inside of it, where a mount could deceive whoever confines the process by what is
    /// there; as runc does.
    pub(super) fn refuse_process_files(&self, dest: &str) -> Result<(), Error> {
        let path = resolve::resolve(self.tree.as_fd(), dest)?.path();
        match path.strip_prefix("proc") {
            Ok(inside) if !REPLACEABLE.iter().any(|file| inside == Path::new(file)) => {
                Err(Error::InvalidSpec(format!("cannot mount on {dest:?}, which is inside /proc")))
            }
            _ => Ok(()),
        }
    }

    /// The permission bits of the directory at `dest`; none if there is nothing but a mount point that was made.
    pub(super) fn mode_of(&self, dest: &str) -> Result<Option<Mode>, Error> {
        let place = resolve::resolve(self.tree.as_fd(), dest)?;
        if !place.exists() || self.stubs.contains(&place.path()) {
            return Ok(None);
        }
        let found = resolve::open(self.tree.as_fd(), &place)?;
        let stat = rustix::fs::fstat(&found).during("examine", dest)?;
        Ok(Some(Mode::from_raw_mode(stat.st_mode)))
    }

    /// Sets the permission bits of the directory at `dest`.
    pub(super) fn set_mode(&self, dest: &str, mode: Mode) -> Result<(), Error> {
        let place = resolve::resolve(self.tree.as_fd(), dest)?;
        let directory = resolve::open_directory(self.tree.as_fd(), &place)?;
        rustix::fs::fchmod(&directory, mode).during("set the mode of", dest)
    }

    /// The directory that holds `path`, which is made if it is missing, and the path's name in it.
    pub(super) fn parent(&self, path: &str) -> Result<(OwnedFd, PathBuf), Error> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let place = resolve::resolve(self.tree.as_fd(), parent)?;
        stubs::create(self.tree.as_fd(), &place, Kind::Directory)?;
        Ok((resolve::open(self.tree.as_fd(), &place)?, PathBuf::from(name)))
    }

    /// Makes what is missing of the directory at `path`, for its user.
    pub(super) fn make_directory(&self, path: &str, user: &User) -> Result<(), Error> {
        let place = resolve::resolve(self.tree.as_fd(), path)?;
        stubs::create(self.tree.as_fd(), &place, Kind::Directory)?;
        let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
        for depth in place.existing() + 1..=place.depth() {
            let (parent, name) = resolve::open_parent(self.tree.as_fd(), &place, depth)?;
            rustix::fs::chownat(&parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                .during("set the owner of", place.prefix(depth).display())?;
        }
        Ok(())
    }

    /// What is at `path`, if it exists; symbolic links are followed within the root.
    pub(super) fn open(&self, path: &str) -> Result<Option<OwnedFd>, Error> {
        let place = resolve::resolve(self.tree.as_fd(), path)?;
        if !place.exists() {
            return Ok(None);
        }
        resolve::open(self.tree.as_fd(), &place).map(Some)
    }

    /// Makes this the root of the process's mount namespace, and detaches all that was there before. Gives the mount if
    /// it has to be made read-only yet.
    pub(super) fn pivot(self) -> Result<Option<OwnedFd>, Error> {
        const OBJECT: &str = "the new root";
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let old = rustix::fs::open("/", flags, Mode::empty()).during("open", "/")?;
        rustix::process::fchdir(&self.tree).during("enter", OBJECT)?;
        rustix::process::pivot_root(".", ".").needing("CAP_SYS_ADMIN", "pivot to", OBJECT)?;
        // The old root is now mounted over the new one.
        rustix::process::fchdir(&old).during("enter", "the old root")?;
        rustix::mount::unmount(".", UnmountFlags::DETACH).during("detach", "the old root")?;
        rustix::process::chdir("/").during("enter", OBJECT)?;
        Ok(self.readonly.then_some(self.tree))
    }
}

/// Makes the layer of missing mount points, and tells which they are. The tree without it is mounted for looking only.
fn build_stubs(root: &Overlay, points: &[(&str, Kind)], stage: &mut Stage) -> Result<Vec<PathBuf>, Error> {
    let directory = stubs::layer(root);
    fresh_directory(&directory)?;
    let mut layers: Vec<&Path> = root.lower.iter().map(PathBuf::as_path).collect();
    layers.push(&root.upper);
    let view_path = match &layers[..] {
        [upper] => upper.to_path_buf(),
        several => stage.overlay(Layers { lower: several, upper: None })?,
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = |path: &Path| rustix::fs::open(path, flags, Mode::empty()).during("open", path.display());
    let view = open(&view_path)?;
    let made = stubs::build(view.as_fd(), open(&directory)?.as_fd(), points)?;
    drop(view);
    stage.unmount(&view_path)?;
    Ok(made)
}
