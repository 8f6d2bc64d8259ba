//! Uploads that begin while the build still runs: layers of the result, as soon as each is made.
//!
//! They leave nothing behind but blobs that nothing names, and decide nothing: what fails here is tried again in the
//! publish phase, which asks the registry for every blob. A build that fails drops them.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use gantry_engine::{Compression, LayerChain, TreeObserver};
use gantry_llb::Definition;
use gantry_oci::{Digest, Reference};
use gantry_store::LayerId;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{self, UnboundedReceiver};

use super::by_repository;
use super::spine::spine;
use super::upload::Uploader;
use crate::error::Error;
use crate::events::{Event, Events, Step};
use crate::gantry::Gantry;

/// Layers compressed and sent at once while steps run: enough to keep a line busy, few enough to leave the processors to
/// the steps.
const EARLY_AT_ONCE: usize = 2;

/// The trees of a build's result, as they come.
#[derive(Debug)]
pub(crate) struct EarlyUploads {
    trees: UnboundedReceiver<LayerChain>,
}

impl EarlyUploads {
    /// Uploads for the results of these graphs, and who has to hear of their trees. They end when that one is dropped.
    pub(crate) fn of<'a>(definitions: impl Iterator<Item = &'a Definition>) -> (TreeObserver, Self) {
        let on_spine: HashSet<_> = definitions.flat_map(spine).collect();
        let (sender, trees) = mpsc::unbounded_channel();
        let observer: TreeObserver = Arc::new(move |edge, tree| {
            if on_spine.contains(&edge) {
                // Nobody listens any more once every repository has failed.
                let _ = sender.send(tree.clone());
            }
        });
        (observer, Self { trees })
    }

    /// Uploads what comes to the repositories of these names, until nothing comes any more and all of it is there.
    pub(crate) async fn run(
        mut self,
        gantry: &Gantry,
        names: &[Reference],
        compression: Compression,
        events: &dyn Events,
    ) {
        let repositories: Vec<_> = by_repository(names)
            .into_iter()
            .map(|names| Target { repository: names[0], given_up: AtomicBool::new(false) })
            .collect();
        let turns = Semaphore::new(EARLY_AT_ONCE);
        let work = Work { gantry, repositories: &repositories, compression, events, turns: &turns };
        let mut seen: HashSet<LayerId> = HashSet::new();
        let mut running = FuturesUnordered::new();
        let mut open = true;
        while open || !running.is_empty() {
            tokio::select! {
                tree = self.trees.recv(), if open => match tree {
                    None => open = false,
                    Some(tree) => {
                        let new = tree.layers().iter().filter(|layer| seen.insert((*layer).clone()));
                        running.extend(new.map(|layer| work.layer(layer.clone())));
                    }
                },
                Some(()) = running.next(), if !running.is_empty() => {}
            }
        }
    }
}

/// A repository, until something fails there.
struct Target<'a> {
    repository: &'a Reference,
    given_up: AtomicBool,
}

/// What all layers share.
#[derive(Clone, Copy)]
struct Work<'a> {
    gantry: &'a Gantry,
    repositories: &'a [Target<'a>],
    compression: Compression,
    events: &'a dyn Events,
    turns: &'a Semaphore,
}

impl Work<'_> {
    async fn layer(&self, layer: LayerId) {
        let _turn = self.turns.acquire().await.expect("nobody closes it");
        // The build will meet an error, too, and knows what to say.
        let Ok(exported) = self.gantry.engine.export_layer(&layer, self.compression).await else { return };
        let mut sibling: Option<&Reference> = None;
        for target in self.repositories.iter().filter(|one| !one.given_up.load(Ordering::Relaxed)) {
            let near = sibling.filter(|sibling| sibling.host() == target.repository.host());
            let uploader = Uploader {
                gantry: self.gantry,
                registry: &self.gantry.registry,
                repository: target.repository,
                sibling: near,
            };
            let blob = &exported.blob;
            match uploader.layer(&blob.descriptor, blob.origin.as_deref()).await {
                Ok(sent) => {
                    sibling = Some(target.repository);
                    self.tell_sent(target, blob.descriptor.digest, sent);
                }
                Err(error) => self.give_up(target, &error),
            }
        }
    }

    fn tell_sent(&self, target: &Target<'_>, digest: Digest, sent: u64) {
        if sent > 0 {
            let name = format!("[publish] {} early: {digest}", target.repository.name());
            let step = Step::begin(self.events, name);
            step.say(format!("{sent} bytes sent while building"));
            step.done();
        }
    }

    /// What cannot be sent now is perhaps never: people want to know before the build has taken an hour.
    fn give_up(&self, target: &Target<'_>, error: &Error) {
        if !target.given_up.swap(true, Ordering::Relaxed) {
            let message = format!("nothing is sent to {} while building: {error}", target.repository.name());
            let hints =
                error.hints.iter().cloned().chain(["it is tried again when the build is done".to_owned()]);
            self.events.event(Event::Warning { message, hints: hints.collect() });
        }
    }
}
