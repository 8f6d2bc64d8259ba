//! Copying selected files into a tree, by the rules of COPY.
//!
//! A directory's *contents* are copied, never the directory itself. Directories merge: what the copy finds below its
//! destination gets the source's mode and owner, the destination itself keeps its own. Files replace files and links,
//! never directories; names of one file stay names of one file within one source.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

use gantry_llb::pb::FileActionCopy;
use gantry_store::FileIdentity;
use rustix::fs::{CWD, Dev, FileType, Mode, Timespec, mknodat};
use tokio_util::sync::CancellationToken;

use super::mode::ModeChange;
use super::place::{Look, set_mode, set_time, timespec};
use super::sparse;
use crate::content::extended_attributes;
use crate::error::{At, Fault};
use crate::rooted;
use crate::select::{Entry, Item, Ownership, Role, SourceRoot, select, whole};

/// Where and how a copy writes.
#[derive(Debug)]
pub(crate) struct Copier<'a> {
    /// The tree's root.
    pub(crate) root: &'a Path,
    /// The action.
    pub(crate) action: &'a FileActionCopy,
    /// The mode that it asks for.
    pub(crate) mode: ModeChange,
    /// The owner and time that it asks for.
    pub(crate) look: Look,
    /// Whose files the sources are.
    pub(crate) ownership: Ownership,
    /// The times of directories that were there.
    pub(crate) merged: MergedTimes,
    /// Ends the copy when it is cancelled.
    pub(crate) cancel: &'a CancellationToken,
}

/// Which times directories have that a copy found at its destination and that are in its source, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MergedTimes {
    /// Those of the source, as in images.
    OfSource,
    /// Their own, as in a user's directory that a result is written to.
    TheirOwn,
}

impl Copier<'_> {
    /// Copies one item.
    pub(crate) fn copy(&self, item: &Item) -> Result<(), Fault> {
        let top = item.entries.first().expect("an item has at least itself");
        let (destination, parents) = self.prepare(item, top)?;
        let mut links: HashMap<(u64, u64), PathBuf> = HashMap::new();
        let mut finished_directories = Vec::new();
        for entry in &item.entries {
            if self.cancel.is_cancelled() {
                return Err(Fault::Cancelled);
            }
            let target = match entry.relative.as_os_str().is_empty() {
                true => destination.clone(),
                false => destination.join(&entry.relative),
            };
            if entry.metadata.is_dir() {
                let made = self.directory(entry, &target)?;
                finished_directories.push((entry, target, made));
                continue;
            }
            self.clear(&target)?;
            let key = (entry.metadata.dev(), entry.metadata.ino());
            if let Some(first) = links.get(&key).filter(|_| entry.metadata.is_file()) {
                fs::hard_link(first, &target).at("link", &target)?;
                continue;
            }
            self.file(entry, &target)?;
            if entry.metadata.nlink() > 1 {
                links.insert(key, target);
            }
        }
        // Children change their parents' times, so directories are finished from the inside out.
        for (entry, target, made) in finished_directories.iter().rev() {
            let is_top = entry.relative.as_os_str().is_empty();
            match (made, entry.role) {
                (true, _) => self.dress(entry, target)?,
                (false, Role::Selected) => {
                    if !is_top {
                        self.dress_but_for_time(entry, target)?;
                    }
                    if self.merged == MergedTimes::OfSource {
                        set_time(target, self.time_of(entry))?;
                    }
                }
                // What is only passed through takes over the mode, as it is, and nothing else.
                (false, Role::OnTheWay) => set_mode(target, entry.metadata.mode() & 0o7777)?,
            }
        }
        match self.look.time {
            Some(time) => parents.iter().rev().try_for_each(|parent| set_time(parent, timespec(time))),
            None => Ok(()),
        }
    }

    /// Makes the directories that the destination needs, and says where the item's own entry goes and what it made.
    fn prepare(&self, item: &Item, top: &Entry) -> Result<(PathBuf, Vec<PathBuf>), Fault> {
        let text = &self.action.dest;
        let wanted = rooted::clean(Path::new(text));
        let ensured = match text.ends_with('/') || text.ends_with("/.") || text.is_empty() {
            true => wanted.as_path(),
            false => wanted.parent().unwrap_or(&wanted),
        };
        let mode = self.mode.of_made_directory();
        let ensured = self.resolve(ensured)?;
        let mut made = self.look.make_directories(&ensured, mode)?;
        let mut destination = self.resolve(&wanted)?;
        let is_directory = fs::metadata(&destination).is_ok_and(|metadata| metadata.is_dir());
        let exists = fs::metadata(&destination).is_ok();
        let source_is_directory = top.metadata.is_dir();
        let into = (!source_is_directory && is_directory)
            || (source_is_directory && exists && !self.action.dir_copy_contents);
        if into {
            destination.push(&item.name);
        }
        let parent = match self.action.dir_copy_contents && source_is_directory && !exists {
            true => None,
            false => destination.parent(),
        };
        // A directory that the copy makes as its destination looks like a parent, not like its source.
        made.extend(self.look.make_directories(parent.unwrap_or(&destination), mode)?);
        Ok((destination, made))
    }

    fn resolve(&self, path: &Path) -> Result<PathBuf, Fault> {
        rooted::resolve(self.root, path).at("resolve", path)
    }

    /// Makes the directory, or finds it there. True if it was made.
    fn directory(&self, entry: &Entry, target: &Path) -> Result<bool, Fault> {
        match fs::symlink_metadata(target) {
            Ok(metadata) if metadata.is_dir() => Ok(false),
            Ok(_) if self.action.always_replace_existing_dest_paths => {
                fs::remove_file(target).at("replace", target)?;
                fs::create_dir(target).at("make directory", target).map(|()| true)
            }
            Ok(_) => Err(self.refuse(entry, target, "it exists and is not a directory")),
            Err(_) => fs::create_dir(target).at("make directory", target).map(|()| true),
        }
    }

    /// Removes what a file is about to replace.
    fn clear(&self, target: &Path) -> Result<(), Fault> {
        match fs::symlink_metadata(target) {
            Ok(metadata) if !metadata.is_dir() => fs::remove_file(target).at("replace", target),
            Ok(_) if self.action.always_replace_existing_dest_paths => {
                fs::remove_dir_all(target).at("replace", target)
            }
            Ok(_) => Err(Fault::Copy {
                source_path: self.action.src.clone(),
                target: self.inside(target),
                reason: "a file cannot replace a directory".to_owned(),
            }),
            Err(_) => Ok(()),
        }
    }

    fn refuse(&self, entry: &Entry, target: &Path, reason: &str) -> Fault {
        let source_path = Path::new(&self.action.src).join(&entry.relative).display().to_string();
        Fault::Copy { source_path, target: self.inside(target), reason: reason.to_owned() }
    }

    /// The target as the image will know it.
    fn inside(&self, target: &Path) -> String {
        format!("/{}", target.strip_prefix(self.root).unwrap_or(target).display())
    }

    fn file(&self, entry: &Entry, target: &Path) -> Result<(), Fault> {
        let kind = entry.metadata.file_type();
        if kind.is_symlink() {
            let link = fs::read_link(&entry.path).reading(&entry.path)?;
            unchanged(entry, &fs::symlink_metadata(&entry.path).reading(&entry.path)?)?;
            symlink(link, target).at("make link", target)?;
        } else if kind.is_file() {
            copy_bytes(entry, target)?;
        } else if kind.is_socket() {
            // Nobody listens any more where the copy is; the reference makes it an empty file.
            File::create_new(target).at("create", target)?;
        } else {
            // The reference makes a character device of a block device, and so does this.
            let node = if kind.is_fifo() { FileType::Fifo } else { FileType::CharacterDevice };
            let device: Dev = entry.metadata.rdev();
            mknodat(CWD, target, node, Mode::from_raw_mode(0o600), device).at("make node", target)?;
        }
        self.dress(entry, target)
    }

    /// Gives a copy its owner, mode, attributes and time.
    fn dress(&self, entry: &Entry, target: &Path) -> Result<(), Fault> {
        self.dress_but_for_time(entry, target)?;
        set_time(target, self.time_of(entry))
    }

    fn dress_but_for_time(&self, entry: &Entry, target: &Path) -> Result<(), Fault> {
        let (uid, gid) = self.look.owner.unwrap_or_else(|| match self.ownership {
            Ownership::Root => (0, 0),
            Ownership::Kept => (entry.metadata.uid(), entry.metadata.gid()),
        });
        std::os::unix::fs::lchown(target, Some(uid), Some(gid)).at("set the owner of", target)?;
        if !entry.metadata.is_symlink() {
            set_mode(target, self.mode.of(entry.metadata.mode(), entry.metadata.is_dir()))?;
        }
        for (name, value) in extended_attributes(&entry.path)? {
            // Capabilities of a client's file are the client's: the reference loses them on the way, too.
            if self.ownership == Ownership::Root && name == b"security.capability" {
                continue;
            }
            // As the reference does: a file system that cannot hold an attribute does not stop a build.
            let _ = rustix::fs::lsetxattr(target, name.as_slice(), &value, rustix::fs::XattrFlags::empty());
        }
        Ok(())
    }

    fn time_of(&self, entry: &Entry) -> Timespec {
        match self.look.time {
            Some(nanos) => timespec(nanos),
            None => Timespec { tv_sec: entry.metadata.mtime(), tv_nsec: entry.metadata.mtime_nsec() },
        }
    }
}

/// How a whole directory is copied.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WholeCopy<'a> {
    /// From here.
    pub(crate) source: &'a SourceRoot<'a>,
    /// This directory of it.
    pub(crate) directory: &'a str,
    /// The owner and time of the copies.
    pub(crate) look: Look,
    /// The times of directories that were there.
    pub(crate) merged: MergedTimes,
    /// Ends it when it is cancelled.
    pub(crate) cancel: &'a CancellationToken,
}

impl WholeCopy<'_> {
    /// Copies everything in the directory to `root`, and tells what the directory itself looks like.
    pub(crate) fn to(&self, root: &Path) -> Result<Option<Metadata>, Fault> {
        // Like the reference, it replaces what is in the way.
        let action = FileActionCopy { always_replace_existing_dest_paths: true, ..whole(self.directory) };
        let items = select(self.source, &action)?;
        copy_items(&items, &action, (self.look, self.source.ownership, self.merged), root, self.cancel)?;
        Ok(items.first().and_then(|item| item.entries.first()).map(|top| top.metadata.clone()))
    }
}

/// Copies what was selected, with its modes.
pub(crate) fn copy_items(
    items: &[Item],
    action: &FileActionCopy,
    (look, ownership, merged): (Look, Ownership, MergedTimes),
    root: &Path,
    cancel: &CancellationToken,
) -> Result<(), Fault> {
    let copier = Copier { root, action, mode: ModeChange::Keep, look, ownership, merged, cancel };
    items.iter().try_for_each(|item| copier.copy(item))
}

/// Copies a file's bytes, and makes sure that they are the bytes that were selected.
fn copy_bytes(entry: &Entry, target: &Path) -> Result<(), Fault> {
    let source = entry.open()?;
    let copy = File::create_new(target).at("create", target)?;
    sparse::copy(&source, entry.metadata.size(), &copy).reading(&entry.path)?;
    unchanged(entry, &source.metadata().reading(&entry.path)?)
}

/// Fails if a file is no longer what was selected, and so is not what its key says.
pub(crate) fn unchanged(entry: &Entry, now: &Metadata) -> Result<(), Fault> {
    match FileIdentity::of(now) == FileIdentity::of(&entry.metadata) {
        true => Ok(()),
        false => Err(Fault::Changed(entry.path.clone())),
    }
}
