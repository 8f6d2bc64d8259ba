//! The sources of ADD that are not files: `http(s)` addresses and git repositories.

use gantry_llb::pb;
use gantry_oci::Digest;

use crate::error::Fault;
use crate::paths;

/// A source on the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Remote {
    /// One file.
    Http(String),
    /// A repository.
    Git(Git),
}

/// A repository, and what of it is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Git {
    /// The address for git.
    remote: String,
    /// Host and path, however they are reached.
    identity: String,
    /// Branch, tag or commit; empty for the default branch.
    reference: String,
    /// The directory in it; empty for all.
    directory: String,
    /// The commit that it has to be; empty for any.
    checksum: String,
    keep_git_dir: Option<bool>,
    is_ssh: bool,
    skip_submodules: bool,
    fetch_by_commit: bool,
}

const CAP_HTTP: &str = "source.http";
const CAP_GIT: &str = "source.git";

type Operation = (pb::SourceOp, Vec<&'static str>, String);

impl Remote {
    /// The remote source that a text names; none if it is a path.
    pub(super) fn parse(text: &str) -> Result<Option<Self>, Fault> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(Git::parse_scp(text)?.map(Self::Git));
        };
        match scheme.to_ascii_lowercase().as_str() {
            "ssh" | "git" => Git::parse(text, rest).map(|git| Some(Self::Git(git))),
            "http" | "https" => {
                let address = rest.split(['?', '#']).next().unwrap_or_default();
                match address.ends_with(".git") {
                    true => Git::parse(text, rest).map(|git| Some(Self::Git(git))),
                    false => Ok(Some(Self::Http(text.to_owned()))),
                }
            }
            _ => Ok(None),
        }
    }

    /// The operation that fetches it, the capabilities that this needs, and the path of what was fetched.
    pub(super) fn operation(&self, keep_git_dir: Option<bool>, checksum: &str) -> Result<Operation, Fault> {
        match self {
            Self::Http(address) => http(address, checksum),
            Self::Git(git) => git.operation(keep_git_dir, checksum),
        }
    }
}

fn http(address: &str, checksum: &str) -> Result<Operation, Fault> {
    let without_scheme = address.split_once("://").map_or(address, |(_, rest)| rest);
    let path = without_scheme.split(['?', '#']).next().unwrap_or_default();
    let path = path.split_once('/').map_or("", |(_, path)| path);
    let name = percent_decoded(path);
    let name = paths::base(&name).filter(|name| !matches!(*name, "." | "..")).unwrap_or("__unnamed__");
    let mut source = pb::SourceOp { identifier: address.to_owned(), ..pb::SourceOp::default() };
    source.attrs.insert("http.filename".to_owned(), name.to_owned());
    let mut caps = vec![CAP_HTTP];
    if !checksum.is_empty() {
        let digest: Digest =
            checksum.parse().map_err(|error| Fault::semantics(format!("--checksum: {error}")))?;
        source.attrs.insert("http.checksum".to_owned(), digest.to_string());
        caps.push("source.http.checksum");
    }
    Ok((source, caps, paths::join("/", name)))
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

impl Git {
    /// Parses `address[?query][#reference[:directory]]`; `place` is the address without its scheme.
    fn parse(text: &str, place: &str) -> Result<Self, Fault> {
        let is_ssh = text.get(..3).is_some_and(|scheme| scheme.eq_ignore_ascii_case("ssh"));
        let (host, path) = place.split_once('/').unwrap_or((place, ""));
        // A user in front of the host is no part of the identity.
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        Self::read(text, host, path, is_ssh)
    }

    /// Parses `user@host:path`, git's short form of an SSH address; other texts are none.
    fn parse_scp(text: &str) -> Result<Option<Self>, Fault> {
        let Some((user, (host, path))) =
            text.split_once('@').and_then(|(user, rest)| Some((user, rest.split_once(':')?)))
        else {
            return Ok(None);
        };
        let made_of = |text: &str, more: &[u8]| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
        };
        match made_of(user, b"-_") && made_of(host, b"-.") {
            true => Self::read(text, host, path, true).map(Some),
            false => Ok(None),
        }
    }

    fn read(text: &str, host: &str, path: &str, is_ssh: bool) -> Result<Self, Fault> {
        let (address, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (remote, query) = address.split_once('?').unwrap_or((address, ""));
        let (reference, directory) = fragment.split_once(':').unwrap_or((fragment, ""));
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let host = host.split(['?', '#']).next().unwrap_or_default();
        let mut git = Self {
            remote: remote.to_owned(),
            identity: format!("{host}{}", paths::join("/", &percent_decoded(path))),
            reference: reference.to_owned(),
            directory: inner(directory),
            is_ssh,
            ..Self::default()
        };
        git.read_query(query)?;
        Ok(git)
    }

    fn read_query(&mut self, query: &str) -> Result<(), Fault> {
        let mut seen: Vec<&str> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if seen.contains(&key) {
                return Err(Fault::semantics(format!(
                    "query `{key}` of the git address has multiple values"
                )));
            }
            seen.push(key);
            let value = percent_decoded(value);
            let is_switch = matches!(key, "keep-git-dir" | "submodules" | "fetch-by-commit");
            if value.is_empty() && !is_switch {
                return Err(Fault::semantics(format!("query `{key}` of the git address has no value")));
            }
            match key {
                "ref" => set(&mut self.reference, value, key)?,
                "tag" => set(&mut self.reference, prefixed("refs/tags/", &value), key)?,
                "branch" => set(&mut self.reference, prefixed("refs/heads/", &value), key)?,
                "subdir" => set(&mut self.directory, value, key)?,
                "checksum" | "commit" => self.checksum = value,
                "keep-git-dir" => self.keep_git_dir = Some(switch(key, &value)?),
                "submodules" => self.skip_submodules = !switch(key, &value)?,
                "fetch-by-commit" => self.fetch_by_commit = switch(key, &value)?,
                // BuildKit reads the policy for times of files, and ADD does not use it.
                "mtime" if matches!(value.as_str(), "checkout" | "commit") => {}
                "mtime" => return Err(Fault::semantics(format!("`{value}` is no policy for file times"))),
                _ => return Err(Fault::semantics(format!("unexpected query `{key}` in the git address"))),
            }
        }
        Ok(())
    }

    fn operation(&self, keep_git_dir: Option<bool>, checksum: &str) -> Result<Operation, Fault> {
        if let (Some(flag), Some(query)) = (keep_git_dir, self.keep_git_dir)
            && flag != query
        {
            return Err(Fault::semantics("--keep-git-dir and the git address contradict each other"));
        }
        if !checksum.is_empty() && !self.checksum.is_empty() && checksum != self.checksum {
            return Err(Fault::semantics("--checksum and the git address name different commits"));
        }
        let checksum = if checksum.is_empty() { &self.checksum } else { checksum };
        let mut identifier = format!("git://{}", self.identity);
        if !self.reference.is_empty() || !self.directory.is_empty() {
            identifier.push_str(&format!("#{}", self.reference));
        }
        if !self.directory.is_empty() {
            identifier.push_str(&format!(":{}", self.directory));
        }
        let mut source = pb::SourceOp { identifier, ..pb::SourceOp::default() };
        let mut caps = vec![CAP_GIT];
        caps.extend(self.is_ssh.then_some("source.git.knownsshhosts"));
        let mut set = |name: &str, value: &str, cap: Option<&'static str>| {
            source.attrs.insert(name.to_owned(), value.to_owned());
            caps.extend(cap);
        };
        set("git.fullurl", &self.remote, Some("source.git.fullurl"));
        set("git.authtokensecret", "GIT_AUTH_TOKEN", None);
        set("git.authheadersecret", "GIT_AUTH_HEADER", None);
        if self.is_ssh {
            // BuildKit also asks the host for its keys here. A conversion asks nobody: that is for who fetches it.
            set("git.mountsshsock", "default", Some("source.git.mountsshsock"));
        }
        if self.keep_git_dir.or(keep_git_dir).unwrap_or(false) {
            set("git.keepgitdir", "true", Some("source.git.keepgitdir"));
        }
        if !checksum.is_empty() {
            set("git.checksum", checksum, Some("source.git.checksum"));
        }
        if self.skip_submodules {
            set("git.skipsubmodules", "true", Some("source.git.skipsubmodules"));
        }
        if self.fetch_by_commit {
            set("git.fetchbycommit", "true", Some("source.git.fetchbycommit"));
        }
        Ok((source, caps, "/".to_owned()))
    }
}

/// A directory inside a repository, cleaned; empty for all of it.
fn inner(directory: &str) -> String {
    paths::join("/", directory).trim_start_matches('/').to_owned()
}

fn prefixed(prefix: &str, name: &str) -> String {
    match name.starts_with(prefix) {
        true => name.to_owned(),
        false => format!("{prefix}{name}"),
    }
}

fn set(field: &mut String, value: String, key: &str) -> Result<(), Fault> {
    if !field.is_empty() && *field != value {
        return Err(Fault::semantics(format!("`{key}` of the git address contradicts another part of it")));
    }
    *field = value;
    Ok(())
}

fn switch(key: &str, value: &str) -> Result<bool, Fault> {
    let value = if value.is_empty() { "true" } else { value };
    crate::boolean(value)
        .ok_or_else(|| Fault::semantics(format!("`{value}` is no value for `{key}` of the git address")))
}
