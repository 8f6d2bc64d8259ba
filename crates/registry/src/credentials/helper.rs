//! Docker's credential helpers: programs named `docker-credential-NAME` that answer `get` on standard output.
//!
//! The name comes from a file, so it is checked and no shell sees it; the program is foreign, so its time and its
//! output are bounded.

use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::{Credential, CredentialError};
use crate::Secret;

/// Helpers of cloud registries make network requests of their own; some ask a person to touch a key.
const TIMEOUT: Duration = Duration::from_secs(60);
/// An answer is a few hundred bytes, a few thousand with the largest tokens.
const LARGEST_ANSWER: u64 = 64 * 1024;
/// What every helper says, in docker's own words, if it has nothing for the server.
const NOT_FOUND: &str = "credentials not found";
/// The user name that marks the secret as an identity token.
const TOKEN_USER: &str = "<token>";

/// A helper that can be asked.
pub(super) struct Helper<'a> {
    name: &'a str,
    environment: &'a [(OsString, OsString)],
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

impl<'a> Helper<'a> {
    pub(super) fn new(
        name: &'a str,
        environment: &'a [(OsString, OsString)],
    ) -> Result<Self, CredentialError> {
        let helper = Self { name, environment };
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        match !name.is_empty() && name.bytes().all(allowed) {
            true => Ok(helper),
            false => Err(helper.failed("has a name that is not allowed")),
        }
    }

    /// Asks for a server's credentials. `None` if the helper has none.
    pub(super) async fn get(&self, server: &str) -> Result<Option<Credential>, CredentialError> {
        let child = self.spawn().map_err(|error| self.failed(format!("cannot be run: {error}")))?;
        match tokio::time::timeout(TIMEOUT, self.talk(child, server)).await {
            Ok(answer) => answer,
            Err(_) => Err(self.failed(format!("did not answer within {} s", TIMEOUT.as_secs()))),
        }
    }

    fn spawn(&self) -> std::io::Result<Child> {
        Command::new(format!("docker-credential-{}", self.name))
            .arg("get")
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
    }

    async fn talk(&self, mut child: Child, server: &str) -> Result<Option<Credential>, CredentialError> {
        let broken = |error: std::io::Error| self.failed(format!("cannot be talked to: {error}"));
        let mut input = child.stdin.take().expect("standard input is piped");
        // A helper that does not read its input has its reasons, and says them on its output.
        let _ = input.write_all(format!("{server}\n").as_bytes()).await;
        drop(input);
        let stdout = child.stdout.take().expect("standard output is piped");
        let stderr = child.stderr.take().expect("standard error is piped");
        // Both at once, so that neither pipe fills up; the first error ends the other's reading.
        let (answer, complaint) = tokio::try_join!(self.read(stdout), self.read(stderr))?;
        if child.wait().await.map_err(broken)?.success() {
            return self.parse(&answer).map(Some);
        }
        let said = [answer, complaint].map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
        if said.iter().any(|text| text.to_ascii_lowercase().contains(NOT_FOUND)) {
            return Ok(None);
        }
        let said = said.iter().find(|text| !text.is_empty()).map_or("without a word", String::as_str);
        Err(self.failed(format!(
            "failed: {}",
            said.chars().filter(|c| !c.is_control()).take(200).collect::<String>()
        )))
    }

    async fn read(&self, stream: impl AsyncRead + Unpin) -> Result<Vec<u8>, CredentialError> {
        let mut bytes = Vec::new();
        let read = stream.take(LARGEST_ANSWER + 1).read_to_end(&mut bytes).await;
        read.map_err(|error| self.failed(format!("cannot be talked to: {error}")))?;
        match bytes.len() as u64 > LARGEST_ANSWER {
            true => Err(self.failed(format!("answered more than {LARGEST_ANSWER} bytes"))),
            false => Ok(bytes),
        }
    }

    fn parse(&self, answer: &[u8]) -> Result<Credential, CredentialError> {
        let Ok(Answer { username, secret }) = serde_json::from_slice(answer) else {
            return Err(self.failed("answered something that is not its protocol"));
        };
        let secret = Secret::new(secret);
        Ok(match username == TOKEN_USER {
            true => Credential::IdentityToken { user: username, token: secret },
            false => Credential::Password { user: username, password: secret },
        })
    }

    fn failed(&self, reason: impl Into<String>) -> CredentialError {
        let name = self.name.chars().filter(|c| !c.is_control()).take(60).collect();
        CredentialError::Helper { name, reason: reason.into() }
    }
}
