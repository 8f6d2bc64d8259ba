//! Small images made in memory from lists of files.
//!
//! Equal lists give equal bytes: times are zero and nothing of the machine gets in.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use gantry_oci::{Descriptor, Digest, ImageConfig, Index, Manifest, Platform, media_type};

use crate::ImageTarget;

/// One entry of a layer.
#[derive(Debug, Clone)]
pub struct Entry {
    path: String,
    kind: tar::EntryType,
    mode: u32,
    owner: (u64, u64),
    content: Vec<u8>,
    link: String,
}

impl Entry {
    /// A regular file, mode 0644, of root.
    pub fn file(path: &str, content: impl AsRef<[u8]>) -> Self {
        Self { content: content.as_ref().to_vec(), ..Self::new(path, tar::EntryType::Regular, 0o644) }
    }

    /// A directory, mode 0755, of root.
    pub fn dir(path: &str) -> Self {
        Self::new(path, tar::EntryType::Directory, 0o755)
    }

    /// A symbolic link.
    pub fn symlink(path: &str, target: &str) -> Self {
        Self { link: target.to_owned(), ..Self::new(path, tar::EntryType::Symlink, 0o777) }
    }

    /// A hard link to an earlier entry.
    pub fn hard_link(path: &str, target: &str) -> Self {
        Self { link: target.to_owned(), ..Self::new(path, tar::EntryType::Link, 0o644) }
    }

    /// The same entry with this mode.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// The same entry with this user and group id.
    #[must_use]
    pub fn owner(mut self, user: u64, group: u64) -> Self {
        self.owner = (user, group);
        self
    }

    fn new(path: &str, kind: tar::EntryType, mode: u32) -> Self {
        Self { path: path.to_owned(), kind, mode, owner: (0, 0), content: Vec::new(), link: String::new() }
    }

    fn append(&self, archive: &mut tar::Builder<Vec<u8>>) -> std::io::Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(self.kind);
        header.set_mode(self.mode);
        header.set_uid(self.owner.0);
        header.set_gid(self.owner.1);
        header.set_mtime(0);
        header.set_size(self.content.len() as u64);
        match self.link.is_empty() {
            true => archive.append_data(&mut header, &self.path, self.content.as_slice()),
            false => archive.append_link(&mut header, &self.path, &self.link),
        }
    }
}

/// Builds an image for one platform.
#[derive(Debug, Clone)]
pub struct ImageBuilder {
    config: ImageConfig,
    blobs: Vec<Vec<u8>>,
    layers: Vec<Descriptor>,
}

impl ImageBuilder {
    /// An image without layers for this platform, `linux/amd64` and the like.
    pub fn new(platform: &str) -> Self {
        let platform: Platform = platform.parse().expect("the test names a valid platform");
        let mut config = ImageConfig {
            created: Some("1970-01-01T00:00:00Z".to_owned()),
            architecture: platform.architecture().to_owned(),
            variant: platform.variant().to_owned(),
            os: platform.os().to_owned(),
            ..ImageConfig::default()
        };
        config.config.env = Some(vec!["PATH=/usr/local/bin:/usr/bin:/bin".to_owned()]);
        Self { config, blobs: Vec::new(), layers: Vec::new() }
    }

    /// Adds a gzip layer with these entries.
    #[must_use]
    pub fn layer(mut self, entries: &[Entry]) -> Self {
        let mut archive = tar::Builder::new(Vec::new());
        for entry in entries {
            entry.append(&mut archive).expect("a tar entry in memory can be written");
        }
        let tar = archive.into_inner().expect("a tar file in memory can be finished");
        self.config.rootfs.diff_ids.push(Digest::of(&tar));
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        let blob =
            gzip.write_all(&tar).and_then(|()| gzip.finish()).expect("bytes in memory can be compressed");
        self.layers.push(Descriptor::of(media_type::LAYER_GZIP, &blob));
        self.blobs.push(blob);
        self
    }

    /// Changes the config.
    #[must_use]
    pub fn config(mut self, change: impl FnOnce(&mut ImageConfig)) -> Self {
        change(&mut self.config);
        self
    }

    /// The finished image.
    pub fn build(mut self) -> BuiltImage {
        let config = serde_json::to_vec(&self.config).expect("a config is valid JSON");
        let manifest = Manifest::new(Descriptor::of(media_type::CONFIG, &config), self.layers.clone());
        let bytes = serde_json::to_vec(&manifest).expect("a manifest is valid JSON");
        self.blobs.push(config.clone());
        BuiltImage {
            platform: self.config.platform().expect("the platform was parsed"),
            manifest,
            bytes,
            config,
            blobs: self.blobs,
        }
    }
}

/// An image with all its bytes.
#[derive(Debug, Clone)]
pub struct BuiltImage {
    platform: Platform,
    /// The manifest.
    pub manifest: Manifest,
    /// The manifest's bytes.
    pub bytes: Vec<u8>,
    /// The config's bytes.
    pub config: Vec<u8>,
    /// The layers and the config.
    pub blobs: Vec<Vec<u8>>,
}

impl BuiltImage {
    /// The digest of the manifest.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }

    /// The manifest's descriptor, with its platform, as an index holds it.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::of(media_type::MANIFEST, &self.bytes).with_platform(self.platform.clone())
    }

    /// Stores the image, under a tag if one is given.
    pub fn push(&self, target: &impl ImageTarget, repository: &str, tag: Option<&str>) -> Digest {
        for blob in &self.blobs {
            target.put_blob(repository, blob);
        }
        target.put_manifest(repository, tag, media_type::MANIFEST, &self.bytes)
    }

    /// Stores an index of these images under a tag and returns the index's digest.
    pub fn push_index(images: &[Self], target: &impl ImageTarget, repository: &str, tag: &str) -> Digest {
        for image in images {
            image.push(target, repository, None);
        }
        let index = Index::new(images.iter().map(Self::descriptor).collect());
        let bytes = serde_json::to_vec(&index).expect("an index is valid JSON");
        target.put_manifest(repository, Some(tag), media_type::INDEX, &bytes)
    }
}
