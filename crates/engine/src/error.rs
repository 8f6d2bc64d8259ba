//! Why a solve failed: the fault, and the vertex that had it, from which the user's own line can be found.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gantry_oci::{Digest, ImageError};

use crate::engine::Entitlement;
use crate::fetch::FetchError;

/// An error of the engine. Cheap to clone: everybody who waited for the same vertex gets the same error.
#[derive(Debug, Clone)]
pub struct EngineError {
    /// The vertex that failed, if it was one.
    pub vertex: Option<Digest>,
    /// What happened.
    pub fault: Arc<Fault>,
}

/// What kind of fault kept a repository from being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GitCause {
    /// Credentials are missing, wrong or not sufficient.
    Denied,
    /// The server showed another SSH host key than the one that it is known by.
    UnknownHost,
    /// Something else.
    Other,
}

/// What happened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A command of the user's ended with a status that is not success.
    #[error("`{command}` {ending}")]
    Step {
        /// The command.
        command: String,
        /// "failed with exit code 3", "was killed by signal 9".
        ending: String,
        /// The last lines that it printed.
        tail: String,
        /// What may help.
        hint: Option<String>,
    },
    /// A copy names a path that its source does not have.
    #[error("`{path}` does not exist in {origin}")]
    NotInSource {
        /// The path as the copy names it.
        path: String,
        /// "the build context", "the stage or image that it comes from".
        origin: &'static str,
        /// An ignore file leaves it out.
        excluded: bool,
    },
    /// A copy that the rules of COPY and ADD forbid.
    #[error("cannot copy `{source_path}` to `{target}`: {reason}")]
    Copy {
        /// From.
        source_path: String,
        /// To.
        target: String,
        /// Why not.
        reason: String,
    },
    /// A directory is needed where there is something else.
    #[error("a directory is needed at `{}`, but something else is there", .0.display())]
    NotADirectory(PathBuf),
    /// Directories are in one another without end.
    #[error("`{}` is nested too deeply", .0.display())]
    TooDeep(PathBuf),
    /// A file is needed where there is something else.
    #[error("`{}` of the image is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// A file of the context changed while it was being read.
    #[error("`{}` changed while it was being copied", .0.display())]
    Changed(PathBuf),
    /// A user or group that the image does not know.
    #[error("the image has no {kind} `{name}`")]
    NoSuchUser {
        /// "user" or "group".
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// An image did not arrive.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A file from the network did not arrive.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// What arrived is not what was asked for.
    #[error("`{origin}` is {found}, but {expected} was asked for")]
    OtherContent {
        /// Where it came from.
        origin: String,
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// A repository cannot be read.
    #[error("cannot {action} `{remote}`: {reason}")]
    Git {
        /// "look up a ref in", "fetch", "check out".
        action: &'static str,
        /// The repository, without a password.
        remote: String,
        /// What is wrong.
        reason: String,
        /// What git said.
        tail: String,
        /// What kind of fault it is, as far as that can be told.
        cause: GitCause,
    },
    /// A repository has no such branch, tag or commit, or no such directory.
    #[error("`{remote}` has no {kind} `{name}`")]
    NotInRepository {
        /// The repository, without a password.
        remote: String,
        /// "branch, tag or commit", "directory".
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// A branch or tag was changed while it was being fetched, and what it was is not in the repository any more.
    #[error("`{name}` of `{remote}` has moved while it was being fetched: it was {commit}, which is gone")]
    ReferenceMoved {
        /// The repository, without a password.
        remote: String,
        /// The full name.
        name: String,
        /// What it was when it was looked up.
        commit: String,
    },
    /// A step needs a secret that the client does not have.
    #[error("secret `{0}` is required, but was not given")]
    MissingSecret(String),
    /// A secret cannot be used.
    #[error("cannot use the secret `{id}`: {problem}")]
    Secret {
        /// Its id.
        id: String,
        /// Why not. Never what it holds.
        problem: String,
    },
    /// A step needs an SSH agent that the client does not have.
    #[error("SSH agent `{0}` is required, but was not given")]
    MissingAgent(String),
    /// A step wants more than it is allowed.
    #[error("{0} is not allowed")]
    NotEntitled(Entitlement),
    /// A foreign program has no emulator.
    #[error("this machine cannot run programs for {platform}: {reason}")]
    NoEmulator {
        /// The platform.
        platform: String,
        /// What was looked for.
        reason: String,
        /// What to do.
        hint: String,
    },
    /// The machine does not allow what the engine needs.
    #[error("not enough privilege to run steps: {capabilities} missing")]
    NotPermitted {
        /// Which capabilities are missing.
        capabilities: String,
        /// What the first of them is needed for, as a sentence.
        reason: &'static str,
        /// What to do.
        hint: String,
    },
    /// An operation, or a form of one, that this engine does not execute.
    #[error("{0} is not supported by the embedded engine")]
    Unsupported(String),
    /// A source with a name or a property that it cannot have.
    #[error("{0}")]
    BadSource(String),
    /// The graph is wrong: a front end's fault, not the user's.
    #[error("the build graph is invalid: {0}")]
    Graph(String),
    /// The sandbox could not run something.
    #[error("cannot run the step: {0}")]
    Sandbox(#[from] gantry_sandbox::Error),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] gantry_store::StoreError),
    /// What a step wrote cannot be a layer, or an archive that it adds cannot be unpacked.
    #[error("cannot {action} `{name}`")]
    Layer {
        /// "write the layer", "unpack".
        action: &'static str,
        /// Which.
        name: String,
        /// Why.
        #[source]
        source: gantry_layer::LayerError,
    },
    /// A layer of a base image is not what its manifest says.
    #[error("layer {layer} of `{image}` cannot be unpacked")]
    BaseLayer {
        /// Its digest.
        layer: Digest,
        /// The image's repository.
        image: String,
        /// Why.
        #[source]
        source: gantry_layer::LayerError,
    },
    /// A pattern that is none.
    #[error("`{pattern}` is not a pattern: {reason}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// Why not.
        reason: String,
    },
    /// Something that is to be copied cannot be read.
    #[error("cannot read `{}` of what is to be copied", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file system refused.
    #[error("cannot {action} `{path}`", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The build was stopped because something else failed, or by the user.
    #[error("the build was cancelled")]
    Cancelled,
}

impl Fault {
    /// An error at no particular vertex.
    pub(crate) fn anywhere(self) -> EngineError {
        EngineError { vertex: None, fault: Arc::new(self) }
    }

    /// The same fault with paths as the image knows them, and not as the tree at `root` is mounted.
    pub(crate) fn inside(self, root: &Path) -> Self {
        let image = |path: PathBuf| match path.strip_prefix(root) {
            Ok(inside) => Path::new("/").join(inside),
            Err(_) => path,
        };
        match self {
            Self::NotADirectory(path) => Self::NotADirectory(image(path)),
            Self::Changed(path) => Self::Changed(image(path)),
            Self::Unreadable { path, source } => Self::Unreadable { path: image(path), source },
            Self::Io { action, path, source } => Self::Io { action, path: image(path), source },
            other => other,
        }
    }

    /// An error at this vertex.
    pub(crate) fn at(self, vertex: &Digest) -> EngineError {
        EngineError { vertex: Some(*vertex), fault: Arc::new(self) }
    }
}

/// Adds what was being done, on what path, to an I/O error.
pub(crate) trait At<T> {
    /// The machine's or our own fault.
    fn at(self, action: &'static str, path: &Path) -> Result<T, Fault>;
    /// A fault of the files that the user wants copied.
    fn reading(self, path: &Path) -> Result<T, Fault>;
    /// A fault of the file that holds a secret.
    fn reading_secret(self, id: &str) -> Result<T, Fault>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, Fault> {
        self.map_err(|error| Fault::Io { action, path: path.to_owned(), source: error.into() })
    }

    fn reading(self, path: &Path) -> Result<T, Fault> {
        self.map_err(|error| Fault::Unreadable { path: path.to_owned(), source: error.into() })
    }

    fn reading_secret(self, id: &str) -> Result<T, Fault> {
        let problem = |error: E| format!("it cannot be read: {}", error.into());
        self.map_err(|error| Fault::Secret { id: id.to_owned(), problem: problem(error) })
    }
}
