//! Images in files: OCI layouts as directories and archives, archives of `docker save`, and the local store.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use gantry_layer::decompressed;
use gantry_oci::{Descriptor, Digest, Document, Hasher, ImageConfig, Index, Manifest, media_type};
use gantry_store::{Store, TempDir};
use serde::Deserialize;

use super::content::{Problem, Root};
use super::subject::Subject;
use crate::error::{Class, Error};
use crate::image::roots;

/// The annotations that name an entry of a layout: OCI's, and that of containerd and BuildKit.
const NAMES: [&str; 2] = ["org.opencontainers.image.ref.name", "io.containerd.image.name"];
/// What compressed files begin with: gzip, zstd, bzip2.
const COMPRESSED: [&[u8]; 3] = [b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh"];
/// Bytes that tell what a file is.
const MAGIC: u64 = 4;
const HASH_BUFFER: usize = 128 << 10;
/// Documents of an archive are read into memory.
const LARGEST_DOCUMENT: u64 = 8 << 20;

/// Blobs by digest.
#[derive(Debug)]
pub(crate) struct Files {
    place: Place,
    /// Documents that stand in no file: an archive of old Docker versions has no manifests.
    made: HashMap<Digest, Vec<u8>>,
}

#[derive(Debug)]
enum Place {
    /// A file each.
    Directory(PathBuf),
    /// Pieces of one file, by offset and size.
    Archive { path: PathBuf, pieces: HashMap<Digest, (u64, u64)>, _unpacked: Option<TempDir> },
}

/// An entry of `manifest.json`, as `docker save` writes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

impl Files {
    /// Opens a subject that is no registry's. Blocks.
    pub(crate) fn open(store: &Store, subject: &Subject) -> Result<(Self, Root), Error> {
        match subject {
            Subject::Store(name) => Self::stored(store, name),
            Subject::Layout(path, name) => {
                let index = fs::read(path.join("index.json"))
                    .map_err(|error| Error::io("read", &path.join("index.json"), &error))?;
                let files = Self::directory(path.join("blobs/sha256"));
                let root = files.select(path, &index, name.as_deref())?;
                Ok((files, root))
            }
            Subject::Archive(path, name) => Archive::open(store, path)?.into_files(name.as_deref()),
            Subject::Registry(reference) => {
                Err(Error::new(Class::Internal, format!("{reference} is in no file")))
            }
        }
    }

    fn directory(path: PathBuf) -> Self {
        Self { place: Place::Directory(path), made: HashMap::new() }
    }

    fn stored(store: &Store, name: &str) -> Result<(Self, Root), Error> {
        let files = Self::directory(store.root().join("blobs/sha256"));
        let named = store.named_image(name)?.map(|entry| entry.digest);
        let digest = named.or_else(|| name.parse().ok().filter(|digest| store.has_blob(digest)));
        let missing = || {
            Error::new(Class::NotFound, format!("the local store has no result `{name}`"))
                .hint("results are kept by `gantry build` without --push, or with --output type=image")
        };
        let root = files.root(&digest.ok_or_else(missing)?, name)?;
        Ok((files, root))
    }

    /// The root document of a layout: the entry that is named, or its only image, or else its whole list.
    fn select(&self, path: &Path, index: &[u8], name: Option<&str>) -> Result<Root, Error> {
        let invalid = |error: serde_json::Error| {
            Error::new(
                Class::Verification,
                format!("the index of `{}` is not valid: {error}", path.display()),
            )
        };
        let listed: Index = serde_json::from_slice(index).map_err(invalid)?;
        let entries = match name {
            Some(name) => named(listed.manifests, name),
            None => roots::images(&listed.manifests, |digest| self.document(digest).ok()),
        };
        let names: BTreeSet<_> = entries.iter().flat_map(names_of).map(str::to_owned).collect();
        let digests: BTreeSet<_> = entries.iter().map(|entry| entry.digest).collect();
        match (entries.first(), name) {
            (None, Some(name)) => match name.parse().ok().filter(|digest| self.size(digest).is_some()) {
                Some(digest) => self.root(&digest, name),
                None => Err(no_image(path, name)),
            },
            (Some(one), _) if digests.len() == 1 => {
                Ok(Root { bytes: self.document(&one.digest)?, descriptor: one.clone() })
            }
            (_, Some(name)) => Err(several(path, Some(name), digests.iter().map(ToString::to_string))),
            (_, None) if !names.is_empty() => Err(several(path, None, names.into_iter())),
            _ => Ok(Root { descriptor: Descriptor::of(media_type::INDEX, index), bytes: index.to_vec() }),
        }
    }

    /// A document that no list describes.
    fn root(&self, digest: &Digest, name: &str) -> Result<Root, Error> {
        let bytes = self.document(digest)?;
        let document = Document::parse(&bytes, None)
            .map_err(|error| Error::new(Class::Usage, format!("`{name}` is no image: {error}")))?;
        Ok(Root { descriptor: Descriptor::of(document.media_type(), &bytes), bytes })
    }

    /// A blob from its first byte.
    pub(crate) fn reader(&self, digest: &Digest) -> Result<Box<dyn Read + Send>, Problem> {
        let missing = || Problem::Image(format!("{digest} is not there"));
        if let Some(bytes) = self.made.get(digest) {
            return Ok(Box::new(io::Cursor::new(bytes.clone())));
        }
        let open = |path: &Path| match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing()),
            Err(error) => Err(Problem::Error(Error::io("open", path, &error))),
            Ok(file) => Ok(file),
        };
        match &self.place {
            // A pipe in the place of a blob would keep us waiting.
            Place::Directory(_) if self.size(digest).is_none() => Err(missing()),
            Place::Directory(directory) => Ok(Box::new(open(&directory.join(digest.hex()))?)),
            Place::Archive { path, pieces, .. } => {
                let (offset, size) = pieces.get(digest).copied().ok_or_else(missing)?;
                let mut file = open(path)?;
                file.seek(SeekFrom::Start(offset))
                    .map_err(|error| Problem::Error(Error::io("read", path, &error)))?;
                Ok(Box::new(file.take(size)))
            }
        }
    }

    /// The size of a blob, if it is there.
    pub(crate) fn size(&self, digest: &Digest) -> Option<u64> {
        if let Some(bytes) = self.made.get(digest) {
            return Some(bytes.len() as u64);
        }
        match &self.place {
            Place::Directory(directory) => {
                let metadata = fs::metadata(directory.join(digest.hex())).ok()?;
                metadata.is_file().then_some(metadata.len())
            }
            Place::Archive { pieces, .. } => pieces.get(digest).map(|(_, size)| *size),
        }
    }

    fn document(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let reader = self.reader(digest).map_err(|problem| match problem {
            Problem::Image(message) => Error::new(Class::Verification, message),
            Problem::Error(error) => error,
        })?;
        reader
            .take(LARGEST_DOCUMENT)
            .read_to_end(&mut bytes)
            .map_err(|error| Error::new(Class::Internal, format!("cannot read {digest}: {error}")))?;
        Ok(bytes)
    }
}

/// An archive whose files were found.
struct Archive {
    path: PathBuf,
    unpacked: Option<TempDir>,
    /// Offset and size, by name.
    files: HashMap<String, (u64, u64)>,
    /// Where names lead that are links: old archives of Docker have a layer once.
    links: HashMap<String, String>,
    shown: PathBuf,
}

impl Archive {
    fn open(store: &Store, shown: &Path) -> Result<Self, Error> {
        let failed = |error: &io::Error| Error::io("read the archive", shown, error);
        let mut head = Vec::new();
        let file = File::open(shown).map_err(|error| failed(&error))?;
        file.take(MAGIC).read_to_end(&mut head).map_err(|error| failed(&error))?;
        let unpacked = is_compressed(&head).then(|| store.temp_dir()).transpose()?;
        let path = match &unpacked {
            None => shown.to_owned(),
            Some(directory) => {
                let path = directory.path().join("archive.tar");
                decompress(shown, &path).map_err(|error| failed(&error))?;
                path
            }
        };
        let mut archive =
            Self { path, unpacked, files: HashMap::new(), links: HashMap::new(), shown: shown.to_owned() };
        archive.find_files().map_err(|error| {
            let message = format!("`{}` cannot be read as an archive: {error}", shown.display());
            Error::new(Class::Verification, message)
        })?;
        Ok(archive)
    }

    fn find_files(&mut self) -> io::Result<()> {
        let mut tar = tar::Archive::new(File::open(&self.path)?);
        for entry in tar.entries_with_seek()? {
            let entry = entry?;
            let name = clean(&String::from_utf8_lossy(&entry.path_bytes()));
            match entry.link_name_bytes() {
                Some(target) => {
                    let directory = name.rsplit_once('/').map_or("", |(directory, _)| directory);
                    let target = clean(&format!("{directory}/{}", String::from_utf8_lossy(&target)));
                    self.links.insert(name, target);
                }
                None => {
                    self.files.insert(name, (entry.raw_file_position(), entry.size()));
                }
            }
        }
        Ok(())
    }

    fn into_files(self, name: Option<&str>) -> Result<(Files, Root), Error> {
        let mut pieces = HashMap::new();
        for (file, piece) in &self.files {
            let digest =
                file.strip_prefix("blobs/sha256/").and_then(|hex| format!("sha256:{hex}").parse().ok());
            pieces.extend(digest.map(|digest: Digest| (digest, *piece)));
        }
        let mut made = HashMap::new();
        let root = match self.files.contains_key("index.json") {
            true => None,
            false => Some(self.saved(name, &mut pieces, &mut made)?),
        };
        let index = root.is_none().then(|| self.read("index.json")).transpose()?;
        let place = Place::Archive { path: self.path, pieces, _unpacked: self.unpacked };
        let files = Files { place, made };
        let root = match (root, index) {
            (Some(root), _) => root,
            (None, index) => files.select(&self.shown, &index.unwrap_or_default(), name)?,
        };
        Ok((files, root))
    }

    /// The images of `manifest.json`, as documents that describe them: the archive itself has none.
    fn saved(
        &self,
        name: Option<&str>,
        pieces: &mut HashMap<Digest, (u64, u64)>,
        made: &mut HashMap<Digest, Vec<u8>>,
    ) -> Result<Root, Error> {
        let invalid = |what: String| {
            Error::new(
                Class::Verification,
                format!("`{}` is no archive of images: {what}", self.shown.display()),
            )
        };
        let list = self.read("manifest.json")?;
        let list: Vec<Saved> = serde_json::from_slice(&list).map_err(|error| invalid(error.to_string()))?;
        let is_wanted = |saved: &&Saved| match name {
            Some(name) => saved.repo_tags.iter().flatten().any(|tag| tag == name),
            None => true,
        };
        let mut manifests = Vec::new();
        let tags: BTreeSet<String> = list
            .iter()
            .filter(is_wanted)
            .flat_map(|saved| saved.repo_tags.iter().flatten().cloned())
            .collect();
        for saved in list.iter().filter(is_wanted) {
            let config = self.read(&saved.config)?;
            let parsed: ImageConfig = serde_json::from_slice(&config)
                .map_err(|error| invalid(format!("`{}`: {error}", saved.config)))?;
            let (listed, known) = (saved.layers.iter().flatten().count(), parsed.rootfs.diff_ids.len());
            if listed != known {
                return Err(invalid(format!("it lists {listed} layers for a config with {known} diff ids")));
            }
            // Docker and skopeo name a config by its digest.
            let stem = saved.config.rsplit('/').next().and_then(|name| name.strip_suffix(".json"));
            let named = stem.and_then(|stem| format!("sha256:{stem}").parse::<Digest>().ok());
            if named.is_some_and(|named| named != Digest::of(&config)) {
                return Err(invalid(format!("`{}` has the digest {}", saved.config, Digest::of(&config))));
            }
            let mut layers = Vec::new();
            for (layer, diff_id) in saved.layers.iter().flatten().zip(&parsed.rootfs.diff_ids) {
                let piece = self.find(layer).ok_or_else(|| invalid(format!("it has no `{layer}`")))?;
                let layer = self.layer(piece, diff_id)?;
                pieces.insert(layer.digest, piece);
                layers.push(layer);
            }
            let manifest = Manifest::new(Descriptor::of(media_type::CONFIG, &config), layers);
            let bytes = serde_json::to_vec(&manifest).expect("a manifest is plain data");
            manifests.push(Descriptor::of(media_type::MANIFEST, &bytes));
            made.insert(Digest::of(&config), config);
            made.insert(Digest::of(&bytes), bytes);
        }
        match (manifests.as_slice(), name) {
            ([], Some(name)) => Err(no_image(&self.shown, name)),
            ([one], _) => Ok(Root { descriptor: one.clone(), bytes: made[&one.digest].clone() }),
            (_, name) if !tags.is_empty() => Err(several(&self.shown, name, tags.into_iter())),
            _ => {
                let bytes = serde_json::to_vec(&Index::new(manifests)).expect("an index is plain data");
                Ok(Root { descriptor: Descriptor::of(media_type::INDEX, &bytes), bytes })
            }
        }
    }

    /// A layer as it lies here. One that is not compressed has its diff id as its digest, which is proved when it is
    /// read; that of a compressed one stands nowhere.
    fn layer(&self, (offset, size): (u64, u64), diff_id: &Digest) -> Result<Descriptor, Error> {
        let read = || {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(offset))?;
            let mut content = file.take(size);
            let mut head = Vec::new();
            content.by_ref().take(MAGIC).read_to_end(&mut head)?;
            if !is_compressed(&head) {
                return Ok(Descriptor::new(media_type::LAYER_TAR, *diff_id, size));
            }
            let mut hasher = Hasher::new();
            let mut stored = io::Cursor::new(head).chain(content);
            let mut buffer = vec![0; HASH_BUFFER];
            loop {
                match stored.read(&mut buffer)? {
                    0 => break,
                    length => hasher.update(&buffer[..length]),
                }
            }
            Ok(Descriptor::new(media_type::LAYER_GZIP, hasher.finish(), size))
        };
        read().map_err(|error: io::Error| Error::io("read the archive", &self.shown, &error))
    }

    fn find(&self, name: &str) -> Option<(u64, u64)> {
        let name = clean(name);
        let name = self.links.get(&name).unwrap_or(&name);
        self.files.get(name).copied()
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, Error> {
        let missing = || {
            let message = format!("`{}` is no archive of images: it has no `{name}`", self.shown.display());
            Error::new(Class::Verification, message)
        };
        let (offset, size) = self.find(name).ok_or_else(missing)?;
        let read = || {
            let mut bytes = Vec::new();
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(offset))?;
            file.take(size.min(LARGEST_DOCUMENT)).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().map_err(|error: io::Error| Error::io("read the archive", &self.shown, &error))
    }
}

fn is_compressed(head: &[u8]) -> bool {
    COMPRESSED.iter().any(|magic| head.starts_with(magic))
}

fn names_of(entry: &Descriptor) -> impl Iterator<Item = &str> {
    NAMES.iter().filter_map(|key| entry.annotations.get(*key)).map(String::as_str)
}

/// The entries with this name or digest; if there are none, those with a whole reference that ends in it.
fn named(entries: Vec<Descriptor>, name: &str) -> Vec<Descriptor> {
    let is =
        |entry: &&Descriptor| entry.digest.to_string() == name || names_of(entry).any(|known| known == name);
    let ends = |entry: &&Descriptor| {
        names_of(entry).any(|known| known.strip_suffix(name).is_some_and(|rest| rest.ends_with(':')))
    };
    let found: Vec<_> = entries.iter().filter(is).cloned().collect();
    match found.is_empty() {
        true => entries.iter().filter(ends).cloned().collect(),
        false => found,
    }
}

fn no_image(path: &Path, name: &str) -> Error {
    Error::new(Class::NotFound, format!("`{}` has no image `{name}`", path.display()))
}

/// What was named does not say which image is meant.
fn several(path: &Path, name: Option<&str>, names: impl Iterator<Item = String>) -> Error {
    let name = name.map(|name| format!(" `{name}`")).unwrap_or_default();
    let names: Vec<_> = names.collect();
    Error::new(Class::Usage, format!("`{}` has several images{name}", path.display()))
        .hint(format!("name one of them, as in `oci:DIR:NAME`: {}", names.join(", ")))
}

fn decompress(from: &Path, to: &Path) -> io::Result<()> {
    let mut reader = decompressed(File::open(from)?).map_err(io::Error::other)?;
    io::copy(&mut reader, &mut File::create(to)?).map(drop)
}

/// A name without `.`, `..` and slashes in front.
fn clean(name: &str) -> String {
    gantry_llb::pattern::clean(&format!("/{name}")).trim_start_matches('/').to_owned()
}
