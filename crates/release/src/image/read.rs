//! Single things out of a registry or layout: tags, digests, manifests, configs, blobs.

use std::io::{self, Write};

use gantry_oci::{BlobSource, Descriptor, Digest, Document, Platform, Reference};
use gantry_registry::RemoteBlob;

use super::source::{DEEPEST_NESTING, RawDocument, Source};
use super::{Images, Place, of_registry};
use crate::copy::check_single;
use crate::error::{Class, Error};
use crate::output::blocking;

/// Bytes of a blob from one read to one write.
const BUFFER: usize = 128 << 10;

/// The tags of a repository or layout.
pub async fn list_tags(images: &Images, place: &Place) -> Result<Vec<String>, Error> {
    let listed = async { Source::open(&images.registry, place).await?.tags().await };
    images.unless_stopped(listed).await
}

/// The digest that a name stands for, or of its image for one platform.
pub async fn digest(images: &Images, name: &Place, platform: Option<&Platform>) -> Result<Digest, Error> {
    let found = async {
        let source = Source::open(&images.registry, name).await?;
        let root = source.resolve().await?;
        match platform {
            None => Ok(root.digest),
            Some(platform) => Ok(for_platform(&source, &root, platform).await?.descriptor.digest),
        }
    };
    images.unless_stopped(found).await
}

/// The bytes of a manifest or index, or of the manifest for one platform.
pub async fn manifest(images: &Images, name: &Place, platform: Option<&Platform>) -> Result<Vec<u8>, Error> {
    let found = async {
        let source = Source::open(&images.registry, name).await?;
        let root = source.resolve().await?;
        match platform {
            None => Ok(source.read(&root).await?.bytes),
            Some(platform) => Ok(for_platform(&source, &root, platform).await?.bytes),
        }
    };
    images.unless_stopped(found).await
}

/// The bytes of an image's config: of one platform's, or, of an index without one being asked for, this machine's.
pub async fn config(images: &Images, name: &Place, platform: Option<&Platform>) -> Result<Vec<u8>, Error> {
    let found = async {
        let source = Source::open(&images.registry, name).await?;
        let root = source.resolve().await?;
        let host = Platform::host();
        let mut image = match platform {
            Some(platform) => for_platform(&source, &root, platform).await?,
            None => source.read(&root).await?,
        };
        if matches!(image.document, Document::Index(_)) {
            image = for_platform(&source, &root, &host).await?;
        }
        match &image.document {
            Document::Manifest(manifest) => source.bytes(&manifest.config).await,
            Document::Index(_) => unreachable!("an image for a platform is a manifest"),
        }
    };
    images.unless_stopped(found).await
}

/// The manifest for a platform: the best of one level of indexes before any of the next.
async fn for_platform(source: &Source, root: &Descriptor, wanted: &Platform) -> Result<RawDocument, Error> {
    let mut level = vec![root.clone()];
    let mut available = Vec::new();
    for _ in 0..=DEEPEST_NESTING {
        let mut next = Vec::new();
        let mut best: Option<(u32, Descriptor)> = None;
        for entry in &level {
            let document = source.read(entry).await?;
            let Document::Index(index) = &document.document else {
                check_single(source, &document, std::slice::from_ref(wanted)).await?;
                return Ok(document);
            };
            for child in index.manifests.iter().filter(|child| !child.is_attestation()) {
                match &child.platform {
                    Some(platform) => {
                        available.push(platform.to_string());
                        let rank = wanted.accepts(platform);
                        if let Some(rank) =
                            rank.filter(|rank| best.as_ref().is_none_or(|(best, _)| rank < best))
                        {
                            best = Some((rank, child.clone()));
                        }
                    }
                    None if gantry_oci::media_type::is_index(&child.media_type) => next.push(child.clone()),
                    None => {}
                }
            }
        }
        if let Some((_, entry)) = best {
            return source.read(&entry).await;
        }
        level = next;
    }
    let message = format!("{} has no {wanted}: it has {}", source.location(), available.join(", "));
    Err(Error::new(Class::NotFound, message).hint("ask for a platform that the image has"))
}

/// Writes a blob of a repository, as it arrives. What was written is the blob only if there is no error.
pub async fn blob(
    images: &Images,
    repository: &Reference,
    digest: &Digest,
    mut out: impl Write + Send + 'static,
) -> Result<(), Error> {
    let written = async {
        let found = RemoteBlob::find(&images.registry, repository, digest).await;
        let blob = found.map_err(|error| of_registry(&error))?.ok_or_else(|| {
            Error::new(Class::NotFound, format!("{} has no blob {digest}", repository.name()))
        })?;
        let cancel = images.cancel.clone();
        blocking(move || {
            let read = |error: &io::Error| match error
                .get_ref()
                .and_then(|inner| inner.downcast_ref::<gantry_registry::RegistryError>())
            {
                Some(error) => of_registry(error),
                None => Error::new(Class::Verification, error.to_string()),
            };
            let mut reader = blob.open(0).map_err(|error| read(&error))?;
            let mut buffer = vec![0; BUFFER];
            while !cancel.is_cancelled() {
                let length = io::Read::read(&mut reader, &mut buffer).map_err(|error| read(&error))?;
                let wrote = match length {
                    0 => out.flush(),
                    length => out.write_all(&buffer[..length]),
                };
                wrote.map_err(|error| {
                    Error::new(Class::Internal, format!("cannot write to standard output: {error}"))
                })?;
                if length == 0 {
                    return Ok(());
                }
            }
            Err(Error::new(Class::Cancelled, "stopped"))
        })
        .await
    };
    images.unless_stopped(written).await
}
