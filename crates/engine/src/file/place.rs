//! Owner, mode and times of what a file action makes, and the directories that it needs on the way.

use std::fs::{self, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use crate::error::{At, Fault};

/// Directories that nobody gave a mode.
pub(crate) const DEFAULT_DIRECTORY_MODE: u32 = 0o755;

const SET_GROUP: u32 = 0o2000;

/// How made files are to look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    /// Their owner; `None` keeps the source's, or root where there is none.
    pub(crate) owner: Option<(u32, u32)>,
    /// Their time in nanoseconds since 1970; `None` keeps the source's, or now where there is none.
    pub(crate) time: Option<i64>,
}

impl Look {
    /// From an action's fields: -1 stands for "not given".
    pub(crate) fn new(owner: Option<(u32, u32)>, timestamp: i64) -> Self {
        Self { owner, time: (timestamp != -1).then_some(timestamp) }
    }

    /// Gives a made file its owner and time. Without an owner it keeps the one that the system gave it: root, with the
    /// group of the directory, if that passes its group on.
    pub(crate) fn apply(&self, path: &Path) -> Result<(), Fault> {
        if let Some((uid, gid)) = self.owner {
            lchown(path, Some(uid), Some(gid)).at("set the owner of", path)?;
        }
        match self.time {
            Some(nanos) => set_time(path, timespec(nanos)),
            None => Ok(()),
        }
    }

    /// Makes a directory and the parents that it lacks, all with this mode, and says which, the outermost first. What
    /// exists stays as it is.
    pub(crate) fn make_directories(&self, path: &Path, mode: u32) -> Result<Vec<PathBuf>, Fault> {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => return Ok(Vec::new()),
            Ok(_) => return Err(Fault::NotADirectory(path.to_owned())),
            Err(_) => {}
        }
        let mut missing: Vec<PathBuf> = Vec::new();
        let mut current = path;
        while fs::symlink_metadata(current).is_err() {
            missing.push(current.to_owned());
            current = current.parent().expect("the root of the tree exists");
        }
        missing.reverse();
        for directory in &missing {
            make_directory(directory, mode)?;
        }
        // Times last: making a child changes the parent's.
        missing.iter().rev().try_for_each(|directory| self.apply(directory))?;
        Ok(missing)
    }
}

/// Makes a directory. A parent that passes its group on passes on that property, too.
pub(crate) fn make_directory(path: &Path, mode: u32) -> Result<(), Fault> {
    fs::DirBuilder::new().mode(mode).create(path).at("make directory", path)?;
    let made = fs::symlink_metadata(path).at("examine", path)?;
    // The process's umask must not show in images.
    set_mode(path, mode | (made.mode() & SET_GROUP))
}

/// Sets the permission bits, set-id and sticky bits included.
pub(crate) fn set_mode(path: &Path, mode: u32) -> Result<(), Fault> {
    fs::set_permissions(path, Permissions::from_mode(mode)).at("set the mode of", path)
}

/// Sets access and modification time, of a link itself if it is one.
pub(crate) fn set_time(path: &Path, time: Timespec) -> Result<(), Fault> {
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).at("set the time of", path)
}

/// A time in nanoseconds since 1970 as the system takes it.
pub(crate) fn timespec(nanos: i64) -> Timespec {
    let billion = 1_000_000_000;
    Timespec { tv_sec: nanos.div_euclid(billion), tv_nsec: nanos.rem_euclid(billion) }
}
