//! What an engine reports while it works: BuildKit's vertices and logs as typed events.
//!
//! Events carry no time; whoever shows them stamps them on arrival, so that engines and tests need no clock here.

use gantry_oci::Digest;

/// Where a line of a step's output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a vertex ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Its result was there already.
    Cached,
    /// It ran.
    Done,
    /// It failed, with this message.
    Failed(String),
    /// It was stopped because something else failed.
    Cancelled,
}

/// One event about one vertex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProgressEvent {
    /// Work on the vertex begins.
    Started {
        /// The vertex.
        vertex: Digest,
        /// Its name, for people.
        name: String,
        /// The platform it works for, where it has one.
        platform: Option<String>,
    },
    /// It printed something: raw bytes, not necessarily whole lines.
    Log {
        /// The vertex.
        vertex: Digest,
        /// From which stream.
        stream: LogStream,
        /// What.
        data: Vec<u8>,
    },
    /// Work on it is over.
    Ended {
        /// The vertex.
        vertex: Digest,
        /// How.
        outcome: Outcome,
    },
}

/// Receives events, from any thread, at any rate. Must not block for long.
pub trait Progress: Send + Sync {
    /// Takes one event.
    fn event(&self, event: ProgressEvent);
}
