//! Overlay mounts by the kernel's overlayfs. Options are the ones that keep an upper directory a plain diff:
//! no redirects, no metadata-only copies, no index; and no fsync, since an interrupted step is thrown away.
//!
//! Layers are named by `/proc/self/fd` paths: these need no escaping, are never too long, and do not show the
//! host's directories in the sandbox's `/proc/mounts`.

use std::ffi::CString;
use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
};

use crate::Error;
use crate::error::During;

/// OVL_MAX_STACK of the kernel.
pub(crate) const MAX_LOWER: usize = 500;

/// The mount data of mount(2) is one page, with a NUL at its end.
const MAX_MOUNT_DATA: usize = 4095;

const OPTIONS: [(&str, &str); 4] =
    [("redirect_dir", "off"), ("metacopy", "off"), ("index", "off"), ("xino", "off")];

const SYS_ADMIN: &str = "CAP_SYS_ADMIN";
const ACTION: &str = "mount";
const OBJECT: &str = "the overlay";

/// The layers of one mount.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layers<'a> {
    /// Lower directories, bottom first.
    pub(crate) lower: &'a [&'a Path],
    /// Upper directory, and the directory in which the kernel's work directory is made anew; without them the
    /// mount is read-only and needs two lower directories.
    pub(crate) upper: Option<(&'a Path, &'a Path)>,
}

/// Mounts `layers` on `target`, an existing directory of the calling thread's private mount namespace.
pub(crate) fn mount(layers: Layers<'_>, target: &Path) -> Result<(), Error> {
    if layers.lower.len() > MAX_LOWER {
        return Err(Error::TooManyLayers { count: layers.lower.len(), limit: MAX_LOWER });
    }
    let upper = match layers.upper {
        Some((upper, work)) => Some((open(upper)?, fresh_work(work)?)),
        None => None,
    };
    match mount_by_fsconfig(layers.lower, upper.as_ref(), target)? {
        Outcome::Mounted => Ok(()),
        Outcome::Unsupported => mount_by_option_string(layers.lower, upper.as_ref(), target),
    }
}

enum Outcome {
    Mounted,
    /// The kernel is older than 6.7, which brought options that add one layer each.
    Unsupported,
}

fn mount_by_fsconfig(
    lower: &[&Path],
    upper: Option<&(OwnedFd, OwnedFd)>,
    target: &Path,
) -> Result<Outcome, Error> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).needing(SYS_ADMIN, ACTION, OBJECT)?;
    let set = |key: &str, value: &str| fsconfig_set_string(context.as_fd(), key, value);
    for (position, path) in lower.iter().rev().enumerate() {
        let layer = open(path)?;
        match set("lowerdir+", &fd_path(&layer)) {
            Err(Errno::INVAL) if position == 0 => return Ok(Outcome::Unsupported),
            result => result.during("add layer", path.display())?,
        }
    }
    for (key, value) in OPTIONS.into_iter().chain([("source", "overlay")]) {
        set(key, value).during(ACTION, OBJECT)?;
    }
    if let Some((upper, work)) = upper {
        set("upperdir", &fd_path(upper)).during(ACTION, OBJECT)?;
        set("workdir", &fd_path(work)).during(ACTION, OBJECT)?;
        fsconfig_set_flag(context.as_fd(), "volatile").during(ACTION, OBJECT)?;
    }
    fsconfig_create(context.as_fd()).needing(SYS_ADMIN, ACTION, OBJECT)?;
    let mount = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        .during(ACTION, OBJECT)?;
    move_mount(mount.as_fd(), "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .during("mount the overlay on", target.display())?;
    Ok(Outcome::Mounted)
}

/// The way of older kernels: all layers in one string of limited length. Numbers of descriptors, relative to
/// `/proc/self/fd`, let as many layers fit as an overlay can have.
fn mount_by_option_string(
    lower: &[&Path],
    upper: Option<&(OwnedFd, OwnedFd)>,
    target: &Path,
) -> Result<(), Error> {
    let lower = lower.iter().rev().map(|path| open(path)).collect::<Result<Vec<_>, _>>()?;
    let number = |fd: &OwnedFd| fd.as_raw_fd().to_string();
    let mut data = format!("lowerdir={}", lower.iter().map(number).collect::<Vec<_>>().join(":"));
    for (key, value) in OPTIONS {
        data += &format!(",{key}={value}");
    }
    if let Some((upper, work)) = upper {
        data += &format!(",upperdir={},workdir={},volatile", number(upper), number(work));
    }
    if data.len() > MAX_MOUNT_DATA {
        return Err(Errno::TOOBIG)
            .during(ACTION, "the overlay: its layers need a Linux kernel of 6.7 or newer");
    }
    let data = CString::new(data).expect("numbers and option names hold no NUL");
    let before = rustix::fs::open(".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).during("open", ".")?;
    rustix::process::chdir("/proc/self/fd").during("enter", "/proc/self/fd")?;
    let mounted = rustix::mount::mount("overlay", target, "overlay", MountFlags::empty(), data.as_c_str());
    rustix::process::fchdir(&before).during("return to", "the working directory")?;
    mounted.needing(SYS_ADMIN, ACTION, OBJECT)
}

/// The kernel refuses a work directory that a volatile mount has used before.
fn fresh_work(parent: &Path) -> Result<OwnedFd, Error> {
    let work = parent.join("overlay");
    fresh_directory(&work)?;
    open(&work)
}

/// Makes an empty directory, in the place of one that an earlier mount left.
pub(crate) fn fresh_directory(path: &Path) -> Result<(), Error> {
    let created = match fs::create_dir(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::remove_dir_all(path).and_then(|()| fs::create_dir(path))
        }
        created => created,
    };
    created.during("create", path.display())
}

fn open(path: &Path) -> Result<OwnedFd, Error> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .during("open layer", path.display())
}

fn fd_path(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::Stage;

    /// Runs `check` on the mount of 300 layers, of which each adds a file and overrides `same`.
    fn with_300_layers(mount: impl Fn(&[&Path], &(OwnedFd, OwnedFd), &Path) + Sync) {
        let dir = tempfile::tempdir().unwrap();
        let lower: Vec<_> = (0..300).map(|n| dir.path().join(format!("layer,with:odd\\name{n}"))).collect();
        for (n, layer) in lower.iter().enumerate() {
            fs::create_dir(layer).unwrap();
            fs::write(layer.join(n.to_string()), "").unwrap();
            fs::write(layer.join("same"), n.to_string()).unwrap();
        }
        let (upper, work) = (dir.path().join("upper"), dir.path().join("work"));
        fs::create_dir(&upper).unwrap();
        fs::create_dir(&work).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut stage = Stage::enter().unwrap();
                let target = stage.directory().unwrap();
                let lower: Vec<&Path> = lower.iter().map(|path| path.as_path()).collect();
                mount(&lower, &(open(&upper).unwrap(), fresh_work(&work).unwrap()), &target);
                assert_eq!(fs::read_dir(&target).unwrap().count(), 301);
                assert_eq!(
                    fs::read_to_string(target.join("same")).unwrap(),
                    "299",
                    "the last layer is on top"
                );
                fs::write(target.join("new"), "").unwrap();
            });
        });
        assert!(upper.join("new").exists());
    }

    #[test]
    fn root_300_layers_by_fsconfig() {
        with_300_layers(|lower, upper, target| {
            assert!(matches!(mount_by_fsconfig(lower, Some(upper), target), Ok(Outcome::Mounted)));
        });
    }

    #[test]
    fn root_300_layers_by_option_string() {
        with_300_layers(|lower, upper, target| {
            mount_by_option_string(lower, Some(upper), target).unwrap();
        });
    }
}
