//! Making an index while an archive passes, whichever way it goes.
//!
//! The recorder is told of each entry and sees the bytes of its content that whoever handles the entry reads; it copies
//! the first few of programs and all of the files that are kept, and nothing of the rest.

use std::io::{self, Read};
use std::sync::Arc;

use super::{FileContent, IndexEntry, Item, LayerIndex, Program, kept};
use crate::elf::{self, Elf};
use crate::entry::{Entry, Kind};
use crate::error::LayerError;
use crate::limits::Limits;
use crate::overlay::Marker;
use crate::root;

/// Bytes that tell an ELF file, a script and everything else apart.
const MAGIC: usize = 4;
/// The kernel reads so much of the line that starts with `#!` (`BINPRM_BUF_SIZE`).
const SCRIPT: usize = 256;

/// An index in the making.
#[derive(Debug)]
pub(crate) struct Recorder {
    limits: Limits,
    index: LayerIndex,
    /// Bytes of paths and targets so far.
    names: u64,
    /// Bytes of kept files so far.
    kept: u64,
    /// What is being collected of the last entry.
    wanted: Wanted,
    collected: Vec<u8>,
}

/// What of the current file's content is collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Nothing,
    /// As much as it takes to know what it is.
    Head,
    /// So many bytes: all.
    Whole(usize),
}

impl Recorder {
    /// An index of nothing yet. What exceeds the limits is an error.
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            index: LayerIndex::default(),
            names: 0,
            kept: 0,
            wanted: Wanted::Nothing,
            collected: Vec::new(),
        }
    }

    /// Notes an entry; its content, if it has any, comes next.
    pub(crate) fn begin(&mut self, entry: &Entry) -> Result<(), LayerError> {
        self.settle();
        let path = root::clean(&entry.name);
        if path.split(|&byte| byte == b'/').count() > self.limits.depth {
            return Err(LayerError::Limit { what: "directories in a path", limit: self.limits.depth as u64 });
        }
        let (parent, name) = root::split(&path);
        let (path, item) = match Marker::of(name) {
            // The root is there in any case.
            None if path.is_empty() => return Ok(()),
            None => {
                let item = self.item(entry, &path);
                (path, item)
            }
            Some(Marker::Reserved) => return Ok(()),
            Some(Marker::Whiteout(b"" | b"." | b"..")) => {
                return Err(LayerError::refused(&path, "it is a whiteout of no name"));
            }
            Some(Marker::Opaque) => (parent.to_vec(), Item::Opaque),
            Some(Marker::Whiteout(hidden)) => (root::join(parent, hidden), Item::Whiteout),
        };
        self.names += (path.len() + entry.link.len()) as u64;
        if self.index.entries.len() as u64 >= self.limits.entries {
            return Err(LayerError::Limit { what: "entries", limit: self.limits.entries });
        }
        if self.names > self.limits.names {
            return Err(LayerError::Limit { what: "bytes of names", limit: self.limits.names });
        }
        let &Entry { mode, uid, gid, .. } = entry;
        self.index.entries.push(IndexEntry { path: path.into_boxed_slice(), mode, uid, gid, item });
        Ok(())
    }

    /// How much of the current content is still to be shown, at most.
    pub(crate) fn wants(&self) -> usize {
        let limit = match self.wanted {
            Wanted::Nothing => 0,
            Wanted::Whole(size) => size,
            Wanted::Head => match &self.collected[..self.collected.len().min(MAGIC)] {
                [0x7f, b'E', b'L', b'F'] => elf::HEAD,
                [b'#', b'!', ..] => SCRIPT,
                start if start.len() < MAGIC => MAGIC,
                _ => 0,
            },
        };
        limit.saturating_sub(self.collected.len())
    }

    /// Sees the next bytes of the current content.
    pub(crate) fn take(&mut self, mut bytes: &[u8]) {
        // What is wanted grows when the first bytes are known.
        while !bytes.is_empty() {
            let count = self.wants().min(bytes.len());
            if count == 0 {
                return;
            }
            self.collected.extend_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
        }
    }

    /// The index of everything that was noted.
    pub(crate) fn finish(mut self) -> LayerIndex {
        self.settle();
        self.index
    }

    fn item(&mut self, entry: &Entry, path: &[u8]) -> Item {
        match entry.kind {
            Kind::File => {
                self.wanted = match usize::try_from(entry.size) {
                    Ok(size)
                        if kept::is_kept(path, entry.size) && self.kept + entry.size <= kept::MAX_LAYER =>
                    {
                        self.kept += entry.size;
                        Wanted::Whole(size)
                    }
                    _ => Wanted::Head,
                };
                Item::File(FileContent { size: entry.size, ..FileContent::default() })
            }
            Kind::HardLink => Item::HardLink(root::clean(&entry.link).into_boxed_slice()),
            Kind::Symlink => Item::Symlink(entry.link.clone().into_boxed_slice()),
            Kind::Directory => Item::Directory,
            Kind::Char(..) | Kind::Block(..) | Kind::Fifo => Item::Special,
        }
    }

    /// Notes what was collected with the entry that it belongs to.
    fn settle(&mut self) {
        let wanted = std::mem::replace(&mut self.wanted, Wanted::Nothing);
        if wanted != Wanted::Nothing
            && let Some(IndexEntry { item: Item::File(content), .. }) = self.index.entries.last_mut()
        {
            match wanted {
                Wanted::Whole(size) if self.collected.len() == size => {
                    content.kept = Some(Arc::from(&*self.collected));
                }
                _ => content.program = program(&self.collected).map(Arc::new),
            }
        }
        self.collected.clear();
        self.collected.shrink_to(elf::HEAD);
    }
}

/// What the file is that starts so.
fn program(head: &[u8]) -> Option<Program> {
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|&byte| byte == b'\n').next().unwrap_or_default();
        return Some(Program::Script(line.trim_ascii().to_vec()));
    }
    Elf::parse(head).map(Program::Elf)
}

/// Shows a recorder what is read.
pub(crate) struct Observed<'a, R> {
    pub(crate) content: R,
    pub(crate) recorder: Option<&'a mut Recorder>,
}

impl<R: Read> Read for Observed<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buffer)?;
        if let Some(recorder) = &mut self.recorder {
            recorder.take(&buffer[..read]);
        }
        Ok(read)
    }
}
