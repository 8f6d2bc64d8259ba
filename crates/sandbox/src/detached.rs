//! Mounts that are not attached anywhere yet: made, given their flags, and only then put into their place.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_string, fsmount,
    fsopen, open_tree,
};

use crate::Error;
use crate::error::During;
use crate::raw::{self, Reach};

const SYS_ADMIN: &str = "CAP_SYS_ADMIN";

/// A new file system, by its type's name.
pub(crate) fn filesystem(
    kind: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd, Error> {
    const ACTION: &str = "make a file system of type";
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).needing(SYS_ADMIN, ACTION, kind)?;
    let source = [("source", kind)];
    let named = options.iter().any(|(key, _)| *key == "source");
    for (key, value) in source.iter().filter(|_| !named).chain(options) {
        fsconfig_set_string(context.as_fd(), *key, *value)
            .during("set a mount option:", format!("{kind} {key}={value}"))?;
    }
    fsconfig_create(context.as_fd()).needing(SYS_ADMIN, ACTION, kind)?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).during(ACTION, kind)
}

/// Another mount of what is at `path`, with all that is mounted below it.
pub(crate) fn clone(path: &Path) -> Result<OwnedFd, Error> {
    open_tree(CWD, path, CLONE_FLAGS).needing(SYS_ADMIN, "bind", path.display())
}

/// Another mount of what `at` is a location of, with all that is mounted below it.
pub(crate) fn clone_at(at: &impl AsFd, name: &str) -> Result<OwnedFd, Error> {
    open_tree(at.as_fd(), "", CLONE_FLAGS.union(OpenTreeFlags::AT_EMPTY_PATH))
        .needing(SYS_ADMIN, "bind", name)
}

const CLONE_FLAGS: OpenTreeFlags =
    OpenTreeFlags::OPEN_TREE_CLONE.union(OpenTreeFlags::OPEN_TREE_CLOEXEC).union(OpenTreeFlags::AT_RECURSIVE);

/// Adds attributes to a mount and all mounts below it.
pub(crate) fn set_attributes(mount: &OwnedFd, attributes: MountAttrFlags) -> Result<(), Error> {
    if attributes.is_empty() {
        return Ok(());
    }
    add(mount, attributes, Reach::All)
}

/// Makes one mount read-only, and none of those on it.
pub(crate) fn make_read_only(mount: &OwnedFd) -> Result<(), Error> {
    add(mount, MountAttrFlags::MOUNT_ATTR_RDONLY, Reach::One)
}

fn add(mount: &OwnedFd, attributes: MountAttrFlags, reach: Reach) -> Result<(), Error> {
    raw::mount_setattr(mount.as_fd(), attributes.bits().into(), reach).needing(
        SYS_ADMIN,
        "set mount attributes:",
        format!("{attributes:?}"),
    )
}
