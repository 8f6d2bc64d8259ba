//! Where a path of the sandbox really is. The root is made of untrusted layers, whose symbolic links may point
//! anywhere; here they are followed within the root, also through names that do not exist yet (which openat2(2)'s
//! RESOLVE_IN_ROOT cannot do).
//!
//! What was looked at may change: another process may use a cache that is mounted in the root, too. So whoever works on a
//! place opens it without following any link, and fails if there is one by then.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::Error;
use crate::error::During;

/// The kernel's own limit on symbolic links in one path.
const MAX_LINKS: usize = 40;

/// A path without symbolic links, relative to the root; a tail of it may not exist.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    names: Vec<OsString>,
    existing: usize,
}

impl Place {
    /// The path, relative to the root; "." for the root itself.
    pub(crate) fn path(&self) -> PathBuf {
        self.prefix(self.names.len())
    }

    /// The first `count` names of the path.
    pub(crate) fn prefix(&self, count: usize) -> PathBuf {
        if count == 0 { ".".into() } else { self.names[..count].iter().collect() }
    }

    /// How many names the path has.
    pub(crate) fn depth(&self) -> usize {
        self.names.len()
    }

    /// How many of them exist.
    pub(crate) fn existing(&self) -> usize {
        self.existing
    }

    /// Whether all of them exist.
    pub(crate) fn exists(&self) -> bool {
        self.existing == self.names.len()
    }
}

/// Finds the place of `path` in the tree at `root`.
///
/// # Errors
/// ELOOP, or ENOTDIR if the path leads through a file.
pub(crate) fn resolve(root: BorrowedFd<'_>, path: &str) -> Result<Place, Error> {
    const ACTION: &str = "resolve";
    let mut pending: VecDeque<OsString> = names_of(Path::new(path));
    let mut place = Place { names: Vec::new(), existing: 0 };
    let mut links = 0;
    while let Some(name) = pending.pop_front() {
        if name == ".." {
            place.names.pop();
            place.existing = place.existing.min(place.names.len());
            continue;
        }
        let all_exist = place.exists();
        place.names.push(name);
        if !all_exist {
            continue;
        }
        match rustix::fs::statat(root, place.path(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::LOOP).during(ACTION, path);
                }
                let target = rustix::fs::readlinkat(root, place.path(), Vec::new()).during(ACTION, path)?;
                let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                place.names.pop();
                if target.is_absolute() {
                    place = Place { names: Vec::new(), existing: 0 };
                }
                for name in names_of(&target).into_iter().rev() {
                    pending.push_front(name);
                }
            }
            Ok(_) => place.existing += 1,
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error).during(ACTION, path),
        }
    }
    Ok(place)
}

/// Opens an existing place as a mere location (O_PATH).
pub(crate) fn open(root: BorrowedFd<'_>, place: &Place) -> Result<OwnedFd, Error> {
    open_as(root, &place.path(), OFlags::PATH)
}

/// Opens the directory at an existing place.
pub(crate) fn open_directory(root: BorrowedFd<'_>, place: &Place) -> Result<OwnedFd, Error> {
    open_as(root, &place.path(), OFlags::RDONLY | OFlags::DIRECTORY)
}

/// The directory that the name at `depth`, counted from 1, is in, and that name.
pub(crate) fn open_parent<'a>(
    root: BorrowedFd<'_>,
    place: &'a Place,
    depth: usize,
) -> Result<(OwnedFd, &'a OsStr), Error> {
    let directory = open_as(root, &place.prefix(depth - 1), OFlags::PATH | OFlags::DIRECTORY)?;
    Ok((directory, &place.names[depth - 1]))
}

fn open_as(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd, Error> {
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), within)
        .during("open", path.display())
}

fn names_of(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_stay_inside_and_lead_through_what_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        fs::create_dir_all(at("usr/bin")).unwrap();
        fs::create_dir_all(at("var")).unwrap();
        fs::write(at("file"), "").unwrap();
        symlink("usr/bin", at("bin")).unwrap();
        symlink("/run", at("var/run")).unwrap();
        symlink("../../../../usr", at("var/up")).unwrap();
        symlink("../run/systemd/resolv.conf", at("var/dangling")).unwrap();
        symlink("loop", at("loop")).unwrap();
        let root = fs::File::open(dir.path()).unwrap();

        for (path, real, existing) in [
            ("/", ".", 0),
            ("/usr/./bin/", "usr/bin", 2),
            ("/bin/sh", "usr/bin/sh", 2),
            ("/var/run/x", "run/x", 0),
            ("/var/up/bin", "usr/bin", 2),
            ("/var/dangling", "run/systemd/resolv.conf", 0),
            ("/../../etc", "etc", 0),
            ("/missing/../usr", "usr", 1),
            ("/missing/a/../bin", "missing/bin", 0),
        ] {
            let place = resolve(root.as_fd(), path).unwrap();
            assert_eq!((place.path(), place.existing()), (real.into(), existing), "{path}");
        }
        for (path, errno) in [("/loop", Errno::LOOP), ("/file/x", Errno::NOTDIR)] {
            let error = resolve(root.as_fd(), path).unwrap_err();
            let expected =
                Error::Setup { action: "resolve".into(), object: path.into(), errno: errno.raw_os_error() };
            assert_eq!(error, expected);
        }
    }

    #[test]
    fn what_became_a_link_is_not_followed() {
        let (dir, host) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(dir.path().join("cache")).unwrap();
        let root = fs::File::open(dir.path()).unwrap();
        let place = resolve(root.as_fd(), "/cache/point/inside").unwrap();
        fs::remove_dir(dir.path().join("cache")).unwrap();
        symlink(host.path(), dir.path().join("cache")).unwrap();
        let made = crate::stubs::create(root.as_fd(), &place, crate::stubs::Kind::Directory);
        let refused =
            matches!(&made, Err(Error::Setup { errno, .. }) if *errno == Errno::LOOP.raw_os_error());
        assert!(refused, "{made:?}");
        assert_eq!(fs::read_dir(host.path()).unwrap().count(), 0);
    }
}
