//! One file operation: its actions in order, on the tree that they write to.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use gantry_llb::pb::file_action::Action;
use gantry_llb::pb::{
    FileAction, FileActionCopy, FileActionMkDir, FileActionMkFile, FileActionRm, FileActionSymlink,
};
use tokio_util::sync::CancellationToken;

use super::copy::{Copier, MergedTimes, unchanged};
use super::mode::ModeChange;
use super::place::{self, Look, set_mode};
use crate::error::{At, Fault};
use crate::rooted;
use crate::select::{ContextFilter, Item, Ownership, SourceRoot, select};
use crate::users;

/// What an operation's copies read from, per input of the operation.
#[derive(Debug)]
pub(crate) enum Source {
    /// A directory of the client's, with what was selected when its key was made: the very files that were hashed.
    Client {
        /// The directory.
        directory: PathBuf,
        /// What of it takes part.
        filter: ContextFilter,
    },
    /// Another tree, mounted here.
    Tree(PathBuf),
}

impl Source {
    /// The source as something to select from.
    pub(crate) fn root(&self) -> SourceRoot<'_> {
        match self {
            Self::Client { directory, filter } => {
                SourceRoot { path: directory, filter: Some(filter), ownership: Ownership::Root }
            }
            Self::Tree(path) => SourceRoot { path, filter: None, ownership: Ownership::Kept },
        }
    }
}

/// An operation, ready to be applied.
#[derive(Debug)]
pub(crate) struct FileOperation<'a> {
    /// The actions, in order.
    pub(crate) actions: &'a [FileAction],
    /// For each action, what it reads from, if it is a copy.
    pub(crate) sources: Vec<Option<&'a Source>>,
    /// For each action, what was selected already.
    pub(crate) selected: Vec<Option<&'a [Item]>>,
    /// Ends it when it is cancelled.
    pub(crate) cancel: &'a CancellationToken,
}

/// Applies the operation to the tree mounted at `root`.
pub(crate) fn apply(operation: &FileOperation<'_>, root: &Path) -> Result<(), Fault> {
    apply_actions(operation, root).map_err(|fault| fault.inside(root))
}

fn apply_actions(operation: &FileOperation<'_>, root: &Path) -> Result<(), Fault> {
    for (index, action) in operation.actions.iter().enumerate() {
        match action.action.as_ref() {
            Some(Action::Copy(copy)) => {
                let source = operation.sources[index]
                    .ok_or_else(|| Fault::Graph("a copy has no source".to_owned()))?;
                match operation.selected[index] {
                    Some(items) => copy_items(operation, (copy, source), items, root)?,
                    None => copy_items(operation, (copy, source), &select(&source.root(), copy)?, root)?,
                }
            }
            Some(Action::Mkdir(mkdir)) => make_directory(mkdir, root)?,
            Some(Action::Mkfile(mkfile)) => make_file(mkfile, root)?,
            Some(Action::Symlink(symlink)) => make_symlink(symlink, root)?,
            Some(Action::Rm(rm)) => remove(rm, root)?,
            None => return Err(Fault::Graph("a file action has no kind".to_owned())),
        }
    }
    Ok(())
}

fn copy_items(
    operation: &FileOperation<'_>,
    (copy, source): (&FileActionCopy, &Source),
    items: &[Item],
    root: &Path,
) -> Result<(), Fault> {
    let mode = ModeChange::new(copy.mode, &copy.mode_str)?;
    let owner = users::owner(root, copy.owner.as_ref())?;
    let look = Look::new(owner, copy.timestamp);
    let copier = Copier {
        root,
        action: copy,
        mode,
        look,
        ownership: source.root().ownership,
        merged: MergedTimes::OfSource,
        cancel: operation.cancel,
    };
    for item in items {
        if !(copy.attempt_unpack_docker_compatibility && unpack((copy, operation.cancel), item, root, &look)?)
        {
            copier.copy(item)?;
        }
    }
    Ok(())
}

/// Unpacks an item that is an archive. False if it is none.
fn unpack(
    (copy, cancel): (&FileActionCopy, &CancellationToken),
    item: &Item,
    root: &Path,
    look: &Look,
) -> Result<bool, Fault> {
    let [entry] = item.entries.as_slice() else { return Ok(false) };
    if !entry.metadata.is_file() {
        return Ok(false);
    }
    let file = entry.open()?;
    if !gantry_layer::is_archive(&file) {
        return Ok(false);
    }
    let archive = entry.open()?;
    let destination = rooted::resolve(root, Path::new(&copy.dest)).at("resolve", Path::new(&copy.dest))?;
    look.make_directories(&destination, place::DEFAULT_DIRECTORY_MODE)?;
    let inside = Path::new("/").join(destination.strip_prefix(root).unwrap_or(&destination));
    let bytes = UntilCancelled { archive: &archive, cancel };
    gantry_layer::extract_archive(bytes, root, &inside.to_string_lossy(), look.owner).map_err(|source| {
        match cancel.is_cancelled() {
            true => Fault::Cancelled,
            false => Fault::Layer { action: "unpack", name: copy.src.clone(), source },
        }
    })?;
    unchanged(entry, &archive.metadata().reading(&entry.path)?)?;
    Ok(true)
}

/// The bytes of an archive, which end with an error when the build is cancelled.
struct UntilCancelled<'a> {
    archive: &'a fs::File,
    cancel: &'a CancellationToken,
}

impl Read for UntilCancelled<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.cancel.is_cancelled() {
            true => Err(io::Error::other("the build is cancelled")),
            false => self.archive.read(buffer),
        }
    }
}

fn make_directory(action: &FileActionMkDir, root: &Path) -> Result<(), Fault> {
    let path = resolve(root, &action.path)?;
    let look = Look::new(users::owner(root, action.owner.as_ref())?, action.timestamp);
    let mode = u32::try_from(action.mode).unwrap_or(0o755) & 0o777;
    if action.make_parents {
        return look.make_directories(&path, mode).map(drop);
    }
    if fs::symlink_metadata(&path).is_ok() {
        return Ok(());
    }
    place::make_directory(&path, mode)?;
    look.apply(&path)
}

fn make_file(action: &FileActionMkFile, root: &Path) -> Result<(), Fault> {
    let path = resolve(root, &action.path)?;
    // Nobody reads what is written to a pipe of a tree, and its devices are those of this machine.
    if fs::symlink_metadata(&path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        fs::remove_file(&path).at("replace", &path)?;
    }
    fs::write(&path, &action.data).at("write", &path)?;
    set_mode(&path, u32::try_from(action.mode).unwrap_or(0o644) & 0o777)?;
    Look::new(users::owner(root, action.owner.as_ref())?, action.timestamp).apply(&path)
}

fn make_symlink(action: &FileActionSymlink, root: &Path) -> Result<(), Fault> {
    let path = resolve(root, &action.newpath)?;
    std::os::unix::fs::symlink(&action.oldpath, &path).at("make link", &path)?;
    Look::new(users::owner(root, action.owner.as_ref())?, action.timestamp).apply(&path)
}

fn remove(action: &FileActionRm, root: &Path) -> Result<(), Fault> {
    let wanted = FileActionCopy {
        src: action.path.clone(),
        allow_wildcard: action.allow_wildcard,
        allow_empty_wildcard: action.allow_not_found,
        ..FileActionCopy::default()
    };
    if rooted::clean_relative(Path::new(&action.path)).as_os_str().is_empty() {
        return Err(Fault::Graph("the root of a tree cannot be removed".to_owned()));
    }
    let source = SourceRoot { path: root, filter: None, ownership: Ownership::Kept };
    let items = match select(&source, &wanted) {
        Err(Fault::NotInSource { .. }) if action.allow_not_found => return Ok(()),
        items => items?,
    };
    for entry in items.iter().filter_map(|item| item.entries.first()) {
        match entry.metadata.is_dir() {
            true => fs::remove_dir_all(&entry.path).at("remove", &entry.path)?,
            false => fs::remove_file(&entry.path).at("remove", &entry.path)?,
        }
    }
    Ok(())
}

fn resolve(root: &Path, path: &str) -> Result<PathBuf, Fault> {
    rooted::resolve(root, Path::new(path)).at("resolve", Path::new(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_not_unpacked_once_the_build_is_cancelled() {
        let (source, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(source.path().join("a.tar"), empty_file_in_tar()).unwrap();
        for cancelled in [false, true] {
            let cancel = CancellationToken::new();
            if cancelled {
                cancel.cancel();
            }
            let copy = FileActionCopy {
                src: "/a.tar".to_owned(),
                dest: "/".to_owned(),
                attempt_unpack_docker_compatibility: true,
                ..FileActionCopy::default()
            };
            let tree = Source::Tree(source.path().to_owned());
            let [item] = select(&tree.root(), &copy).unwrap().try_into().unwrap();
            let user = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
            let look = Look::new(Some(user), -1);
            let done = unpack((&copy, &cancel), &item, root.path(), &look);
            match cancelled {
                false => assert!(done.unwrap() && root.path().join("f").exists()),
                true => assert!(matches!(done, Err(Fault::Cancelled)), "{done:?}"),
            }
        }
    }

    /// A tar with an empty file `f`.
    fn empty_file_in_tar() -> Vec<u8> {
        let mut header = [0_u8; 512];
        for (at, field) in [(0, "f"), (100, "0000644"), (108, "0000000"), (116, "0000000"), (156, "0")] {
            header[at..at + field.len()].copy_from_slice(field.as_bytes());
        }
        for (at, field) in [(124, "00000000000"), (136, "00000000000"), (257, "ustar"), (263, "00")] {
            header[at..at + field.len()].copy_from_slice(field.as_bytes());
        }
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum::<u32>() + 8 * u32::from(b' ');
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        [&header[..], &[0; 1024]].concat()
    }

    #[test]
    fn a_made_file_replaces_a_pipe() {
        let root = tempfile::tempdir().unwrap();
        let pipe = root.path().join("f");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let action = FileActionMkFile {
            path: "/f".to_owned(),
            mode: 0o644,
            data: b"text".to_vec(),
            timestamp: -1,
            ..FileActionMkFile::default()
        };
        make_file(&action, root.path()).unwrap();
        assert_eq!(fs::read(&pipe).unwrap(), b"text");
    }
}
