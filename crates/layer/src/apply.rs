//! A layer blob to a directory that overlayfs can mount.
//!
//! Decompressing and hashing run in a thread of their own, so that they overlap with making files. The content is
//! proven by its digest at the end; until then nothing it says is believed, and after an error the caller throws
//! the directory away.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use gantry_oci::{Digest, Hasher};

use crate::compression::Decompressed;
use crate::error::LayerError;
use crate::extract::{Extracted, Extractor, Target};
use crate::limits::Limits;
use crate::lower::LowerDir;
use crate::overlay::{META_PREFIX, OPAQUE_MARKER, OverlayXattrs, WHITEOUT_PREFIX};
use crate::root::{self, Root};
use crate::tar_reader::TarReader;

/// Bytes that are handed over at a time.
const CHUNK: usize = 128 << 10;
/// Chunks that may wait: enough for both sides to run while one of them waits for the disk.
const CHUNKS: usize = 16;

/// How a layer is unpacked.
#[derive(Debug, Clone, Default)]
pub struct ApplyOptions {
    /// Where the mount will look for overlayfs's attributes.
    pub xattrs: OverlayXattrs,
    /// The overlay directories below, the topmost first: directories that the archive uses without describing them
    /// get their metadata from there.
    pub lower: Vec<PathBuf>,
    /// What is too much.
    pub limits: Limits,
}

/// What a layer was unpacked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// Uncompressed bytes.
    pub tar_size: u64,
    /// What came of its entries.
    pub extracted: Extracted,
}

/// Unpacks a layer blob into `target`, an existing empty directory, which only its owner should be able to enter.
///
/// The compression is recognised by content. Whiteouts become those of overlayfs. Nothing outside `target` is
/// touched, whatever the archive contains.
///
/// # Errors
/// When the blob is damaged, beyond a limit, refused, or not what `diff_id` says, or when a file cannot be made.
/// What is in `target` then is of no use.
pub fn apply_layer(
    blob: impl Read + Send,
    target: &Path,
    diff_id: &Digest,
    options: &ApplyOptions,
) -> Result<Applied, LayerError> {
    let root = Root::open(target).map_err(|error| LayerError::path("open", target, error))?;
    let overlay = Target::Overlay { xattrs: options.xattrs, lower: LowerDir::root(&options.lower) };
    let extractor = Extractor::new(root, overlay, options.limits);

    let (extracted, (found, tar_size)) = thread::scope(|scope| {
        let (sender, receiver) = sync_channel(CHUNKS);
        let producer = scope.spawn(move || decompress(blob, options.limits, &sender));
        let consumed = extract(Chunks { receiver, chunk: Vec::new(), at: 0 }, extractor);
        // Joined after the receiver is gone, so that it cannot wait for anybody.
        let produced = producer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok((consumed?, produced))
    })?;
    if found != *diff_id {
        return Err(LayerError::DiffId { expected: *diff_id, found });
    }
    Ok(Applied { tar_size, extracted })
}

/// Sends the uncompressed bytes, the last thing being the error if there is one; returns their digest and number.
fn decompress(
    blob: impl Read + Send,
    limits: Limits,
    sender: &SyncSender<Result<Vec<u8>, LayerError>>,
) -> (Digest, u64) {
    let mut hasher = Hasher::new();
    let mut size = 0;
    let chunks = || -> Result<(), LayerError> {
        let mut decompressed = Decompressed::new(blob, limits)?;
        loop {
            let mut chunk = Vec::with_capacity(CHUNK);
            decompressed.by_ref().take(CHUNK as u64).read_to_end(&mut chunk).map_err(LayerError::reading)?;
            if chunk.is_empty() {
                return Ok(());
            }
            hasher.update(&chunk);
            size += chunk.len() as u64;
            if sender.send(Ok(chunk)).is_err() {
                // The other side has failed, and says why.
                return Ok(());
            }
        }
    };
    if let Err(error) = chunks() {
        // If nobody listens any more, there is an earlier error.
        let _ = sender.send(Err(error));
    }
    (hasher.finish(), size)
}

fn extract(tar: impl Read, mut extractor: Extractor) -> Result<Extracted, LayerError> {
    let mut archive = TarReader::new(tar);
    while let Some(entry) = archive.next_entry()? {
        let Some(path) = extractor.admit(&entry)? else { continue };
        let (parent, name) = root::split(&path);
        match Marker::of(name) {
            None => extractor.make(&path, &entry, &mut archive)?,
            Some(Marker::Opaque) => extractor.make_opaque(parent)?,
            Some(Marker::Whiteout(b"" | b"." | b"..")) => {
                return Err(LayerError::refused(&path, "it is a whiteout of no name"));
            }
            Some(Marker::Whiteout(hidden)) => extractor.hide(&root::join(parent, hidden))?,
            Some(Marker::Reserved) => {}
        }
    }
    // The digest is of the whole stream, also of what some tools write behind the end of the archive.
    archive.drain()?;
    extractor.finish()
}

/// What a name of an archive marks.
enum Marker<'a> {
    /// The file of this name is deleted.
    Whiteout(&'a [u8]),
    /// Nothing of its directory is seen from below.
    Opaque,
    /// A file of AUFS's own.
    Reserved,
}

impl<'a> Marker<'a> {
    fn of(name: &'a [u8]) -> Option<Self> {
        if name == OPAQUE_MARKER {
            return Some(Self::Opaque);
        }
        if name.starts_with(META_PREFIX) {
            return Some(Self::Reserved);
        }
        name.strip_prefix(WHITEOUT_PREFIX).map(Self::Whiteout)
    }
}

/// Reads what another thread sends.
struct Chunks {
    receiver: Receiver<Result<Vec<u8>, LayerError>>,
    chunk: Vec<u8>,
    at: usize,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.chunk.len() {
            match self.receiver.recv() {
                Ok(Ok(chunk)) => (self.chunk, self.at) = (chunk, 0),
                Ok(Err(error)) => return Err(io::Error::other(error)),
                // The sender has finished; an error would have come first.
                Err(_) => return Ok(0),
            }
        }
        let count = buffer.len().min(self.chunk.len() - self.at);
        buffer[..count].copy_from_slice(&self.chunk[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
