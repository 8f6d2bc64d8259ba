//! What can go wrong with a registry, in words that name the object, the action and the cause.

use std::fmt;
use std::io;

use gantry_oci::{ImageError, ImageErrorKind, ManifestError};

use crate::CredentialError;

/// The longest text of a registry's that gets into a message, in characters.
const LONGEST_DETAIL: usize = 400;

/// A failed operation.
#[derive(Debug, thiserror::Error)]
#[error("{action}: {fault}")]
pub struct RegistryError {
    /// What was being done, to what: `pulling blob sha256:… from host/repository`.
    pub action: String,
    /// Why it failed.
    #[source]
    pub fault: Fault,
}

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// No connection could be made.
    #[error("cannot reach registry `{host}`: {cause}")]
    Unreachable {
        /// The server.
        host: String,
        /// The system's or the TLS library's words.
        cause: String,
    },
    /// The server was reached, but its certificate is not trusted, or it does not speak TLS at all.
    #[error("cannot speak TLS with registry `{host}`: {cause}")]
    Handshake {
        /// The server.
        host: String,
        /// The TLS library's words.
        cause: String,
    },
    /// The connection was lost before all was said.
    #[error("the connection to `{host}` broke: {cause}")]
    Broken {
        /// The server.
        host: String,
        /// The system's or the HTTP library's words.
        cause: String,
    },
    /// Nothing moved for too long.
    #[error("`{host}` was silent for {seconds} s")]
    Stalled {
        /// The server.
        host: String,
        /// How long.
        seconds: u64,
    },
    /// The registry answered with a status that is not what the operation needs.
    #[error("{0}")]
    Answer(Answer),
    /// The registry wants credentials and there are none.
    #[error("registry `{host}` wants credentials, and none are configured for `{repository}`")]
    NoCredentials {
        /// The registry.
        host: String,
        /// The repository.
        repository: String,
    },
    /// The registry or its token server refused the credentials.
    #[error("registry `{host}` refused the credentials: {answer}")]
    Refused {
        /// The registry.
        host: String,
        /// What it said.
        answer: Answer,
    },
    /// The registry or its token server no longer takes credentials that it took before.
    #[error("registry `{host}` no longer accepts the credentials that it accepted before: {answer}")]
    RanOut {
        /// The registry.
        host: String,
        /// What it said.
        answer: Answer,
    },
    /// The credentials could not be read.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// Content does not have the digest, size or type that was promised.
    #[error("{0}")]
    Corrupt(String),
    /// A manifest that is none.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The registry breaks the protocol.
    #[error("{0}")]
    Protocol(String),
    /// The image exists, but not for the platform.
    #[error("the image has no {wanted}: it has {}", list(.available))]
    NoPlatform {
        /// The platform that was asked for.
        wanted: String,
        /// Those that the image has.
        available: Vec<String>,
    },
    /// The bytes to be sent could not be read.
    #[error("cannot read the bytes to send: {0}")]
    Source(#[source] io::Error),
    /// The bytes received could not be written.
    #[error("cannot write the bytes received: {0}")]
    Sink(#[source] io::Error),
    /// The configuration forbids the repository.
    #[error("`{name}` is blocked by {by}")]
    Blocked {
        /// The repository, with its host.
        name: String,
        /// The file and the key.
        by: String,
    },
    /// TLS could not be set up.
    #[error("{0}")]
    Tls(String),
}

/// An answer with an unexpected status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The status in words.
    pub reason: &'static str,
    /// The registry's own words, cleaned; may be empty.
    pub detail: String,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.reason)?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        Ok(())
    }
}

impl Answer {
    /// Reads the error document of the distribution specification, or plain text, out of an answer's body.
    pub(crate) fn new(status: hyper::StatusCode, body: &[u8]) -> Self {
        let detail = match serde_json::from_slice::<serde_json::Value>(body) {
            Ok(document) => document_detail(&document),
            // A page for people to look at says nothing that helps in one line.
            Err(_) if body.trim_ascii_start().starts_with(b"<") => String::new(),
            Err(_) => String::from_utf8_lossy(body).into_owned(),
        };
        Self {
            status: status.as_u16(),
            reason: status.canonical_reason().unwrap_or("unknown status"),
            detail: clean(&detail),
        }
    }
}

fn document_detail(document: &serde_json::Value) -> String {
    let text = |value: &serde_json::Value, key| {
        value.get(key).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
    };
    let join = |code: String, message: String| match (code.is_empty(), message.is_empty()) {
        (false, false) => format!("{code}: {message}"),
        _ => code + &message,
    };
    match document.get("errors").and_then(serde_json::Value::as_array) {
        Some(errors) => {
            let errors: Vec<String> =
                errors.iter().map(|error| join(text(error, "code"), text(error, "message"))).collect();
            errors.join("; ")
        }
        // OAuth 2.0's form, which token servers use, and Docker Hub's.
        None => match document.get("error") {
            Some(_) => join(text(document, "error"), text(document, "error_description")),
            None => join(text(document, "details"), text(document, "message")),
        },
    }
}

/// Takes what a terminal could obey out of a foreign text, and bounds its length.
fn clean(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let text: String = text.chars().map(|c| if hidden(c) { ' ' } else { c }).collect();
    let text = text.trim();
    match text.char_indices().nth(LONGEST_DETAIL) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "no platform at all".to_owned() } else { names.join(", ") }
}

impl Fault {
    /// The class of the fault, as the image ports know it.
    pub fn kind(&self) -> ImageErrorKind {
        match self {
            Self::Answer(Answer { status: 404, .. }) => ImageErrorKind::NotFound,
            Self::Answer(Answer { status: 401 | 403, .. })
            | Self::NoCredentials { .. }
            | Self::Refused { .. }
            | Self::RanOut { .. }
            | Self::Credentials(_)
            | Self::Blocked { .. } => ImageErrorKind::Denied,
            Self::NoPlatform { .. } => ImageErrorKind::NoPlatform,
            Self::Corrupt(_) | Self::Manifest(_) => ImageErrorKind::Corrupt,
            _ => ImageErrorKind::Unavailable,
        }
    }

    /// What the user can do next.
    pub fn hints(&self) -> Vec<String> {
        let hints: &[&str] = match self {
            Self::Handshake { cause, .. } if cause.contains("certificate") => {
                &["give the registry's certificate authority in its host configuration (`ca`)"]
            }
            Self::Handshake { .. } => {
                &["if the registry speaks plain HTTP, say so in its host configuration (`http = true`)"]
            }
            // The words of Go's server, which nearly every registry uses.
            Self::Answer(answer) if answer.detail.contains("HTTP request to an HTTPS server") => {
                &["the registry speaks TLS: say so in its host configuration (`http = false`)"]
            }
            Self::Unreachable { .. } => {
                &["check that the registry is running and that its name and port are right"]
            }
            Self::NoCredentials { .. } => {
                &["log in first with `gantry login`, or any tool that writes docker's or podman's files"]
            }
            Self::Refused { .. } => &["log in again: the user name, password or token is wrong"],
            Self::RanOut { .. } => &[
                "log in again, or have a credential helper do so: the password or token has run out or was changed",
            ],
            Self::Credentials(error) => return error.hints(),
            _ => &[],
        };
        hints.iter().map(|&hint| hint.to_owned()).collect()
    }
}

impl RegistryError {
    /// The class of the fault, as the image ports know it.
    pub fn kind(&self) -> ImageErrorKind {
        self.fault.kind()
    }
}

impl From<RegistryError> for ImageError {
    fn from(error: RegistryError) -> Self {
        let hints = error.fault.hints();
        let plain = Self::new(error.kind(), error.to_string());
        Self { source: Some(Box::new(error)), ..hints.into_iter().fold(plain, Self::hint) }
    }
}

/// Says what was being done when a fault came up.
pub(crate) trait During<T> {
    fn during(self, action: impl FnOnce() -> String) -> Result<T, RegistryError>;
}

impl<T> During<T> for Result<T, Fault> {
    fn during(self, action: impl FnOnce() -> String) -> Result<T, RegistryError> {
        self.map_err(|fault| RegistryError { action: action(), fault })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_say_is_read_and_cleaned() {
        for (status, body, message) in [
            (
                500,
                r#"{"errors":[{"code":"UNKNOWN","message":"disk\u001b[2J full\n"}]}"#,
                "500 Internal Server Error: UNKNOWN: disk [2J full",
            ),
            (400, r#"{"errors":[{"code":"A"},{"code":"B","message":"c"}]}"#, "400 Bad Request: A; B: c"),
            (
                400,
                r#"{"error":"invalid_grant","error_description":"gone"}"#,
                "400 Bad Request: invalid_grant: gone",
            ),
            (
                401,
                r#"{"details":"incorrect username or password"}"#,
                "401 Unauthorized: incorrect username or password",
            ),
            (429, "toomanyrequests: slow down", "429 Too Many Requests: toomanyrequests: slow down"),
            (502, "<html><h1>Bad gateway</h1></html>", "502 Bad Gateway"),
            (404, "", "404 Not Found"),
        ] {
            let answer = Answer::new(hyper::StatusCode::from_u16(status).unwrap(), body.as_bytes());
            assert_eq!(answer.to_string(), message);
        }
        let long = Answer::new(hyper::StatusCode::NOT_FOUND, "é".repeat(2 * LONGEST_DETAIL).as_bytes());
        assert_eq!(long.detail.chars().count(), LONGEST_DETAIL + 1);
    }
}
