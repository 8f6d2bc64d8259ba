//! Addresses as BuildKit reads them: those of the web as Go's `net/url` does, and `user@host:path` as scp does.
//!
//! What Go refuses is no address there, and what it writes otherwise than it was given (an escape, the case of the scheme) is
//! in BuildKit's graphs as Go writes it. A parser of the web's standard differs in both.

use std::net::Ipv6Addr;

/// What is in an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// In lower case; `ssh` for `user@host:path`.
    pub(super) scheme: String,
    /// With the port, if there is one.
    pub(super) host: String,
    /// Without escapes.
    pub(super) path: String,
    /// What follows `?`: names and values without escapes, in order.
    pub(super) query: Vec<(String, String)>,
    /// What follows `#`, without escapes.
    pub(super) fragment: String,
    /// All of it but query and fragment, for who connects.
    pub(super) remote: String,
}

/// The part of an address that a character stands in, which decides what it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    User,
    Host,
    Zone,
    Path,
    Query,
    Fragment,
}

impl Address {
    /// Reads `scheme://…`.
    pub(super) fn with_scheme(text: &str) -> Option<Self> {
        let (address, fragment) = text.split_once('#').unwrap_or((text, ""));
        if address.bytes().any(|byte| byte.is_ascii_control()) {
            return None;
        }
        let (scheme, rest) = address.split_once("://")?;
        let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(canonical_user(user)?), host),
            None => (None, authority),
        };
        let scheme = scheme.to_ascii_lowercase();
        let host = read_host(&scheme, host)?;
        let (path, written) = read_path(path)?;
        let mut remote = format!("{scheme}:");
        if !host.is_empty() || !path.is_empty() || user.is_some() {
            remote.push_str("//");
        }
        if let Some(user) = user {
            remote.push_str(&format!("{user}@"));
        }
        remote.push_str(&escaped(&host, Part::Host));
        remote.push_str(&written);
        // A query is left out, but not the mark of an empty one.
        remote.push_str(if query == Some("") { "?" } else { "" });
        // What is wrong in a query is passed over.
        let query = read_query(query.unwrap_or_default()).0;
        Some(Self { scheme, host, path, query, fragment: unescaped(fragment, Part::Fragment)?, remote })
    }

    /// Reads `user@host:path`.
    pub(super) fn of_scp(text: &str) -> Option<Self> {
        let is = |text: &str, more: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        let (user, rest) = text.split_once('@').filter(|(user, _)| is(user, "-_"))?;
        let (host, rest) = rest.split_once(':').filter(|(host, _)| is(host, "-."))?;
        if rest.contains('\n') {
            return None;
        }
        let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (query, Correct(true)) = read_query(query) else { return None };
        Some(Self {
            scheme: "ssh".to_owned(),
            host: host.to_owned(),
            path: path.to_owned(),
            query,
            fragment: fragment.to_owned(),
            remote: format!("{user}@{host}:{path}"),
        })
    }
}

/// The last part of the path of an address of the web, without escapes. None if the address is none, or has no such part.
pub(super) fn file_name(text: &str) -> Option<String> {
    let address = Address::with_scheme(text)?;
    let base = crate::paths::base(&address.path).filter(|base| *base != ".")?;
    Some(base.to_owned())
}

/// Whether a query is right in all its parts.
#[derive(Debug, PartialEq, Eq)]
struct Correct(bool);

fn read_query(query: &str) -> (Vec<(String, String)>, Correct) {
    let mut correct = true;
    let mut pairs = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let read = unescaped(name, Part::Query).zip(unescaped(value, Part::Query));
        match read.filter(|_| !pair.contains(';')) {
            Some(read) => pairs.push(read),
            None => correct = false,
        }
    }
    (pairs, Correct(correct))
}

fn read_host(scheme: &str, host: &str) -> Option<String> {
    match host.rfind('[') {
        Some(0) => read_ip_literal(host),
        Some(_) => None,
        None => {
            // Only for the web it is wrong that there are several.
            let strict = matches!(scheme, "http" | "https");
            let colon = if strict { host.find(':') } else { host.rfind(':') };
            let port = colon.map_or("", |at| &host[at..]);
            if is_optional_port(port) { unescaped(host, Part::Host) } else { None }
        }
    }
}

/// `[address%25zone]:port`
fn read_ip_literal(host: &str) -> Option<String> {
    let (inner, port) = host[1..].rsplit_once(']')?;
    if !is_optional_port(port) {
        return None;
    }
    let inner = match inner.find("%25") {
        Some(at) => {
            let (address, zone) = inner.split_at(at);
            format!("{}{}", unescaped(address, Part::Host)?, unescaped(zone, Part::Zone)?)
        }
        None => unescaped(inner, Part::Host)?,
    };
    let (address, zone) = match inner.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (inner.as_str(), None),
    };
    let valid = address.parse::<Ipv6Addr>().is_ok() && zone != Some("");
    valid.then(|| format!("[{inner}]{port}"))
}

fn is_optional_port(text: &str) -> bool {
    match text.strip_prefix(':') {
        Some(port) => port.bytes().all(|byte| byte.is_ascii_digit()),
        None => text.is_empty(),
    }
}

/// User and password, as they are written.
fn canonical_user(text: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c);
    if !text.chars().all(allowed) {
        return None;
    }
    let canonical = |text: &str| Some(escaped(&unescaped(text, Part::User)?, Part::User));
    match text.split_once(':') {
        Some((user, password)) => Some(format!("{}:{}", canonical(user)?, canonical(password)?)),
        None => canonical(text),
    }
}

/// A path without escapes, and as it is written: as it was given, if that is right.
fn read_path(text: &str) -> Option<(String, String)> {
    let path = unescaped(text, Part::Path)?;
    let right = |byte: u8| b"!$&'()*+,;=:@[]%".contains(&byte) || !is_escaped(byte, Part::Path);
    let written = match text.bytes().all(right) {
        true => text.to_owned(),
        false => escaped(&path, Part::Path),
    };
    Some((path, written))
}

/// The text without escapes; none if it has what this part cannot have.
fn unescaped(text: &str, part: Part) -> Option<String> {
    let in_host = matches!(part, Part::Host | Part::Zone);
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'%' => {
                let byte = (digit(at + 1)? * 16 + digit(at + 2)?) as u8;
                let is_percent = &bytes[at..at + 3] == b"%25";
                let refused = match part {
                    Part::Host => byte < 0x80,
                    Part::Zone => byte != b' ' && is_escaped(byte, Part::Host),
                    _ => false,
                };
                if refused && !is_percent {
                    return None;
                }
                plain.push(byte);
                at += 3;
            }
            b'+' if part == Part::Query => {
                plain.push(b' ');
                at += 1;
            }
            byte if in_host && byte < 0x80 && is_escaped(byte, part) => return None,
            byte => {
                plain.push(byte);
                at += 1;
            }
        }
    }
    Some(String::from_utf8_lossy(&plain).into_owned())
}

fn escaped(text: &str, part: Part) -> String {
    let mut written = String::with_capacity(text.len());
    for byte in text.bytes() {
        match is_escaped(byte, part) {
            true => written.push_str(&format!("%{byte:02X}")),
            false => written.push(char::from(byte)),
        }
    }
    written
}

/// Whether Go writes the byte as an escape.
fn is_escaped(byte: u8, part: Part) -> bool {
    let allowed: &[u8] = match part {
        Part::Host | Part::Zone => b"!$&'()*+,;=:[]<>\"",
        Part::User => b"$&+,;=",
        Part::Path => b"$&+,/:;=@",
        Part::Fragment => b"$&+,/:;=?@!()*",
        Part::Query => b"",
    };
    !(byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || allowed.contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remotes_are_written_as_go_writes_them() {
        for (text, remote) in [
            ("HTTPS://H.test/A.git?x=1#y", Some("https://H.test/A.git")),
            ("https://h.test/a b%20c\"é.git", Some("https://h.test/a%20b%20c%22%C3%A9.git")),
            ("https://h.test/a[1]!%2f.git", Some("https://h.test/a[1]!%2f.git")),
            ("https://me!:p@ss@h.test/a", Some("https://me%21:p%40ss@h.test/a")),
            ("ssh://git@[fe80::1%25eth0]:22/a", Some("ssh://git@[fe80::1%25eth0]:22/a")),
            ("ssh://h:1:2/a", Some("ssh://h:1:2/a")),
            ("https://h.test/a?", Some("https://h.test/a?")),
            ("git://h.test", Some("git://h.test")),
            ("https://h:1:2/a", None),
            ("https://h:port/a", None),
            ("https://h.test/%zz", None),
            ("https://h%41.test/", None),
            ("https://h test/", None),
            ("https://a b@h.test/", None),
            ("https://[1.2.3.4]/", None),
            ("https://h.test/a\tb", None),
            ("https://h.test/a#%", None),
        ] {
            let read = Address::with_scheme(text).map(|address| address.remote);
            assert_eq!(read.as_deref(), remote, "{text}");
        }
    }

    #[test]
    fn queries_and_fragments() {
        let query = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>()
        };
        let address = Address::with_scheme("https://h/a?x=1+2&%79&;z=3&w=%zz&&v==#b%2Fc d").unwrap();
        assert_eq!(address.query, query(&[("x", "1 2"), ("y", ""), ("v", "=")]));
        assert_eq!(address.fragment, "b/c d");
        let address = Address::of_scp("git@h-1.test:/a?x=1#b%2Fc?d").unwrap();
        assert_eq!((address.path.as_str(), address.fragment.as_str()), ("/a", "b%2Fc?d"));
        assert_eq!((address.query, address.remote.as_str()), (query(&[("x", "1")]), "git@h-1.test:/a"));
        for text in ["git@h_1:a", "git@h", "a/b@h:c", "@h:c", "git@:c", "git@h:a?x=%zz", "git@h:a\nb"] {
            assert_eq!(Address::of_scp(text), None, "{text}");
        }
    }

    #[test]
    fn names_of_files() {
        for (text, name) in [
            ("https://h/a/b%20c?d/e", Some("b c")),
            ("https://h/a/", Some("a")),
            ("https://h/a/..", Some("..")),
            ("https://h/.", None),
            ("https://h", None),
            ("https://h/%zz", None),
        ] {
            assert_eq!(file_name(text).as_deref(), name, "{text}");
        }
    }
}
