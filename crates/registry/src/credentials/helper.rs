//! Programs that know credentials: docker's helpers (`docker-credential-NAME get|store|erase`) and commands of our own
//! configuration, which answer what `get` answers.
//!
//! A helper's name comes from a file, so it is checked and no shell sees it; the program is foreign, so its time and
//! its output are bounded, and nothing of it gets into a header or onto a terminal unchecked.

use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::{Credential, CredentialError, TOKEN_USER};
use crate::Secret;

/// Helpers of cloud registries make network requests of their own; some ask a person to touch a key.
pub(super) const TIMEOUT: Duration = Duration::from_secs(60);
/// An answer is a few hundred bytes, a few thousand with the largest tokens.
const LARGEST_ANSWER: u64 = 64 * 1024;
/// What every helper says, in docker's own words, if it has nothing for the server.
const NOT_FOUND: &str = "credentials not found";
/// How much of a program's complaint is passed on, in characters.
const LONGEST_COMPLAINT: usize = 200;

/// The surroundings of programs that are asked.
#[derive(Clone)]
pub(super) struct Surroundings {
    /// All of their environment.
    pub(super) environment: Vec<(OsString, OsString)>,
    /// How long they may take.
    pub(super) timeout: Duration,
}

impl std::fmt::Debug for Surroundings {
    /// Without the environment: secrets stand there.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// A program that can be asked.
pub(super) struct Helper<'a> {
    identity: Identity<'a>,
    surroundings: &'a Surroundings,
}

enum Identity<'a> {
    /// One of docker's, by the name that follows `docker-credential-`.
    Named(&'a str),
    /// A command, and the file that names it.
    Command { command: &'a [String], origin: &'a str },
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

#[derive(Serialize)]
struct Entry<'a> {
    #[serde(rename = "ServerURL")]
    server: &'a str,
    #[serde(rename = "Username")]
    user: &'a str,
    #[serde(rename = "Secret")]
    secret: &'a str,
}

impl<'a> Helper<'a> {
    /// The helper of this name.
    pub(super) fn new(name: &'a str, surroundings: &'a Surroundings) -> Result<Self, CredentialError> {
        let helper = Self { identity: Identity::Named(name), surroundings };
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        match !name.is_empty() && name.bytes().all(allowed) {
            true => Ok(helper),
            false => Err(helper.failed("has a name that is not allowed")),
        }
    }

    /// The command of a configuration file.
    pub(super) fn command(command: &'a [String], origin: &'a str, surroundings: &'a Surroundings) -> Self {
        Self { identity: Identity::Command { command, origin }, surroundings }
    }

    /// Asks for a server's credentials. `None` if the program has none.
    pub(super) async fn get(&self, server: &str) -> Result<Option<Credential>, CredentialError> {
        match self.talk("get", &format!("{server}\n")).await? {
            Outcome::Done(answer) => self.parse(&answer).map(Some),
            Outcome::NotFound => Ok(None),
        }
    }

    /// Has it keep a server's credentials.
    pub(super) async fn store(
        &self,
        server: &str,
        user: &str,
        secret: &Secret,
    ) -> Result<(), CredentialError> {
        let entry = Entry { server, user, secret: secret.expose() };
        let entry = serde_json::to_string(&entry).expect("texts are JSON");
        match self.talk("store", &entry).await? {
            Outcome::Done(_) => Ok(()),
            Outcome::NotFound => Err(self.failed(format!("failed: {NOT_FOUND}"))),
        }
    }

    /// Has it forget a server's credentials. `false` if it knew none.
    pub(super) async fn erase(&self, server: &str) -> Result<bool, CredentialError> {
        Ok(matches!(self.talk("erase", &format!("{server}\n")).await?, Outcome::Done(_)))
    }

    async fn talk(&self, action: &str, input: &str) -> Result<Outcome, CredentialError> {
        let child = self.spawn(action).map_err(|error| self.failed(format!("cannot be run: {error}")))?;
        let timeout = self.surroundings.timeout;
        match tokio::time::timeout(timeout, self.exchange(child, input)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.failed(format!("did not answer within {} s", timeout.as_secs_f32()))),
        }
    }

    /// What is run to ask it.
    pub(super) fn command_line(&self) -> Vec<String> {
        match self.identity {
            Identity::Named(name) => vec![format!("docker-credential-{name}"), "get".to_owned()],
            Identity::Command { command, .. } => command.to_vec(),
        }
    }

    fn spawn(&self, action: &str) -> std::io::Result<Child> {
        let mut command = match self.identity {
            Identity::Named(name) => {
                let mut command = Command::new(format!("docker-credential-{name}"));
                command.arg(action);
                command
            }
            Identity::Command { command: [program, arguments @ ..], .. } => {
                let mut command = Command::new(program);
                command.args(arguments);
                command
            }
            Identity::Command { command: [], .. } => {
                return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "it is empty"));
            }
        };
        command
            .env_clear()
            .envs(self.surroundings.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
    }

    async fn exchange(&self, mut child: Child, input: &str) -> Result<Outcome, CredentialError> {
        let broken = |error: std::io::Error| self.failed(format!("cannot be talked to: {error}"));
        let mut stdin = child.stdin.take().expect("standard input is piped");
        // A helper that does not read its input has its reasons, and says them on its output.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let stdout = child.stdout.take().expect("standard output is piped");
        let stderr = child.stderr.take().expect("standard error is piped");
        // Both at once, so that neither pipe fills up; the first error ends the other's reading.
        let (answer, complaint) = tokio::try_join!(self.read(stdout), self.read(stderr))?;
        if child.wait().await.map_err(broken)?.success() {
            return Ok(Outcome::Done(answer));
        }
        let said = [answer, complaint].map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
        if said.iter().any(|text| text.to_ascii_lowercase().contains(NOT_FOUND)) {
            return Ok(Outcome::NotFound);
        }
        let said = said.iter().find(|text| !text.is_empty()).map_or("without a word", String::as_str);
        Err(self.failed(format!(
            "failed: {}",
            said.chars().filter(|c| !c.is_control()).take(LONGEST_COMPLAINT).collect::<String>()
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
        // A secret may have several lines (keys of service accounts do); it is encoded wherever it is sent.
        if username.contains(char::is_control) {
            return Err(self.failed("answered with control characters in the user name"));
        }
        let secret = Secret::new(secret);
        Ok(match username == TOKEN_USER {
            true => Credential::IdentityToken { user: username, token: secret },
            // Docker's own client takes this for "nobody is logged in", too.
            false if username.is_empty() => Credential::Anonymous,
            false => Credential::Password { user: username, password: secret },
        })
    }

    fn failed(&self, reason: impl Into<String>) -> CredentialError {
        let reason = reason.into();
        let printable = |text: &str| text.chars().filter(|c| !c.is_control()).take(60).collect::<String>();
        match self.identity {
            Identity::Named(name) => CredentialError::Helper { name: printable(name), reason },
            Identity::Command { command, origin } => CredentialError::Command {
                command: printable(command.first().map_or("", String::as_str)),
                origin: origin.to_owned(),
                reason,
            },
        }
    }
}

/// How a program ended.
enum Outcome {
    Done(Vec<u8>),
    NotFound,
}
