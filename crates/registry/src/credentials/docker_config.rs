//! Docker's `config.json`: `auths`, `credHelpers` and `credsStore`.
//!
//! The file is read each time. It is small, and whoever rotates a mounted secret does not tell us. Keys may name a
//! path on a host, as podman writes them; the longest that fits wins, so that one team's password is never sent for
//! another's repository.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use base64::prelude::{BASE64_STANDARD, Engine};
use gantry_oci::BoxFuture;
use serde::Deserialize;

use super::helper::Helper;
use super::{Credential, CredentialError, Credentials};
use crate::Secret;

/// The key under which Docker Hub's credentials are filed, in files and with helpers.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
/// Names of Docker Hub that stand in such files.
const DOCKER_HUB_ALIASES: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// Credentials from docker's configuration file and the helpers that it names.
#[derive(Debug, Clone)]
pub struct DockerConfig {
    path: PathBuf,
    environment: Vec<(OsString, OsString)>,
}

impl DockerConfig {
    /// Reads this file; it need not exist. Helpers run with this environment and no other.
    pub fn new(path: impl Into<PathBuf>, environment: Vec<(OsString, OsString)>) -> Self {
        Self { path: path.into(), environment }
    }

    async fn read(&self) -> Result<File, CredentialError> {
        let failed = |reason: String| CredentialError::File { path: self.path.clone(), reason };
        match tokio::fs::read(&self.path).await {
            // The parser's message quotes no values, only positions and types.
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| failed(describe(&error))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(File::default()),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    async fn ask(&self, helper: &str, host: &str) -> Result<Option<Credential>, CredentialError> {
        let server = if host == "docker.io" { DOCKER_HUB_KEY } else { host };
        Helper::new(helper, &self.environment)?.get(server).await
    }
}

/// Where the syntax error is, without the text around it: that text holds passwords.
fn describe(error: &serde_json::Error) -> String {
    format!("it is not valid at line {} column {}", error.line(), error.column())
}

impl Credentials for DockerConfig {
    fn find<'a>(
        &'a self,
        host: &'a str,
        repository: &'a str,
    ) -> BoxFuture<'a, Result<Credential, CredentialError>> {
        Box::pin(async move {
            let file = self.read().await?;
            let helper = longest(&file.cred_helpers, host, repository).or(file.creds_store.as_ref());
            if let Some(helper) = helper.filter(|name| !name.is_empty())
                && let Some(credential) = self.ask(helper, host).await?
            {
                return Ok(credential);
            }
            let Some(entry) = longest(&file.auths, host, repository) else {
                return Ok(Credential::Anonymous);
            };
            entry.credential().map_err(|reason| CredentialError::File { path: self.path.clone(), reason })
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    auths: BTreeMap<String, Entry>,
    #[serde(rename = "credHelpers")]
    cred_helpers: BTreeMap<String, String>,
    #[serde(rename = "credsStore")]
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entry(***)")
    }
}

impl Entry {
    fn credential(&self) -> Result<Credential, String> {
        if !self.registrytoken.is_empty() {
            return Ok(Credential::RegistryToken(Secret::new(&self.registrytoken)));
        }
        let (user, password) = match self.auth.is_empty() {
            true => (self.username.clone(), self.password.clone()),
            false => decode(&self.auth)?,
        };
        Ok(match (self.identitytoken.is_empty(), user.is_empty()) {
            (false, true) => {
                Credential::IdentityToken { user: "<token>".into(), token: Secret::new(&self.identitytoken) }
            }
            (false, false) => Credential::IdentityToken { user, token: Secret::new(&self.identitytoken) },
            // An empty entry is what remains beside a helper.
            (true, true) => Credential::Anonymous,
            (true, false) => Credential::Password { user, password: Secret::new(password) },
        })
    }
}

fn decode(auth: &str) -> Result<(String, String), String> {
    let text = BASE64_STANDARD.decode(auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = text.as_deref().and_then(|text| text.trim_end_matches('\0').split_once(':'));
    let (user, password) = pair.ok_or("an `auth` value is not base64 of `user:password`")?;
    Ok((user.to_owned(), password.to_owned()))
}

/// The entry whose key names the host, or the host and the longest leading part of the repository's path.
fn longest<'a, T>(entries: &'a BTreeMap<String, T>, host: &str, repository: &str) -> Option<&'a T> {
    let name = format!("{host}/{repository}");
    let fits =
        |key: &str| name.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    entries
        .iter()
        .map(|(key, entry)| (normal_key(key), entry))
        .filter(|(key, _)| fits(key))
        .max_by_key(|(key, _)| key.len())
        .map(|(_, entry)| entry)
}

/// A key without scheme and API version; Docker Hub under one name.
fn normal_key(key: &str) -> String {
    let key = key.strip_prefix("https://").or(key.strip_prefix("http://")).unwrap_or(key);
    let key = key.trim_end_matches('/');
    let key = key.strip_suffix("/v1").or(key.strip_suffix("/v2")).unwrap_or(key);
    let (host, path) = key.split_at(key.find('/').unwrap_or(key.len()));
    let host = if DOCKER_HUB_ALIASES.contains(&host) { "docker.io" } else { host };
    format!("{host}{path}")
}

#[cfg(test)]
mod tests;
