//! Images in an OCI layout of the user's, as bases: `--build-context name=oci-layout://path`.

use std::io;

use gantry_oci::{
    BlobSink, BoxFuture, Descriptor, Digest, Document, Hasher, ImageConfig, ImageError, ImageErrorKind,
    ImagePort, Manifest, Platform, Reference, ResolvedImage,
};

use crate::error::{Class, Error};
use crate::image::LayoutPlace;
use crate::image::layout::Layout;

/// Indexes in indexes.
const MAX_DEPTH: usize = 3;
const READ_BUFFER: usize = 256 << 10;

/// A layout as a place that images come from.
#[derive(Debug)]
pub(crate) struct LayoutImages {
    layout: Layout,
    place: LayoutPlace,
}

impl LayoutImages {
    /// The layout at a place, and the digest of the image that the place means. Blocks.
    pub(crate) fn open(place: &LayoutPlace) -> Result<(Self, Digest), Error> {
        let layout = Layout::open(&place.path)?;
        let digest = layout.find(place)?.digest;
        Ok((Self { layout, place: place.clone() }, digest))
    }

    fn document(&self, digest: &Digest) -> Result<Vec<u8>, ImageError> {
        self.layout.document(digest).map_err(of_layout)
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

    fn copy(&self, blob: &Descriptor, sink: &mut dyn BlobSink) -> Result<(), ImageError> {
        let source = self.layout.blob(blob).map_err(of_layout)?;
        let failed = |error: &io::Error| of_layout(Error::io("read", &self.place.path, error));
        let mut file = source.open(0).map_err(|error| failed(&error))?;
        let (mut hasher, mut buffer) = (Hasher::new(), vec![0; READ_BUFFER]);
        loop {
            let read = file.read(&mut buffer).map_err(|error| failed(&error))?;
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
            sink.write_all(&buffer[..read]).map_err(|error| failed(&error))?;
        }
        match hasher.finish() == blob.digest {
            true => Ok(()),
            false => Err(corrupt(format!(
                "`{}` has other content under {}",
                self.place.path.display(),
                blob.digest
            ))),
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

fn of_layout(error: Error) -> ImageError {
    let kind = match error.class {
        Class::NotFound => ImageErrorKind::NotFound,
        Class::Verification => ImageErrorKind::Corrupt,
        _ => ImageErrorKind::Unavailable,
    };
    ImageError::new(kind, error.message).hint("a layout that is not complete cannot be built on")
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
                let message =
                    format!("the layout `{}` has no image for {platform}", self.place.path.display());
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
        sink: &'a mut dyn BlobSink,
    ) -> BoxFuture<'a, Result<(), ImageError>> {
        Box::pin(async move { tokio::task::block_in_place(|| self.copy(blob, sink)) })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use gantry_oci::{Index, media_type};

    use super::*;

    #[test]
    fn a_place_means_a_tag_a_digest_or_the_only_image() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let place = |tag: Option<&str>, digest: Option<Digest>| LayoutPlace {
            path: root.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        };
        let open = |tag| LayoutImages::open(&place(tag, None)).map(|(_, digest)| digest);
        assert_eq!(open(None).unwrap_err().class, Class::NotFound, "it is no layout yet");
        fs::create_dir_all(root.join("blobs/sha256")).unwrap();
        let image = |content: &str| {
            let config = Descriptor::of(media_type::CONFIG, content.as_bytes());
            let bytes = serde_json::to_vec(&Manifest::new(config, Vec::new())).unwrap();
            let manifest = Descriptor::of(media_type::MANIFEST, &bytes);
            fs::write(root.join("blobs/sha256").join(manifest.digest.hex()), bytes).unwrap();
            manifest
        };
        let named = |mut image: Descriptor, key: &str, name: &str| {
            image.annotations.insert(key.to_owned(), name.to_owned());
            image
        };
        let write = |entries: Vec<Descriptor>| {
            fs::write(root.join("index.json"), serde_json::to_vec(&Index::new(entries)).unwrap()).unwrap();
        };
        let (first, second) = (image("first"), image("second"));
        let v1 = named(first.clone(), "org.opencontainers.image.ref.name", "v1");
        write(vec![v1.clone(), named(second.clone(), "io.containerd.image.name", "r.test/a:v2")]);
        assert_eq!(open(Some("v1")).unwrap(), first.digest);
        assert_eq!(open(Some("v2")).unwrap(), second.digest);
        let by_digest = LayoutImages::open(&place(Some("v1"), Some(second.digest))).unwrap().1;
        assert_eq!(by_digest, second.digest, "the digest decides");
        let error = open(None).unwrap_err();
        assert!(error.class == Class::NotFound && error.hints[0].contains("v1"), "{error:?}");
        write(vec![v1.clone(), named(second.clone(), "org.opencontainers.image.ref.name", "v1")]);
        let error = open(Some("v1")).unwrap_err();
        assert!(
            error.class == Class::Usage && error.hints[0].contains(&second.digest.to_string()),
            "{error:?}"
        );
        write(vec![v1]);
        assert_eq!(open(None).unwrap(), first.digest, "the only one");
        assert!(open(Some("v3")).is_err());
    }
}
