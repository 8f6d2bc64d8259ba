//! Source identifiers: `docker-image://…`, `local://…`, `git://…` and the like, parsed out of a source operation and its
//! attributes. What is wrong with one is said before anybody acts on it.

mod git;
mod http;

use gantry_oci::Reference;

use crate::pb;

pub use git::{FileTimes, GitSource};
pub use http::HttpSource;

/// What of a local directory takes part: attributes `local.*` of the operation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalFilter {
    /// `local.includepattern`: only what matches one of these. Empty: everything.
    pub include: Vec<String>,
    /// `local.excludepatterns`: nothing that these match, in ignore-file semantics.
    pub exclude: Vec<String>,
    /// `local.followpaths`: only these paths, with symlinks followed. Empty: everything.
    pub follow: Vec<String>,
}

/// A parsed source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An image from a registry.
    Image(Reference),
    /// An image from a layout of the client's.
    Layout {
        /// The image, by its digest.
        reference: Reference,
        /// `oci.store`: the layout, by name.
        store: String,
    },
    /// A directory of the client's, by name.
    Local {
        /// The name: `context`, `dockerfile`, or that of a named context.
        name: String,
        /// What of it takes part.
        filter: LocalFilter,
    },
    /// A file from a web server.
    Http(Box<HttpSource>),
    /// A repository, at one commit.
    Git(Box<GitSource>),
}

/// Why a source operation cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// A scheme that no engine of ours serves.
    #[error("a source of the kind `{0}`")]
    Scheme(String),
    /// An image reference that is none.
    #[error(transparent)]
    Reference(#[from] gantry_oci::ReferenceError),
    /// An attribute with a value that it cannot have.
    #[error("attribute `{name}` of source `{identifier}` is not {expected}")]
    Attribute {
        /// The attribute.
        name: &'static str,
        /// The source.
        identifier: String,
        /// What it should be: "a JSON list of strings".
        expected: &'static str,
    },
    /// A branch, tag or commit that would be taken for something else, or is none.
    #[error("invalid git ref `{0}`")]
    GitRef(String),
    /// A commit that is none.
    #[error("invalid checksum `{0}` of a git repository: it is not a commit in hexadecimal digits")]
    GitChecksum(String),
    /// A commit is to be fetched by its id, which is not said.
    #[error("`fetch-by-commit` of a git repository needs a whole commit id, as its ref or as its checksum")]
    GitCommit,
}

impl Source {
    /// Parses an operation.
    pub fn parse(op: &pb::SourceOp) -> Result<Self, SourceError> {
        let (scheme, rest) =
            op.identifier.split_once("://").ok_or_else(|| SourceError::Scheme(op.identifier.clone()))?;
        match scheme {
            "docker-image" => Ok(Self::Image(rest.parse()?)),
            "oci-layout" => {
                let store = op.attrs.get("oci.store").cloned().unwrap_or_default();
                Ok(Self::Layout { reference: rest.parse()?, store })
            }
            "local" => {
                let filter = LocalFilter {
                    include: list(op, "local.includepattern")?,
                    exclude: list(op, "local.excludepatterns")?,
                    follow: list(op, "local.followpaths")?,
                };
                Ok(Self::Local { name: rest.to_owned(), filter })
            }
            "http" | "https" => Ok(Self::Http(Box::new(HttpSource::parse(op)?))),
            "git" => Ok(Self::Git(Box::new(GitSource::parse(op, rest)?))),
            other => Err(SourceError::Scheme(other.to_owned())),
        }
    }
}

fn list(op: &pb::SourceOp, name: &'static str) -> Result<Vec<String>, SourceError> {
    match op.attrs.get(name) {
        None => Ok(Vec::new()),
        Some(text) => serde_json::from_str(text).map_err(|_| wrong(op, name, "a JSON list of strings")),
    }
}

fn wrong(op: &pb::SourceOp, name: &'static str, expected: &'static str) -> SourceError {
    SourceError::Attribute { name, identifier: op.identifier.clone(), expected }
}
