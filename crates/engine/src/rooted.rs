//! Paths inside a root: symbolic links are followed, but never out of it.
//!
//! The rules are those of the reference's resolver, which are nearly those of a chroot: an absolute link starts at the root
//! again, `..` at the root stays there, and parts that do not exist (yet) are taken as they are. But `..` in a
//! relative link is worked out as text, so that `link/../x` is beside the link and not beside what it leads to.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

/// As many as the reference follows.
const MAX_LINKS: usize = 255;

/// The real place of `path` below `root`, all links followed. Fails where the path leads through a file.
pub(crate) fn resolve(root: &Path, path: &Path) -> io::Result<PathBuf> {
    resolve_among(root, path, |_| Ok::<_, io::Error>(true))
}

/// As [`resolve`], taking for missing what `shows` says is not there. It is asked about paths relative to the root.
///
/// What is behind a link that is not shown is taken as it is, like all that is missing: it may really be there, outside
/// of the root, so it is only to be looked at by [`find`].
pub(crate) fn resolve_among<E: From<io::Error>>(
    root: &Path,
    path: &Path,
    shows: impl Fn(&Path) -> Result<bool, E>,
) -> Result<PathBuf, E> {
    let mut open: VecDeque<OsString> = parts(path).collect();
    let mut inside = PathBuf::new();
    let mut links = 0;
    while let Some(part) = open.pop_front() {
        if part == ".." {
            inside.pop();
            continue;
        }
        let here = inside.join(&part);
        let Some(target) = link_at(&root.join(&here))? else {
            inside = here;
            continue;
        };
        if !shows(&here)? {
            inside = clean_relative(&here.join(open.drain(..).collect::<PathBuf>()));
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(io::Error::from(rustix::io::Errno::LOOP).into());
        }
        let target = inside.join(target);
        inside = PathBuf::new();
        let rest: PathBuf = open.drain(..).collect();
        match target.is_absolute() && rest.as_os_str().is_empty() {
            true => open.extend(parts(&target)),
            false => open.extend(parts(&clean(&target.join(rest)))),
        }
    }
    Ok(root.join(inside))
}

/// What is at a path that has no links in it before its end, relative to the root; `None` if there is nothing. The kernel
/// follows none, so that nothing outside of the root is ever found.
pub(crate) fn find(root: &Path, path: &Path) -> Option<fs::Metadata> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let root = openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let found = openat2(root, path, flags, Mode::empty(), resolve).ok()?;
    fs::File::from(found).metadata().ok()
}

/// What a link at a path holds; `None` if there is none.
fn link_at(path: &Path) -> io::Result<Option<PathBuf>> {
    match fs::read_link(path) {
        Ok(target) => Ok(Some(target)),
        // The kernel's answer for everything that is no link.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The path with `.` and `..` worked out as text, absolute.
pub(crate) fn clean(path: &Path) -> PathBuf {
    Path::new("/").join(clean_relative(path))
}

/// As [`clean`], relative to the root, which is empty.
pub(crate) fn clean_relative(path: &Path) -> PathBuf {
    let mut inside = PathBuf::new();
    for part in parts(path) {
        if part == ".." {
            inside.pop();
        } else {
            inside.push(part);
        }
    }
    inside
}

fn parts(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsStr::new("..").to_owned()),
        _ => None,
    })
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
        fs::write(root.join("real/file"), "").unwrap();
        symlink("/real", root.join("absolute")).unwrap();
        symlink("../../../../real/deep", root.join("real/up")).unwrap();
        symlink("absolute/deep/../x", root.join("text")).unwrap();
        symlink("real/deep", root.join("link")).unwrap();
        symlink("/link/../x", root.join("physical")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        for (path, expected) in [
            ("/absolute/deep", "real/deep"),
            ("real/up/new/file", "real/deep/new/file"),
            ("../../etc", "etc"),
            ("absolute/../x", "x"),
            ("text", "real/x"),
            ("physical", "real/x"),
            ("physical/y", "x/y"),
            ("real/file", "real/file"),
            ("missing/a/../b", "missing/b"),
            ("", ""),
        ] {
            assert_eq!(resolve(root, Path::new(path)).unwrap(), root.join(expected), "{path}");
        }
        assert!(resolve(root, Path::new("loop")).is_err());
        assert!(resolve(root, Path::new("real/file/x")).is_err(), "a file holds nothing");
        assert_eq!(clean(Path::new("a/./b/../c/")), Path::new("/a/c"));
    }

    #[test]
    fn a_link_that_is_not_shown_is_not_there() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        symlink("elsewhere", root.join("link")).unwrap();
        let hidden = |_: &Path| Ok::<_, io::Error>(false);
        assert_eq!(resolve_among(root, Path::new("link/x"), hidden).unwrap(), root.join("link/x"));
        // Nor is what it leads to, though the kernel would find it.
        let outside = tempfile::tempdir().unwrap();
        symlink("elsewhere", outside.path().join("x")).unwrap();
        symlink(outside.path(), root.join("out")).unwrap();
        for path in ["out/x", "out/../out/x"] {
            let shows = |path: &Path| Ok::<_, io::Error>(path != Path::new("out"));
            assert_eq!(resolve_among(root, Path::new(path), shows).unwrap(), root.join("out/x"), "{path}");
        }
        assert!(find(root, Path::new("out/x")).is_none());
        assert!(find(root, Path::new("out")).unwrap().is_symlink());
        assert!(find(root, Path::new("")).unwrap().is_dir());
    }
}
