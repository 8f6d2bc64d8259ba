//! Paths inside a root: symbolic links are followed, but never out of it.
//!
//! The rules are those of a chroot: an absolute link starts at the root again, `..` at the root stays there, and parts
//! that do not exist (yet) are taken as they are.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

/// As many as the kernel follows.
const MAX_LINKS: usize = 40;

/// The real place of `path` below `root`, all links followed.
pub(crate) fn resolve(root: &Path, path: &Path) -> io::Result<PathBuf> {
    let mut open: VecDeque<OsString> = parts(path).collect();
    let mut inside: Vec<OsString> = Vec::new();
    let mut links = 0;
    while let Some(part) = open.pop_front() {
        if part == ".." {
            inside.pop();
            continue;
        }
        inside.push(part);
        let here = join(root, &inside);
        let Ok(target) = fs::read_link(&here) else { continue };
        links += 1;
        if links > MAX_LINKS {
            return Err(rustix::io::Errno::LOOP.into());
        }
        inside.pop();
        if target.is_absolute() {
            inside.clear();
        }
        for part in parts(&target).collect::<Vec<_>>().into_iter().rev() {
            open.push_front(part);
        }
    }
    Ok(join(root, &inside))
}

/// As [`resolve`], but a link that the last part names is not followed.
pub(crate) fn resolve_parent(root: &Path, path: &Path) -> io::Result<PathBuf> {
    let cleaned = clean(path);
    match (cleaned.parent(), cleaned.file_name()) {
        (Some(parent), Some(name)) => Ok(resolve(root, parent)?.join(name)),
        _ => Ok(root.to_owned()),
    }
}

/// The path with `.` and `..` worked out as text, absolute.
pub(crate) fn clean(path: &Path) -> PathBuf {
    let mut inside: Vec<OsString> = Vec::new();
    for part in parts(path) {
        if part == ".." {
            inside.pop();
        } else {
            inside.push(part);
        }
    }
    join(Path::new("/"), &inside)
}

fn parts(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsStr::new("..").to_owned()),
        _ => None,
    })
}

fn join(root: &Path, inside: &[OsString]) -> PathBuf {
    let mut path = root.to_owned();
    path.extend(inside);
    path
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_stay_inside() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir_all(root.join("real/deep")).unwrap();
        symlink("/real", root.join("absolute")).unwrap();
        symlink("../../../../real/deep", root.join("real/up")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        for (path, expected) in [
            ("/absolute/deep", "real/deep"),
            ("real/up/new/file", "real/deep/new/file"),
            ("../../etc", "etc"),
            ("absolute/../x", "x"),
            ("", ""),
        ] {
            assert_eq!(resolve(root, Path::new(path)).unwrap(), root.join(expected), "{path}");
        }
        assert!(resolve(root, Path::new("loop")).is_err());
        assert_eq!(resolve_parent(root, Path::new("/absolute")).unwrap(), root.join("absolute"));
        assert_eq!(clean(Path::new("a/./b/../c/")), Path::new("/a/c"));
    }
}
