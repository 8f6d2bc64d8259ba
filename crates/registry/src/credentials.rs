//! Credentials are a function: asked for at the moment of need, never kept.
//!
//! Whatever a helper or a mounted file says is true for minutes (cloud registries' passwords run out, secrets are
//! rotated), so the client asks again with every token it needs and after every refusal.

mod auth_file;
mod helper;
mod sources;
mod store;
mod turns;

use std::path::PathBuf;
use std::sync::Mutex;

use gantry_oci::BoxFuture;

pub use sources::{CredentialSource, CredentialSources, Found};
pub use store::{CredentialStore, Kept, SecretKind};
pub(crate) use turns::LEAST_BETWEEN_RUNS;

use crate::Secret;

/// The key under which Docker Hub's credentials are filed, in files and with helpers.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// The user that stands beside an identity token with helpers, which have no other place to say what it is, and where no other
/// user is known. Docker's word.
const TOKEN_USER: &str = "<token>";

/// Who we are for one repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// Nobody in particular.
    Anonymous,
    /// User name and password.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
    /// An OAuth 2.0 refresh token, which docker's configuration calls an identity token.
    IdentityToken {
        /// The user that stood beside the token, or `<token>`.
        user: String,
        /// The token.
        token: Secret,
    },
    /// A token to be sent to the registry as it is.
    RegistryToken(Secret),
}

impl Credential {
    /// The user, if one is known by a name.
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Password { user, .. } | Self::IdentityToken { user, .. } => {
                Some(user.as_str()).filter(|user| *user != TOKEN_USER)
            }
            Self::Anonymous | Self::RegistryToken(_) => None,
        }
    }
}

/// Why credentials could not be had, kept or removed. That there are none is no error.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// The configuration file cannot be read.
    #[error("cannot read credentials from {}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The configuration file cannot be written.
    #[error("cannot write credentials to {}: {reason}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The text of an environment variable is not what it should be.
    #[error("cannot read credentials from the variable {name}: {reason}")]
    Variable {
        /// The variable.
        name: String,
        /// Why.
        reason: String,
    },
    /// A credential helper cannot be run, fails, or answers nonsense.
    #[error("credential helper `docker-credential-{name}` {reason}")]
    Helper {
        /// The helper, without its prefix.
        name: String,
        /// What it did.
        reason: String,
    },
    /// The same of a command of our own configuration.
    #[error("credential command `{command}` of {origin} {reason}")]
    Command {
        /// The program.
        command: String,
        /// The file that names it.
        origin: String,
        /// What it did.
        reason: String,
    },
}

impl CredentialError {
    /// What the user can do next.
    pub fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::File { .. } => "check the file's syntax and permissions".to_owned(),
            Self::Write { .. } => "check the permissions of the file and its directory".to_owned(),
            Self::Variable { name, .. } => {
                format!("set {name} to the text of a docker `config.json`, or unset it")
            }
            Self::Helper { name, .. } => format!(
                "install `docker-credential-{name}` in a directory of PATH, or remove it from docker's configuration file"
            ),
            Self::Command { .. } => "run it by hand: the registry's host (for Docker Hub \
                 https://index.docker.io/v1/) on standard input, {\"Username\": …, \"Secret\": …} on standard output"
                .to_owned(),
        };
        vec![hint]
    }
}

/// Finds credentials.
///
/// A client asks at most once per second for a repository, and again after each refusal.
pub trait Credentials: Send + Sync {
    /// The credentials for a repository of a registry, as they are now.
    ///
    /// `host` is the registry's name as references hold it (`docker.io`, `127.0.0.1:5000`).
    fn find<'a>(
        &'a self,
        host: &'a str,
        repository: &'a str,
    ) -> BoxFuture<'a, Result<Credential, CredentialError>>;

    /// Where an identity token is left that a token server gives for a password. `None` if nobody wants one, and then none
    /// is asked for.
    fn identity_token(&self) -> Option<&Mutex<Option<Secret>>> {
        None
    }
}

/// Has no credentials for anything.
#[derive(Debug, Clone, Copy)]
pub struct Anonymous;

impl Credentials for Anonymous {
    fn find<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Credential, CredentialError>> {
        Box::pin(async { Ok(Credential::Anonymous) })
    }
}

/// Whether a key is for a repository: it names the host, or the host and leading components of the repository's path.
fn is_for(key: &str, host: &str, repository: &str) -> bool {
    let Some(rest) = key.strip_prefix(host) else { return false };
    match rest.strip_prefix('/') {
        Some(leading) => crate::endpoint::strip(repository, leading).is_some(),
        None => rest.is_empty(),
    }
}

/// The name under which a registry's credentials are filed.
fn filed_as(host: &str) -> &str {
    if host == "docker.io" { DOCKER_HUB_KEY } else { host }
}
