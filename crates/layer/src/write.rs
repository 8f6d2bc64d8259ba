//! A tree to the canonical tar of it: an overlay directory to a layer, or a whole tree to an archive.
//!
//! Entries come in the order of a walk that takes the names of each directory in byte order, so parents precede
//! children. Times are whole seconds, owners are numbers, only the attributes that belong to an image are kept:
//! what the reference builder writes, entry for entry.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::{Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use gantry_oci::Digest;

use crate::compression::{self, Compression, Decompressed};
use crate::digesting::Digesting;
use crate::entry::{Entry, Kind, Time};
use crate::error::{LayerError, shown};
use crate::index::{LayerIndex, Observed, Recorder};
use crate::limits::Limits;
use crate::lower::{LowerChild, LowerDir};
use crate::overlay::{self, Merging, OPAQUE_MARKER, WHITEOUT_PREFIX};
use crate::tar_writer::{Fed, TarWriter, archived_time};
use crate::xattr;

/// Bytes compared at a time.
const COMPARE_BUFFER: usize = 64 << 10;
/// Bytes compressed anew at a time.
const RECOMPRESS_BUFFER: usize = 128 << 10;
/// In nanoseconds.
const HALF_A_SECOND: i64 = 500_000_000;

/// How a layer is written.
#[derive(Debug, Clone, Default)]
pub struct WriteOptions {
    /// How the blob is compressed.
    pub compression: Compression,
    /// The overlay directories below, the topmost first. With them, files that were copied up but not changed are
    /// left out, and so are marks that hide nothing. `None` if they are not known; empty for a bottom layer.
    pub lower: Option<Vec<PathBuf>>,
    /// The latest time of modification, in seconds since the epoch; later ones are set to it.
    pub clamp_mtime: Option<i64>,
}

/// What a written layer is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerDigests {
    /// Of the tar: the layer's content.
    pub diff_id: Digest,
    /// Bytes of the tar.
    pub tar_size: u64,
    /// Of the blob: the tar compressed.
    pub digest: Digest,
    /// Bytes of the blob.
    pub size: u64,
}

/// A written layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// What it is known by.
    pub digests: LayerDigests,
    /// What it holds.
    pub index: LayerIndex,
}

/// Writes what an overlay directory changes, as a layer blob, and makes its index, in one pass. Memory grows with the
/// number of files, not with their size.
///
/// Whiteouts of overlayfs become those of the OCI image specification. So do opaque directories, if it is known what they
/// hide: one whiteout for each name, as the specification recommends; else they get its opaque marker.
///
/// # Errors
/// When the tree cannot be read, `out` cannot be written, or a file's name would delete another file in the layer.
pub fn write_layer(
    upper: &Path,
    options: &WriteOptions,
    mut out: impl Write + Send,
) -> Result<Written, LayerError> {
    let lower = options.lower.as_deref().map(LowerDir::root);
    let write_tar = |sink: &mut dyn Write| {
        let mut tar = Digesting::new(sink);
        let mut walk = Walk::new(&mut tar, Tree::Overlay, Times::Until(options.clamp_mtime));
        walk.recorder = Some(Recorder::new(Limits::default()));
        let index = walk.run(upper, lower.as_ref())?;
        Ok((tar.finish(), index))
    };
    if options.compression == Compression::None {
        let ((diff_id, tar_size), index) = compression::compress(Compression::None, &mut out, write_tar)?;
        return Ok(Written {
            digests: LayerDigests { diff_id, tar_size, digest: diff_id, size: tar_size },
            index,
        });
    }
    let mut blob = Digesting::new(out);
    let ((diff_id, tar_size), index) = compression::compress(options.compression, &mut blob, write_tar)?;
    let (digest, size) = blob.finish();
    Ok(Written { digests: LayerDigests { diff_id, tar_size, digest, size }, index })
}

/// Compresses the tar in a layer's blob anew.
///
/// # Errors
/// When the blob cannot be read or decompressed, or `out` cannot be written.
pub fn recompress(
    blob: impl Read + Send,
    compression: Compression,
    out: impl Write + Send,
) -> Result<LayerDigests, LayerError> {
    let mut tar = Decompressed::new(blob, Limits::default())?;
    let mut compressed = Digesting::new(out);
    let (diff_id, tar_size) = compression::compress(compression, &mut compressed, |sink| {
        let mut sink = Digesting::new(sink);
        let mut buffer = vec![0; RECOMPRESS_BUFFER];
        loop {
            match tar.read(&mut buffer).map_err(LayerError::reading)? {
                0 => return Ok(sink.finish()),
                read => sink.write_all(&buffer[..read]).map_err(LayerError::Output)?,
            }
        }
    })?;
    let (digest, size) = compressed.finish();
    Ok(LayerDigests { diff_id, tar_size, digest, size })
}

/// Writes a whole tree as an uncompressed tar, in the same canonical form, but that times are rounded to whole seconds
/// and not cut, as the reference builder rounds them there. With `mtime`, in seconds since the epoch, all files have that.
///
/// The tree is what is seen, such as a mounted root file system: nothing in it is taken for a whiteout.
///
/// # Errors
/// When the tree cannot be read or `out` cannot be written.
pub fn write_tree(root: &Path, mtime: Option<i64>, mut out: impl Write) -> Result<(), LayerError> {
    let times = mtime.map_or(Times::Rounded, Times::All);
    Walk::new(&mut out, Tree::Merged, times).run(root, None).map(drop)
}

/// What becomes of the files' times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Times {
    /// They are cut to whole seconds, and not later than this.
    Until(Option<i64>),
    /// They are rounded to whole seconds.
    Rounded,
    /// All are this.
    All(i64),
}

impl Times {
    fn of(self, metadata: &Metadata) -> Time {
        match self {
            Self::Until(latest) => archived_time(metadata.mtime(), latest),
            Self::Rounded => {
                let up = i64::from(metadata.mtime_nsec() >= HALF_A_SECOND);
                archived_time(metadata.mtime().saturating_add(up), None)
            }
            Self::All(seconds) => archived_time(seconds, None),
        }
    }
}

/// How the files of a tree are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tree {
    /// As one directory of an overlay, with its marks.
    Overlay,
    /// As they are.
    Merged,
}

/// One file that the walk has come to.
struct Visit<'a> {
    path: PathBuf,
    name: Vec<u8>,
    metadata: Metadata,
    attributes: Vec<Vec<u8>>,
    below: Below<'a>,
    /// Whether nothing of what is below shows through, as nothing of its parent's does.
    replaces: bool,
}

/// What the layers below have under a name.
enum Below<'a> {
    Unknown,
    Nothing,
    Child(&'a LowerChild),
}

/// What a directory is laid over.
#[derive(Clone, Copy)]
enum Onto<'a> {
    /// Nobody knows.
    Unknown,
    /// Both are seen.
    Merged(&'a LowerDir),
    /// Of this, nothing is seen.
    Replaced(&'a LowerDir),
}

struct Walk<'a, W> {
    tar: TarWriter<&'a mut W>,
    tree: Tree,
    times: Times,
    /// The first name of every file that has several.
    first_names: HashMap<(u64, u64), Vec<u8>>,
    /// Unchanged directories on the way to here: written only when something in them is.
    pending: Vec<Entry>,
    /// Sees everything that is written.
    recorder: Option<Recorder>,
}

impl<'a, W: Write> Walk<'a, W> {
    fn new(out: &'a mut W, tree: Tree, times: Times) -> Self {
        Self {
            tar: TarWriter::new(out),
            tree,
            times,
            first_names: HashMap::new(),
            pending: Vec::new(),
            recorder: None,
        }
    }

    /// Writes everything; the index is empty if nobody records.
    fn run(mut self, root: &Path, lower: Option<&LowerDir>) -> Result<LayerIndex, LayerError> {
        self.visit_children(root, b"", lower.map_or(Onto::Unknown, Onto::Merged))?;
        self.tar.finish().map_err(LayerError::Output)?;
        Ok(self.recorder.map(Recorder::finish).unwrap_or_default())
    }

    /// Visits what is in a directory; `prefix` is its name in the archive, with a slash unless it is the root.
    fn visit_children(&mut self, directory: &Path, prefix: &[u8], onto: Onto<'_>) -> Result<(), LayerError> {
        let lower = match onto {
            Onto::Unknown => None,
            Onto::Merged(lower) | Onto::Replaced(lower) => Some(lower),
        };
        let replaces = matches!(onto, Onto::Replaced(_));
        let own = names(directory)?;
        let hidden = if let Onto::Replaced(lower) = onto { lower.names()? } else { BTreeSet::new() };
        for child in own.union(&hidden) {
            let path = directory.join(child);
            let below = lower.map(|lower| lower.child(child)).transpose()?;
            if !own.contains(child) {
                if matches!(below, Some(Some(_))) {
                    self.emit_whiteout(prefix, child)?;
                }
                continue;
            }
            let visit = Visit {
                metadata: fs::symlink_metadata(&path)
                    .map_err(|error| LayerError::path("look at", &path, error))?,
                attributes: xattr::names(&path)?,
                name: [prefix, child.as_bytes()].concat(),
                below: match &below {
                    None => Below::Unknown,
                    Some(None) => Below::Nothing,
                    Some(Some(child)) => Below::Child(child),
                },
                path,
                replaces,
            };
            self.visit(visit, child)?;
        }
        Ok(())
    }

    fn visit(&mut self, visit: Visit<'_>, child: &OsStr) -> Result<(), LayerError> {
        if self.tree == Tree::Overlay {
            if overlay::is_whiteout(&visit.metadata) {
                return self.whiteout(&visit, child);
            }
            if child.as_bytes().starts_with(WHITEOUT_PREFIX) {
                return Err(not_storable(&visit.name, "in a layer its name would delete another file"));
            }
            if overlay::lacks_content(&visit.attributes) {
                return Err(not_storable(
                    &visit.name,
                    "its content is elsewhere, in an overlay with metacopy",
                ));
            }
        }
        let Some(entry) = self.entry(&visit)? else { return Ok(()) };
        let unchanged = match visit.below {
            Below::Child(below) => is_unchanged(&visit, &entry, below)?,
            Below::Unknown | Below::Nothing => false,
        };
        match entry.kind {
            Kind::Directory => self.directory(&visit, entry, unchanged),
            _ if unchanged => Ok(()),
            _ => self.emit(entry, Some(&visit)),
        }
    }

    fn whiteout(&mut self, visit: &Visit<'_>, child: &OsStr) -> Result<(), LayerError> {
        if matches!(visit.below, Below::Nothing) {
            return Ok(());
        }
        self.emit_whiteout(&visit.name[..visit.name.len() - child.len()], child)
    }

    fn emit_whiteout(&mut self, parent: &[u8], child: &OsStr) -> Result<(), LayerError> {
        let name = [parent, WHITEOUT_PREFIX, child.as_bytes()].concat();
        self.emit(Entry::marker(name, Kind::File), None)
    }

    fn directory(&mut self, visit: &Visit<'_>, entry: Entry, unchanged: bool) -> Result<(), LayerError> {
        let merging = match self.tree {
            Tree::Overlay if visit.replaces => Merging::Opaque,
            Tree::Overlay => overlay::merging(&visit.path, &visit.attributes)?,
            Tree::Merged => Merging::Merges,
        };
        let nothing = LowerDir::default();
        let (hides, inside) = match (merging, &visit.below) {
            (Merging::Redirected, _) => {
                return Err(not_storable(
                    &visit.name,
                    "it is a renamed directory of an overlay with redirects",
                ));
            }
            (Merging::Opaque, Below::Unknown) => (true, Onto::Unknown),
            (Merging::Opaque, Below::Child(below)) => (false, Onto::Replaced(&below.inside)),
            (Merging::Merges, Below::Unknown) => (false, Onto::Unknown),
            (Merging::Merges, Below::Child(below)) => (false, Onto::Merged(&below.inside)),
            (_, Below::Nothing) => (false, Onto::Merged(&nothing)),
        };
        let name = entry.name.clone();
        let depth = self.pending.len();
        if unchanged && !hides {
            self.pending.push(entry);
        } else {
            self.emit(entry, None)?;
        }
        if hides {
            self.emit(Entry::marker([&name, OPAQUE_MARKER].concat(), Kind::File), None)?;
        }
        self.visit_children(&visit.path, &name, inside)?;
        self.pending.truncate(depth);
        Ok(())
    }

    /// The entry for a file; none for a socket, which no archive can hold and no program could use.
    fn entry(&self, visit: &Visit<'_>) -> Result<Option<Entry>, LayerError> {
        let Visit { path, name, metadata, attributes, .. } = visit;
        let kind = metadata.file_type();
        let device = metadata.rdev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let mut name = name.clone();
        let mut link = Vec::new();
        let kind = if kind.is_dir() {
            name.push(b'/');
            Kind::Directory
        } else if kind.is_file() {
            Kind::File
        } else if kind.is_symlink() {
            let target =
                fs::read_link(path).map_err(|error| LayerError::path("read the link", path, error))?;
            link = target.into_os_string().into_vec();
            Kind::Symlink
        } else if kind.is_char_device() {
            Kind::Char(major, minor)
        } else if kind.is_block_device() {
            Kind::Block(major, minor)
        } else if kind.is_fifo() {
            Kind::Fifo
        } else {
            return Ok(None);
        };
        let xattrs = xattr::archived(path, attributes)?;
        Ok(Some(Entry {
            name,
            kind,
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            size: if kind == Kind::File { metadata.size() } else { 0 },
            mtime: self.times.of(metadata),
            link,
            xattrs,
        }))
    }

    /// Writes an entry after the directories it needs; `visit` is where the content of a file is.
    fn emit(&mut self, mut entry: Entry, visit: Option<&Visit<'_>>) -> Result<(), LayerError> {
        for directory in std::mem::take(&mut self.pending) {
            self.append(&directory)?;
        }
        let Some(Visit { path, metadata, .. }) = visit else { return self.append(&entry) };
        if let Some(first) = self.first_name(metadata, &entry.name) {
            entry.kind = Kind::HardLink;
            entry.link = first;
            entry.size = 0;
        }
        if entry.kind != Kind::File || entry.size == 0 {
            return self.append(&entry);
        }
        let file = File::open(path).map_err(|error| LayerError::path("open", path, error))?;
        if let Some(recorder) = &mut self.recorder {
            recorder.begin(&entry)?;
        }
        let mut content = Observed { content: file, recorder: self.recorder.as_mut() };
        match self.tar.append_file(&entry, &mut content).map_err(LayerError::Output)? {
            Fed::Whole => Ok(()),
            Fed::Short => Err(not_storable(&entry.name, "it became shorter while it was read")),
            Fed::Failed(error) => Err(LayerError::path("read", path, error)),
        }
    }

    /// Writes an entry that has no content.
    fn append(&mut self, entry: &Entry) -> Result<(), LayerError> {
        if let Some(recorder) = &mut self.recorder {
            recorder.begin(entry)?;
        }
        self.tar.append(entry).map_err(LayerError::Output)
    }

    /// The name under which this file was written before, if it was.
    fn first_name(&mut self, metadata: &Metadata, name: &[u8]) -> Option<Vec<u8>> {
        if metadata.nlink() < 2 {
            return None;
        }
        let file = (metadata.dev(), metadata.ino());
        let first = self.first_names.get(&file).cloned();
        if first.is_none() {
            self.first_names.insert(file, name.to_vec());
        }
        first
    }
}

fn names(directory: &Path) -> Result<BTreeSet<OsString>, LayerError> {
    let failed = |error| LayerError::path("list", directory, error);
    let children = fs::read_dir(directory).map_err(failed)?;
    children.map(|child| child.map(|child| child.file_name())).collect::<Result<_, _>>().map_err(failed)
}

/// Whether a file is in the upper directory only because it was copied up, as the reference builder decides it.
///
/// Times count to the nanosecond, as copying up keeps them; where both have none, the content is compared, as
/// files that were unpacked from a layer all have whole seconds. Times of directories do not count. Other names do not
/// count either: a new name of an unchanged file is written as a file of its own.
fn is_unchanged(visit: &Visit<'_>, entry: &Entry, below: &LowerChild) -> Result<bool, LayerError> {
    let (new, old) = (&visit.metadata, &below.metadata);
    let same_inode = new.mode() == old.mode()
        && new.uid() == old.uid()
        && new.gid() == old.gid()
        && new.rdev() == old.rdev()
        && entry.xattrs == xattr::archived(&below.path, &xattr::names(&below.path)?)?;
    if !same_inode || new.is_dir() {
        return Ok(same_inode);
    }
    let same_times = new.mtime() == old.mtime() && new.mtime_nsec() == old.mtime_nsec();
    if new.size() != old.size() || !same_times {
        return Ok(false);
    }
    if new.is_symlink() {
        let target = fs::read_link(&below.path)
            .map_err(|error| LayerError::path("read the link", &below.path, error))?;
        return Ok(entry.link == target.as_os_str().as_bytes());
    }
    if new.mtime_nsec() != 0 || !new.is_file() {
        return Ok(true);
    }
    same_content(&visit.path, &below.path)
}

/// Whether two files of one size have the same bytes.
fn same_content(one: &Path, other: &Path) -> Result<bool, LayerError> {
    let open = |path: &Path| File::open(path).map_err(|error| LayerError::path("open", path, error));
    let (mut one_file, mut other_file) = (open(one)?, open(other)?);
    let mut buffers = [vec![0; COMPARE_BUFFER], vec![0; COMPARE_BUFFER]];
    let [one_bytes, other_bytes] = &mut buffers;
    loop {
        let read = one_file.read(one_bytes).map_err(|error| LayerError::path("read", one, error))?;
        if read == 0 {
            return Ok(true);
        }
        other_file
            .read_exact(&mut other_bytes[..read])
            .map_err(|error| LayerError::path("read", other, error))?;
        if one_bytes[..read] != other_bytes[..read] {
            return Ok(false);
        }
    }
}

fn not_storable(name: &[u8], reason: &'static str) -> LayerError {
    LayerError::NotStorable { path: shown(name), reason }
}
