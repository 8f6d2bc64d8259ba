//! The build graph: BuildKit's LLB, the one intermediate form of gantry.
//!
//! Front ends end in a [`Definition`], engines start from one. A vertex is its bytes and its identity is their
//! SHA-256; serialisation is deterministic and byte for byte BuildKit's, so that equal work has equal names on both
//! engines. Pure: no clock, no environment, no file system, no async runtime.

mod definition;
pub mod json;
pub mod key;
mod members;
pub mod pattern;
pub mod pb;
mod progress;
pub mod protojson;
mod source;

pub use definition::{Builder, Definition, DefinitionError, Edge, Vertex};
pub use members::Members;
pub use progress::{LogStream, Outcome, Progress, ProgressEvent};
pub use source::{FileTimes, GitSource, HttpSource, LocalFilter, Source, SourceError};
