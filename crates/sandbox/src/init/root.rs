//! The sandbox's root: the overlay with its stub layer, and the move into it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountAttrFlags, MoveMountFlags, UnmountFlags, move_mount};

use crate::detached;
use crate::error::During;
use crate::overlay::{Layers, fresh_directory};
use crate::stage::Stage;
use crate::stubs::{self, Kind};
use crate::{Error, Overlay, Security, Spec, resolve};

/// A root that is mounted on the stage.
#[derive(Debug)]
pub(super) struct Root {
    tree: OwnedFd,
}

impl Root {
    /// Mounts the root, with all of `points` in it.
    pub(super) fn assemble(spec: &Spec, points: &[(&str, Kind)], stage: &mut Stage) -> Result<Self, Error> {
        let stub_layer = build_stubs(&spec.root, points, stage)?;
        let mut lower: Vec<&Path> = spec.root.lower.iter().map(PathBuf::as_path).collect();
        lower.extend(stub_layer.as_deref());
        let path = if lower.is_empty() {
            spec.root.upper.clone()
        } else {
            stage.overlay(Layers { lower: &lower, upper: Some((&spec.root.upper, &spec.root.work)) })?
        };
        // Also a bare upper directory must be a mount, to have flags and to be pivoted to.
        let root = Self { tree: detached::clone(&path)? };
        let mut attributes = MountAttrFlags::empty();
        if spec.security == Security::Sandbox {
            // Its capabilities let it make device nodes; they must not work.
            attributes |= MountAttrFlags::MOUNT_ATTR_NODEV;
        }
        if spec.readonly_root {
            attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
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

    /// What is at `path`, if it exists; symbolic links are followed within the root.
    pub(super) fn open(&self, path: &str) -> Result<Option<OwnedFd>, Error> {
        let place = resolve::resolve(self.tree.as_fd(), path)?;
        if !place.exists() {
            return Ok(None);
        }
        resolve::open(self.tree.as_fd(), &place).map(Some)
    }

    /// Makes this the root of the process's mount namespace, and detaches all that was there before.
    pub(super) fn pivot(self) -> Result<(), Error> {
        const OBJECT: &str = "the new root";
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let old = rustix::fs::open("/", flags, Mode::empty()).during("open", "/")?;
        rustix::process::fchdir(&self.tree).during("enter", OBJECT)?;
        rustix::process::pivot_root(".", ".").needing("CAP_SYS_ADMIN", "pivot to", OBJECT)?;
        // The old root is now mounted over the new one.
        rustix::process::fchdir(&old).during("enter", "the old root")?;
        rustix::mount::unmount(".", UnmountFlags::DETACH).during("detach", "the old root")?;
        rustix::process::chdir("/").during("enter", OBJECT)
    }
}

/// Makes the layer of missing mount points, if any is missing. The tree without it is mounted for looking only.
fn build_stubs(root: &Overlay, points: &[(&str, Kind)], stage: &mut Stage) -> Result<Option<PathBuf>, Error> {
    // On the file system of the other layers: inode numbers of an overlay are unique only if it has one.
    let directory = root.work.join("stubs");
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
    let any = stubs::build(view.as_fd(), open(&directory)?.as_fd(), points)?;
    drop(view);
    stage.unmount(&view_path)?;
    Ok(any.then_some(directory))
}
