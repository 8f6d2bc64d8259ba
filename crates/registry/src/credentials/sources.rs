//! Where credentials come from: several places, asked in their order each time; the first that has an entry wins.
//!
//! Files are read each time. They are small, and whoever rotates a mounted secret does not tell us. Programs are not run
//! each time, see [`Turns`].

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use gantry_oci::BoxFuture;

use super::auth_file::AuthFile;
use super::helper::{Helper, Surroundings, TIMEOUT};
use super::turns::Turns;
use super::{Credential, CredentialError, Credentials, filed_as, is_for};
use crate::Secret;

/// One place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialSource {
    /// A command that knows the credentials for one host or a part of it: gets on standard input what docker's helpers
    /// get (the host; for Docker Hub `https://index.docker.io/v1/`), and answers as they do.
    Command {
        /// The registry's host, or the host and leading components of repositories' paths.
        prefix: String,
        /// The program and its arguments.
        command: Vec<String>,
        /// The file that names it.
        origin: String,
    },
    /// An environment variable with the text of a `config.json`.
    Variable {
        /// The variable's name.
        name: String,
        /// Its value.
        json: Secret,
    },
    /// Docker's `config.json` or podman's `auth.json`, which need not exist.
    File(PathBuf),
}

/// Credentials and where they are from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The credentials.
    pub credential: Credential,
    /// The place in words, with the key of a file's entry or the name of the helper.
    pub source: String,
}

/// All places in their order. Clones share what programs said a moment ago.
#[derive(Debug, Clone)]
pub struct CredentialSources {
    sources: Vec<CredentialSource>,
    surroundings: Surroundings,
    turns: Turns,
}

/// Who asks.
#[derive(Clone, Copy)]
enum Asker {
    /// A person's command, which wants to know what is true now.
    Person,
    /// A client, of which there may be many.
    Client,
}

impl CredentialSources {
    /// These places. Helpers and commands run with this environment and no other.
    pub fn new(sources: Vec<CredentialSource>, environment: Vec<(OsString, OsString)>) -> Self {
        Self {
            sources,
            surroundings: Surroundings { environment, timeout: TIMEOUT },
            turns: Turns::default(),
        }
    }

    /// The credentials for a repository and where they are from, as they are now; `None` if no place has any.
    pub async fn locate(&self, host: &str, repository: &str) -> Result<Option<Found>, CredentialError> {
        self.search(host, repository, Asker::Person).await
    }

    async fn search(
        &self,
        host: &str,
        repository: &str,
        asker: Asker,
    ) -> Result<Option<Found>, CredentialError> {
        for source in &self.sources {
            let found = match source {
                CredentialSource::Command { prefix, command, origin } => {
                    match is_for(prefix, host, repository) {
                        true => self.run(command, origin, host, asker).await?,
                        false => None,
                    }
                }
                CredentialSource::Variable { name, json } => {
                    let failed = |reason| CredentialError::Variable { name: name.clone(), reason };
                    let file = AuthFile::parse(json.expose().as_bytes()).map_err(failed)?;
                    let place = format!("variable {name}");
                    self.look(&file, (host, repository, asker), &place, failed).await?
                }
                CredentialSource::File(path) => match read(path).await? {
                    Some(file) => {
                        let failed = |reason| CredentialError::File { path: path.clone(), reason };
                        let place = path.display().to_string();
                        self.look(&file, (host, repository, asker), &place, failed).await?
                    }
                    None => None,
                },
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    async fn run(
        &self,
        command: &[String],
        origin: &str,
        host: &str,
        asker: Asker,
    ) -> Result<Option<Found>, CredentialError> {
        let helper = Helper::command(command, origin, &self.surroundings);
        let credential = self.ask(&helper, host, asker).await?;
        let program = command.first().map_or("", String::as_str);
        let source = format!("command `{program}` of {origin}");
        Ok(credential.map(|credential| Found { credential, source }))
    }

    /// What one file has: its helper's answer, else its own entry.
    async fn look(
        &self,
        file: &AuthFile,
        (host, repository, asker): (&str, &str, Asker),
        place: &str,
        failed: impl FnOnce(String) -> CredentialError,
    ) -> Result<Option<Found>, CredentialError> {
        if let Some(name) = file.helper(host, repository) {
            let credential = self.ask(&Helper::new(name, &self.surroundings)?, host, asker).await?;
            if let Some(credential) = credential {
                let source = format!("helper `docker-credential-{name}` of {place}");
                return Ok(Some(Found { credential, source }));
            }
        }
        let Some((key, credential)) = file.entry(host, repository) else { return Ok(None) };
        let source = format!("{place}, `auths` entry `{key}`");
        Ok(Some(Found { credential: credential.map_err(failed)?, source }))
    }

    async fn ask(
        &self,
        helper: &Helper<'_>,
        host: &str,
        asker: Asker,
    ) -> Result<Option<Credential>, CredentialError> {
        match asker {
            Asker::Person => helper.get(filed_as(host)).await,
            Asker::Client => self.turns.ask(helper, filed_as(host)).await,
        }
    }
}

impl Credentials for CredentialSources {
    fn find<'a>(
        &'a self,
        host: &'a str,
        repository: &'a str,
    ) -> BoxFuture<'a, Result<Credential, CredentialError>> {
        Box::pin(async move {
            let found = self.search(host, repository, Asker::Client).await?;
            Ok(found.map_or(Credential::Anonymous, |found| found.credential))
        })
    }
}

/// Reads a file of credentials. `None` if there is none.
pub(super) async fn read(path: &Path) -> Result<Option<AuthFile>, CredentialError> {
    let failed = |reason: String| CredentialError::File { path: path.to_owned(), reason };
    match tokio::fs::read(path).await {
        // Some programs make the file before they write into it.
        Ok(bytes) if bytes.trim_ascii().is_empty() => Ok(None),
        Ok(bytes) => AuthFile::parse(&bytes).map(Some).map_err(failed),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(failed(error.to_string())),
    }
}

#[cfg(test)]
mod tests;
