//! Docker's `config.json` and podman's `auth.json`: `auths`, `credHelpers` and `credsStore`, from text to values.
//!
//! Keys may name a path on a host, as podman writes them; the longest that fits wins, so that one team's password is
//! never sent for another's repository.

use std::collections::BTreeMap;

use base64::prelude::{BASE64_STANDARD, Engine};
use serde::Deserialize;

use super::{Credential, TOKEN_USER, is_for};
use crate::Secret;

/// Names of Docker Hub that stand in such files.
const DOCKER_HUB_ALIASES: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// A parsed file.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AuthFile {
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

impl AuthFile {
    /// Reads a file's text. The error is a reason that quotes nothing: the text holds passwords.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(text)
            .map_err(|error| format!("it is not valid at line {} column {}", error.line(), error.column()))
    }

    /// The helper for a repository.
    pub(super) fn helper(&self, host: &str, repository: &str) -> Option<&str> {
        let named = longest(&self.cred_helpers, host, repository).map(|(_, helper)| helper);
        named.or(self.creds_store.as_ref()).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// The entry of the file itself for a repository: its key, and the credential or why it has none.
    ///
    /// An empty entry is what remains beside a helper, and is none.
    pub(super) fn entry(&self, host: &str, repository: &str) -> Option<(&str, Result<Credential, String>)> {
        let (key, entry) = longest(&self.auths, host, repository)?;
        let credential = entry.credential();
        (credential != Ok(Credential::Anonymous)).then_some((key, credential))
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
            (false, true) => Credential::IdentityToken {
                user: TOKEN_USER.to_owned(),
                token: Secret::new(&self.identitytoken),
            },
            (false, false) => Credential::IdentityToken { user, token: Secret::new(&self.identitytoken) },
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
fn longest<'a, T>(
    entries: &'a BTreeMap<String, T>,
    host: &str,
    repository: &str,
) -> Option<(&'a str, &'a T)> {
    entries
        .iter()
        .map(|(key, entry)| (normal_key(key), key.as_str(), entry))
        .filter(|(normal, ..)| is_for(normal, host, repository))
        .max_by_key(|(normal, ..)| normal.len())
        .map(|(_, key, entry)| (key, entry))
}

/// A key without scheme and API version; Docker Hub under one name.
///
/// A version stands right behind the host. Further back, `v1` and `v2` are names that people gave.
pub(super) fn normal_key(key: &str) -> String {
    let key = key.strip_prefix("https://").or(key.strip_prefix("http://")).unwrap_or(key);
    let key = key.trim_end_matches('/');
    let (host, path) = key.split_at(key.find('/').unwrap_or(key.len()));
    let path = if matches!(path, "/v1" | "/v2") { "" } else { path };
    let host = if DOCKER_HUB_ALIASES.contains(&host) { "docker.io" } else { host };
    format!("{host}{path}")
}
