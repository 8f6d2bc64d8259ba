//! A file from a web server: `http://…` and `https://…` with attributes `http.*`.

use gantry_oci::{Checksum, without_logins};

use super::{SourceError, wrong};
use crate::pb;

/// BuildKit's permissions of a file that was fetched.
const DEFAULT_MODE: u32 = 0o600;
/// The name of a file whose address has none.
const UNNAMED: &str = "download";
const HEADER_PREFIX: &str = "http.header.";
/// What a graph may say to a server. Anything else could pass for the engine's own words.
const ALLOWED_HEADERS: [&str; 2] = ["accept", "user-agent"];

/// A file from a web server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSource {
    /// The address.
    pub url: String,
    /// `http.filename`: what the file is called; without it, the server or the address says so.
    pub filename: Option<String>,
    /// `http.checksum`: what the file must be.
    pub checksum: Option<Checksum>,
    /// `http.perm`.
    pub mode: u32,
    /// `http.uid` and `http.gid`.
    pub owner: (u32, u32),
    /// `http.header.*`: names in lower case, in order.
    pub headers: Vec<(String, String)>,
    /// `http.authheadersecret`: the secret that is sent as `Authorization`.
    pub authorization: Option<String>,
}

impl HttpSource {
    pub(super) fn parse(op: &pb::SourceOp) -> Result<Self, SourceError> {
        let text = |name: &str| op.attrs.get(name).filter(|value| !value.is_empty()).cloned();
        let checksum = match text("http.checksum") {
            None => None,
            Some(text) => Some(
                text.parse()
                    .map_err(|_| wrong(op, "http.checksum", "a checksum by SHA-256, SHA-384 or SHA-512"))?,
            ),
        };
        let header = |(name, value): (&String, &String)| {
            let name = name.strip_prefix(HEADER_PREFIX)?.to_ascii_lowercase();
            ALLOWED_HEADERS.contains(&name.as_str()).then(|| (name, value.clone()))
        };
        Ok(Self {
            url: op.identifier.clone(),
            filename: text("http.filename").map(|name| safe_name(&name)),
            checksum,
            mode: match number(op, "http.perm")? {
                0 => DEFAULT_MODE,
                mode => mode & 0o7777,
            },
            owner: (number(op, "http.uid")?, number(op, "http.gid")?),
            headers: op.attrs.iter().filter_map(header).collect(),
            authorization: text("http.authheadersecret"),
        })
    }

    /// The address without the user and password that may be in it, in BuildKit's form.
    pub fn shown(&self) -> String {
        without_logins(&self.url).into_owned()
    }

    /// What the file is called, given what the server calls it.
    pub fn name(&self, from_server: Option<&str>) -> String {
        let given = self.filename.as_deref().or(from_server).filter(|name| !name.ends_with('/'));
        let path = self.url.split(['?', '#']).next().unwrap_or_default();
        let path =
            path.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
        safe_name(given.unwrap_or(path))
    }
}

/// The last part of a path, as a name in a directory.
fn safe_name(path: &str) -> String {
    match path.trim().trim_end_matches('/').rsplit('/').next().unwrap_or_default() {
        "" | "." | ".." => UNNAMED.to_owned(),
        name if name.contains(char::is_control) => UNNAMED.to_owned(),
        name => name.to_owned(),
    }
}

/// A number as Go reads it: decimal, or with `0` or `0o` in front, octal.
fn number(op: &pb::SourceOp, name: &'static str) -> Result<u32, SourceError> {
    let Some(text) = op.attrs.get(name) else { return Ok(0) };
    let octal = text.strip_prefix("0o").or(text.strip_prefix('0')).filter(|digits| !digits.is_empty());
    let number = match octal {
        Some(digits) => u32::from_str_radix(digits, 8),
        None => text.parse(),
    };
    number.map_err(|_| wrong(op, name, "a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str, attrs: &[(&str, &str)]) -> Result<HttpSource, SourceError> {
        let attrs = attrs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        HttpSource::parse(&pb::SourceOp { identifier: url.to_owned(), attrs })
    }

    #[test]
    fn names() {
        for (url, filename, server, expected) in [
            ("https://h/a/b.txt?x=/y#z", "", None, "b.txt"),
            ("https://h/a/b.txt", "", Some("c.txt"), "c.txt"),
            ("https://h/a/b.txt", "given", Some("c.txt"), "given"),
            ("https://h/a/b.txt", "../../up", None, "up"),
            ("https://h/a/b.txt", "", Some("../../etc/passwd"), "passwd"),
            ("https://h/a/b.txt", "..", None, "download"),
            ("https://h", "", None, "download"),
            ("https://h/a/", "", None, "a"),
            ("https://h/a", " in\\side/ ", None, "in\\side"),
            ("https://h/a", "a\nb", None, "download"),
        ] {
            let source = parse(url, &[("http.filename", filename)]).unwrap();
            assert_eq!(source.name(server), expected, "{url} {filename} {server:?}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        for (url, shown) in [
            ("https://u:p@h/a@b", "https://xxxxx:xxxxx@h/a@b"),
            ("https://token@h?x", "https://xxxxx@h?x"),
            ("https://h/a@b", "https://h/a@b"),
        ] {
            assert_eq!(parse(url, &[]).unwrap().shown(), shown);
        }
    }

    #[test]
    fn attributes() {
        let plain = parse("http://h/x", &[]).unwrap();
        assert_eq!((plain.mode, plain.owner, plain.checksum), (0o600, (0, 0), None));
        let attrs = [
            ("http.perm", "0755"),
            ("http.uid", "7"),
            ("http.header.Accept", "a/b"),
            ("http.header.Cookie", "no"),
        ];
        let full = parse("http://h/x", &attrs).unwrap();
        assert_eq!((full.mode, full.owner), (0o755, (7, 0)));
        assert_eq!(full.headers, [("accept".to_owned(), "a/b".to_owned())]);
        for (name, value) in [("http.checksum", "md5:1"), ("http.perm", "rwx")] {
            let error = parse("http://h/x", &[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
