//! What the mounts of a specification show, made ready as detached mounts before the root exists.

use std::os::fd::OwnedFd;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::mount::MountAttrFlags;

use super::root::Root;
use crate::error::During;
use crate::stage::Stage;
use crate::stubs::Kind;
use crate::{Error, Mount, MountKind, Security, detached};

/// The permission bits of a tmpfs that covers nothing.
const TMPFS_MODE: &str = "1777";

/// Bits of a file's mode by which somebody may execute it.
const EXECUTABLE: u32 = 0o111;

/// One mount that only needs its place.
#[derive(Debug)]
pub(super) struct Source<'a> {
    pub(super) dest: &'a str,
    pub(super) kind: Kind,
    pub(super) origin: Origin,
    mount: OwnedFd,
}

/// Where a mount comes from, as far as its place matters to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Files that are there already.
    Bind,
    /// A new file system, which looks like what it covers. It becomes read-only when nothing is to be made in it any
    /// more.
    Tmpfs {
        /// Whether it does.
        readonly: bool,
    },
}

impl Source<'_> {
    /// Attaches the mount at its place.
    pub(super) fn attach(&self, root: &Root) -> Result<(), Error> {
        root.refuse_process_files(self.dest)?;
        let covered = match self.origin {
            Origin::Bind => None,
            Origin::Tmpfs { .. } => root.mode_of(self.dest)?,
        };
        root.attach(&self.mount, self.dest, self.kind)?;
        covered.map_or(Ok(()), |mode| root.set_mode(self.dest, mode))
    }

    /// The mount, if it has to be made read-only yet.
    pub(super) fn unsealed(self) -> Option<OwnedFd> {
        matches!(self.origin, Origin::Tmpfs { readonly: true }).then_some(self.mount)
    }
}

/// Prepares all mounts.
pub(super) fn prepare<'a>(
    stage: &mut Stage,
    mounts: &'a [Mount],
    security: Security,
) -> Result<Vec<Source<'a>>, Error> {
    let devices = match security {
        Security::Sandbox => MountAttrFlags::MOUNT_ATTR_NODEV,
        Security::Insecure => MountAttrFlags::empty(),
    };
    mounts.iter().map(|mount| prepare_one(stage, mount, devices)).collect()
}

fn prepare_one<'a>(
    stage: &mut Stage,
    mount: &'a Mount,
    devices: MountAttrFlags,
) -> Result<Source<'a>, Error> {
    let dest = mount.dest.as_str();
    match &mount.kind {
        MountKind::Bind { source, selector, readonly } => {
            let base = stage.tree(source)?;
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            let mut from =
                rustix::fs::openat(CWD, &base, flags, Mode::empty()).during("open", base.display())?;
            if !selector.as_os_str().is_empty() {
                from = rustix::fs::openat2(&from, selector, flags, Mode::empty(), ResolveFlags::IN_ROOT)
                    .during("open the mount source", selector.display())?;
            }
            let stat = rustix::fs::fstat(&from).during("open", base.display())?;
            let kind = match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => Kind::Directory,
                _ => Kind::File,
            };
            let mount = detached::clone_at(&from, &base.to_string_lossy())?;
            detached::set_attributes(&mount, devices | read_only(*readonly))?;
            Ok(Source { dest, kind, origin: Origin::Bind, mount })
        }
        MountKind::Tmpfs { size, readonly } => {
            let size = size.map(|size| size.to_string());
            let mut options = vec![("mode", TMPFS_MODE)];
            options.extend(size.as_deref().map(|size| ("size", size)));
            let mount = detached::filesystem("tmpfs", &options, devices | MountAttrFlags::MOUNT_ATTR_NOSUID)?;
            Ok(Source { dest, kind: Kind::Directory, origin: Origin::Tmpfs { readonly: *readonly }, mount })
        }
        MountKind::File { contents, mode, uid, gid, readonly } => {
            let path = stage.file(contents, *mode, (*uid, *gid))?;
            let mount = detached::clone(&path)?;
            let mut attributes = MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID;
            if mode & EXECUTABLE == 0 {
                attributes |= MountAttrFlags::MOUNT_ATTR_NOEXEC;
            }
            detached::set_attributes(&mount, attributes | read_only(*readonly))?;
            Ok(Source { dest, kind: Kind::File, origin: Origin::Bind, mount })
        }
    }
}

fn read_only(readonly: bool) -> MountAttrFlags {
    if readonly { MountAttrFlags::MOUNT_ATTR_RDONLY } else { MountAttrFlags::empty() }
}
