//! What can go wrong in a sandbox. Failures inside it happen in another process and travel back over the control
//! socket, so an error is plain serialisable data: an operating system error is kept as its number.

use std::borrow::Cow;
use std::io;

use serde::{Deserialize, Serialize};

/// Why a process could not be run, or a tree not be mounted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Error {
    /// A step that needs a privilege was refused with EPERM.
    #[error("not permitted to {action} {object}: needs {capability}")]
    NotPermitted {
        /// The refused step, e.g. "unshare".
        action: Cow<'static, str>,
        /// What the step was about.
        object: String,
        /// The capability that allows it, e.g. "CAP_SYS_ADMIN".
        capability: Cow<'static, str>,
    },
    /// A step of the preparation failed.
    #[error("failed to {action} {object}: {}", io::Error::from_raw_os_error(*errno))]
    Setup {
        /// The step, as a verb.
        action: Cow<'static, str>,
        /// What the step was about, mostly a path.
        object: String,
        /// The error number, see errno(3).
        errno: i32,
    },
    /// More layers than the kernel stacks in one overlay.
    #[error("cannot stack {count} layers: the kernel's limit is {limit}")]
    TooManyLayers {
        /// Lower directories asked for.
        count: usize,
        /// The most that fit.
        limit: usize,
    },
    /// The specification contradicts itself.
    #[error("invalid sandbox specification: {0}")]
    InvalidSpec(String),
    /// The working directory does not exist, or is not a directory.
    #[error("working directory {0:?} does not exist in the root file system")]
    MissingCwd(String),
    /// No such program in the root, or not in any directory of PATH.
    #[error("{program}: not found in the root file system (PATH={path})")]
    ProgramNotFound {
        /// `args[0]`.
        program: String,
        /// The PATH of the process's environment; empty if it has none.
        path: String,
    },
    /// The search for a program ended in the working directory, to which PATH leads there. Programs of the working directory
    /// are run by their path only: a repository that brings a `ls` of its own would otherwise be trusted with it.
    #[error(
        "{program}: not run, because PATH={path} leads to the working directory, whose programs are run only by a path \
         such as ./{program}"
    )]
    ProgramInWorkingDirectory {
        /// `args[0]`.
        program: String,
        /// The PATH of the process's environment.
        path: String,
    },
    /// The program exists, but the interpreter that it names (ELF loader or `#!` line) does not.
    #[error("{program}: its interpreter does not exist in the root file system")]
    MissingInterpreter {
        /// The program's path in the root.
        program: String,
    },
    /// The kernel cannot execute the file: mostly a foreign architecture with no emulator registered.
    #[error("{program}: exec format error")]
    ExecFormat {
        /// The program's path in the root.
        program: String,
    },
    /// The program could not be executed for another reason, e.g. it is not executable.
    #[error("{program}: failed to execute: {}", io::Error::from_raw_os_error(*errno))]
    Exec {
        /// The program's path in the root.
        program: String,
        /// The error number.
        errno: i32,
    },
    /// The supervisor could not be started or talked to.
    #[error("failed to {action} the sandbox supervisor: {}", io::Error::from_raw_os_error(*errno))]
    Supervisor {
        /// What was tried.
        action: Cow<'static, str>,
        /// The error number.
        errno: i32,
    },
    /// The supervisor ended without a report: somebody killed it, or it is a program that never calls
    /// [`run_if_supervisor`](crate::run_if_supervisor).
    #[error("the sandbox supervisor ended without a report ({status})")]
    SupervisorDied {
        /// Its exit status in words.
        status: String,
    },
}

/// An error number from any of the libraries in use.
pub(crate) struct Errno(pub(crate) i32);

impl From<rustix::io::Errno> for Errno {
    fn from(error: rustix::io::Errno) -> Self {
        Self(error.raw_os_error())
    }
}

impl From<nix::errno::Errno> for Errno {
    fn from(error: nix::errno::Errno) -> Self {
        Self(error as i32)
    }
}

impl From<io::Error> for Errno {
    fn from(error: io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or(nix::libc::EIO))
    }
}

/// Says what was being done when an operating system error came.
pub(crate) trait During<T> {
    /// `action` is a verb phrase that `object` completes: "mount", "/proc".
    fn during(self, action: &'static str, object: impl ToString) -> Result<T, Error>;

    /// As [`during`](During::during), but EPERM means that `capability` is lacking.
    fn needing(
        self,
        capability: &'static str,
        action: &'static str,
        object: impl ToString,
    ) -> Result<T, Error>;
}

impl<T, E: Into<Errno>> During<T> for Result<T, E> {
    fn during(self, action: &'static str, object: impl ToString) -> Result<T, Error> {
        self.map_err(|error| Error::Setup {
            action: action.into(),
            object: object.to_string(),
            errno: error.into().0,
        })
    }

    fn needing(
        self,
        capability: &'static str,
        action: &'static str,
        object: impl ToString,
    ) -> Result<T, Error> {
        self.map_err(|error| match error.into() {
            Errno(nix::libc::EPERM) => Error::NotPermitted {
                action: action.into(),
                object: object.to_string(),
                capability: capability.into(),
            },
            Errno(errno) => Error::Setup { action: action.into(), object: object.to_string(), errno },
        })
    }
}
