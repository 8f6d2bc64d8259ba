//! Making the files that an archive's entries describe, inside a root that they cannot leave.
//!
//! Layers and archives of ADD share this; they differ in what they are unpacked into. The order of things matters:
//! the owner first, since changing it takes away capabilities and the setuid bit; times of directories at the very
//! end, since every file made in a directory changes them.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, Write};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::fs::{chmodat, chownat, fchmod, fchown, fsetxattr, futimens, lsetxattr, utimensat};
use rustix::fs::{fstat, linkat, makedev, mkdirat, mknodat, openat, symlinkat};
use rustix::io::Errno;

use crate::entry::{Entry, Kind, Time};
use crate::error::{LayerError, shown};
use crate::limits::Limits;
use crate::lower::LowerDir;
use crate::overlay::OverlayXattrs;
use crate::root::{self, Place, Root};
use crate::tar_reader::TarReader;
use crate::xattr;

/// Bytes of a file written at a time.
const WRITE_BUFFER: usize = 128 << 10;

/// The seconds that an archive of ADD may have as times: those whose nanoseconds are a positive 64-bit number.
const ARCHIVE_TIMES: RangeInclusive<i64> = 0..=i64::MAX / 1_000_000_000;
const SET_GROUP: u32 = 0o2000;

/// What an archive was unpacked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extracted {
    /// Entries that were read.
    pub entries: u64,
    /// Devices that were left out, because the kernel lets nobody make them in a user namespace.
    pub skipped_devices: u64,
}

/// What is unpacked into.
#[derive(Debug)]
pub(crate) enum Target {
    /// A directory for overlayfs.
    Overlay {
        /// Where overlayfs will look for its attributes.
        xattrs: OverlayXattrs,
        /// What will be below it.
        lower: LowerDir,
    },
    /// A tree as it is seen.
    Merged {
        /// The owner and group of everything, instead of the archive's.
        owner: Option<(u32, u32)>,
    },
}

/// Makes files in a root.
#[derive(Debug)]
pub(crate) struct Extractor {
    root: Root,
    target: Target,
    limits: Limits,
    done: Extracted,
    /// The sizes of all files so far, holes included.
    bytes: u64,
    /// Times to be set at the end.
    directories: Vec<(Vec<u8>, Time)>,
    buffer: Vec<u8>,
}

/// The metadata of a file about to be settled.
struct Metadata<'a> {
    mode: u32,
    owner: (u32, u32),
    xattrs: &'a [(Vec<u8>, Vec<u8>)],
    mtime: Time,
}

impl Extractor {
    pub(crate) fn new(root: Root, target: Target, limits: Limits) -> Self {
        let done = Extracted::default();
        Self { root, target, limits, done, bytes: 0, directories: Vec::new(), buffer: vec![0; WRITE_BUFFER] }
    }

    /// The clean path of an entry, after counting it; `None` for the root, whose metadata is not the archive's.
    pub(crate) fn admit(&mut self, entry: &Entry) -> Result<Option<Vec<u8>>, LayerError> {
        self.done.entries += 1;
        if self.done.entries > self.limits.entries {
            return Err(LayerError::Limit { what: "entries", limit: self.limits.entries });
        }
        // What was sent is counted where it is decompressed; holes are not sent.
        self.bytes = self.bytes.saturating_add(entry.size);
        if self.bytes > self.limits.bytes {
            return Err(LayerError::Limit { what: "bytes in its files", limit: self.limits.bytes });
        }
        let path = root::clean(&entry.name);
        if path.split(|&byte| byte == b'/').count() > self.limits.depth {
            return Err(LayerError::Limit { what: "directories in a path", limit: self.limits.depth as u64 });
        }
        if !path.is_empty() {
            return Ok(Some(path));
        }
        self.destination(entry)?;
        Ok(None)
    }

    /// Takes in an entry for what is unpacked into. Only an archive may describe that, and only by a name that leads to
    /// the root, like `/`: the `.` that so many archives begin with says nothing.
    fn destination(&mut self, entry: &Entry) -> Result<(), LayerError> {
        if matches!(self.target, Target::Overlay { .. }) || root::is_here(&entry.name) {
            return Ok(());
        }
        if entry.kind != Kind::Directory {
            return Err(LayerError::refused(&entry.name, "it would replace what it is unpacked into"));
        }
        let directory =
            self.root.open_directory(b"").map_err(|error| LayerError::file("open", b"/", error))?;
        let metadata = self.metadata(entry);
        settle_open(b"/", &directory, &metadata)?;
        self.directories.push((Vec::new(), metadata.mtime));
        Ok(())
    }

    /// Makes what an entry describes at a clean path, in place of what an earlier entry has made there.
    pub(crate) fn make<R: Read>(
        &mut self,
        path: &[u8],
        entry: &Entry,
        archive: &mut TarReader<R>,
    ) -> Result<(), LayerError> {
        let place = self.place(path)?;
        match entry.kind {
            Kind::Directory => self.directory(path, &place, entry),
            Kind::File => self.file(path, &place, entry, archive),
            Kind::HardLink => self.hard_link(path, &place, entry),
            Kind::Symlink => {
                let link = || symlinkat(&*entry.link, &place.directory, &*place.name);
                self.replacing(&place, link)
                    .map_err(|error| LayerError::file("make the link", path, error))?;
                self.settle_node(path, &place, entry)
            }
            Kind::Fifo => self.node(path, &place, entry, (FileType::Fifo, 0)),
            Kind::Char(major, minor) => {
                self.node(path, &place, entry, (FileType::CharacterDevice, makedev(major, minor)))
            }
            Kind::Block(major, minor) => {
                self.node(path, &place, entry, (FileType::BlockDevice, makedev(major, minor)))
            }
        }
    }

    /// Hides whatever the layers below have at a clean path, but nothing of this one.
    pub(crate) fn hide(&mut self, path: &[u8]) -> Result<(), LayerError> {
        let place = self.place(path)?;
        let whiteout = mknodat(&place.directory, &*place.name, FileType::CharacterDevice, Mode::empty(), 0);
        match whiteout {
            Err(Errno::EXIST) if is_directory(&place.stat().map_err(|error| looking(path, error))?) => {
                self.make_opaque(path)
            }
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(LayerError::file("make the whiteout", path, error)),
        }
    }

    /// Hides whatever the layers below have in the directory at a clean path.
    pub(crate) fn make_opaque(&mut self, path: &[u8]) -> Result<(), LayerError> {
        let Target::Overlay { xattrs, lower } = &self.target else { return Ok(()) };
        let attribute = xattrs.opaque();
        if path.is_empty() {
            // Overlayfs merges the roots of layers in any case, so each name is hidden by itself.
            return lower.names()?.iter().try_for_each(|name| self.hide(name.as_bytes()));
        }
        let directory = self.root.make_directories(path);
        let (_, made) = directory.map_err(|error| LayerError::file("make", path, error))?;
        self.settle_implicit(&made)?;
        self.root
            .open_directory(path)
            .and_then(|directory| fsetxattr(&directory, attribute, b"y", XattrFlags::empty()))
            .map_err(|error| LayerError::file("make opaque", path, error))
    }

    /// Sets what can only be set when everything is there.
    pub(crate) fn finish(self) -> Result<Extracted, LayerError> {
        for (path, time) in &self.directories {
            match self.root.open_directory(path) {
                Ok(directory) => futimens(&directory, &timestamps(*time))
                    .map_err(|error| LayerError::file("set the time of", path, error))?,
                // A later entry has put something else there. For an archive of ADD its time is that of the directory, and
                // the directory has to be reached.
                Err(_) if matches!(self.target, Target::Merged { .. }) => self
                    .root
                    .find(path)
                    .and_then(|other| utimensat(&other, "", &timestamps(*time), AtFlags::EMPTY_PATH))
                    .map_err(|error| LayerError::file("set the time of", path, error))?,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => return Err(LayerError::file("open", path, error)),
            }
        }
        Ok(self.done)
    }

    /// Where a clean path is; directories that are missing on the way are made.
    fn place(&mut self, path: &[u8]) -> Result<Place, LayerError> {
        let (place, made) = self.root.place(path).map_err(|error| match error {
            Errno::NOTDIR => LayerError::refused(path, "one of its directories is a file"),
            error => LayerError::file("open the directory of", path, error),
        })?;
        self.settle_implicit(&made)?;
        Ok(place)
    }

    /// Gives directories that no entry described the metadata that they have below, or plain ones.
    fn settle_implicit(&mut self, made: &[Vec<u8>]) -> Result<(), LayerError> {
        for path in made {
            let below = match &self.target {
                Target::Overlay { lower, .. } => {
                    lower.descendant(Path::new(std::ffi::OsStr::from_bytes(path)))?
                }
                Target::Merged { .. } => None,
            };
            let mut entry = Entry::marker(path.clone(), Kind::Directory);
            entry.mode = 0o755;
            if let Some(below) = below.filter(|below| below.metadata.is_dir()) {
                use std::os::unix::fs::MetadataExt;
                entry.mode = below.metadata.mode() & 0o7777;
                (entry.uid, entry.gid) = (below.metadata.uid(), below.metadata.gid());
                entry.mtime = Time {
                    seconds: below.metadata.mtime(),
                    nanoseconds: u32::try_from(below.metadata.mtime_nsec()).unwrap_or(0),
                };
                entry.xattrs = xattr::taken(&below.path, &xattr::names(&below.path)?)?;
            }
            let directory =
                self.root.open_directory(path).map_err(|error| LayerError::file("open", path, error))?;
            if matches!(self.target, Target::Merged { .. }) {
                let made = fstat(&directory).map_err(|error| looking(path, error))?;
                // A directory that passes its group on passes that on, too.
                entry.mode |= made.st_mode & SET_GROUP;
            }
            // What no entry describes is nobody's to give away: it stays root's, whatever owner is asked for.
            let metadata = Metadata { owner: (entry.uid, entry.gid), ..self.metadata(&entry) };
            settle_open(path, &directory, &metadata)?;
            self.directories.push((path.clone(), entry.mtime));
        }
        Ok(())
    }

    fn directory(&mut self, path: &[u8], place: &Place, entry: &Entry) -> Result<(), LayerError> {
        let failed = |error| LayerError::file("make the directory", path, error);
        let make = || mkdirat(&place.directory, &*place.name, Mode::RWXU);
        match make() {
            Ok(()) => {}
            Err(Errno::EXIST) if is_directory(&place.stat().map_err(failed)?) => {}
            Err(Errno::EXIST) => {
                self.root.remove(place).and_then(|()| make()).map_err(failed)?;
                // What was there has hidden the directory below, and the new one must not let it through again.
                self.make_opaque(path)?;
            }
            Err(error) => return Err(failed(error)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = openat(&place.directory, &*place.name, flags, Mode::empty()).map_err(failed)?;
        let metadata = self.metadata(entry);
        settle_open(path, &directory, &metadata)?;
        self.directories.push((path.to_vec(), metadata.mtime));
        Ok(())
    }

    fn file<R: Read>(
        &mut self,
        path: &[u8],
        place: &Place,
        entry: &Entry,
        archive: &mut TarReader<R>,
    ) -> Result<(), LayerError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let make = || openat(&place.directory, &*place.name, flags, Mode::RUSR | Mode::WUSR);
        let file = self.replacing(place, make).map_err(|error| LayerError::file("make", path, error))?;
        let mut file = File::from(file);
        let mut content = archive.content();
        let mut has_holes = false;
        loop {
            let hole = content.pass_hole();
            has_holes |= hole > 0;
            if hole > 0 {
                file.seek_relative(hole.cast_signed())
                    .map_err(|error| LayerError::file("write", path, error))?;
            }
            match content.read(&mut self.buffer) {
                Ok(0) if hole > 0 => {}
                Ok(0) => break,
                Ok(read) => file
                    .write_all(&self.buffer[..read])
                    .map_err(|error| LayerError::file("write", path, error))?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(LayerError::reading(error)),
            }
        }
        if has_holes {
            // One at the end was passed over, but nothing was written behind it.
            file.set_len(entry.size).map_err(|error| LayerError::file("write", path, error))?;
        }
        let file = OwnedFd::from(file);
        let metadata = self.metadata(entry);
        settle_open(path, &file, &metadata)?;
        futimens(&file, &timestamps(metadata.mtime))
            .map_err(|error| LayerError::file("set the time of", path, error))
    }

    /// A hard link shares the metadata of its target. In a layer the entry's own is not looked at: changing the owner
    /// would drop the target's capabilities. Of an archive that ADD unpacks it counts, as with the reference.
    fn hard_link(&mut self, path: &[u8], place: &Place, entry: &Entry) -> Result<(), LayerError> {
        let target = root::clean(&entry.link);
        let missing = || {
            let reason =
                format!("it is a hard link to `{}`, which is not in this archive", shown(&entry.link));
            LayerError::refused(&entry.name, reason)
        };
        if target.is_empty() {
            return Err(missing());
        }
        let found =
            self.root.existing_place(&target).and_then(|found| found.stat().map(|stat| (found, stat)));
        let (found, stat) = match found {
            Ok(found) => found,
            Err(Errno::NOENT | Errno::NOTDIR) => return Err(missing()),
            Err(error) => return Err(looking(&target, error)),
        };
        if is_directory(&stat) || is_same(&stat, place) {
            return Err(LayerError::refused(&entry.name, "it is a hard link to a directory or to itself"));
        }
        let link =
            || linkat(&found.directory, &*found.name, &place.directory, &*place.name, AtFlags::empty());
        self.replacing(place, link).map_err(|error| LayerError::file("make the hard link", path, error))?;
        match self.target {
            Target::Overlay { .. } => Ok(()),
            Target::Merged { .. } if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                // Of a link's metadata only the owner can be meant for it.
                let (uid, gid) = ids(self.metadata(entry).owner);
                chownat(&place.directory, &*place.name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(|error| LayerError::file("change the owner of", path, error))
            }
            Target::Merged { .. } => self.settle_node(path, place, entry),
        }
    }

    fn node(
        &mut self,
        path: &[u8],
        place: &Place,
        entry: &Entry,
        (kind, device): (FileType, u64),
    ) -> Result<(), LayerError> {
        let make = || mknodat(&place.directory, &*place.name, kind, Mode::RUSR | Mode::WUSR, device);
        match self.replacing(place, make) {
            Ok(()) => self.settle_node(path, place, entry),
            Err(Errno::PERM) if kind != FileType::Fifo => {
                self.done.skipped_devices += 1;
                Ok(())
            }
            Err(error) => Err(LayerError::file("make the special file", path, error)),
        }
    }

    /// Makes something new at a place, removing what is there.
    fn replacing<T>(&mut self, place: &Place, make: impl Fn() -> Result<T, Errno>) -> Result<T, Errno> {
        match make() {
            Err(Errno::EXIST) => {
                self.root.remove(place)?;
                make()
            }
            result => result,
        }
    }

    /// Settles a file that cannot be opened without an effect: a link, a device, a pipe.
    fn settle_node(&self, path: &[u8], place: &Place, entry: &Entry) -> Result<(), LayerError> {
        let metadata = self.metadata(entry);
        let (uid, gid) = ids(metadata.owner);
        let (directory, name) = (&place.directory, &*place.name);
        chownat(directory, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| LayerError::file("change the owner of", path, error))?;
        for (attribute, value) in metadata.xattrs {
            // The kernel allows `user.*` on files and directories only.
            if xattr::is_taken(attribute) && !attribute.starts_with(b"user.") {
                kept(lsetxattr(place.path(), &**attribute, value, XattrFlags::empty()))
                    .map_err(|error| LayerError::file("set an attribute of", path, error))?;
            }
        }
        if entry.kind != Kind::Symlink {
            chmodat(directory, name, Mode::from_raw_mode(metadata.mode), AtFlags::empty())
                .map_err(|error| LayerError::file("change the mode of", path, error))?;
        }
        utimensat(directory, name, &timestamps(metadata.mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| LayerError::file("set the time of", path, error))
    }

    fn metadata<'e>(&self, entry: &'e Entry) -> Metadata<'e> {
        let owner = match self.target {
            Target::Merged { owner: Some(owner) } => owner,
            Target::Merged { owner: None } | Target::Overlay { .. } => (entry.uid, entry.gid),
        };
        let mtime = match self.target {
            // What is out of bounds is the epoch, as with the reference.
            Target::Merged { .. } if !ARCHIVE_TIMES.contains(&entry.mtime.seconds) => Time::default(),
            _ => entry.mtime,
        };
        Metadata { mode: entry.mode, owner, xattrs: &entry.xattrs, mtime }
    }
}

/// Settles everything but the time of an open file or directory.
fn settle_open(path: &[u8], file: &OwnedFd, metadata: &Metadata<'_>) -> Result<(), LayerError> {
    let (uid, gid) = ids(metadata.owner);
    fchown(file, uid, gid).map_err(|error| LayerError::file("change the owner of", path, error))?;
    for (name, value) in metadata.xattrs {
        if xattr::is_taken(name) {
            kept(fsetxattr(file, &**name, value, XattrFlags::empty()))
                .map_err(|error| LayerError::file("set an attribute of", path, error))?;
        }
    }
    fchmod(file, Mode::from_raw_mode(metadata.mode))
        .map_err(|error| LayerError::file("change the mode of", path, error))
}

fn ids((uid, gid): (u32, u32)) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
}

/// A file system that has no attributes keeps none.
fn kept(result: Result<(), Errno>) -> Result<(), Errno> {
    if result == Err(Errno::NOTSUP) { Ok(()) } else { result }
}

fn timestamps(time: Time) -> Timestamps {
    let time = Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

fn is_same(stat: &Stat, place: &Place) -> bool {
    place.stat().is_ok_and(|other| (other.st_dev, other.st_ino) == (stat.st_dev, stat.st_ino))
}

fn looking(path: &[u8], error: Errno) -> LayerError {
    LayerError::file("look at", path, error)
}
