//! Image references: `[host[:port]/]path[:tag][@digest]`, in the grammar of the distribution project.
//!
//! Docker Hub's short names are completed (`busybox` is `docker.io/library/busybox:latest`); the whole is kept in
//! parts, so that a host never has to be guessed again from text.

use std::fmt;
use std::str::FromStr;

use crate::Digest;

/// The longest repository name that the distribution specification allows, host included.
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;
const DOCKER_HUB: &str = "docker.io";

/// A parsed reference. Has a tag, a digest, or both; the digest decides.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    host: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is not a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an image reference: {reason}")]
pub struct ReferenceError {
    text: String,
    reason: String,
}

impl Reference {
    /// The registry's host, with its port if one was given; `docker.io` for Docker Hub.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The repository's path on that host, `library/busybox`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, `latest` where the text gave neither tag nor digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The host and path, without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.host, self.repository)
    }

    /// The same reference pinned to this digest; the tag stays as a note for people.
    #[must_use]
    pub fn pinned(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }

    /// The same reference without its digest, if it has a tag.
    #[must_use]
    pub fn unpinned(&self) -> Self {
        let digest = if self.tag.is_some() { None } else { self.digest };
        Self { digest, ..self.clone() }
    }

    /// The name as people write it: Docker Hub's host and `library/` are left out.
    pub fn familiar(&self) -> String {
        let name = match self.host.as_str() {
            DOCKER_HUB => self.repository.strip_prefix("library/").unwrap_or(&self.repository).to_owned(),
            _ => self.name(),
        };
        format!("{name}{}", Suffix(self))
    }
}

struct Suffix<'a>(&'a Reference);

impl fmt::Display for Suffix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(tag) = &self.0.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.0.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.host, self.repository, Suffix(self))
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let refuse = |reason: &str| ReferenceError { text: text.to_owned(), reason: reason.to_owned() };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                (rest, Some(digest.parse::<Digest>().map_err(|error| refuse(&error.to_string()))?))
            }
            None => (text, None),
        };
        // A colon after the last slash starts the tag; one before it belongs to a port.
        let tag_at = rest.rfind(':').filter(|colon| !rest[*colon..].contains('/'));
        let (name, tag) = match tag_at {
            Some(colon) => (&rest[..colon], Some(&rest[colon + 1..])),
            None => (rest, None),
        };
        if name.is_empty() {
            return Err(refuse("it has no name"));
        }
        let (host, path) = split_host(name);
        check_host(&host).map_err(refuse)?;
        let repository = match host == DOCKER_HUB && !path.contains('/') {
            true => format!("library/{path}"),
            false => path.to_owned(),
        };
        check_repository(&repository).map_err(refuse)?;
        if host.len() + 1 + repository.len() > MAX_NAME {
            return Err(refuse("its name is longer than 255 characters"));
        }
        if let Some(tag) = tag {
            check_tag(tag).map_err(refuse)?;
        }
        let tag = match (tag, &digest) {
            (None, None) => Some("latest".to_owned()),
            (tag, _) => tag.map(str::to_owned),
        };
        Ok(Self { host, repository, tag, digest })
    }
}

/// The first part is a host if it looks like one: a dot, a port, `localhost`, or a bracketed address.
fn split_host(name: &str) -> (String, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            let host = match first {
                "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB,
                other => other,
            };
            (host.to_owned(), rest)
        }
        _ => (DOCKER_HUB.to_owned(), name),
    }
}

fn check_host(host: &str) -> Result<(), &'static str> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']').ok_or("its host has an opening bracket only")?;
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return Err("the brackets of its host hold no IPv6 address");
            }
            match after {
                "" => ("v6", None),
                _ => ("v6", Some(after.strip_prefix(':').ok_or("its host goes on after the bracket")?)),
            }
        }
        None => host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port))),
    };
    if port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return Err("its port is not a number between 0 and 65535");
    }
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if !name.split('.').all(label) {
        return Err("its host is not a valid host name");
    }
    Ok(())
}

fn check_repository(path: &str) -> Result<(), &'static str> {
    for part in path.split('/') {
        let bytes = part.as_bytes();
        let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        match (bytes.first(), bytes.last()) {
            (Some(first), Some(last)) if alphanumeric(first) && alphanumeric(last) => {}
            _ if part.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                return Err("a repository name is lower-case");
            }
            _ => return Err("each part of the name starts and ends with a letter or digit"),
        }
        // Separators are one dot, one or two underscores, or any number of dashes.
        for separator in part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()) {
            let valid =
                matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-');
            if !valid && separator.bytes().any(|byte| byte.is_ascii_uppercase()) {
                return Err("a repository name is lower-case");
            }
            if !valid {
                return Err("the name has a character, or a row of separators, that is not allowed");
            }
        }
    }
    Ok(())
}

fn check_tag(tag: &str) -> Result<(), &'static str> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let mut bytes = tag.bytes();
    match bytes.next() {
        None => Err("its tag is empty"),
        Some(first) if !word(first) => {
            Err("its tag starts with a character other than a letter, digit or `_`")
        }
        _ if tag.len() > MAX_TAG => Err("its tag is longer than 128 characters"),
        _ if !bytes.all(|byte| word(byte) || byte == b'.' || byte == b'-') => {
            Err("its tag has a character that is not allowed")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn accepted() {
        for (text, full) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("busybox:1.36", "docker.io/library/busybox:1.36"),
            ("team/app", "docker.io/team/app:latest"),
            ("docker.io/busybox", "docker.io/library/busybox:latest"),
            ("index.docker.io/library/busybox", "docker.io/library/busybox:latest"),
            ("localhost/app", "localhost/app:latest"),
            ("127.0.0.1:5000/a/b__c/d-e.f:v1", "127.0.0.1:5000/a/b__c/d-e.f:v1"),
            ("[::1]:5000/x", "[::1]:5000/x:latest"),
            ("quay.io/a/b", "quay.io/a/b:latest"),
        ] {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), full, "{text}");
        }
        let pinned: Reference = format!("r.io/a:t@{D}").parse().unwrap();
        assert_eq!((pinned.tag(), pinned.digest().map(ToString::to_string)), (Some("t"), Some(D.to_owned())));
        let bare: Reference = format!("r.io/a@{D}").parse().unwrap();
        assert_eq!((bare.tag(), bare.to_string()), (None, format!("r.io/a@{D}")));
        assert_eq!("busybox".parse::<Reference>().unwrap().familiar(), "busybox:latest");
    }

    #[test]
    fn refused() {
        for text in [
            "",
            ":tag",
            "Busybox",
            "r.io/App",
            "a//b",
            "r.io/a..b",
            "r.io/-a",
            "r.io/a:",
            "r.io/a:.x",
            "r.io:99999/a",
            "r.io/a@sha256:12",
            "a b",
            "r.io/a:b/c d",
            "[::g]/x",
            "http://r.io/a",
            "r.io/../a",
            "-x.io/a",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text} must be refused");
        }
        assert!("r.io/a:".parse::<Reference>().unwrap_err().to_string().contains("tag is empty"));
        assert!(format!("r.io/{}", "a".repeat(300)).parse::<Reference>().is_err());
    }
}
