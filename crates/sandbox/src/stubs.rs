//! Mount points that the image does not have. They live in a layer of their own, just below the upper directory,
//! so that the upper directory holds none but those that the process touched; of these the empty ones are removed
//! after the run.
//!
//! The stub layer repeats the attributes of the directories that it merges with: a directory in the overlay shows
//! those of its topmost layer.

use std::fs::{self, FileTimes};
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Mode, OFlags, Timestamps, Uid};
use rustix::io::Errno;

use crate::error::During;
use crate::resolve::{Place, open_parent, resolve};
use crate::{Error, Overlay, Tree, with_trees};

const DIRECTORY_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;

/// What a mount point has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// For a mounted directory.
    Directory,
    /// For a mounted file.
    File,
}

/// Where the layer of a root's mount points is: on the file system of the other layers, since inode numbers of an
/// overlay are unique only if it has one.
pub(crate) fn layer(root: &Overlay) -> PathBuf {
    root.work.join("stubs")
}

/// Fills the empty directory at `stubs` with the mount points that `view`, the root without it, lacks. Points
/// inside an earlier one of `points` are left out: they belong to what is mounted there.
///
/// Gives the paths of what was made, parents included.
pub(crate) fn build(
    view: BorrowedFd<'_>,
    stubs: BorrowedFd<'_>,
    points: &[(&str, Kind)],
) -> Result<Vec<PathBuf>, Error> {
    let mut mounted: Vec<PathBuf> = Vec::new();
    let mut merged: Vec<PathBuf> = Vec::new();
    let mut made: Vec<PathBuf> = Vec::new();
    for (dest, kind) in points {
        let place = resolve(view, dest)?;
        let path = place.path();
        let inside_another = mounted.iter().any(|other| path.starts_with(other));
        mounted.push(path);
        if inside_another || place.exists() {
            continue;
        }
        for depth in 1..=place.existing() {
            let directory = place.prefix(depth);
            if !merged.contains(&directory) {
                rustix::fs::mkdirat(stubs, &directory, Mode::from_raw_mode(0o700))
                    .during("create mount point in", directory.display())?;
                merged.push(directory);
            }
        }
        create(stubs, &place, *kind)?;
        for depth in place.existing() + 1..=place.depth() {
            let path = place.prefix(depth);
            if !made.contains(&path) {
                made.push(path);
            }
        }
    }
    // Children first: making a child changes its parent's times.
    for directory in merged.iter().rev() {
        copy_attributes(view, stubs, directory).during("copy the attributes of", directory.display())?;
    }
    Ok(made)
}

/// Creates the missing tail of a place in the tree at `root`.
pub(crate) fn create(root: BorrowedFd<'_>, place: &Place, kind: Kind) -> Result<(), Error> {
    let depth = place.depth();
    for end in place.existing() + 1..=depth {
        let (parent, name) = open_parent(root, place, end)?;
        let created = if end == depth && kind == Kind::File {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(FILE_MODE)).map(drop)
        } else {
            rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(DIRECTORY_MODE))
        };
        match created {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error).during("create mount point", place.prefix(end).display()),
        }
    }
    Ok(())
}

/// Removes from the upper directory what a finished process left of its mount points: directories that only it touched,
/// for instance by a change of their mode, and that are empty. BuildKit removes them, too.
///
/// # Errors
/// What the kernel said about looking at the layers, or about a removal.
pub fn remove_stubs(root: &Overlay) -> Result<(), Error> {
    let mut touched = Vec::new();
    collect(&layer(root), &root.upper, Path::new(""), &mut touched)?;
    if touched.is_empty() {
        return Ok(());
    }
    with_trees(&[Tree::Layers(root.lower.clone())], |trees| {
        // Only the names are trusted: what is a link below is no directory above it.
        let is_new = |path: &&PathBuf| trees[0].join(path).symlink_metadata().is_err();
        touched.iter().filter(is_new).try_for_each(|path| remove_empty(&root.upper.join(path)))
    })?
}

/// The directories that are in both trees, children first.
fn collect(stubs: &Path, upper: &Path, path: &Path, found: &mut Vec<PathBuf>) -> Result<(), Error> {
    const ACTION: &str = "read mount points in";
    let entries = match fs::read_dir(stubs.join(path)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.during(ACTION, stubs.display())?,
    };
    for entry in entries {
        let path = path.join(entry.during(ACTION, stubs.display())?.file_name());
        let is_directory =
            |tree: &Path| tree.join(&path).symlink_metadata().is_ok_and(|entry| entry.is_dir());
        if is_directory(stubs) && is_directory(upper) {
            collect(stubs, upper, &path, found)?;
            found.push(path);
        }
    }
    Ok(())
}

/// Removes a directory if it is empty. Its parent keeps its times.
fn remove_empty(path: &Path) -> Result<(), Error> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    let times = fs::metadata(parent).and_then(|parent| {
        Ok(FileTimes::new().set_accessed(parent.accessed()?).set_modified(parent.modified()?))
    });
    let times = times.during("examine", parent.display())?;
    match fs::remove_dir(path) {
        Ok(()) => fs::File::open(parent)
            .and_then(|parent| parent.set_times(times))
            .during("set the times of", parent.display()),
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Ok(()),
        Err(error) => Err(error).during("remove the mount point", path.display()),
    }
}

fn copy_attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let from = rustix::fs::openat(from, path, flags, Mode::empty())?;
    let to = rustix::fs::openat(to, path, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&from)?;
    rustix::fs::fchown(&to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    rustix::fs::fchmod(&to, Mode::from_raw_mode(stat.st_mode))?;
    copy_xattrs(from.as_fd(), to.as_fd())?;
    let times = Timestamps {
        last_access: rustix::fs::Timespec { tv_sec: stat.st_atime as _, tv_nsec: stat.st_atime_nsec as _ },
        last_modification: rustix::fs::Timespec {
            tv_sec: stat.st_mtime as _,
            tv_nsec: stat.st_mtime_nsec as _,
        },
    };
    rustix::fs::futimens(&to, &times)
}

fn copy_xattrs(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let mut names = vec![0_u8; rustix::fs::flistxattr_query(from)?];
    if names.is_empty() {
        return Ok(());
    }
    let length = rustix::fs::flistxattr(from, &mut names[..])?;
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0_u8; rustix::fs::fgetxattr_query(from, name)?];
        if !value.is_empty() {
            let length = rustix::fs::fgetxattr(from, name, &mut value[..])?;
            value.truncate(length);
        }
        rustix::fs::fsetxattr(to, name, &value, rustix::fs::XattrFlags::empty())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    #[test]
    fn only_what_is_missing_is_made() {
        let (view, stubs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir_all(view.path().join("etc")).unwrap();
        fs::create_dir_all(view.path().join("proc")).unwrap();
        fs::write(view.path().join("etc/hosts"), "").unwrap();
        symlink("/data", view.path().join("etc/link")).unwrap();
        fs::set_permissions(view.path().join("etc"), fs::Permissions::from_mode(0o2751)).unwrap();
        let old = fs::File::open(view.path().join("etc")).unwrap();
        old.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_nanos(1_000_000_007)).unwrap();

        let points = [
            ("/proc", Kind::Directory),
            ("/dev", Kind::Directory),
            ("/dev/own", Kind::File),
            ("/etc/hosts", Kind::File),
            ("/etc/resolv.conf", Kind::File),
            ("/etc/link/a/b", Kind::Directory),
        ];
        let (view_fd, stubs_fd) =
            (fs::File::open(view.path()).unwrap(), fs::File::open(stubs.path()).unwrap());
        let made = build(view_fd.as_fd(), stubs_fd.as_fd(), &points).unwrap();
        assert_eq!(made, ["dev", "etc/resolv.conf", "data", "data/a", "data/a/b"].map(PathBuf::from));

        let list = |path: &str| {
            let entries = fs::read_dir(stubs.path().join(path)).unwrap();
            let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        assert_eq!(list(""), ["data", "dev", "etc"]);
        assert_eq!(list("dev"), [""; 0]);
        assert_eq!(list("etc"), ["resolv.conf"]);
        assert_eq!(list("data/a"), ["b"]);
        let etc = fs::metadata(stubs.path().join("etc")).unwrap();
        assert_eq!((etc.mode() & 0o7777, etc.mtime(), etc.mtime_nsec()), (0o2751, 1, 7));
    }

    #[test]
    fn nothing_is_made_if_all_is_there() {
        let (view, stubs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(view.path().join("proc")).unwrap();
        let (view_fd, stubs_fd) =
            (fs::File::open(view.path()).unwrap(), fs::File::open(stubs.path()).unwrap());
        let made = build(view_fd.as_fd(), stubs_fd.as_fd(), &[("/proc", Kind::Directory)]).unwrap();
        assert_eq!(made, [""; 0].map(PathBuf::from));
    }
}
