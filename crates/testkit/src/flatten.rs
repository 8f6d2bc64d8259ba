//! What an image is once its layers lie on each other: the file system that a container would see.
//!
//! Images of different builders differ in their bytes where they are equal in what they mean; this is how tests
//! compare what they mean. It shares no code with the crate that writes layers, so it shares no mistake with it.
//! The specification followed is the OCI image layer's, read strictly: a whiteout concerns lower layers only.
//! Memory grows with the number of files and the size of the largest one, not with the image.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use gantry_oci::{Digest, Hasher};
use serde_json::Value;

const OPAQUE: &str = ".wh..wh..opq";
const WHITEOUT: &str = ".wh.";
/// Files up to so many bytes are kept as text: a difference should be readable where that costs little.
const LONGEST_TEXT: u64 = 1024;
const XATTR: &str = "SCHILY.xattr.";

/// The files of a file system by their paths, without a slash in front; the root is `/`. Bytes of a path that are
/// not UTF-8 are written `\xNN`.
pub type FlatTree = BTreeMap<String, FlatFile>;

/// One platform's image.
#[derive(Debug, Clone)]
pub struct FlatImage {
    /// The image config, with its history.
    pub config: Value,
    trees: Vec<FlatTree>,
}

/// A file of any kind. Times are left out: they are not what an image means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlatFile {
    /// What it is.
    pub kind: FlatKind,
    /// The permission bits, with set-id and sticky bits.
    pub mode: u32,
    /// The user and group id.
    pub owner: (u64, u64),
    /// The extended attributes.
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// The first of its names, if it has several.
    pub hard_link: Option<String>,
}

/// The kinds of files, with what only they have.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields say it all")]
pub enum FlatKind {
    /// A regular file; the text is its content, if that is UTF-8 and short.
    Regular { size: u64, sha256: Digest, text: Option<String> },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink { target: String },
    /// A named pipe.
    Fifo,
    /// A character device.
    Character { major: u32, minor: u32 },
    /// A block device.
    Block { major: u32, minor: u32 },
}

impl FlatImage {
    /// The images in an OCI layout, a folder or a tar file, by platform (`linux/arm/v7`).
    ///
    /// Panics if the layout is not valid, down to the digests of its layers' content.
    pub fn read(layout: &Path) -> BTreeMap<String, Self> {
        let layout = Layout::open(layout);
        let mut images = BTreeMap::new();
        let mut documents = vec![json(&layout.bytes("index.json"))];
        while let Some(document) = documents.pop() {
            let below = list(&document["manifests"]).iter().map(digest);
            documents.extend(below.map(|digest| json(&layout.document(&digest))));
            if let Some(config) = document.get("config") {
                let config = json(&layout.document(&digest(config)));
                let layers: Vec<_> = list(&document["layers"]).iter().map(digest).collect();
                let image = Self { trees: flatten(&layout, &layers, &diff_ids(&config)), config };
                let platform = image.platform();
                assert!(images.insert(platform.clone(), image).is_none(), "{platform} is there twice");
            }
        }
        images
    }

    /// How many layers it has.
    pub fn layers(&self) -> usize {
        self.trees.len() - 1
    }

    /// The digests of the layers' content, bottom first.
    pub fn diff_ids(&self) -> Vec<Digest> {
        diff_ids(&self.config)
    }

    /// The file system that the first so many layers make.
    pub fn after(&self, layers: usize) -> &FlatTree {
        &self.trees[layers]
    }

    fn platform(&self) -> String {
        let names =
            ["os", "architecture", "variant"].map(|key| self.config[key].as_str().unwrap_or_default());
        names.into_iter().filter(|name| !name.is_empty()).collect::<Vec<_>>().join("/")
    }
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("the documents of a layout are JSON")
}

/// No list is an empty one: that of the layers is null in an image without any.
fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn digest(descriptor: &Value) -> Digest {
    parse(&descriptor["digest"])
}

fn parse(digest: &Value) -> Digest {
    digest.as_str().expect("a digest is a text").parse().expect("a digest is valid")
}

fn diff_ids(config: &Value) -> Vec<Digest> {
    list(&config["rootfs"]["diff_ids"]).iter().map(parse).collect()
}

/// The file system after each layer, first that after none.
fn flatten(layout: &Layout, layers: &[Digest], diff_ids: &[Digest]) -> Vec<FlatTree> {
    assert_eq!(layers.len(), diff_ids.len(), "the config has a diff id for each layer");
    let mut tree = Tree::new();
    let mut trees = vec![tree.publish()];
    for (layer, diff_id) in layers.iter().zip(diff_ids) {
        let hashing = Hashing::new(decompressed(layout.reader(&blob(layer))));
        let mut archive = tar::Archive::new(hashing);
        let mut seen = BTreeSet::new();
        for entry in archive.entries().expect("a layer is a tar file") {
            tree.apply(&mut entry.expect("a layer is a valid tar file"), &mut seen);
        }
        let mut hashing = archive.into_inner();
        std::io::copy(&mut hashing, &mut std::io::sink()).expect("the end of a layer can be read");
        assert_eq!(hashing.hasher.finish(), *diff_id, "layer {layer} does not have its diff id");
        trees.push(tree.publish());
    }
    trees
}

fn decompressed(layer: Box<dyn Read>) -> Box<dyn Read> {
    let mut layer = BufReader::new(layer);
    match layer.fill_buf().expect("a layer can be read") {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(layer)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => panic!("the layer is compressed with zstd, which tests do not read"),
        _ => Box::new(layer),
    }
}

/// A file system while layers are applied to it: its names, and which of them are one file.
#[derive(Debug)]
struct Tree {
    names: BTreeMap<String, (u64, FlatFile)>,
    next: u64,
}

impl Tree {
    fn new() -> Self {
        let mut tree = Self { names: BTreeMap::new(), next: 0 };
        tree.insert(String::new(), FlatFile::directory());
        tree
    }

    fn publish(&self) -> FlatTree {
        let mut first_names: BTreeMap<u64, (&str, usize)> = BTreeMap::new();
        for (path, (identity, _)) in &self.names {
            first_names.entry(*identity).or_insert((path, 0)).1 += 1;
        }
        let published = self.names.iter().map(|(path, (identity, file))| {
            let (first, count) = first_names[identity];
            let hard_link = (count > 1).then(|| first.to_owned());
            let path = if path.is_empty() { "/" } else { path };
            (path.to_owned(), FlatFile { hard_link, ..file.clone() })
        });
        published.collect()
    }

    /// Applies one entry; `seen` are the paths that its layer has so far.
    fn apply(&mut self, entry: &mut tar::Entry<'_, impl Read>, seen: &mut BTreeSet<String>) {
        let path = clean(&entry.path_bytes());
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
        if name == OPAQUE {
            self.remove(self.below(folder), seen);
        } else if let Some(name) = name.strip_prefix(WHITEOUT) {
            let hidden = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
            let mut paths = self.below(&hidden);
            paths.push(hidden);
            self.remove(paths, seen);
        } else {
            self.make_parents(folder, seen);
            self.add(path.clone(), entry);
            seen.insert(path);
        }
    }

    fn add(&mut self, path: String, entry: &mut tar::Entry<'_, impl Read>) {
        if !entry.header().entry_type().is_dir() {
            self.remove(self.below(&path), &BTreeSet::new());
        }
        if entry.header().entry_type().is_hard_link() {
            let target = clean(&entry.link_name_bytes().expect("a hard link has a target"));
            let linked = self.names.get(&target).cloned();
            let linked =
                linked.unwrap_or_else(|| panic!("{path} is a hard link to {target}, which is not there"));
            self.names.insert(path, linked);
        } else {
            let file = FlatFile::of(entry);
            self.insert(path, file);
        }
    }

    fn insert(&mut self, path: String, file: FlatFile) {
        self.names.insert(path, (self.next, file));
        self.next += 1;
    }

    /// Directories that no layer lists have the usual attributes.
    fn make_parents(&mut self, folder: &str, seen: &mut BTreeSet<String>) {
        for (end, _) in folder.match_indices('/').chain([(folder.len(), "")]) {
            let parent = &folder[..end];
            if !self.names.contains_key(parent) {
                self.insert(parent.to_owned(), FlatFile::directory());
                seen.insert(parent.to_owned());
            }
        }
    }

    fn below(&self, folder: &str) -> Vec<String> {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        self.names.keys().filter(|path| path.starts_with(&prefix) && *path != folder).cloned().collect()
    }

    fn remove(&mut self, paths: Vec<String>, except: &BTreeSet<String>) {
        for path in paths.iter().filter(|path| !except.contains(*path)) {
            self.names.remove(path);
        }
    }
}

impl FlatFile {
    fn directory() -> Self {
        let xattrs = BTreeMap::new();
        Self { kind: FlatKind::Directory, mode: 0o755, owner: (0, 0), xattrs, hard_link: None }
    }

    fn of(entry: &mut tar::Entry<'_, impl Read>) -> Self {
        let header = entry.header();
        let mode = header.mode().expect("an entry has a mode") & 0o7777;
        let owner = (header.uid().expect("an entry has a user"), header.gid().expect("an entry has a group"));
        Self { kind: FlatKind::of(entry), mode, owner, xattrs: xattrs(entry), hard_link: None }
    }
}

impl FlatKind {
    fn of(entry: &mut tar::Entry<'_, impl Read>) -> Self {
        let number = |number: std::io::Result<Option<u32>>| {
            number.expect("a device has numbers").expect("a device has numbers")
        };
        let (major, minor) = (entry.header().device_major(), entry.header().device_minor());
        match entry.header().entry_type() {
            tar::EntryType::Regular => Self::regular(entry),
            tar::EntryType::Directory => Self::Directory,
            tar::EntryType::Symlink => {
                let target = entry.link_name_bytes().expect("a symbolic link has a target");
                Self::Symlink { target: printable(&target) }
            }
            tar::EntryType::Fifo => Self::Fifo,
            tar::EntryType::Char => Self::Character { major: number(major), minor: number(minor) },
            tar::EntryType::Block => Self::Block { major: number(major), minor: number(minor) },
            other => panic!("a layer has an entry of type {other:?}"),
        }
    }

    fn regular(entry: &mut impl Read) -> Self {
        let mut hashing = Hashing::new(entry);
        let mut start = Vec::new();
        let all = "a file of a layer can be read";
        hashing.by_ref().take(LONGEST_TEXT + 1).read_to_end(&mut start).expect(all);
        let size = start.len() as u64 + std::io::copy(&mut hashing, &mut std::io::sink()).expect(all);
        let text = if size <= LONGEST_TEXT { String::from_utf8(start).ok() } else { None };
        Self::Regular { size, sha256: hashing.hasher.finish(), text }
    }
}

fn xattrs(entry: &mut tar::Entry<'_, impl Read>) -> BTreeMap<String, Vec<u8>> {
    let extensions = entry.pax_extensions().expect("an entry has valid extensions");
    let records = extensions.into_iter().flatten().map(|record| record.expect("an extension is valid"));
    let named =
        records.filter_map(|record| Some((record.key().ok()?.strip_prefix(XATTR)?, record.value_bytes())));
    named.map(|(name, value)| (name.to_owned(), value.to_vec())).collect()
}

/// A path without the slashes and dots around it; that of the root is empty.
fn clean(path: &[u8]) -> String {
    let text = printable(path);
    let path = if text == "." || text.starts_with("./") { &text[1..] } else { &text };
    path.trim_matches('/').to_owned()
}

fn printable(bytes: &[u8]) -> String {
    bytes.utf8_chunks().fold(String::new(), |mut text, chunk| {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
        text
    })
}

/// An OCI layout, in either form.
enum Layout {
    Folder(PathBuf),
    /// Where each file is in the tar file, and how long it is.
    Archive(PathBuf, BTreeMap<String, (u64, u64)>),
}

impl Layout {
    fn open(path: &Path) -> Self {
        if path.is_dir() {
            return Self::Folder(path.to_owned());
        }
        let mut archive = tar::Archive::new(open(path));
        let entries = archive.entries_with_seek().expect("an archive is a tar file");
        let places = entries.map(|entry| {
            let entry = entry.expect("an archive is a valid tar file");
            (clean(&entry.path_bytes()), (entry.raw_file_position(), entry.size()))
        });
        Self::Archive(path.to_owned(), places.collect())
    }

    fn reader(&self, name: &str) -> Box<dyn Read> {
        match self {
            Self::Folder(folder) => Box::new(open(&folder.join(name))),
            Self::Archive(path, places) => {
                let place = places.get(name).unwrap_or_else(|| panic!("{} has no {name}", path.display()));
                let mut file = open(path);
                file.seek(SeekFrom::Start(place.0)).expect("a file can be read from anywhere");
                Box::new(file.take(place.1))
            }
        }
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.reader(name)
            .read_to_end(&mut bytes)
            .unwrap_or_else(|error| panic!("cannot read {name}: {error}"));
        bytes
    }

    fn document(&self, digest: &Digest) -> Vec<u8> {
        let bytes = self.bytes(&blob(digest));
        assert_eq!(Digest::of(&bytes), *digest, "a blob has other content than its name says");
        bytes
    }
}

fn blob(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn open(path: &Path) -> File {
    File::open(path).unwrap_or_else(|error| panic!("cannot open {}: {error}", path.display()))
}

/// Hashes what is read through it.
struct Hashing<R> {
    below: R,
    hasher: Hasher,
}

impl<R: Read> Hashing<R> {
    fn new(below: R) -> Self {
        Self { below, hasher: Hasher::new() }
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.below.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
