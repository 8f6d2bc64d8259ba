//! Why a command failed, in the form in which it is shown: a class for the exit code, a message, the user's own lines,
//! the end of a step's output, and what to do next.

use std::ops::RangeInclusive;
use std::sync::Arc;

use gantry_dockerfile as dockerfile;
use gantry_engine::{EngineError, Fault, FetchErrorKind, GitCause};
use gantry_oci::{ImageError, ImageErrorKind};
use gantry_registry::RegistryError;
use gantry_store::StoreError;

use crate::context::Input;

/// What kind of failure it is. The exit code follows from this, and only from this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A step of the user's build failed.
    Build,
    /// The command line, a Dockerfile or a configuration file is wrong.
    Usage,
    /// Credentials are missing or wrong, or the machine does not allow something.
    Denied,
    /// Something that was named does not exist.
    NotFound,
    /// An image is not what it is said to be.
    Verification,
    /// Publishing failed; the build itself is fine.
    Publish,
    /// A fault of ours, or of the machine.
    Internal,
    /// The user stopped it.
    Cancelled,
}

/// The user's lines that an error is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// The file's name, as the user gave it.
    pub file: String,
    /// Its whole text, shared by all that are about it.
    pub text: Arc<str>,
    /// The lines, 1-based and inclusive.
    pub lines: RangeInclusive<u32>,
}

/// A failed command.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// The class.
    pub class: Class,
    /// What was being done, on what, and why it failed.
    pub message: String,
    /// The causes behind it, outermost first.
    pub causes: Vec<String>,
    /// Where in the user's input.
    pub excerpt: Option<Excerpt>,
    /// The last lines that a failed step printed.
    pub tail: Option<String>,
    /// What to do next.
    pub hints: Vec<String>,
}

impl Error {
    /// An error with only a class and a message.
    pub fn new(class: Class, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
            causes: Vec::new(),
            excerpt: None,
            tail: None,
            hints: Vec::new(),
        }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Says where in the user's input it is.
    #[must_use]
    pub fn at(mut self, excerpt: Excerpt) -> Self {
        self.excerpt = Some(excerpt);
        self
    }

    fn with_causes(mut self, error: &dyn std::error::Error) -> Self {
        let mut next = error.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            // An error that quotes its cause says all there is to say.
            if !self.message.contains(&text) {
                self.causes.push(text);
            }
            next = cause.source();
        }
        self
    }

    /// An I/O error on a path that the user named.
    pub(crate) fn io(action: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        let class = match error.kind() {
            std::io::ErrorKind::NotFound => Class::NotFound,
            std::io::ErrorKind::PermissionDenied => Class::Denied,
            _ => Class::Internal,
        };
        Self::new(class, format!("cannot {action} `{}`: {error}", path.display()))
    }
}

impl From<ImageError> for Error {
    fn from(error: ImageError) -> Self {
        Self::from(&error)
    }
}

impl From<&ImageError> for Error {
    fn from(error: &ImageError) -> Self {
        let class = match error.kind {
            ImageErrorKind::NotFound | ImageErrorKind::NoPlatform => Class::NotFound,
            ImageErrorKind::Denied => Class::Denied,
            ImageErrorKind::Unavailable => Class::Build,
            ImageErrorKind::Corrupt => Class::Verification,
        };
        let plain =
            Self { hints: error.hints.clone(), ..Self::new(class, error.message.clone()).with_causes(error) };
        match (error.kind, error.hints.is_empty()) {
            (ImageErrorKind::NotFound, true) => {
                plain.hint("check the name and the tag, and that it was pushed")
            }
            (ImageErrorKind::NoPlatform, true) => {
                plain.hint("build for platforms that the image has, or choose another image")
            }
            _ => plain,
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let denied = matches!(&error, StoreError::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied);
        let class = if denied { Class::Denied } else { Class::Internal };
        let plain = Self::new(class, error.to_string()).with_causes(&error);
        match denied {
            true => plain
                .hint("run as root, or choose a directory that you may write to with --root or GANTRY_ROOT"),
            false => plain,
        }
    }
}

impl From<EngineError> for Error {
    fn from(error: EngineError) -> Self {
        let fault = error.fault.as_ref();
        if let Fault::Image(error) = fault {
            return Self::from(error);
        }
        let class = match fault {
            Fault::Cancelled => Class::Cancelled,
            Fault::NotPermitted { .. } => Class::Denied,
            Fault::Sandbox(gantry_sandbox::Error::NotPermitted { .. }) => Class::Denied,
            Fault::Store(_) | Fault::Graph(_) | Fault::Io { .. } => Class::Internal,
            Fault::Unsupported(_) | Fault::Pattern { .. } => Class::Usage,
            Fault::BaseLayer { .. } | Fault::OtherContent { .. } => Class::Verification,
            Fault::BadSource(_)
            | Fault::MissingSecret(_)
            | Fault::MissingAgent(_)
            | Fault::NotEntitled(_) => Class::Usage,
            Fault::NotInRepository { .. } => Class::NotFound,
            Fault::Git { cause: GitCause::Denied | GitCause::UnknownHost, .. } => Class::Denied,
            Fault::Fetch(error) => match error.kind {
                FetchErrorKind::NotFound => Class::NotFound,
                FetchErrorKind::Denied => Class::Denied,
                FetchErrorKind::Unavailable => Class::Build,
            },
            _ => Class::Build,
        };
        let mut plain = Self::new(class, fault.to_string()).with_causes(fault);
        match fault {
            Fault::Step { tail, hint, .. } => {
                plain.tail = Some(tail.clone()).filter(|tail| !tail.is_empty());
                plain.hints.extend(hint.clone());
            }
            Fault::NotInSource { excluded: true, path, .. } => {
                plain.hints.push(format!(
                    "the ignore file excludes it; a line `!{}` would bring it back",
                    path.trim_start_matches('/')
                ));
            }
            Fault::NotInSource { excluded: false, .. } => {
                plain
                    .hints
                    .push("paths are relative to the root of the source, and cannot leave it".to_owned());
            }
            Fault::Changed(_) => {
                plain.hints.push("run the command again when nothing writes there".to_owned());
            }
            Fault::NoEmulator { hint, .. } => plain.hints.push(hint.clone()),
            Fault::NotPermitted { reason, hint, .. } => {
                plain.causes.push((*reason).to_owned());
                plain.hints.push(hint.clone());
            }
            Fault::Sandbox(error) => plain.hints.extend(hint_for_program(error).map(str::to_owned)),
            Fault::MissingSecret(id) => {
                plain
                    .hints
                    .push(format!("give it with `--secret id={id},src=FILE` or `--secret id={id},env=NAME`"));
            }
            Fault::MissingAgent(id) => {
                plain.hints.push(format!("give it with `--ssh {id}`, or `--ssh {id}=SOCKET_OR_KEY`"));
            }
            Fault::NotEntitled(entitlement) => {
                plain.hints.push(format!("if you trust this step with that, say `--allow {entitlement}`"));
            }
            Fault::Git { tail, action, remote, cause, .. } => {
                // One line is the reason itself.
                plain.tail = Some(tail.trim_end().to_owned()).filter(|tail| tail.lines().count() > 1);
                plain.hints.extend(hint_for_repository(action, remote, *cause).map(str::to_owned));
            }
            Fault::NotInRepository { kind: "branch, tag or commit", name, .. } if is_short_commit(name) => {
                plain.hints.push("a commit has to be named by its whole id".to_owned());
            }
            Fault::ReferenceMoved { .. } => {
                plain.hints.push("build again to get what it is now".to_owned());
            }
            Fault::OtherContent { .. } => {
                plain.hints.push(
                    "what is there now is not what was meant: find out why before changing the checksum"
                        .to_owned(),
                );
            }
            Fault::NoSuchUser { .. } => {
                plain.hints.push(
                    "add it to the image first, or give a number; with --link, which sees nothing of the image, only numbers do"
                        .to_owned(),
                );
            }
            _ => {}
        }
        plain
    }
}

/// What to do about a repository that cannot be read.
fn hint_for_repository(action: &str, remote: &str, cause: GitCause) -> Option<&'static str> {
    match cause {
        GitCause::UnknownHost => Some(
            "if the server has a new key, and you know it from a second source, put that into `~/.ssh/known_hosts`",
        ),
        GitCause::Denied if remote.starts_with("http") => Some(
            "give a token with `--secret id=GIT_AUTH_TOKEN,env=NAME`, or one for this host alone with \
             `id=GIT_AUTH_TOKEN.HOST`",
        ),
        GitCause::Denied => {
            Some("give a key that the server knows with `--ssh default` or `--ssh default=KEY`")
        }
        GitCause::Other if action == "look up a ref in" => {
            Some("check the address, and that the repository can be reached from here")
        }
        GitCause::Other => None,
    }
}

/// Whether it could be the beginning of a commit's id.
fn is_short_commit(name: &str) -> bool {
    (4..40).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What to do about a program that could not be started.
fn hint_for_program(error: &gantry_sandbox::Error) -> Option<&'static str> {
    use gantry_sandbox::Error as Sandbox;
    match error {
        Sandbox::ProgramNotFound { program, .. } if program == "/bin/sh" => {
            Some("an image without a shell runs programs only as `RUN [\"program\", \"argument\"]`")
        }
        Sandbox::ProgramNotFound { .. } => Some(
            "`RUN [\"program\", \"argument\"]` wants a program of the image, and starts no shell to find it",
        ),
        Sandbox::MissingInterpreter { .. } => {
            Some("copy the program of its `#!` line, or its dynamic loader, into the image as well")
        }
        Sandbox::ExecFormat { .. } => {
            Some("it is a program for another architecture, or a script that lacks its `#!` line")
        }
        Sandbox::Exec { .. } => Some("it may lack the permission to be executed: see `COPY --chmod=755`"),
        _ => None,
    }
}

/// The error of a phase that publishes.
pub(crate) fn publishing(error: &RegistryError) -> Error {
    let class = match error.kind() {
        ImageErrorKind::Denied => Class::Denied,
        ImageErrorKind::Corrupt => Class::Verification,
        _ => Class::Publish,
    };
    Error { hints: error.fault.hints(), ..Error::new(class, error.to_string()) }
}

/// The error of a Dockerfile, with its lines.
pub(crate) fn of_dockerfile(error: dockerfile::Error, input: &Input) -> Error {
    // Whoever mistyped a flag learns nothing from a line of the file.
    let has_place = error.has_place();
    let excerpt = Some(input.excerpt(error.lines)).filter(|_| has_place);
    Error { hints: error.hints, excerpt, ..Error::new(Class::Usage, error.message) }
}
