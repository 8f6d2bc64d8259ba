//! What can go wrong between a tree and its archive.
//!
//! Names in messages come from archives that may be hostile, so they are escaped before they get here.

use std::io;
use std::path::Path;

use gantry_oci::Digest;

/// Why a layer could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// A file of the tree could not be read, made or changed.
    #[error("cannot {action} `{path}`: {source}")]
    File {
        /// What was being done, as a verb.
        action: &'static str,
        /// The file, escaped.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The bytes of the archive could not be written.
    #[error("cannot write the archive: {0}")]
    Output(#[source] io::Error),
    /// The bytes of the archive could not be read.
    #[error("cannot read the archive: {0}")]
    Input(#[source] io::Error),
    /// The bytes are not a whole archive in a format we know.
    #[error("the archive is damaged: {reason}")]
    Damaged {
        /// Where it stops making sense.
        reason: String,
    },
    /// An entry of the archive is well-formed, but must not be made.
    #[error("the archive's entry `{name}` is refused: {reason}")]
    Refused {
        /// The entry, escaped.
        name: String,
        /// Why.
        reason: String,
    },
    /// A file of the tree has no representation in a layer.
    #[error("`{path}` cannot be stored in a layer: {reason}")]
    NotStorable {
        /// The file, escaped, relative to the root of the tree.
        path: String,
        /// Why.
        reason: &'static str,
    },
    /// The archive is larger than any honest one.
    #[error("the archive has more than {limit} {what}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// The limit that was passed.
        limit: u64,
    },
    /// The content is not what the image's config promised.
    #[error("the layer's content is {found}, but its image's config says {expected}")]
    DiffId {
        /// What the config says.
        expected: Digest,
        /// What the bytes say.
        found: Digest,
    },
}

impl LayerError {
    /// An error of the file system about a path below a tree or an archive's name.
    pub(crate) fn file(action: &'static str, path: impl AsRef<[u8]>, source: impl Into<io::Error>) -> Self {
        Self::File { action, path: shown(path), source: source.into() }
    }

    /// The same for a path of the machine.
    pub(crate) fn path(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::file(action, path.as_os_str().as_encoded_bytes(), source)
    }

    pub(crate) fn damaged(reason: impl Into<String>) -> Self {
        Self::Damaged { reason: reason.into() }
    }

    pub(crate) fn refused(name: impl AsRef<[u8]>, reason: impl Into<String>) -> Self {
        Self::Refused { name: shown(name), reason: reason.into() }
    }

    /// An error while reading an archive: decoders report damaged data as errors of these kinds.
    pub(crate) fn reading(error: io::Error) -> Self {
        use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
        // A limit is noticed below the decoder and comes up through it.
        let error = match error.downcast::<Self>() {
            Ok(error) => return error,
            Err(error) => error,
        };
        match error.kind() {
            UnexpectedEof => Self::damaged("it ends too early"),
            InvalidData | InvalidInput | Other => Self::damaged(error.to_string()),
            _ => Self::Input(error),
        }
    }
}

/// A name from outside, fit for a message: no control characters, no invalid text.
pub(crate) fn shown(name: impl AsRef<[u8]>) -> String {
    String::from_utf8_lossy(name.as_ref()).escape_debug().to_string()
}
