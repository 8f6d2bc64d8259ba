//! The image port: a reference and a platform become the digests of one image.
//!
//! A tag is looked up once in a client's life, whoever asks first, so that all platforms of a build come from the same
//! index even if the tag moves meanwhile.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use gantry_oci::{
    BlobSink, BoxFuture, Descriptor, Digest, Document, ImageConfig, ImageError, ImagePort, Index, Manifest,
    Platform, Reference, ResolvedImage, media_type,
};
use tokio::sync::OnceCell;

use crate::error::During;
use crate::manifests::Resolved;
use crate::{Answer, Fault, Registry};

/// Configs are kilobytes; nothing that runs has one this large.
const LARGEST_CONFIG: u64 = 8 * 1024 * 1024;
/// Indexes in indexes below the first. The specification allows any number; nobody uses more than one.
const DEEPEST_NESTING: usize = 2;
/// Manifests and indexes that are opened, all told, in search of a platform because their entries do not name one.
const MOST_OPENED: usize = 16;
/// Remembered manifests in bytes: thousands of images.
const MEMO_SIZE: usize = 16 * 1024 * 1024;

/// What was looked up and read.
#[derive(Default)]
pub(crate) struct Memo {
    /// By name and tag. Small, and as many as a build names.
    tags: Mutex<HashMap<String, Arc<OnceCell<Digest>>>>,
    manifests: Mutex<Shelf>,
}

/// Manifests by digest; the oldest go first.
#[derive(Default)]
struct Shelf {
    entries: VecDeque<Resolved>,
    size: usize,
}

impl Shelf {
    fn get(&self, digest: &Digest) -> Option<Resolved> {
        self.entries.iter().find(|entry| entry.digest == *digest).cloned()
    }

    fn put(&mut self, resolved: Resolved) {
        self.size += resolved.bytes.len();
        self.entries.push_back(resolved);
        while self.size > MEMO_SIZE {
            self.size -= self.entries.pop_front().map_or(0, |entry| entry.bytes.len());
        }
    }
}

/// An image of an index, or alone.
struct Candidate {
    digest: Digest,
    bytes: Vec<u8>,
    manifest: Manifest,
}

impl Registry {
    async fn image(&self, reference: &Reference, wanted: &Platform) -> Result<ResolvedImage, Fault> {
        let pinned = self.pin(reference).await?;
        let root = *pinned.digest().expect("it was pinned");
        let resolved = self.remembered(&pinned, &root).await?;
        let (candidate, config, platform) =
            match Document::parse(&resolved.bytes, Some(&resolved.media_type))? {
                Document::Index(index) => {
                    let (entry, platform) = self.choose(&pinned, index, wanted).await?;
                    let candidate = self.candidate(&pinned, &entry).await?;
                    let config = self.config(&pinned, &candidate.manifest).await?;
                    (candidate, config, platform)
                }
                Document::Manifest(manifest) => {
                    let config = self.config(&pinned, &manifest).await?;
                    let platform =
                        platform_of(&config)?.filter(|platform| wanted.accepts(platform).is_some());
                    let Some(platform) = platform else {
                        return Err(no_platform(wanted, platform_of(&config)?.into_iter().collect()));
                    };
                    (Candidate { digest: resolved.digest, bytes: resolved.bytes, manifest }, config, platform)
                }
            };
        Ok(ResolvedImage {
            reference: pinned,
            manifest: (candidate.digest, candidate.bytes),
            config,
            platform,
        })
    }

    /// The reference with the digest that its tag points at, the same one each time.
    async fn pin(&self, reference: &Reference) -> Result<Reference, Fault> {
        if reference.digest().is_some() {
            return Ok(reference.clone());
        }
        let cell = {
            let mut tags = self.memo().tags.lock().expect("nothing panics while it holds the tags");
            Arc::clone(tags.entry(reference.to_string()).or_default())
        };
        let digest = cell.get_or_try_init(|| async {
            if Self::has_mirrors(&self.pulling(reference)?) {
                // The registry says what it is, and a mirror then serves it.
                let found = self.look(reference).await?;
                return found.map(|found| found.digest).ok_or_else(|| not_found(reference));
            }
            let resolved = self.read(reference).await?;
            let digest = resolved.digest;
            self.remember(resolved);
            Ok::<_, Fault>(digest)
        });
        Ok(reference.pinned(*digest.await?))
    }

    async fn remembered(&self, reference: &Reference, digest: &Digest) -> Result<Resolved, Fault> {
        let known =
            self.memo().manifests.lock().expect("nothing panics while it holds the shelf").get(digest);
        if let Some(resolved) = known {
            return Ok(resolved);
        }
        let resolved = self.read(&reference.pinned(*digest)).await?;
        self.remember(resolved.clone());
        Ok(resolved)
    }

    fn remember(&self, resolved: Resolved) {
        self.memo().manifests.lock().expect("nothing panics while it holds the shelf").put(resolved);
    }

    /// The entry that serves a platform best, of all indexes of one level before any of the next.
    async fn choose(
        &self,
        reference: &Reference,
        root: Index,
        wanted: &Platform,
    ) -> Result<(Descriptor, Platform), Fault> {
        let mut available = Vec::new();
        let mut level = vec![root];
        let mut opened = 0;
        for _ in 0..=DEEPEST_NESTING {
            let mut best: Option<(u32, Descriptor, Platform)> = None;
            let mut nested = Vec::new();
            for entry in level.into_iter().flat_map(|index| index.manifests) {
                if entry.is_attestation() {
                    continue;
                }
                if media_type::is_index(&entry.media_type) {
                    nested.push(entry);
                    continue;
                }
                let platform = match entry.platform.clone() {
                    Some(platform) => platform,
                    None if !media_type::is_manifest(&entry.media_type) => continue,
                    None => {
                        opened += 1;
                        if opened > MOST_OPENED {
                            continue;
                        }
                        let Some(platform) = self.platform(reference, &entry).await? else { continue };
                        platform
                    }
                };
                if let Some(rank) = wanted.accepts(&platform)
                    && best.as_ref().is_none_or(|(best, ..)| rank < *best)
                {
                    best = Some((rank, entry, platform.clone()));
                }
                available.push(platform);
            }
            if let Some((_, entry, platform)) = best {
                return Ok((entry, platform));
            }
            level = Vec::new();
            for entry in nested {
                opened += 1;
                if opened > MOST_OPENED {
                    break;
                }
                let resolved = self.remembered(reference, &entry.digest).await?;
                match Document::parse(&resolved.bytes, Some(&entry.media_type))? {
                    Document::Index(index) => level.push(index),
                    Document::Manifest(_) => {
                        return Err(Fault::Corrupt(format!("{} is no index", entry.digest)));
                    }
                }
            }
        }
        match opened > MOST_OPENED {
            false => Err(no_platform(wanted, available)),
            true => Err(Fault::Corrupt(format!(
                "no {wanted} was found: more than {MOST_OPENED} entries of the index say nothing about their platforms"
            ))),
        }
    }

    /// The platform of an index's entry that does not name it. An artifact is for none.
    async fn platform(&self, reference: &Reference, entry: &Descriptor) -> Result<Option<Platform>, Fault> {
        let candidate = self.candidate(reference, entry).await?;
        match &candidate.manifest.config.media_type[..] {
            media_type::CONFIG | media_type::DOCKER_CONFIG => {
                platform_of(&self.config(reference, &candidate.manifest).await?)
            }
            _ => Ok(None),
        }
    }

    async fn candidate(&self, reference: &Reference, entry: &Descriptor) -> Result<Candidate, Fault> {
        let resolved = self.remembered(reference, &entry.digest).await?;
        if resolved.bytes.len() as u64 != entry.size {
            let (has, says) = (resolved.bytes.len(), entry.size);
            return Err(Fault::Corrupt(format!(
                "manifest {} has {has} bytes, and the index says {says}",
                entry.digest
            )));
        }
        match Document::parse(&resolved.bytes, Some(&entry.media_type))? {
            Document::Manifest(manifest) => {
                Ok(Candidate { digest: entry.digest, bytes: resolved.bytes, manifest })
            }
            Document::Index(_) => Err(Fault::Corrupt(format!("{} is no manifest", entry.digest))),
        }
    }

    async fn config(&self, reference: &Reference, manifest: &Manifest) -> Result<Vec<u8>, Fault> {
        let config = &manifest.config;
        if config.size > LARGEST_CONFIG {
            return Err(Fault::Corrupt(format!("the image's config is larger than {LARGEST_CONFIG} bytes")));
        }
        let mut bytes = Vec::new();
        self.download(reference, config, &mut bytes).await?;
        Ok(bytes)
    }
}

fn not_found(reference: &Reference) -> Fault {
    Fault::Answer(Answer {
        status: 404,
        reason: "Not Found",
        detail: format!("the registry has no `{}`", reference.tag().unwrap_or_default()),
    })
}

fn platform_of(config: &[u8]) -> Result<Option<Platform>, Fault> {
    let config: ImageConfig = serde_json::from_slice(config)
        .map_err(|error| Fault::Corrupt(format!("the image's config is not valid: {error}")))?;
    Ok(config.platform())
}

fn no_platform(wanted: &Platform, available: Vec<Platform>) -> Fault {
    let mut available: Vec<String> = available.iter().map(ToString::to_string).collect();
    available.sort();
    available.dedup();
    Fault::NoPlatform { wanted: wanted.to_string(), available }
}

impl ImagePort for Registry {
    fn resolve<'a>(
        &'a self,
        reference: &'a Reference,
        platform: &'a Platform,
    ) -> BoxFuture<'a, Result<ResolvedImage, ImageError>> {
        Box::pin(async move {
            let image = self.image(reference, platform).await;
            Ok(image.during(|| format!("resolving {reference} for {platform}"))?)
        })
    }

    fn fetch<'a>(
        &'a self,
        reference: &'a Reference,
        blob: &'a Descriptor,
        sink: &'a mut dyn BlobSink,
    ) -> BoxFuture<'a, Result<(), ImageError>> {
        Box::pin(async move { Ok(self.fetch_blob(reference, blob, sink).await?) })
    }
}
