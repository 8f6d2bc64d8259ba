//! Images in an OCI layout of the user's, as bases: `--build-context name=oci-layout://path`.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use gantry_oci::{
    BoxFuture, Descriptor, Digest, Document, Hasher, ImageConfig, ImageError, ImageErrorKind, ImagePort,
    Index, Manifest, Platform, Reference, ResolvedImage,
};

use crate::error::{Class, Error};

/// Manifests and configs are kilobytes.
const MAX_DOCUMENT: u64 = 8 << 20;
/// Indexes in indexes.
const MAX_DEPTH: usize = 3;
const READ_BUFFER: usize = 256 << 10;
/// The annotation of an entry of `index.json` with its tag (OCI image layout specification).
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// What containerd's tools write: the whole reference.
const IMAGE_NAME: &str = "io.containerd.image.name";
const DEFAULT_TAG: &str = "latest";

/// A layout as a place that images come from.
#[derive(Debug, Clone)]
pub(crate) struct LayoutImages {
    root: PathBuf,
}

impl LayoutImages {
    /// The layout in this directory.
    pub(crate) fn open(root: &Path) -> Result<Self, Error> {
        match root.join("oci-layout").is_file() {
            true => Ok(Self { root: root.to_owned() }),
            false => {
                let message =
                    format!("`{}` is not an OCI layout: it has no file `oci-layout`", root.display());
                Err(Error::new(Class::NotFound, message))
            }
        }
    }

    /// The digest of the image with this tag; without a tag, of `latest`, or of the only image.
    pub(crate) fn tagged(&self, tag: Option<&str>) -> Result<Digest, Error> {
        let path = self.root.join("index.json");
        let bytes = fs::read(&path).map_err(|error| Error::io("read", &path, &error))?;
        let index: Index = serde_json::from_slice(&bytes).map_err(|error| {
            Error::new(Class::Verification, format!("`{}` is not an index: {error}", path.display()))
        })?;
        let wanted = tag.unwrap_or(DEFAULT_TAG);
        let found = index.manifests.iter().find(|entry| is_tagged(entry, wanted));
        match (found, index.manifests.as_slice(), tag) {
            (Some(found), ..) => Ok(found.digest),
            (None, [only], None) => Ok(only.digest),
            (None, several, _) => {
                let tags: Vec<_> =
                    several.iter().filter_map(|entry| entry.annotations.get(REF_NAME)).cloned().collect();
                let message = format!("the layout `{}` has no tag `{wanted}`", self.root.display());
                let hint = match tags.is_empty() {
                    true => "its images have no tags: name one by its digest, `oci-layout://path@sha256:…`"
                        .to_owned(),
                    false => format!("it has {}", tags.join(", ")),
                };
                Err(Error::new(Class::NotFound, message).hint(hint))
            }
        }
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    fn document(&self, digest: &Digest) -> Result<Vec<u8>, ImageError> {
        let path = self.path(digest);
        let mut bytes = Vec::new();
        File::open(&path)
            .and_then(|file| file.take(MAX_DOCUMENT).read_to_end(&mut bytes))
            .map_err(|error| unreadable(&path, &error))?;
        match Digest::of(&bytes) == *digest {
            true => Ok(bytes),
            false => {
                Err(corrupt(format!("`{}` does not have the content that its name says", path.display())))
            }
        }
    }

    /// The manifest below `digest` that is for the platform, with its own digest and the config's bytes.
    fn find(&self, digest: &Digest, wanted: &Platform, depth: usize) -> Result<Option<Found>, ImageError> {
        let bytes = self.document(digest)?;
        let parsed = Document::parse(&bytes, None).map_err(|error| corrupt(format!("{digest}: {error}")))?;
        let index = match parsed {
            Document::Manifest(manifest) => return self.judge(*digest, bytes, &manifest, wanted),
            Document::Index(_) if depth == MAX_DEPTH => {
                return Err(corrupt(format!("{digest} is an index too deep inside of others")));
            }
            Document::Index(index) => index,
        };
        let mut best: Option<Found> = None;
        for entry in &index.manifests {
            if entry.platform.as_ref().is_some_and(|platform| wanted.accepts(platform).is_none()) {
                continue;
            }
            if let Some(found) = self.find(&entry.digest, wanted, depth + 1)?
                && best.as_ref().is_none_or(|best| found.distance < best.distance)
            {
                best = Some(found);
            }
        }
        Ok(best)
    }

    fn judge(
        &self,
        digest: Digest,
        bytes: Vec<u8>,
        manifest: &Manifest,
        wanted: &Platform,
    ) -> Result<Option<Found>, ImageError> {
        let config = self.document(&manifest.config.digest)?;
        // Attestations have configs of other kinds, without a platform.
        let parsed = serde_json::from_slice::<ImageConfig>(&config).ok();
        let platform = parsed.and_then(|config| config.platform());
        Ok(platform.and_then(|platform| {
            let distance = wanted.accepts(&platform)?;
            Some(Found { manifest: (digest, bytes), config, platform, distance })
        }))
    }

    fn copy(&self, blob: &Descriptor, sink: &mut (dyn Write + Send)) -> Result<(), ImageError> {
        let path = self.path(&blob.digest);
        let failed = |error: &std::io::Error| unreadable(&path, error);
        let mut file = File::open(&path).map_err(|error| failed(&error))?;
        let (mut hasher, mut size, mut buffer) = (Hasher::new(), 0, vec![0; READ_BUFFER]);
        loop {
            let read = file.read(&mut buffer).map_err(|error| failed(&error))?;
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
            size += read as u64;
            sink.write_all(&buffer[..read]).map_err(|error| failed(&error))?;
        }
        match size == blob.size && hasher.finish() == blob.digest {
            true => Ok(()),
            false => {
                Err(corrupt(format!("`{}` does not have the content that its name says", path.display())))
            }
        }
    }
}

/// An image that was found.
struct Found {
    manifest: (Digest, Vec<u8>),
    config: Vec<u8>,
    platform: Platform,
    distance: u32,
}

fn is_tagged(entry: &Descriptor, tag: &str) -> bool {
    let annotation = |name: &str| entry.annotations.get(name).map(String::as_str);
    annotation(REF_NAME) == Some(tag)
        || annotation(IMAGE_NAME)
            .and_then(|name| name.parse::<Reference>().ok()?.tag().map(|found| found == tag))
            == Some(true)
}

fn unreadable(path: &Path, error: &std::io::Error) -> ImageError {
    let kind = match error.kind() {
        std::io::ErrorKind::NotFound => ImageErrorKind::NotFound,
        std::io::ErrorKind::PermissionDenied => ImageErrorKind::Denied,
        _ => ImageErrorKind::Unavailable,
    };
    ImageError::new(kind, format!("cannot read `{}` of the layout: {error}", path.display()))
        .hint("a layout that is not complete cannot be built on")
}

fn corrupt(message: String) -> ImageError {
    ImageError::new(ImageErrorKind::Corrupt, message)
}

impl ImagePort for LayoutImages {
    fn resolve<'a>(
        &'a self,
        reference: &'a Reference,
        platform: &'a Platform,
    ) -> BoxFuture<'a, Result<ResolvedImage, ImageError>> {
        Box::pin(async move {
            let root = reference.digest().ok_or_else(|| corrupt(format!("`{reference}` has no digest")))?;
            let found = tokio::task::block_in_place(|| self.find(root, platform, 0))?;
            let found = found.ok_or_else(|| {
                let message = format!("the layout `{}` has no image for {platform}", self.root.display());
                ImageError::new(ImageErrorKind::NoPlatform, message)
            })?;
            Ok(ResolvedImage {
                reference: reference.clone(),
                manifest: found.manifest,
                config: found.config,
                platform: found.platform,
            })
        })
    }

    fn fetch<'a>(
        &'a self,
        _reference: &'a Reference,
        blob: &'a Descriptor,
        sink: &'a mut (dyn Write + Send),
    ) -> BoxFuture<'a, Result<(), ImageError>> {
        Box::pin(async move { tokio::task::block_in_place(|| self.copy(blob, sink)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        assert_eq!(LayoutImages::open(root).unwrap_err().class, Class::NotFound);
        fs::write(root.join("oci-layout"), "{}").unwrap();
        let write = |tags: &[(&str, &str)]| {
            let entry = |(key, tag): &(&str, &str)| {
                let mut entry = Descriptor::of("m", tag.as_bytes());
                entry.annotations.insert((*key).to_owned(), (*tag).to_owned());
                entry
            };
            let index = serde_json::to_vec(&Index::new(tags.iter().map(entry).collect())).unwrap();
            fs::write(root.join("index.json"), index).unwrap();
        };
        let layout = LayoutImages::open(root).unwrap();
        write(&[(REF_NAME, "v1"), (IMAGE_NAME, "r.test/a:v2")]);
        assert_eq!(layout.tagged(Some("v1")).unwrap(), Digest::of("v1"));
        assert_eq!(layout.tagged(Some("v2")).unwrap(), Digest::of("r.test/a:v2"));
        let error = layout.tagged(None).unwrap_err();
        assert!(error.message.contains("no tag `latest`") && error.hints[0].contains("v1"), "{error:?}");
        write(&[(REF_NAME, "v1")]);
        assert_eq!(layout.tagged(None).unwrap(), Digest::of("v1"), "the only one");
        assert!(layout.tagged(Some("v3")).is_err());
    }
}
