//! Whole trees and whole archives, through the public functions.

mod added;
mod damaged;
mod hostile;
mod layers_below;
mod round_trip;

use std::ffi::OsStr;
use std::fs::{self, File, FileTimes};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use gantry_oci::Digest;
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};
use tempfile::TempDir;

use crate::entry::{Entry, Kind, Time};
use crate::tar_writer::TarWriter;
use crate::{Applied, ApplyOptions, Compression, LayerDigests, LayerError, WriteOptions};

/// A directory to build trees in.
struct Tree(TempDir);

impl Tree {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn root(&self) -> &Path {
        self.0.path()
    }

    fn path(&self, name: impl AsRef<[u8]>) -> PathBuf {
        self.root().join(OsStr::from_bytes(name.as_ref()))
    }

    fn dir(&self, name: impl AsRef<[u8]>) -> &Self {
        fs::create_dir(self.path(name)).unwrap();
        self
    }

    fn file(&self, name: impl AsRef<[u8]>, content: &str) -> &Self {
        fs::write(self.path(name), content).unwrap();
        self
    }

    fn link(&self, target: &str, name: &str) -> &Self {
        symlink(target, self.path(name)).unwrap();
        self
    }

    fn hard_link(&self, target: &str, name: &str) -> &Self {
        fs::hard_link(self.path(target), self.path(name)).unwrap();
        self
    }

    fn node(&self, name: &str, kind: FileType, (major, minor): (u32, u32)) -> &Self {
        let device = rustix::fs::makedev(major, minor);
        rustix::fs::mknodat(CWD, self.path(name), kind, Mode::from_raw_mode(0o640), device).unwrap();
        self
    }

    fn whiteout(&self, name: &str) -> &Self {
        self.node(name, FileType::CharacterDevice, (0, 0))
    }

    fn mode(&self, name: &str, mode: u32) -> &Self {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    fn owner(&self, name: &str, uid: u32, gid: u32) -> &Self {
        std::os::unix::fs::lchown(self.path(name), Some(uid), Some(gid)).unwrap();
        self
    }

    fn xattr(&self, name: &str, attribute: &str, value: &[u8]) -> &Self {
        rustix::fs::lsetxattr(self.path(name), attribute, value, XattrFlags::empty()).unwrap();
        self
    }

    /// Gives everything the same time, children before their directories.
    fn settle(&self, seconds: i64) -> &Self {
        settle(self.root(), seconds);
        self
    }

    fn write(&self, options: &WriteOptions) -> Result<(LayerDigests, Vec<u8>), LayerError> {
        let mut blob = Vec::new();
        crate::write_layer(self.root(), options, &mut blob).map(|written| (written.digests, blob))
    }

    /// What a plain layer of this tree holds, as `name` or `name -> link`.
    fn listing(&self, lower: Option<Vec<PathBuf>>) -> Vec<String> {
        let options = WriteOptions { compression: Compression::None, lower, clamp_mtime: None };
        listing(&self.write(&options).unwrap().1)
    }
}

fn settle(path: &Path, seconds: i64) {
    if fs::symlink_metadata(path).unwrap().is_dir() {
        for child in fs::read_dir(path).unwrap() {
            settle(&child.unwrap().path(), seconds);
        }
    }
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn listing(tar: &[u8]) -> Vec<String> {
    let mut archive = crate::tar_reader::TarReader::new(tar);
    let mut lines = Vec::new();
    while let Some(entry) = archive.next_entry().unwrap() {
        let name = String::from_utf8_lossy(&entry.name).into_owned();
        let link = String::from_utf8_lossy(&entry.link).into_owned();
        lines.push(if link.is_empty() { name } else { format!("{name} -> {link}") });
    }
    lines
}

/// An entry of the user who runs the test, such that it can be made without privileges.
fn entry(name: impl AsRef<[u8]>, kind: Kind, link: &str) -> Entry {
    Entry {
        mode: 0o755,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        mtime: Time { seconds: 1_000_000_000, nanoseconds: 0 },
        link: link.as_bytes().to_vec(),
        ..Entry::marker(name.as_ref().to_vec(), kind)
    }
}

fn dir(name: &str) -> Entry {
    entry(name, Kind::Directory, "")
}

fn file(name: &str) -> Entry {
    Entry { size: 5, ..entry(name, Kind::File, "") }
}

fn empty(name: &str) -> Entry {
    entry(name, Kind::File, "")
}

fn symbolic(name: &str, target: &str) -> Entry {
    entry(name, Kind::Symlink, target)
}

fn hard(name: &str, target: &str) -> Entry {
    entry(name, Kind::HardLink, target)
}

/// An archive of these entries; files of size 5 contain `bytes`.
fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut tar = Vec::new();
    let mut writer = TarWriter::new(&mut tar);
    for entry in entries {
        writer.append_file(entry, &mut &b"bytes"[..]).unwrap();
    }
    writer.finish().unwrap();
    tar
}

fn apply(tar: &[u8], target: &Path, options: &ApplyOptions) -> Result<Applied, LayerError> {
    crate::apply_layer(tar, target, &Digest::of(tar), options)
}
