//! Source identifiers: `docker-image://…`, `local://…`, parsed out of a source operation and its attributes.

use gantry_oci::Reference;

use crate::pb;

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
    /// A directory of the client's, by name.
    Local {
        /// The name: `context`, `dockerfile`, or that of a named context.
        name: String,
        /// What of it takes part.
        filter: LocalFilter,
    },
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
    /// An attribute that is not a JSON list of strings.
    #[error("attribute `{name}` of source `{identifier}` is not a JSON list of strings")]
    Attribute {
        /// The attribute.
        name: &'static str,
        /// The source.
        identifier: String,
    },
}

impl Source {
    /// Parses an operation.
    pub fn parse(op: &pb::SourceOp) -> Result<Self, SourceError> {
        let (scheme, rest) =
            op.identifier.split_once("://").ok_or_else(|| SourceError::Scheme(op.identifier.clone()))?;
        match scheme {
            "docker-image" => Ok(Self::Image(rest.parse()?)),
            "local" => {
                let filter = LocalFilter {
                    include: list(op, "local.includepattern")?,
                    exclude: list(op, "local.excludepatterns")?,
                    follow: list(op, "local.followpaths")?,
                };
                Ok(Self::Local { name: rest.to_owned(), filter })
            }
            other => Err(SourceError::Scheme(other.to_owned())),
        }
    }
}

fn list(op: &pb::SourceOp, name: &'static str) -> Result<Vec<String>, SourceError> {
    match op.attrs.get(name) {
        None => Ok(Vec::new()),
        Some(text) => serde_json::from_str(text)
            .map_err(|_| SourceError::Attribute { name, identifier: op.identifier.clone() }),
    }
}
