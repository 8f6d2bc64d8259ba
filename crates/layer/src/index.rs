//! What a layer's archive holds, without its bytes: the file index.
//!
//! It is made in the pass that writes, unpacks or reads the archive anyway, and answers later what else would need the
//! layer again: which files there are, for which machine its programs are, which packages are installed. It describes
//! one archive and nothing below it, so it belongs to a diff id.
//!
//! Files have no digests of their own here: hashing every file would double the hashing of every layer, nothing that
//! reads an index asks for them, and the diff id vouches for all of them together.

mod format;
mod kept;
mod record;
mod scan;

use std::sync::Arc;

use crate::elf::Elf;

pub(crate) use record::{Observed, Recorder};
pub use scan::{Scanned, scan_layer};

/// The index of one layer: its entries in the archive's order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LayerIndex {
    pub(crate) entries: Vec<IndexEntry>,
}

impl LayerIndex {
    /// The regular file at a clean path as the archive has it: its own path, of which this may be another name, and what
    /// is known about its content. `None` if the layer has no file there.
    pub fn archived(&self, path: &[u8]) -> Option<(&[u8], &FileContent)> {
        let entry = |path: &[u8]| self.entries.iter().rfind(|entry| *entry.path == *path);
        let mut found = entry(path)?;
        if let Item::HardLink(target) = &found.item {
            found = entry(target)?;
        }
        match &found.item {
            Item::File(content) => Some((&found.path, content)),
            _ => None,
        }
    }
}

/// One entry of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    /// Clean: no leading slash, no `.` and `..`. That of a whiteout is the path that it hides.
    pub(crate) path: Box<[u8]>,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) item: Item,
}

/// What an entry makes, or marks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    File(FileContent),
    /// Another name of the entry with this clean path.
    HardLink(Box<[u8]>),
    /// The target as it stands in the archive.
    Symlink(Box<[u8]>),
    Directory,
    /// A device or a pipe.
    Special,
    /// The path is hidden in the layers below, with everything in it.
    Whiteout,
    /// Everything in this directory is hidden in the layers below.
    Opaque,
}

/// What is known about the content of a regular file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileContent {
    /// In bytes.
    pub size: u64,
    /// What can run it, if anything can.
    pub program: Option<Arc<Program>>,
    /// The whole content, if the file is one of those that are kept.
    pub(crate) kept: Option<Arc<[u8]>>,
}

/// A file that a kernel can execute or a loader can load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// An ELF file.
    Elf(Elf),
    /// What follows `#!` in the first line, without blanks around it; cut where the kernel cuts it.
    Script(Vec<u8>),
}
