//! What the mounts of a specification show, made ready as detached mounts before the root exists.

use std::os::fd::OwnedFd;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::mount::MountAttrFlags;

use crate::error::During;
use crate::stage::Stage;
use crate::stubs::Kind;
use crate::{Error, Mount, MountKind, Security, detached};

/// One mount that only needs its place.
#[derive(Debug)]
pub(super) struct Source<'a> {
    pub(super) dest: &'a str,
    pub(super) kind: Kind,
    pub(super) mount: OwnedFd,
}

/// Prepares all mounts, outer ones first.
pub(super) fn prepare<'a>(
    stage: &mut Stage,
    mounts: &'a [Mount],
    security: Security,
) -> Result<Vec<Source<'a>>, Error> {
    let mut sorted: Vec<&Mount> = mounts.iter().collect();
    sorted.sort_by_key(|mount| mount.components().len());
    let devices = match security {
        Security::Sandbox => MountAttrFlags::MOUNT_ATTR_NODEV,
        Security::Insecure => MountAttrFlags::empty(),
    };
    sorted.into_iter().map(|mount| prepare_one(stage, mount, devices)).collect()
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
            Ok(Source { dest, kind, mount })
        }
        MountKind::Tmpfs { size, mode } => {
            let mut options = vec![("mode", format!("{mode:o}"))];
            options.extend(size.map(|size| ("size", size.to_string())));
            let options: Vec<_> = options.iter().map(|(key, value)| (*key, value.as_str())).collect();
            let mount = detached::filesystem("tmpfs", &options, devices | MountAttrFlags::MOUNT_ATTR_NOSUID)?;
            Ok(Source { dest, kind: Kind::Directory, mount })
        }
        MountKind::File { contents, mode, uid, gid, readonly } => {
            let path = stage.file(contents, *mode, (*uid, *gid))?;
            let mount = detached::clone(&path)?;
            let attributes = MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID;
            detached::set_attributes(&mount, attributes | read_only(*readonly))?;
            Ok(Source { dest, kind: Kind::File, mount })
        }
    }
}

fn read_only(readonly: bool) -> MountAttrFlags {
    if readonly { MountAttrFlags::MOUNT_ATTR_RDONLY } else { MountAttrFlags::empty() }
}
