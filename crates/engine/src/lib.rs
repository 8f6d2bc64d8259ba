//! The embedded builder: executes a graph of LLB operations over the store, the layer code and the sandbox.
//!
//! [`Engine`] is the place (a store, an image source, a sandbox), [`Solver`] one command's work in it: it finds what
//! is cached, runs what is not, each equal vertex once, everything independent at the same time. It knows no
//! registry and no web: images arrive through the port of `gantry-oci`, files of the network through [`FetchPort`].

mod agent;
mod blocking;
mod chain;
mod content;
mod engine;
mod environment;
mod error;
mod exec;
mod export;
mod fetch;
mod file;
mod file_step;
mod images;
mod index;
mod keys;
mod mounts;
mod new_layer;
mod output;
mod preflight;
mod read;
mod reads;
mod rooted;
mod secrets;
mod select;
mod selection;
mod solver;
mod sources;
mod tail;
mod users;

pub use chain::LayerChain;
pub use engine::{Engine, Entitlement, Job, Network};
pub use error::{EngineError, Fault, GitCause};
pub use export::{BaseLayers, Compression, ExportedLayer, LayerForm};
pub use fetch::{FetchError, FetchErrorKind, FetchPort, FetchRequest, Fetched, Version};
pub use index::BaseUse;
pub use secrets::{Secret, SecretSource, Secrets};
pub use solver::{Solver, TreeObserver};
