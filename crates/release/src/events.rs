//! What a use case tells while it runs.

use gantry_dockerfile::Rule;
use gantry_llb::{LogStream, Outcome, ProgressEvent};
use gantry_oci::{Digest, Reference};

use crate::error::Excerpt;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// In a step of a build, or in one of the steps before and after it.
    Progress(ProgressEvent),
    /// Something doubtful that does not stop the command.
    Warning {
        /// What, with the file and line where there is one.
        message: String,
        /// What to do about it.
        hints: Vec<String>,
    },
    /// Something in the Dockerfile that works, but is probably not meant so.
    Finding {
        /// The rule.
        rule: Rule,
        /// What is doubtful.
        message: String,
        /// The lines.
        excerpt: Excerpt,
    },
    /// An image was built and is complete in the local store.
    Built {
        /// Of the index, or of the manifest if it is one image.
        digest: Digest,
    },
    /// A tag points at an image that was read back before.
    Tagged {
        /// The tag.
        reference: Reference,
        /// What it points at.
        digest: Digest,
    },
}

/// Receives events, from any thread. Must not block for long.
pub trait Events: Send + Sync {
    /// Takes one event.
    fn event(&self, event: Event);
}

/// One step of our own: not a vertex of a graph, but shown like one.
pub(crate) struct Step<'a> {
    events: &'a dyn Events,
    id: Digest,
    ended: bool,
}

impl<'a> Step<'a> {
    /// Begins a step of this name.
    pub(crate) fn begin(events: &'a dyn Events, name: impl Into<String>) -> Self {
        let name = name.into();
        let id = Digest::of(&name);
        events.event(Event::Progress(ProgressEvent::Started { vertex: id, name, platform: None }));
        Self { events, id, ended: false }
    }

    /// Notes a line about it.
    pub(crate) fn say(&self, line: impl std::fmt::Display) {
        let data = format!("{line}\n").into_bytes();
        self.events.event(Event::Progress(ProgressEvent::Log {
            vertex: self.id,
            stream: LogStream::Stdout,
            data,
        }));
    }

    /// Ends it well.
    pub(crate) fn done(mut self) {
        self.end(Outcome::Done);
    }

    /// Ends it with an error's text.
    pub(crate) fn failed(mut self, message: impl Into<String>) {
        self.end(Outcome::Failed(message.into()));
    }

    fn end(&mut self, outcome: Outcome) {
        self.ended = true;
        self.events.event(Event::Progress(ProgressEvent::Ended { vertex: self.id, outcome }));
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.end(Outcome::Cancelled);
        }
    }
}
