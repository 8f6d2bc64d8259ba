//! A document and everything below it on their way from a source to a target, bottom-up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::{StreamExt, TryStreamExt, stream};
use gantry_oci::{BoxFuture, Descriptor, Digest, Document, Index, Manifest, media_type};
use gantry_registry::{Uploaded, listed_referrer};

use super::request::Trust;
use crate::error::{Class, Error};
use crate::events::Step;
use crate::image::source::{DEEPEST_NESTING, RawDocument, Source};
use crate::image::target::{ReadBack, Target};

/// Blobs of one manifest on their way at once. A registry's own limits are the client's business; this bounds buffers.
const BLOBS_AT_ONCE: usize = 6;
/// Children of one index at once.
const CHILDREN_AT_ONCE: usize = 4;
/// Entries of one index. BuildKit's caches have thousands.
const MOST_ENTRIES: usize = 10_000;

/// One image while it is copied.
pub(crate) struct Job<'a> {
    pub(crate) source: &'a Source,
    pub(crate) target: &'a Target,
    pub(crate) trust: Trust,
    pub(crate) step: &'a Step<'a>,
    pub(crate) tally: &'a Tally,
    /// Digests of manifests and indexes that were placed: what may have something attached.
    pub(crate) placed: Mutex<BTreeSet<Digest>>,
}

/// What was moved so far, and what of it refers to something by its subject.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    referrers: Mutex<BTreeMap<Digest, Vec<Descriptor>>>,
    bytes: AtomicU64,
    mounts: AtomicU64,
    documents: AtomicU64,
    foreign: Mutex<BTreeSet<String>>,
    skipped: Mutex<BTreeSet<String>>,
}

impl Tally {
    /// Names what has a subject where a registry does not do so itself. The lists stand under tags, so this comes after
    /// everything was read back and before the image's own tags.
    pub(crate) async fn list_referrers(&self, target: &Target) -> Result<(), Error> {
        if !matches!(target, Target::Registry { .. }) {
            return Ok(());
        }
        let referrers =
            std::mem::take(&mut *self.referrers.lock().expect("nothing panics while it holds the list"));
        for (subject, entries) in referrers {
            target.list_referrers(&subject, entries).await?;
        }
        Ok(())
    }

    fn count(&self, uploaded: Uploaded) {
        match uploaded {
            Uploaded::Existed => {}
            Uploaded::Mounted => {
                self.mounts.fetch_add(1, Ordering::Relaxed);
            }
            Uploaded::Sent(bytes) => {
                self.bytes.fetch_add(bytes, Ordering::Relaxed);
            }
        }
    }

    /// Bytes of blobs that were sent.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Blobs that were mounted.
    pub(super) fn mounts(&self) -> u64 {
        self.mounts.load(Ordering::Relaxed)
    }

    /// Whether anything was missing at the destination.
    pub(super) fn moved(&self) -> bool {
        self.bytes() + self.mounts() + self.documents.load(Ordering::Relaxed) > 0
    }

    /// Notes something attached of a kind that cannot be copied.
    pub(super) fn skip(&self, what: String) {
        self.skipped.lock().expect("nothing panics while it holds the list").insert(what);
    }

    /// What was attached and not copied.
    pub(super) fn skipped(&self) -> Vec<String> {
        self.skipped.lock().expect("nothing panics while it holds the list").iter().cloned().collect()
    }

    /// Layers that were left where they are.
    pub(super) fn foreign(&self) -> Vec<String> {
        self.foreign.lock().expect("nothing panics while it holds the list").iter().cloned().collect()
    }
}

impl Job<'_> {
    /// Places a document whose bytes are at hand, and all or some of what it lists.
    pub(crate) async fn root(
        &self,
        root: &RawDocument,
        chosen: Option<&BTreeSet<Digest>>,
    ) -> Result<ReadBack, Error> {
        let single = matches!(root.document, Document::Manifest(_)) && self.trust != Trust::Nothing;
        if single && self.target.has(&root.descriptor).await? {
            self.note_document(root);
            return self.target.prove(&root.descriptor, &root.bytes).await;
        }
        self.below(root, chosen, 0).await?;
        self.put(root).await
    }

    /// Places what a descriptor names.
    pub(crate) fn place<'b>(
        &'b self,
        entry: &'b Descriptor,
        depth: usize,
    ) -> BoxFuture<'b, Result<(), Error>> {
        Box::pin(async move {
            let is_document =
                media_type::is_index(&entry.media_type) || media_type::is_manifest(&entry.media_type);
            if !is_document {
                // BuildKit's caches list their layers as an index's entries.
                return self.blob(entry).await;
            }
            // A registry takes a manifest only with everything that it names; an index it may have taken with less.
            let complete = media_type::is_manifest(&entry.media_type) && self.trust != Trust::Nothing;
            if complete && self.target.has(entry).await? {
                self.note(entry.digest);
                return Ok(());
            }
            let document = self.source.read(entry).await?;
            self.below(&document, None, depth + 1).await?;
            self.put(&document).await.map(|_| ())
        })
    }

    async fn below(
        &self,
        document: &RawDocument,
        chosen: Option<&BTreeSet<Digest>>,
        depth: usize,
    ) -> Result<(), Error> {
        let index = match &document.document {
            Document::Manifest(manifest) => return self.blobs(manifest).await,
            Document::Index(index) => index,
        };
        self.check_bounds(index, depth)?;
        // Collected first: the compiler does not see that a lazy iterator over borrowed entries may cross threads.
        let mut children = Vec::new();
        for entry in &index.manifests {
            if chosen.is_none_or(|chosen| chosen.contains(&entry.digest)) {
                children.push(self.place(entry, depth));
            }
        }
        stream::iter(children).buffer_unordered(CHILDREN_AT_ONCE).try_collect::<Vec<()>>().await?;
        Ok(())
    }

    /// Whether the target has a document with all, or the chosen ones, of the entries below it. Only asks.
    pub(crate) fn is_complete<'b>(
        &'b self,
        document: &'b RawDocument,
        chosen: Option<&'b BTreeSet<Digest>>,
        depth: usize,
    ) -> BoxFuture<'b, Result<bool, Error>> {
        Box::pin(async move {
            if !self.target.has(&document.descriptor).await? {
                return Ok(false);
            }
            let Document::Index(index) = &document.document else { return Ok(true) };
            self.check_bounds(index, depth)?;
            let entries = index.manifests.iter();
            for entry in entries.filter(|entry| chosen.is_none_or(|chosen| chosen.contains(&entry.digest))) {
                let is_there = match media_type::is_index(&entry.media_type) {
                    true => self.is_complete(&self.source.read(entry).await?, None, depth + 1).await?,
                    false if media_type::is_manifest(&entry.media_type) => self.target.has(entry).await?,
                    false => self.target.has_blob(entry).await?,
                };
                if !is_there {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    fn check_bounds(&self, index: &Index, depth: usize) -> Result<(), Error> {
        match depth > DEEPEST_NESTING || index.manifests.len() > MOST_ENTRIES {
            false => Ok(()),
            true => Err(Error::new(
                Class::Verification,
                format!(
                    "{} nests more than {DEEPEST_NESTING} indexes, or lists more than {MOST_ENTRIES} entries",
                    self.source.location()
                ),
            )),
        }
    }

    async fn blobs(&self, manifest: &Manifest) -> Result<(), Error> {
        let mut seen = BTreeSet::new();
        let blobs = std::iter::once(&manifest.config).chain(&manifest.layers);
        let blobs: Vec<_> =
            blobs.filter(|blob| seen.insert(blob.digest)).map(|blob| self.blob(blob)).collect();
        stream::iter(blobs).buffer_unordered(BLOBS_AT_ONCE).try_collect::<Vec<()>>().await?;
        Ok(())
    }

    async fn blob(&self, blob: &Descriptor) -> Result<(), Error> {
        if media_type::is_foreign_layer(&blob.media_type) {
            let mut foreign = self.tally.foreign.lock().expect("nothing panics while it holds the list");
            foreign.insert(blob.urls.first().cloned().unwrap_or_else(|| blob.digest.to_string()));
            return Ok(());
        }
        let source = self.source.blob(blob)?;
        let uploaded = self.target.put_blob(source, self.source.location()).await?;
        self.tally.count(uploaded);
        match uploaded {
            Uploaded::Sent(bytes) => self.step.say(format!("{} sent, {bytes} bytes", blob.digest)),
            Uploaded::Mounted => self.step.say(format!("{} mounted", blob.digest)),
            Uploaded::Existed => {}
        }
        Ok(())
    }

    /// Writes a document unless it is there, and reads it back.
    pub(crate) async fn put(&self, document: &RawDocument) -> Result<ReadBack, Error> {
        let descriptor = &document.descriptor;
        let missing = !self.target.has(descriptor).await?;
        if missing || self.trust == Trust::Nothing {
            self.target.put(descriptor, &document.bytes).await?;
            self.step.say(format!("pushed {}", descriptor.digest));
        }
        if missing {
            self.tally.documents.fetch_add(1, Ordering::Relaxed);
        }
        let proof = self.target.prove(descriptor, &document.bytes).await?;
        self.note_document(document);
        Ok(proof)
    }

    fn note_document(&self, document: &RawDocument) {
        let descriptor = &document.descriptor;
        if let Some((subject, entry)) = listed_referrer(&descriptor.media_type, &document.bytes) {
            let mut referrers = self.tally.referrers.lock().expect("nothing panics while it holds the list");
            referrers.entry(subject).or_default().push(entry);
        }
        self.note(descriptor.digest);
    }

    fn note(&self, digest: Digest) {
        self.placed.lock().expect("nothing panics while it holds the list").insert(digest);
    }
}
