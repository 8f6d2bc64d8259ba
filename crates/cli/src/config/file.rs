//! The format of our own configuration files:
//!
//! ```toml
//! [registries."docker.io"]                  # a host, or a path on it
//! mirrors = [                               # asked in this order, before the registry
//!     "mirror.internal/hub",                # host and path; http:// where it speaks no TLS
//!     { location = "https://push.internal", capabilities = ["pull", "resolve", "push"] },
//! ]
//!
//! [registries."registry.internal:5000"]
//! http = true                               # speaks plain HTTP
//! skip-verify = true                        # its certificate does not matter
//! ca = "ca.pem"                             # or a list; relative to this file
//! client-cert = "me.pem"
//! client-key = "me.key"
//! credentials = ["my-vault", "registry"]    # is asked and answers as docker's credential helpers; for this host or path
//! ```
//!
//! `[verify]` and `[publish]` are drawn in files of these names beside this one, `[vendor]` at its command, which reads it.
//!
//! They are ours, so that a key nobody knows is an error, with its line and what was probably meant.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use gantry_release::{
    Class, Connection, CredentialSource, Error, Excerpt, HostPattern, HostRule, HostSettings, KeyPair,
    Location, Mirror, Origin, PlainHttp, Rights, canonical_host,
};
use serde::{Deserialize, Deserializer};

use super::publish::PublishTable;
use super::verify::VerifyTable;

/// How alike two words have to be for one to be the other mistyped, from 0 to 1.
const ALIKE: f64 = 0.8;

/// One file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    registries: BTreeMap<String, Host>,
    pub(super) verify: VerifyTable,
    pub(super) publish: PublishTable,
    #[serde(rename = "vendor")]
    _vendor: serde::de::IgnoredAny,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Host {
    http: Option<bool>,
    skip_verify: Option<bool>,
    #[serde(deserialize_with = "one_or_many")]
    ca: Vec<PathBuf>,
    client_cert: Option<PathBuf>,
    client_key: Option<PathBuf>,
    #[serde(deserialize_with = "mirrors")]
    mirrors: Option<Vec<Mirror>>,
    #[serde(deserialize_with = "one_or_many")]
    credentials: Vec<String>,
    #[serde(skip)]
    client: Option<KeyPair>,
}

/// What a file says of registries.
pub(super) struct Registries {
    pub(super) rules: Vec<HostRule>,
    pub(super) credentials: Vec<CredentialSource>,
}

/// Reads a file. `None` if there is none.
pub(super) fn read(path: &Path) -> Result<Option<File>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => parse(&text, path).map(Some),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(Error::new(Class::Usage, format!("cannot read `{}`: {error}", path.display()))),
    }
}

fn parse(text: &str, path: &Path) -> Result<File, Error> {
    let mut file: File = toml::from_str(text).map_err(|error| wrong(&error, text, path))?;
    for (name, host) in &mut file.registries {
        host.client = match (host.client_cert.take(), host.client_key.take()) {
            (Some(certificate), Some(key)) => Some(KeyPair { certificate, key }),
            (None, None) => None,
            _ => {
                let message = format!(
                    "`{}`: [registries.\"{name}\"] needs both `client-cert` and `client-key`",
                    path.display()
                );
                return Err(Error::new(Class::Usage, message));
            }
        };
    }
    Ok(file)
}

impl File {
    /// What the file says of registries; longer names come first. Paths in it are relative to its directory.
    pub(super) fn registries(&self, path: &Path) -> Registries {
        let base = path.parent().unwrap_or(Path::new(""));
        let mut registries = Registries { rules: Vec::new(), credentials: Vec::new() };
        let entries = self.registries.iter().map(|(name, host)| (canonical_prefix(name), name, host));
        let mut entries: Vec<_> = entries.collect();
        entries.sort_by_key(|(prefix, ..)| std::cmp::Reverse(prefix.len()));
        for (prefix, name, host) in entries {
            registries.rules.push(HostRule {
                pattern: HostPattern::Prefix(prefix.clone()),
                origin: Origin::new(path.display(), format!("[registries.\"{name}\"]")),
                settings: host.settings(base),
            });
            if !host.credentials.is_empty() {
                registries.credentials.push(CredentialSource::Command {
                    prefix,
                    command: host.credentials.clone(),
                    origin: path.display().to_string(),
                });
            }
        }
        registries
    }
}

/// A table's name with the host as references name it, and without a slash at its end.
fn canonical_prefix(name: &str) -> String {
    let (server, path) = name.split_at(name.find('/').unwrap_or(name.len()));
    format!("{}{}", canonical_host(server), path.trim_end_matches('/'))
}

impl Host {
    fn settings(&self, base: &Path) -> HostSettings {
        let client = self.client.as_ref();
        let connection = Connection {
            http: self.http.map(|http| if http { PlainHttp::Yes } else { PlainHttp::No }),
            skip_verify: self.skip_verify,
            ca: self.ca.iter().map(|path| base.join(path)).collect(),
            client: client
                .map(|pair| KeyPair { certificate: base.join(&pair.certificate), key: base.join(&pair.key) }),
            headers: Vec::new(),
        };
        HostSettings { connection, mirrors: self.mirrors.clone(), ..HostSettings::default() }
    }
}

fn one_or_many<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany<T> {
        One(T),
        Many(Vec<T>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    })
}

fn mirrors<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Mirror>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Location(String),
        Table(Table),
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Table {
        location: String,
        capabilities: Vec<String>,
    }
    let custom = serde::de::Error::custom::<String>;
    let mirror = |written| {
        let (location, rights) = match written {
            Written::Location(location) => (location, Rights::READ),
            Written::Table(Table { location, capabilities }) => {
                let rights = Rights::parse(capabilities.iter().map(String::as_str));
                let rights =
                    rights.map_err(|word| custom(format!("`{word}` is none of `pull`, `resolve`, `push`")));
                (location, rights?)
            }
        };
        let location = Location::of_names(&location).map_err(|error| custom(error.to_string()))?;
        Ok(Mirror { location, rights, proxy: false, connection: Connection::default() })
    };
    Vec::<Written>::deserialize(deserializer)?.into_iter().map(mirror).collect::<Result<_, _>>().map(Some)
}

/// What is wrong with a file, with its line.
fn wrong(error: &toml::de::Error, text: &str, path: &Path) -> Error {
    let message = error.message().lines().next().unwrap_or("it is not valid");
    let plain = Error::new(Class::Usage, format!("`{}` is not valid: {message}", path.display()));
    let plain = match meant(message) {
        Some(word) => plain.hint(format!("did you mean `{word}`?")),
        None => plain,
    };
    let Some(span) = error.span() else { return plain };
    let line = |offset: usize| {
        u32::try_from(text[..offset.min(text.len())].matches('\n').count() + 1).unwrap_or(u32::MAX)
    };
    let lines = line(span.start)..=line(span.end.max(span.start + 1) - 1);
    plain.at(Excerpt { file: path.display().to_string(), text: text.into(), lines })
}

/// The known word that is most like the unknown one, from the library's message: it names both.
fn meant(message: &str) -> Option<&str> {
    let mut words = message.strip_prefix("unknown field `")?.split('`').step_by(2);
    let unknown = words.next()?;
    let scored = words.map(|word| (strsim::jaro_winkler(unknown, word), word));
    let best = scored.filter(|(score, _)| *score >= ALIKE).max_by(|one, other| one.0.total_cmp(&other.0));
    best.map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_can_be_said() {
        let text = r#"
            [registries."index.docker.io"]
            mirrors = ["m.test/hub", { location = "http://n.test:5000", capabilities = ["pull", "push"] }]
            [registries."r.test:5000"]
            http = false
            skip-verify = true
            ca = "ca.pem"
            client-cert = "me.pem"
            client-key = "/keys/me.key"
            credentials = ["vault", "r"]
            [registries."r.test:5000/team"]
            mirrors = []
            credentials = ["team's"]
        "#;
        let found = parse(text, Path::new("/etc/gantry/config.toml")).unwrap();
        let found = found.registries(Path::new("/etc/gantry/config.toml"));
        let [team, host, hub] = found.rules.as_slice() else { panic!("{:?}", found.rules) };
        assert_eq!(team.pattern, HostPattern::Prefix("r.test:5000/team".to_owned()));
        assert_eq!(team.settings.mirrors, Some(Vec::new()));
        assert_eq!(hub.pattern, HostPattern::Prefix("docker.io".to_owned()));
        let mirrors = hub.settings.mirrors.as_ref().unwrap();
        assert_eq!(
            (mirrors[0].rights, mirrors[0].location.to_string()),
            (Rights::READ, "m.test/v2/hub".into())
        );
        assert_eq!(mirrors[1].rights, Rights { pull: true, resolve: false, push: true });
        let connection = &host.settings.connection;
        assert_eq!((connection.http, connection.skip_verify), (Some(PlainHttp::No), Some(true)));
        assert_eq!(connection.ca, [PathBuf::from("/etc/gantry/ca.pem")]);
        let pair = connection.client.as_ref().unwrap();
        assert_eq!(pair.certificate, PathBuf::from("/etc/gantry/me.pem"));
        assert_eq!(pair.key, PathBuf::from("/keys/me.key"));
        let prefixes = found.credentials.iter().map(|source| match source {
            CredentialSource::Command { prefix, .. } => prefix.as_str(),
            other => panic!("{other:?}"),
        });
        let prefixes: Vec<_> = prefixes.collect();
        assert_eq!(prefixes, ["r.test:5000/team", "r.test:5000"], "a path comes before its host");
    }

    #[test]
    fn mistakes_have_a_line_and_what_was_meant() {
        for (text, message, hint, line) in [
            (
                "\n[registries.a]\nmirors = []",
                "unknown field `mirors`",
                Some("did you mean `mirrors`?"),
                Some(3),
            ),
            ("[registry.a]", "unknown field `registry`", Some("did you mean `registries`?"), Some(1)),
            ("[registries.a]\nhttp = 1", "invalid type", None, Some(2)),
            ("[registries.a]\nmirrors = ['ftp://x']", "no registry's address", None, Some(2)),
            ("[registries.a]\nclient-key = 'x'", "needs both", None, None),
        ] {
            let error = parse(text, Path::new("gantry.toml")).unwrap_err();
            assert!(error.message.contains(message), "{error}");
            assert_eq!(error.hints.first().map(String::as_str), hint, "{text}");
            assert_eq!(error.excerpt.map(|excerpt| *excerpt.lines.start()), line, "{text}");
        }
    }
}
