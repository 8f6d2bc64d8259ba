//! Reading back: what a repository has is what was to be published, whole, and for the right platforms.

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt, stream};
use gantry_oci::{Descriptor, Digest, ImageConfig, Platform, Reference};
use gantry_registry::listed_referrer;

use super::Publication;
use super::contents::{Contents, Image};
use super::upload::Uploader;
use crate::error::{Class, Error, publishing};

/// Questions to a registry at once: they are small.
const READS_AT_ONCE: usize = 8;

/// Says that a repository has a whole image for exactly the platforms that were wanted: each of its documents and configs
/// was read back and is what was pushed; its other blobs, which the registry hashed when it took them, are there with
/// their sizes. Only [`prove`] makes one.
#[derive(Debug)]
pub(crate) struct WholeImage {
    repository: String,
    media_type: String,
    root: Vec<u8>,
    referrers: BTreeMap<Digest, Vec<Descriptor>>,
}

impl WholeImage {
    /// What was proven and has a subject, as the subjects' lists name it.
    pub(crate) fn referrers(&self) -> &BTreeMap<Digest, Vec<Descriptor>> {
        &self.referrers
    }

    /// The media type and bytes of what was proven, for a tag of the repository in which it was.
    pub(crate) fn root_in(&self, name: &Reference) -> Result<(&str, &[u8]), Error> {
        match name.name() == self.repository {
            true => Ok((&self.media_type, &self.root)),
            false => Err(invalid(format!("{name} was not proven: the proof is for {}", self.repository))),
        }
    }
}

/// Reads everything back by digest.
pub(crate) async fn prove(
    uploader: &Uploader<'_>,
    publication: &Publication,
    contents: &Contents,
) -> Result<WholeImage, Error> {
    let repository = uploader.repository;
    let platforms = all(contents.images.iter().map(|image| platform_of(uploader, image))).await?;
    if !same_platforms(&platforms, &publication.platforms) {
        let message = format!(
            "{}@{} is for {}, but was to be for {}",
            repository.name(),
            publication.root.digest,
            list(&platforms),
            list(&publication.platforms)
        );
        return Err(invalid(message));
    }
    let documents = contents.documents().map(|document| async move {
        let bytes = read_document(uploader, document).await?;
        Ok((document, bytes))
    });
    let mut root = Vec::new();
    let mut referrers: BTreeMap<Digest, Vec<Descriptor>> = BTreeMap::new();
    for (document, bytes) in all(documents).await? {
        if let Some((subject, entry)) = listed_referrer(&document.media_type, &bytes) {
            referrers.entry(subject).or_default().push(entry);
        }
        if document.digest == publication.root.digest {
            root = bytes;
        }
    }
    let was_read =
        |blob: &&Descriptor| contents.images.iter().any(|image| image.config.digest == blob.digest);
    let configs = contents.configs.iter().filter(|config| !was_read(config));
    let others = contents.layers.iter().chain(configs).filter(|blob| blob.urls.is_empty());
    all(others.map(|blob| look_for_blob(uploader, blob))).await?;
    Ok(WholeImage {
        repository: repository.name(),
        media_type: publication.root.media_type.clone(),
        root,
        referrers,
    })
}

/// The client compares the digest; the rest is here.
async fn read_document(uploader: &Uploader<'_>, document: &Descriptor) -> Result<Vec<u8>, Error> {
    let found = uploader.registry.manifest(uploader.repository, &document.digest).await;
    let found = found.map_err(|error| publishing(&error))?;
    let name = || format!("{}@{}", uploader.repository.name(), document.digest);
    if found.bytes.len() as u64 != document.size {
        return Err(invalid(format!(
            "{} has {} bytes instead of {}",
            name(),
            found.bytes.len(),
            document.size
        )));
    }
    if !found.media_type.is_empty() && found.media_type != document.media_type {
        let message =
            format!("{} came back as `{}` instead of `{}`", name(), found.media_type, document.media_type);
        return Err(invalid(message));
    }
    Ok(found.bytes)
}

/// Reads the config back: the platform that it says, which must be the index's.
async fn platform_of(uploader: &Uploader<'_>, image: &Image) -> Result<Platform, Error> {
    let mut bytes = Vec::new();
    let fetched = uploader.registry.fetch_blob(uploader.repository, &image.config, &mut bytes).await;
    fetched.map_err(|error| publishing(&error))?;
    let digest = image.config.digest;
    let config: ImageConfig = serde_json::from_slice(&bytes)
        .map_err(|error| invalid(format!("config {digest} cannot be read back: {error}")))?;
    let platform = config.platform().ok_or_else(|| invalid(format!("config {digest} is for no platform")))?;
    match &image.platform {
        Some(listed) if *listed != platform => {
            Err(invalid(format!("the config for {listed} says that it is for {platform}")))
        }
        _ => Ok(platform),
    }
}

async fn look_for_blob(uploader: &Uploader<'_>, blob: &Descriptor) -> Result<(), Error> {
    let repository = uploader.repository;
    match uploader.registry.has_blob(repository, blob).await.map_err(|error| publishing(&error))? {
        true => Ok(()),
        false => Err(invalid(format!("{} lost blob {} after it was pushed", repository.name(), blob.digest))),
    }
}

fn same_platforms(one: &[Platform], other: &[Platform]) -> bool {
    let sorted = |platforms: &[Platform]| {
        let mut platforms = platforms.to_vec();
        platforms.sort();
        platforms
    };
    sorted(one) == sorted(other)
}

fn list(platforms: &[Platform]) -> String {
    let names: Vec<_> = platforms.iter().map(ToString::to_string).collect();
    if names.is_empty() { "no platform".to_owned() } else { names.join(", ") }
}

fn invalid(message: String) -> Error {
    Error::new(Class::Verification, message)
}

async fn all<T>(work: impl Iterator<Item = impl Future<Output = Result<T, Error>>>) -> Result<Vec<T>, Error> {
    stream::iter(work).buffered(READS_AT_ONCE).try_collect().await
}
