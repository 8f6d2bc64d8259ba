//! A directory that nothing gets out of: every path of an archive is resolved in here.
//!
//! The kernel does the containing (`openat2` with `RESOLVE_IN_ROOT`): links, `..` and absolute targets all end inside
//! the root, also when something else changes the tree meanwhile. Directories are held as descriptors, so nothing
//! is ever looked up by a path of the machine.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::fs::{fstat, mkdirat, openat, openat2, readlinkat, statat, unlinkat};
use rustix::io::Errno;

/// How many links one path may lead through: the kernel's own limit.
const MAX_LINKS: usize = 40;
/// How often a path is tried that somebody else is changing.
const MAX_ATTEMPTS: usize = 32;

/// An open root directory.
#[derive(Debug)]
pub(crate) struct Root {
    directory: OwnedFd,
    /// What becomes of a link that leads nowhere where a directory is needed.
    dangling: Dangling,
    /// The directory of the last entry, as the next one is likely to be in it too.
    recent: Option<(Vec<u8>, Rc<OwnedFd>)>,
}

/// What becomes of a link that leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dangling {
    /// It is followed, and what it names is made, inside the root.
    Followed,
    /// It is in the way.
    Refused,
}

/// A name in an open directory.
#[derive(Debug)]
pub(crate) struct Place {
    /// The directory.
    pub(crate) directory: Rc<OwnedFd>,
    /// One component, neither `.` nor `..`.
    pub(crate) name: Vec<u8>,
}

impl Root {
    /// Opens a directory as a root.
    pub(crate) fn open(path: &Path) -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self::new(openat(CWD, path, flags, Mode::empty())?))
    }

    /// Makes a directory the root.
    pub(crate) fn new(directory: OwnedFd) -> Self {
        Self { directory, dangling: Dangling::Followed, recent: None }
    }

    /// Makes a directory the root, in which no link that leads nowhere is followed to make what it names.
    pub(crate) fn without_detours(directory: OwnedFd) -> Self {
        Self { dangling: Dangling::Refused, ..Self::new(directory) }
    }

    /// The place of a clean path, and the directories that had to be made for it, the outermost first.
    pub(crate) fn place(&mut self, path: &[u8]) -> Result<(Place, Vec<Vec<u8>>), Errno> {
        let (parent, name) = split(path);
        if let Some((recent, directory)) = &self.recent
            && recent == parent
        {
            return Ok((Place { directory: Rc::clone(directory), name: name.to_vec() }, Vec::new()));
        }
        let (directory, made) = self.make_directories(parent)?;
        let directory = Rc::new(directory);
        self.recent = Some((parent.to_vec(), Rc::clone(&directory)));
        Ok((Place { directory, name: name.to_vec() }, made))
    }

    /// The place of a clean path whose directory must be there already.
    pub(crate) fn existing_place(&self, path: &[u8]) -> Result<Place, Errno> {
        let (parent, name) = split(path);
        let directory = self.resolve(parent, OFlags::PATH | OFlags::DIRECTORY)?;
        Ok(Place { directory: Rc::new(directory), name: name.to_vec() })
    }

    /// Opens a directory, following links inside the root, such that its attributes can be changed.
    pub(crate) fn open_directory(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        self.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    /// Finds whatever is there, following links inside the root, without opening it: it may be a device of the machine.
    pub(crate) fn find(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        self.resolve(path, OFlags::PATH)
    }

    /// The directory of this path and those that had to be made on the way to it, the outermost first.
    ///
    /// A link that leads nowhere is followed all the same, if this root allows it, and its target is made: inside the root.
    pub(crate) fn make_directories(&self, path: &[u8]) -> Result<(OwnedFd, Vec<Vec<u8>>), Errno> {
        match self.resolve(path, OFlags::PATH | OFlags::DIRECTORY) {
            Ok(directory) => Ok((directory, Vec::new())),
            Err(Errno::NOENT) => self.make_missing(path),
            Err(error) => Err(error),
        }
    }

    /// Removes whatever is at a place.
    pub(crate) fn remove(&mut self, place: &Place) -> Result<(), Errno> {
        // What was resolved may have led through it.
        self.recent = None;
        remove_tree(&place.directory, &place.name)
    }

    fn make_missing(&self, path: &[u8]) -> Result<(OwnedFd, Vec<Vec<u8>>), Errno> {
        let mut made = Vec::new();
        // The part of the path that is resolved, and the components still to go, the next one last.
        let mut done: Vec<u8> = Vec::new();
        let mut to_go: Vec<Vec<u8>> = components_reversed(path);
        let mut links = 0;
        while let Some(component) = to_go.pop() {
            if component == b".." {
                done = split(&done).0.to_vec();
                continue;
            }
            let here = join(&done, &component);
            let found = match self.resolve(&here, OFlags::PATH | OFlags::NOFOLLOW) {
                Ok(found) => found,
                Err(Errno::NOENT) => {
                    let parent = self.resolve(&done, OFlags::PATH | OFlags::DIRECTORY)?;
                    mkdirat(&parent, &*component, Mode::from_raw_mode(0o755))?;
                    made.push(here.clone());
                    done = here;
                    continue;
                }
                Err(error) => return Err(error),
            };
            match FileType::from_raw_mode(fstat(&found)?.st_mode) {
                FileType::Directory => done = here,
                FileType::Symlink if self.dangling == Dangling::Refused => {
                    self.resolve(&here, OFlags::PATH | OFlags::DIRECTORY)?;
                    done = here;
                }
                FileType::Symlink => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::LOOP);
                    }
                    let target = readlinkat(&found, "", Vec::new())?;
                    if target.as_bytes().starts_with(b"/") {
                        done.clear();
                    }
                    to_go.extend(components_reversed(target.as_bytes()));
                }
                _ => return Err(Errno::NOTDIR),
            }
        }
        Ok((self.resolve(&done, OFlags::PATH | OFlags::DIRECTORY)?, made))
    }

    fn resolve(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let mut attempt = 1;
        loop {
            match openat2(&self.directory, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                // The kernel could not rule out an escape, because something was renamed while it looked.
                Err(Errno::AGAIN | Errno::INTR) if attempt < MAX_ATTEMPTS => attempt += 1,
                result => return result,
            }
        }
    }
}

impl Place {
    /// What is there, not following a link.
    pub(crate) fn stat(&self) -> Result<Stat, Errno> {
        statat(&self.directory, &*self.name, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// A path for the calls that take no descriptor of a directory.
    pub(crate) fn path(&self) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        let directory = PathBuf::from(format!("/proc/self/fd/{}", self.directory.as_raw_fd()));
        directory.join(std::ffi::OsStr::from_bytes(&self.name))
    }
}

/// A name of an archive as components joined by single slashes: without `.`, leading slashes, and with every `..`
/// taking away what is before it, as far as there is something. Empty for the root itself.
pub(crate) fn clean(name: &[u8]) -> Vec<u8> {
    let mut components: Vec<&[u8]> = Vec::new();
    for component in name.split(|&byte| byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => {
                components.pop();
            }
            other => components.push(other),
        }
    }
    components.join(&b'/')
}

/// Whether a name that leads to the root means "here": it does not begin at the root and never climbs above it.
pub(crate) fn is_here(name: &[u8]) -> bool {
    let mut depth = 0_usize;
    !name.starts_with(b"/")
        && name.split(|&byte| byte == b'/').all(|component| {
            let deeper = match component {
                b"" | b"." => Some(depth),
                b".." => depth.checked_sub(1),
                _ => Some(depth + 1),
            };
            depth = deeper.unwrap_or_default();
            deeper.is_some()
        })
}

/// A clean path as its directory and its last component.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// A clean path with another component.
pub(crate) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() }
}

fn components_reversed(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|&byte| byte == b'/')
        .rev()
        .filter(|component| !component.is_empty() && *component != b".")
        .map(<[u8]>::to_vec)
        .collect()
}

/// Removes a file, or a directory and all that is in it, never following a link.
fn remove_tree(directory: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
    match unlinkat(directory, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => {}
        result => return result,
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inside = openat(directory, name, flags, Mode::empty())?;
    for child in Dir::read_from(&inside)? {
        let child = child?;
        let child = child.file_name().to_bytes();
        if child != b"." && child != b".." {
            remove_tree(&inside, child)?;
        }
    }
    unlinkat(directory, name, AtFlags::REMOVEDIR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned_into_the_root() {
        for (name, expected) in [
            ("a/b", "a/b"),
            ("./a//b/", "a/b"),
            ("/etc/x", "etc/x"),
            ("../x", "x"),
            ("a/../../x", "x"),
            ("a/b/../../../../x/.", "x"),
            (".", ""),
            ("./", ""),
            ("/", ""),
            ("..", ""),
            ("a\\..\\b", "a\\..\\b"),
            ("...", "..."),
        ] {
            assert_eq!(String::from_utf8(clean(name.as_bytes())).unwrap(), expected, "{name}");
        }
        for (name, here) in [
            (".", true),
            ("./", true),
            ("a/..", true),
            ("", true),
            ("/", false),
            ("..", false),
            ("a/../..", false),
        ] {
            assert_eq!(is_here(name.as_bytes()), here, "{name}");
        }
    }
}
