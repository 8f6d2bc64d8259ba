//! Publishing: blobs, then manifests by digest, then indexes by digest; then all of it read back; then tags.
//!
//! A tag is a promise, so [`tag`] is the one function that writes one, and it takes a [`WholeImage`]: a value that only
//! reading back can make. Everything before it is named by digest and harmless: a publish that dies half-way leaves
//! unreferenced content and no changed tag. All there is to publish is in the local store or comes from where the journal
//! says, so it can be repeated without a build; see `journal`.

mod contents;
mod early;
mod journal;
pub(crate) mod policy;
mod proof;
pub(crate) mod recorded;
mod sign;
mod spine;
mod upload;

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::try_join_all;
use gantry_oci::{Descriptor, Digest, Platform, Reference};
use gantry_registry::{Precondition, Registry};
use tokio_util::sync::CancellationToken;

pub(crate) use contents::{Contents, read_part};
pub(crate) use early::EarlyUploads;
pub(crate) use journal::terms_of;
pub use policy::{Expectation, Expected, TagPolicy, Terms};

use crate::error::{Class, Error, publishing};
use crate::events::{Event, Events, Step};
use crate::gantry::Gantry;
use journal::Entry;
use policy::{Gate, Verdict};
use proof::WholeImage;
use recorded::Source;
use upload::Uploader;

/// How long the answer to a tag that is being written is awaited after the command was stopped: whoever stops a command
/// waits ten seconds before they kill it, as a rule.
const LAST_ANSWER: Duration = Duration::from_secs(5);

/// An image of the local store, and the names that it is to have.
#[derive(Debug, Clone)]
pub(crate) struct Publication {
    /// The index, or the manifest of an image for one platform.
    pub(crate) root: Descriptor,
    /// Manifests that have it, or a part of it, as their subject.
    pub(crate) referrers: Vec<Descriptor>,
    /// The platforms that it has to be for.
    pub(crate) platforms: Vec<Platform>,
    /// Where base layers can be read that are not in the store, `host/repository`.
    pub(crate) origins: BTreeMap<Digest, String>,
    /// Tags; a name with a digest and no tag only says where the image goes.
    pub(crate) names: Vec<Reference>,
}

/// What publishing needs besides what is published.
#[derive(Clone, Copy)]
pub(crate) struct Publisher<'a> {
    pub(crate) gantry: &'a Gantry,
    pub(crate) terms: &'a Terms,
    pub(crate) events: &'a dyn Events,
    pub(crate) cancel: &'a CancellationToken,
}

/// A publication that is in a repository, and the names that it is to have there.
struct Proven<'a> {
    publication: &'a Publication,
    proof: WholeImage,
    names: Vec<&'a Reference>,
}

impl Publisher<'_> {
    /// Publishes all of these, or moves none of their tags: so several images of one command can be held together, though
    /// a build makes one.
    ///
    /// An error, or the end by `cancel`, names the tags that had moved by then, if there are any.
    pub(crate) async fn publish(&self, publications: &[Publication]) -> Result<(), Error> {
        journal::mention_unfinished(self, publications)?;
        let mut entries = Vec::new();
        // In one order, so that no two processes wait for each other.
        let mut ordered: Vec<_> = publications.iter().collect();
        ordered.sort_by_key(|publication| journal::id(publication));
        for publication in ordered {
            entries.push(self.unless_stopped(Entry::begin(self, publication)).await?);
        }
        // A client of its own: whoever built for an hour is asked anew who they are.
        let registry = self.gantry.new_registry();
        let gate = Gate { registry: &registry, ours: Source::Store(self.gantry.store()), terms: self.terms };
        match self.prove_and_tag(&gate, publications, &entries).await {
            Ok(None) => entries.into_iter().try_for_each(Entry::end),
            Ok(Some(refusal)) => {
                entries.into_iter().try_for_each(Entry::abandon)?;
                Err(refusal)
            }
            Err(error) => Err(match publications {
                [one] => error.hint(format!("`gantry publish {}` goes on from here", one.root.digest)),
                _ => error,
            }),
        }
    }

    /// Does it; a refusal if the terms do not allow it and nothing has moved.
    async fn prove_and_tag(
        &self,
        gate: &Gate<'_>,
        publications: &[Publication],
        entries: &[Entry<'_>],
    ) -> Result<Option<Error>, Error> {
        let proven = self.unless_stopped(self.upload_all(gate.registry, publications)).await?;
        entries.iter().try_for_each(Entry::proven)?;
        if let Some(refusal) = self.unless_stopped(first_refusal(gate, &proven)).await? {
            return Ok(Some(refusal));
        }
        self.unless_stopped(sign::sign_all(self, &proven)).await?;
        self.unless_stopped(list_referrers(gate.registry, &proven)).await?;
        self.tag_all(gate, &proven, entries).await?;
        self.look_again(gate.registry, &proven).await;
        Ok(None)
    }

    async fn unless_stopped<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        tokio::select! {
            done = work => done,
            () = self.cancel.cancelled() => Err(Error::new(Class::Cancelled, "stopped while publishing")),
        }
    }

    /// Uploads everything to all repositories, and proves it there. Registries work at the same time; the repositories of
    /// one come one after the other, because each can take blobs from the one before.
    async fn upload_all<'a>(
        &self,
        registry: &Registry,
        publications: &'a [Publication],
    ) -> Result<Vec<Proven<'a>>, Error> {
        type Targets<'a> = BTreeMap<String, Vec<(&'a Publication, Vec<&'a Reference>)>>;
        let mut hosts: Targets<'a> = BTreeMap::new();
        for publication in publications {
            for names in by_repository(&publication.names) {
                hosts.entry(names[0].host().to_owned()).or_default().push((publication, names));
            }
        }
        let uploads = hosts.into_values().map(|targets| async move {
            let mut proven = Vec::new();
            let mut siblings: BTreeMap<Digest, &Reference> = BTreeMap::new();
            for (publication, names) in targets {
                let sibling = siblings.get(&publication.root.digest).copied();
                let uploader = Uploader { gantry: self.gantry, registry, repository: names[0], sibling };
                let proof = self.upload_and_prove(&uploader, publication).await?;
                siblings.insert(publication.root.digest, names[0]);
                proven.push(Proven { publication, proof, names });
            }
            Ok::<_, Error>(proven)
        });
        Ok(try_join_all(uploads).await?.into_iter().flatten().collect())
    }

    async fn upload_and_prove(
        &self,
        uploader: &Uploader<'_>,
        publication: &Publication,
    ) -> Result<WholeImage, Error> {
        let (repository, digest) = (uploader.repository.name(), publication.root.digest);
        let step = Step::begin(self.events, format!("[publish] {repository} {digest}"));
        let work = async {
            let contents = Contents::read(self.gantry.store(), &publication.root, &publication.referrers)?;
            uploader.everything(&contents, &publication.origins, &step).await?;
            step.say(format!("pushed {digest}"));
            let proof = proof::prove(uploader, publication, &contents).await?;
            step.say(format!("verified {digest} by reading it back"));
            Ok::<_, Error>(proof)
        };
        let proven = work.await;
        match &proven {
            Ok(_) => step.done(),
            Err(error) => step.failed(error.to_string()),
        }
        proven
    }

    async fn tag_all(
        &self,
        gate: &Gate<'_>,
        proven: &[Proven<'_>],
        entries: &[Entry<'_>],
    ) -> Result<(), Error> {
        let mut moved: Vec<String> = Vec::new();
        for one in proven {
            let root = &one.publication.root;
            for name in &one.names {
                let tagged = async {
                    match self.unless_stopped(gate.judge(name, root)).await? {
                        Verdict::Write(precondition) => {
                            self.write_tag(name, tag(gate.registry, name, &one.proof, precondition)).await
                        }
                        Verdict::Refuse(refusal) => Err(refusal),
                    }
                };
                if let Err(error) = tagged.await {
                    return Err(match moved.is_empty() {
                        true => error,
                        false => error.hint(format!("these tags were written before: {}", moved.join(", "))),
                    });
                }
                journal::tagged(entries, root, name)?;
                self.gantry.store().put_image_published(&root.digest, &name.to_string())?;
                if name.tag().is_some() {
                    moved.push(name.to_string());
                    self.events.event(Event::Tagged { reference: (*name).clone(), digest: root.digest });
                }
            }
        }
        Ok(())
    }

    /// Writes a tag, unless the command is stopped before. Once the request is sent, nobody can say what a registry makes of
    /// one that is cut off, so its answer is awaited for a moment.
    async fn write_tag(
        &self,
        name: &Reference,
        writing: impl Future<Output = Result<(), Error>>,
    ) -> Result<(), Error> {
        let stopped = |message: String| Error::new(Class::Cancelled, message);
        if self.cancel.is_cancelled() {
            return Err(stopped("stopped while publishing".to_owned()));
        }
        let mut writing = pin!(writing);
        tokio::select! {
            written = &mut writing => return written,
            () = self.cancel.cancelled() => {}
        }
        tokio::time::timeout(LAST_ANSWER, writing).await.unwrap_or_else(|_| {
            let message = format!("stopped while {name} was written: it may have moved");
            self.events.event(Event::Warning { message: message.clone(), hints: Vec::new() });
            Err(stopped(message))
        })
    }

    /// Reads each tag once more. If another job moved it meanwhile, it points at what that job has proven: no failure of
    /// ours, but something that people want to know.
    async fn look_again(&self, registry: &Registry, proven: &[Proven<'_>]) {
        let tags = proven.iter().flat_map(|one| one.names.iter().map(move |name| (one, name)));
        let looks = tags.filter(|(_, name)| name.tag().is_some()).map(|(one, name)| async move {
            let digest = one.publication.root.digest;
            let message = match registry.head(name).await {
                Ok(Some(found)) if found.digest == digest => return,
                Ok(Some(found)) => format!(
                    "another job moved {name} to {} after it was written; what this one published is {digest}",
                    found.digest
                ),
                Ok(None) => format!("{name} was removed after it was written"),
                Err(error) => format!("{name} was written, but cannot be looked at: {error}"),
            };
            let hints = vec![format!("the image is there as {}@{digest}", name.name())];
            self.events.event(Event::Warning { message, hints });
        });
        let looks = futures_util::future::join_all(looks);
        // Everything is done; being stopped changes nothing.
        tokio::select! {
            _ = looks => {}
            () = self.cancel.cancelled() => {}
        }
    }
}

/// Names what refers to the images where registries do not do so themselves: only now that everything is there, allowed and
/// signed, since these lists stand under tags.
async fn list_referrers(registry: &Registry, proven: &[Proven<'_>]) -> Result<(), Error> {
    for one in proven {
        for (subject, entries) in one.proof.referrers() {
            let listed = registry.list_referrers(one.names[0], subject, entries).await;
            listed.map_err(|error| publishing(&error))?;
        }
    }
    Ok(())
}

/// Finds out whether one of the tags must not move, before any does.
async fn first_refusal(gate: &Gate<'_>, proven: &[Proven<'_>]) -> Result<Option<Error>, Error> {
    let names = proven.iter().flat_map(|one| one.names.iter().map(move |name| (one, name)));
    let verdicts = try_join_all(names.map(|(one, name)| gate.judge(name, &one.publication.root))).await?;
    Ok(verdicts.into_iter().find_map(|verdict| match verdict {
        Verdict::Refuse(refusal) => Some(refusal),
        Verdict::Write(_) => None,
    }))
}

/// The names by their repositories.
pub(crate) fn by_repository(names: &[Reference]) -> Vec<Vec<&Reference>> {
    let mut repositories: BTreeMap<String, Vec<&Reference>> = BTreeMap::new();
    for name in names {
        repositories.entry(name.name()).or_default().push(name);
    }
    repositories.into_values().collect()
}

/// Points a tag at an image that was proven to be there.
async fn tag(
    registry: &Registry,
    name: &Reference,
    proof: &WholeImage,
    precondition: Precondition,
) -> Result<(), Error> {
    let (media_type, root) = proof.root_in(name)?;
    if name.tag().is_none() {
        // A name with only a digest has nothing to move.
        return Ok(());
    }
    let tagged = registry.push_tag_if(name, (media_type, root), precondition).await;
    tagged.map(|_| ()).map_err(|error| policy::unwritten(name, &error).unwrap_or_else(|| publishing(&error)))
}
