//! The nouns of host configuration, the same for all formats.

use std::fmt;
use std::path::PathBuf;

use super::Location;
use crate::Secret;

/// Where a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file, or the flag.
    pub file: String,
    /// The key in the file; empty if the file as a whole says it.
    pub key: String,
}

impl Origin {
    /// A key of a file.
    pub fn new(file: impl fmt::Display, key: impl Into<String>) -> Self {
        Self { file: file.to_string(), key: key.into() }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => f.write_str(&self.file),
            key => write!(f, "{}: {key}", self.file),
        }
    }
}

/// Which repositories a rule is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPattern {
    /// All of a host, or those below a path on it: `host[:port][/path]`.
    Prefix(String),
    /// All hosts below a domain.
    Subdomains(String),
    /// Every host.
    Any,
}

/// What one place says of the hosts that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRule {
    /// Of which hosts.
    pub pattern: HostPattern,
    /// Where it stands.
    pub origin: Origin,
    /// What it says.
    pub settings: HostSettings,
}

/// Settings of a host. What is absent is said by another rule, or by nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostSettings {
    /// How to connect.
    pub connection: Connection,
    /// Where to look first; an empty list forbids what less important rules say.
    pub mirrors: Option<Vec<Mirror>>,
    /// Where the registry really is.
    pub location: Option<Location>,
    /// Whether nothing may be pulled from here or pushed to here.
    pub blocked: Option<bool>,
}

/// How to connect to a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Connection {
    /// Whether the host speaks plain HTTP.
    pub http: Option<PlainHttp>,
    /// Whether its certificate does not matter.
    pub skip_verify: Option<bool>,
    /// PEM files with certificate authorities to trust besides the machine's own.
    pub ca: Vec<PathBuf>,
    /// What we show to the host.
    pub client: Option<KeyPair>,
    /// Headers of every request to it. Their values may be secrets.
    pub headers: Vec<(String, Secret)>,
}

/// Whether a host speaks plain HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PlainHttp {
    /// It speaks TLS.
    No,
    /// It speaks plain HTTP.
    Yes,
    /// Plain HTTP if it turns out to speak no TLS: whoever says this gives up safety, so that it is no default.
    WithoutTls,
}

/// A client's certificate with its key, PEM files both.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyPair {
    /// The certificate, perhaps with those that signed it.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Whom to trust at one host, and what to show it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Trust {
    /// PEM files with certificate authorities to trust besides the machine's own.
    pub(crate) ca: Vec<PathBuf>,
    /// What we show.
    pub(crate) client: Option<KeyPair>,
    /// Whether the certificate does not matter.
    pub(crate) skip_verify: bool,
}

/// Another server with the same content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Where it is.
    pub location: Location,
    /// What it may be asked for.
    pub rights: Rights,
    /// Whether it serves several registries and is told which one in the query (`ns`).
    pub proxy: bool,
    /// How to connect, where it differs from what is said of its host elsewhere.
    pub connection: Connection,
}

/// What a mirror may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// Content by digest.
    pub pull: bool,
    /// What a tag points at.
    pub resolve: bool,
    /// To take what is pushed.
    pub push: bool,
}

impl Rights {
    /// Those of a mirror of which nothing more is said: to be read.
    pub const READ: Self = Self { pull: true, resolve: true, push: false };
    /// Those of a mirror whose tags are not to be believed.
    pub const BY_DIGEST: Self = Self { pull: true, resolve: false, push: false };

    /// The rights of this list of `pull`, `resolve` and `push`, or the word that is none of them.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, &'a str> {
        let mut rights = Self { pull: false, resolve: false, push: false };
        for name in names {
            match name {
                "pull" => rights.pull = true,
                "resolve" => rights.resolve = true,
                "push" => rights.push = true,
                other => return Err(other),
            }
        }
        Ok(rights)
    }

    /// The names, in order.
    pub(crate) fn names(self) -> Vec<&'static str> {
        let all = [(self.pull, "pull"), (self.resolve, "resolve"), (self.push, "push")];
        all.into_iter().filter(|(has, _)| *has).map(|(_, name)| name).collect()
    }
}
