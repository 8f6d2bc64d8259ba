//! Dockerfile text to build graph and image config.
//!
//! Pure: text and options in, values out; no network, no file system, no clock. [`convert`] says which base images it
//! has to know about; the caller resolves them, all at once, and calls again, until the conversion is done.
//!
//! The way of the data: `parser` makes lines with flags, arguments and heredocs out of text; `instruction` gives them
//! types; `stages` finds out what the target needs; `convert` turns that into LLB and a config.
//! What is built, refused and named is what BuildKit's front end builds, refuses and names.

mod convert;
mod duration;
mod environment;
mod error;
mod graph;
mod instruction;
mod lex;
mod options;
mod parser;
mod paths;
mod stages;
mod suggest;

pub use convert::convert;
pub use error::{Error, ErrorKind, Lines, Warning};
pub use options::{
    CachePolicy, Conversion, Converted, ImageInfo, ImageRequest, Images, NamedContext, Options, ResolveMode,
    RunOptions, Ulimit,
};
