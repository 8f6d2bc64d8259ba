//! Where an image goes to: a repository or a layout, told in the same words.
//!
//! A tag is written for a [`ReadBack`] only, which reading back makes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use gantry_oci::{BlobSource, Descriptor, Digest, ImageErrorKind, Reference};
use gantry_registry::{Precondition, Registry, Uploaded};
use tokio_util::sync::CancellationToken;

use super::layout::Layout;
use super::layout_writer::LayoutWriter;
use super::place::{LayoutPlace, Place};
use super::{Images, of_registry};
use crate::error::{Class, Error};
use crate::output::blocking;
use crate::publish::policy::{self, Gate, TagPolicy, Terms, Verdict};
use crate::publish::recorded::Source;

/// A place that gets images.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// A repository.
    Registry { registry: Registry, name: Reference, board: Arc<Board> },
    /// A layout.
    Layout { writer: Arc<LayoutWriter>, location: LayoutPlace, cancel: CancellationToken },
}

/// Which repositories have a blob, as far as this command brought it there or found it.
///
/// Of copies that need the same blob at one registry, one uploads it; the others wait and mount it.
#[derive(Debug, Default)]
pub(crate) struct Board {
    /// By registry and digest.
    blobs: Mutex<HashMap<(String, Digest), Holders>>,
}

/// Repositories of one registry that have one blob; locked while it is brought to another.
type Holders = Arc<tokio::sync::Mutex<Vec<String>>>;

impl Board {
    fn holders(&self, host: &str, digest: Digest) -> Holders {
        let mut blobs = self.blobs.lock().expect("nothing panics while it holds the board");
        Arc::clone(blobs.entry((host.to_owned(), digest)).or_default())
    }
}

/// Says that a place has a document, complete with all that was to come with it: each was read back by digest after
/// everything that it names was there.
#[derive(Debug)]
pub(crate) struct ReadBack {
    place: String,
    descriptor: Descriptor,
    bytes: Vec<u8>,
}

impl Target {
    /// Opens the place. Asks no registry.
    pub(crate) async fn open(images: &Images, board: &Arc<Board>, location: &Place) -> Result<Self, Error> {
        Ok(match location {
            Place::Registry(name) => Self::Registry {
                registry: images.registry.clone(),
                name: name.clone(),
                board: Arc::clone(board),
            },
            Place::Layout(layout) => {
                let opened = layout.clone();
                let writer = Arc::new(blocking(move || LayoutWriter::open(&opened)).await?);
                Self::Layout { writer, location: layout.clone(), cancel: images.cancel.clone() }
            }
        })
    }

    /// The place, with the tag that the image gets there.
    pub(crate) fn location(&self) -> Place {
        match self {
            Self::Registry { name, .. } => Place::Registry(name.clone()),
            Self::Layout { location, .. } => Place::Layout(location.clone()),
        }
    }

    /// The same place for another image of it.
    pub(crate) fn at(&self, location: Place) -> Self {
        match (self, location) {
            (Self::Registry { registry, board, .. }, Place::Registry(name)) => {
                Self::Registry { registry: registry.clone(), name, board: Arc::clone(board) }
            }
            (Self::Layout { writer, cancel, .. }, Place::Layout(location)) => {
                Self::Layout { writer: Arc::clone(writer), location, cancel: cancel.clone() }
            }
            _ => unreachable!("a place keeps its kind"),
        }
    }

    /// What the location's tag or digest means now; `None` if there is no such thing.
    pub(crate) async fn resolve(&self) -> Result<Option<Descriptor>, Error> {
        match self {
            Self::Registry { registry, name, .. } => {
                registry.head(name).await.map_err(|error| of_registry(&error))
            }
            // A layout is here: finding out costs what doing it costs.
            Self::Layout { .. } => Ok(None),
        }
    }

    /// Whether the place has this document.
    pub(crate) async fn has(&self, document: &Descriptor) -> Result<bool, Error> {
        match self {
            Self::Registry { registry, name, .. } => {
                let found = registry.head(&name.pinned(document.digest)).await;
                Ok(found
                    .map_err(|error| of_registry(&error))?
                    .is_some_and(|found| found.size == document.size))
            }
            Self::Layout { writer, .. } => {
                let (writer, digest, size) = (Arc::clone(writer), document.digest, document.size);
                blocking(move || Ok(writer.has_document(&digest, size))).await
            }
        }
    }

    /// Whether the place has this blob.
    pub(crate) async fn has_blob(&self, blob: &Descriptor) -> Result<bool, Error> {
        match self {
            Self::Registry { registry, name, .. } => {
                registry.has_blob(name, blob).await.map_err(|error| of_registry(&error))
            }
            Self::Layout { writer, .. } => Ok(writer.has(&blob.digest, blob.size)),
        }
    }

    /// Makes sure that the place has a blob. `origin` has it already.
    pub(crate) async fn put_blob(
        &self,
        source: Arc<dyn BlobSource>,
        origin: &Place,
    ) -> Result<Uploaded, Error> {
        match self {
            Self::Registry { registry, name, board } => {
                let holders = board.holders(name.host(), source.digest());
                let mut holders = holders.lock().await;
                if holders.iter().any(|holder| holder == name.repository()) {
                    return Ok(Uploaded::Existed);
                }
                let near = match origin {
                    Place::Registry(origin) if origin.host() == name.host() => Some(origin.repository()),
                    _ => holders.first().map(String::as_str),
                };
                let near = near.filter(|near| *near != name.repository());
                let uploaded = registry.push_blob(name, source.as_ref(), near).await;
                let uploaded = uploaded.map_err(|error| of_registry(&error))?;
                holders.push(name.repository().to_owned());
                Ok(uploaded)
            }
            Self::Layout { writer, cancel, .. } => {
                let (writer, cancel) = (Arc::clone(writer), cancel.clone());
                blocking(move || writer.put(source.as_ref(), &cancel)).await
            }
        }
    }

    /// Writes a document under its digest.
    pub(crate) async fn put(&self, document: &Descriptor, bytes: &[u8]) -> Result<(), Error> {
        match self {
            Self::Registry { registry, name, .. } => {
                let pushed = registry.push_manifest_by_digest(name, &document.media_type, bytes).await;
                pushed.map(|_| ()).map_err(|error| of_registry(&error))
            }
            Self::Layout { writer, cancel, .. } => {
                let (writer, cancel) = (Arc::clone(writer), cancel.clone());
                let bytes = bytes.to_vec();
                blocking(move || writer.put_document(&bytes, &cancel)).await
            }
        }
    }

    /// Reads a document back, of which everything else is there: its bytes, and not only that there are some.
    pub(crate) async fn prove(&self, document: &Descriptor, bytes: &[u8]) -> Result<ReadBack, Error> {
        let place = self.location().name();
        let is_there = match self {
            Self::Registry { registry, name, .. } => match registry.manifest(name, &document.digest).await {
                Ok(read) => read.bytes == bytes,
                Err(error) if error.kind() == ImageErrorKind::NotFound => false,
                Err(error) => return Err(of_registry(&error)),
            },
            Self::Layout { .. } => self.has(document).await?,
        };
        match is_there {
            true => Ok(ReadBack { place, descriptor: document.clone(), bytes: bytes.to_vec() }),
            false => {
                let message = format!("{place} does not have {} after it was written", document.digest);
                Err(Error::new(Class::Verification, message))
            }
        }
    }

    /// Finds out whether the location's tag may be pointed at `ours`. For one policy `ours` has to be there: see
    /// [`TagPolicy::Forward`].
    pub(crate) async fn permit(&self, ours: &Descriptor, policy: TagPolicy) -> Result<(), Error> {
        match self {
            Self::Registry { registry, name, .. } => {
                judged_tag((registry, name), ours, policy).await.map(|_| ())
            }
            Self::Layout { writer, location, .. } => {
                judged_entry((writer, location), ours, policy).await.map(|_| ())
            }
        }
    }

    /// Points the location's tag at what was proven to be there, if the policy allows it.
    pub(crate) async fn tag(&self, proof: &ReadBack, policy: TagPolicy) -> Result<(), Error> {
        let location = self.location();
        if location.name() != proof.place {
            let message = format!("{location} was not proven: the proof is for {}", proof.place);
            return Err(Error::new(Class::Verification, message));
        }
        match self {
            // A name with only a digest has nothing to move.
            Self::Registry { name, .. } if name.tag().is_none() => Ok(()),
            Self::Registry { registry, name, .. } => {
                let precondition = judged_tag((registry, name), &proof.descriptor, policy).await?;
                let document = (&*proof.descriptor.media_type, &*proof.bytes);
                let tagged = registry.push_tag_if(name, document, precondition).await;
                tagged
                    .map(|_| ())
                    .map_err(|error| policy::unwritten(name, &error).unwrap_or_else(|| of_registry(&error)))
            }
            Self::Layout { writer, location, .. } => {
                let judged = judged_entry((writer, location), &proof.descriptor, policy).await?;
                let tag = name_in_layout(location);
                let (writer, entry) = (Arc::clone(writer), proof.descriptor.clone());
                blocking(move || match (tag, judged) {
                    (Some(tag), Judged::Is(current)) => writer.name_if(&tag, entry, current),
                    (tag, _) => writer.name(tag.as_deref(), entry),
                })
                .await
            }
        }
    }

    /// Names what refers to `subject` where the place does not do so itself.
    pub(crate) async fn list_referrers(
        &self,
        subject: &Digest,
        entries: Vec<Descriptor>,
    ) -> Result<(), Error> {
        match self {
            Self::Registry { registry, name, .. } => {
                let listed = registry.list_referrers(name, subject, &entries).await;
                listed.map_err(|error| of_registry(&error))
            }
            Self::Layout { writer, cancel, .. } => {
                let (writer, cancel) = (Arc::clone(writer), cancel.clone());
                let index = gantry_oci::Index::new(entries);
                let bytes = serde_json::to_vec(&index).expect("an index is plain data");
                let entry = Descriptor::of(gantry_oci::media_type::INDEX, &bytes);
                let tag = format!("sha256-{}", subject.hex());
                blocking(move || {
                    writer.put_document(&bytes, &cancel)?;
                    writer.name(Some(&tag), entry)
                })
                .await
            }
        }
    }

    /// Completes the place, after the last tag.
    pub(crate) async fn finish(&self) -> Result<(), Error> {
        match self {
            Self::Registry { .. } => Ok(()),
            Self::Layout { writer, cancel, .. } => {
                let (writer, cancel) = (Arc::clone(writer), cancel.clone());
                blocking(move || writer.finish(&cancel)).await
            }
        }
    }
}

/// What a verdict on an entry of a layout was about, which it still has to be when it is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judged {
    /// Nothing: whatever is there may be replaced.
    Anything,
    /// This document, or that there is none.
    Is(Option<Digest>),
}

/// What a repository's tag has to be when it is pointed at `ours`; an error if it may not be.
async fn judged_tag(
    (registry, name): (&Registry, &Reference),
    ours: &Descriptor,
    policy: TagPolicy,
) -> Result<Precondition, Error> {
    if policy == TagPolicy::Overwrite {
        return Ok(Precondition::None);
    }
    let terms = Terms { policy: Some(policy), ..Terms::default() };
    let gate = Gate { registry, ours: Source::Registry(registry, name), terms: &terms };
    match gate.judge(name, ours).await? {
        Verdict::Write(precondition) => Ok(precondition),
        Verdict::Refuse(refusal) => Err(refusal),
    }
}

/// The same of a layout's entry.
async fn judged_entry(
    (writer, location): (&Arc<LayoutWriter>, &LayoutPlace),
    ours: &Descriptor,
    policy: TagPolicy,
) -> Result<Judged, Error> {
    if policy == TagPolicy::Overwrite {
        return Ok(Judged::Anything);
    }
    let reader = Arc::clone(writer);
    let replaced = blocking(move || reader.replaced()).await?;
    let current = |layout: &Layout| layout.named(&name_in_layout(location)?);
    let Some((layout, current)) = replaced.as_ref().and_then(|layout| Some((layout, current(layout)?)))
    else {
        return Ok(Judged::Is(None));
    };
    let here = writer.blobs();
    let theirs = (&current, Source::Layout(layout.blobs()));
    let place = Place::Layout(location.clone());
    match policy::refusal(policy, &place, theirs, (ours, Source::Layout(&here))).await? {
        Some(refusal) => Err(refusal),
        None => Ok(Judged::Is(Some(current.digest))),
    }
}

/// The name that an image gets in the layout's index; none where it is known by its digest alone.
fn name_in_layout(location: &LayoutPlace) -> Option<String> {
    match (&location.tag, &location.digest) {
        (None, None) => Some("latest".to_owned()),
        (tag, _) => tag.clone(),
    }
}
