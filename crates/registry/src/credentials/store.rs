//! Where `login` puts credentials and `logout` takes them from: docker's `config.json`, or the helper that it names.
//!
//! The file is docker's: everything else that stands in it stays, in its order; it is replaced as a whole, so that
//! nobody reads a half; a symbolic link stays one.

use std::ffi::OsString;
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Map, Value, json};

use super::auth_file::normal_key;
use super::helper::{Helper, Surroundings, TIMEOUT};
use super::{CredentialError, TOKEN_USER, filed_as};
use crate::Secret;

/// Passwords are for their owner.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// Keeps credentials.
#[derive(Debug, Clone)]
pub struct CredentialStore {
    path: PathBuf,
    surroundings: Surroundings,
}

/// Where credentials were put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// With the helper `docker-credential-NAME`.
    Helper(String),
    /// In the file, readable for whoever reads the file.
    File(PathBuf),
}

/// What a secret is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretKind {
    /// The user's password.
    Password,
    /// An OAuth 2.0 refresh token.
    IdentityToken,
}

impl CredentialStore {
    /// Keeps in this `config.json`, which need not exist. Helpers run with this environment and no other.
    pub fn new(path: impl Into<PathBuf>, environment: Vec<(OsString, OsString)>) -> Self {
        Self { path: path.into(), surroundings: Surroundings { environment, timeout: TIMEOUT } }
    }

    /// Keeps a host's user name and secret in place of what was known.
    pub async fn save(
        &self,
        host: &str,
        user: &str,
        (kind, secret): (SecretKind, &Secret),
    ) -> Result<Kept, CredentialError> {
        let mut document = self.read()?;
        let key = filed_as(host);
        let helper = helper(&document, host);
        let pair = |password: &str| BASE64_STANDARD.encode(format!("{user}:{password}"));
        let entry = match (&helper, kind) {
            // Docker leaves an empty entry as a trace, which other programs look for.
            (Some(_), _) => json!({}),
            (None, SecretKind::Password) => json!({ "auth": pair(secret.expose()) }),
            (None, SecretKind::IdentityToken) => {
                json!({ "auth": pair(""), "identitytoken": secret.expose() })
            }
        };
        if let Some(name) = &helper {
            let user = if kind == SecretKind::IdentityToken { TOKEN_USER } else { user };
            Helper::new(name, &self.surroundings)?.store(key, user, secret).await?;
        }
        let auths = document.entry("auths").or_insert_with(|| json!({}));
        let auths = auths.as_object_mut().ok_or_else(|| self.unreadable("`auths` is no object"))?;
        auths.retain(|other, _| other == key || normal_key(other) != host);
        let before = auths.insert(key.to_owned(), entry.clone());
        if before.as_ref() != Some(&entry) {
            self.write(&document)?;
        }
        Ok(helper.map_or_else(|| Kept::File(self.path.clone()), Kept::Helper))
    }

    /// Removes what is known for a host. `false` if there was nothing.
    pub async fn erase(&self, host: &str) -> Result<bool, CredentialError> {
        let mut document = self.read()?;
        let mut erased = false;
        if let Some(name) = helper(&document, host) {
            erased = Helper::new(&name, &self.surroundings)?.erase(filed_as(host)).await?;
        }
        if let Some(auths) = document.get_mut("auths").and_then(Value::as_object_mut) {
            let before = auths.len();
            auths.retain(|key, _| normal_key(key) != host);
            if auths.len() < before {
                erased = true;
                self.write(&document)?;
            }
        }
        Ok(erased)
    }

    fn read(&self) -> Result<Map<String, Value>, CredentialError> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(self.unreadable(error.to_string())),
        };
        if bytes.trim_ascii().is_empty() {
            return Ok(Map::new());
        }
        // The parser's own words could quote a password.
        serde_json::from_slice(&bytes).map_err(|error| {
            self.unreadable(format!("it is not valid at line {} column {}", error.line(), error.column()))
        })
    }

    fn write(&self, document: &Map<String, Value>) -> Result<(), CredentialError> {
        let written = (|| {
            // A link stays, and its target is replaced.
            let target = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
            let directory = target.parent().unwrap_or(Path::new("."));
            fs::DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory)?;
            let mut bytes = Vec::new();
            let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
            serde::Serialize::serialize(
                document,
                &mut serde_json::Serializer::with_formatter(&mut bytes, formatter),
            )?;
            replace(&target, &bytes)
        })();
        written.map_err(|error: std::io::Error| CredentialError::Write {
            path: self.path.clone(),
            reason: error.to_string(),
        })
    }

    fn unreadable(&self, reason: impl Into<String>) -> CredentialError {
        CredentialError::File { path: self.path.clone(), reason: reason.into() }
    }
}

/// Puts these bytes in the place of a file. Its mode stays if it had one.
fn replace(target: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mode = fs::metadata(target).map_or(FILE_MODE, |metadata| metadata.permissions().mode() & 0o777);
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(format!(".gantry-{}", std::process::id()));
    let temporary = target.with_file_name(name);
    let result = (|| {
        // One that a killed run left behind may be anybody's.
        let _ = fs::remove_file(&temporary);
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&temporary)?;
        file.write_all(bytes)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&temporary, target)
    })();
    if result.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    result
}

/// The helper that the file names for a host.
fn helper(document: &Map<String, Value>, host: &str) -> Option<String> {
    let helpers = document.get("credHelpers").and_then(Value::as_object);
    let named = helpers.and_then(|helpers| {
        helpers.iter().find(|(key, _)| normal_key(key) == host).and_then(|(_, name)| name.as_str())
    });
    let name = named.or_else(|| document.get("credsStore").and_then(Value::as_str));
    name.filter(|name| !name.is_empty()).map(str::to_owned)
}
