//! Dockerfile text to build graph and image config.
//!
//! Pure: text and options in, values out; no network, no file system, no clock. [`convert`] says which base images it
//! has to know about; the caller resolves them, all at once, and calls again, until the conversion is done. So do the
//! questions about a file: [`check`], [`outline`] and, which needs no images, [`targets`].
//!
//! The way of the data: `parser` makes lines with flags, arguments and heredocs out of text; `instruction` gives them
//! types; `stages` finds out what the target needs; `convert` turns that into LLB and a config. `lint` collects what is
//! doubtful on the way.
//! What is built, refused, warned of and named is what BuildKit's front end builds, refuses, warns of and names.

mod check;
mod context;
mod convert;
mod describe;
mod duration;
mod environment;
mod error;
mod front_end;
mod graph;
mod instruction;
mod lex;
mod lint;
mod options;
mod outline;
mod parser;
mod paths;
mod platform;
mod source_json;
mod stages;
mod suggest;
mod targets;
mod unicode;

pub use check::{CheckReport, check};
pub use context::{ContextError, GitOptions, RemoteContext};
pub use convert::{EPOCHS, convert, warnings};
pub use describe::{Request, Requests, describe};
pub use error::{Error, ErrorKind, Lines};
pub use lint::{Rule, Warning};
pub use options::{
    CachePolicy, Conversion, Converted, ImageInfo, ImageRequest, Images, NamedContext, Options, ResolveMode,
    RunOptions, TimeRequest, Ulimit,
};
pub use outline::{Outline, OutlineArgument, OutlineSecret, outline};
pub use targets::{Target, Targets, targets};

/// The texts that Go reads as a truth value.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "True" | "TRUE" => Some(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}
