//! One image: whether it is to be copied, what of it, and what is done when all of it is there.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use futures_util::{StreamExt, TryStreamExt, stream};
use gantry_oci::{Descriptor, Digest, Document};

use super::job::{Job, Tally};
use super::request::{CopyReport, CopyRequest, CopyState, PlatformForm, Platforms, Trust};
use super::{attached, select};
use crate::error::{Class, Error};
use crate::events::{Event, Step};
use crate::image::source::{RawDocument, Source};
use crate::image::target::{Board, Target};
use crate::image::{Images, Place};
use crate::publish::TagPolicy;

/// Images of one command at once: enough to hide the time of an answer, few enough for public registries.
pub(crate) const IMAGES_AT_ONCE: usize = 8;

/// Copies an image, or all tags of a repository; one report for each.
///
/// # Errors
/// The first one. What was copied until then stays under its digests and is not sent again; no tag points at anything
/// that is not complete.
pub async fn copy(images: &Images, request: &CopyRequest) -> Result<Vec<CopyReport>, Error> {
    images.unless_stopped(copy_all(images, request)).await
}

async fn copy_all(images: &Images, request: &CopyRequest) -> Result<Vec<CopyReport>, Error> {
    let board = Arc::<Board>::default();
    let source = Source::open(&images.registry, &request.source).await?;
    let target = Target::open(images, &board, &request.destination).await?;
    let pairs: Vec<(Source, Target)> = match request.all_tags {
        false => vec![(source, target.clone())],
        true => {
            let tags = source.tags().await?;
            let pair = |tag: &String| {
                (source.at(source.location().tagged(tag)), target.at(target.location().tagged(tag)))
            };
            tags.iter().map(pair).collect()
        }
    };
    let copies = pairs.into_iter().map(|(source, target)| async move {
        let copier = Copier { images, source, target, request };
        copier.copy().await
    });
    let reports = stream::iter(copies).buffered(IMAGES_AT_ONCE).try_collect().await?;
    target.finish().await?;
    Ok(reports)
}

/// Copies one image.
pub(crate) struct Copier<'a> {
    pub(crate) images: &'a Images,
    pub(crate) source: Source,
    pub(crate) target: Target,
    pub(crate) request: &'a CopyRequest,
}

/// The image that is to be at the destination.
struct Plan {
    root: RawDocument,
    /// The entries of the root that go; `None` for all.
    chosen: Option<BTreeSet<Digest>>,
}

impl Copier<'_> {
    /// Copies the image if the destination does not have it.
    pub(crate) async fn copy(&self) -> Result<CopyReport, Error> {
        let (from, to) = tokio::try_join!(self.source.resolve(), self.target.resolve())?;
        self.copy_resolved(from, to).await
    }

    /// The same where it is known what each side has.
    pub(crate) async fn copy_resolved(
        &self,
        from: Descriptor,
        to: Option<Descriptor>,
    ) -> Result<CopyReport, Error> {
        let tally = Tally::default();
        let same = |digest: Digest| to.as_ref().is_some_and(|to| to.digest == digest);
        let partly = self.request.platforms.is_some();
        let trusted = self.request.trust == Trust::Digests && !self.request.attached.any();
        if same(from.digest) && !partly && trusted {
            return Ok(self.report(&from, from.digest, CopyState::UpToDate, &tally));
        }
        let plan = self.plan(&from).await?;
        let root = plan.root.descriptor.digest;
        let whole = plan.chosen.is_none();
        if same(root) && whole && trusted {
            return Ok(self.report(&from, root, CopyState::UpToDate, &tally));
        }
        self.check_digest(root)?;
        // Nothing is sent for a tag that stays; what another policy wants to know is known when all is there.
        if self.request.policy == TagPolicy::Immutable {
            self.target.permit(&plan.root.descriptor, TagPolicy::Immutable).await?;
        }
        let destination = self.target.location();
        let step = Step::begin(self.images.events.as_ref(), format!("[copy] {destination}"));
        let copied = self.place(&plan, same(root), &step, &tally).await;
        match copied {
            Ok(moved) => {
                step.done();
                let state = if moved { CopyState::Copied } else { CopyState::UpToDate };
                Ok(self.report(&from, root, state, &tally))
            }
            Err(error) if error.class == Class::Cancelled => Err(error),
            Err(error) => {
                step.failed(error.to_string());
                Err(error)
            }
        }
    }

    /// Whether the destination, which has `there`, is what copying would make it. Changes nothing.
    pub(crate) async fn is_copied(&self, from: &Descriptor, there: Digest) -> Result<bool, Error> {
        let trusted = self.request.trust == Trust::Digests;
        if self.request.platforms.is_none() && (there != from.digest || trusted) {
            return Ok(there == from.digest);
        }
        let plan = self.plan(from).await?;
        if plan.root.descriptor.digest != there || (trusted && plan.chosen.is_none()) {
            return Ok(plan.root.descriptor.digest == there);
        }
        let step = Step::begin(self.images.events.as_ref(), format!("[check] {}", self.target.location()));
        let complete =
            self.job(&step, &Tally::default()).is_complete(&plan.root, plan.chosen.as_ref(), 0).await;
        match &complete {
            Ok(_) => step.done(),
            Err(error) => step.failed(error.to_string()),
        }
        complete
    }

    /// Reads the source and decides what of it is to go.
    async fn plan(&self, from: &Descriptor) -> Result<Plan, Error> {
        let root = self.source.read(from).await?;
        let Some(Platforms { wanted, form }) = &self.request.platforms else {
            return Ok(Plan { root, chosen: None });
        };
        let Document::Index(index) = &root.document else {
            select::check_single(&self.source, &root, wanted).await?;
            return Ok(Plan { root, chosen: None });
        };
        let chosen = select::entries(index, wanted).map_err(|error| Error {
            message: format!("{}: {}", self.source.location(), error.message),
            ..error
        })?;
        Ok(match (form, select::trimmed(&root, &chosen)) {
            (_, None) => Plan { root, chosen: None },
            (PlatformForm::Trim, Some(trimmed)) => Plan { root: trimmed, chosen: None },
            (PlatformForm::Sparse, Some(_)) => Plan { root, chosen: Some(chosen) },
        })
    }

    /// A destination that names a digest can only get what has it.
    fn check_digest(&self, root: Digest) -> Result<(), Error> {
        match self.target.location().digest() {
            Some(digest) if *digest != root => Err(Error::new(
                Class::Usage,
                format!("the destination names {digest}, but what would be copied is {root}"),
            )),
            _ => Ok(()),
        }
    }

    /// Brings everything to the destination, and the tag last. Whether anything was missing there.
    async fn place(
        &self,
        plan: &Plan,
        is_tagged: bool,
        step: &Step<'_>,
        tally: &Tally,
    ) -> Result<bool, Error> {
        let job = self.job(step, tally);
        let root = &plan.root.descriptor;
        let proof = job.root(&plan.root, plan.chosen.as_ref()).await.map_err(|error| match plan.chosen {
            Some(_) if matches!(error.class, Class::NotFound | Class::Publish) => {
                error.hint("some registries refuse an index whose entries are not all there: see --trim")
            }
            _ => error,
        })?;
        let attached = attached::copy(&job, root.digest, self.request.attached).await?;
        tally.list_referrers(&self.target).await?;
        let moved = !is_tagged || attached > 0 || tally.moved();
        if !is_tagged {
            self.target.tag(&proof, self.request.policy).await?;
            if let Place::Registry(reference) = self.target.location() {
                self.images.events.event(Event::Tagged { reference, digest: root.digest });
            }
        }
        self.warn_of_what_stays(tally);
        Ok(moved)
    }

    fn job<'b>(&'b self, step: &'b Step<'b>, tally: &'b Tally) -> Job<'b> {
        let trust = self.request.trust;
        Job { source: &self.source, target: &self.target, trust, step, tally, placed: Mutex::default() }
    }

    fn warn_of_what_stays(&self, tally: &Tally) {
        let skipped = tally.skipped();
        if !skipped.is_empty() {
            self.images.events.event(Event::Warning {
                message: format!(
                    "{}: attached, but not copied: {}",
                    self.source.location(),
                    skipped.join(", ")
                ),
                hints: vec![
                    "only manifests and indexes can be copied: OCI 1.1 has nothing else that refers"
                        .to_owned(),
                ],
            });
        }
        let foreign = tally.foreign();
        if !foreign.is_empty() {
            self.images.events.event(Event::Warning {
                message: format!(
                    "{}: foreign layers are not copied: {}",
                    self.source.location(),
                    foreign.join(", ")
                ),
                hints: vec!["they may be fetched from their own addresses only".to_owned()],
            });
        }
    }

    fn report(&self, from: &Descriptor, digest: Digest, state: CopyState, tally: &Tally) -> CopyReport {
        CopyReport {
            source: self.source.location().clone(),
            source_digest: from.digest,
            destination: self.target.location(),
            digest,
            state,
            bytes: tally.bytes(),
            mounts: tally.mounts(),
            foreign: tally.foreign(),
        }
    }
}
