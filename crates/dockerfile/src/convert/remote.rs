//! Sources that are not files of the client: `http(s)` addresses and git repositories, for ADD and as contexts.

use gantry_llb::pb;
use gantry_oci::Digest;

use crate::error::Fault;
use crate::paths;

/// A source on the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Remote {
    /// One file.
    Http(String),
    /// A repository.
    Git(Git),
}

/// A repository, and what of it is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Git {
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
    skip_submodules: bool,
    fetch_by_commit: bool,
    /// What times files get, as the address says it; empty for the time of the checkout.
    mtime: String,
}

const CAP_HTTP: &str = "source.http";
const CAP_GIT: &str = "source.git";

/// The agent that logs in over SSH.
const DEFAULT_AGENT: &str = "default";

type Operation = (pb::SourceOp, Vec<&'static str>, String);

impl Remote {
    /// The remote source that a text names; none if it is a path.
    pub(crate) fn parse(text: &str) -> Result<Option<Self>, Fault> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return if is_scp(text) { Git::parse(text).map(|git| Some(Self::Git(git))) } else { Ok(None) };
        };
        match scheme.to_ascii_lowercase().as_str() {
            "git" | "ssh" => Git::parse(text).map(|git| Some(Self::Git(git))),
            "http" | "https" => {
                let address = rest.split(['?', '#']).next().unwrap_or_default();
                match address.ends_with(".git") {
                    true => Git::parse(text).map(|git| Some(Self::Git(git))),
                    false => Ok(Some(Self::Http(text.to_owned()))),
                }
            }
            _ => Ok(None),
        }
    }

    /// The repository at an address, whatever that looks like.
    pub(crate) fn repository(address: &str) -> Result<Self, Fault> {
        Git::parse(address).map(Self::Git)
    }

    /// The operation that fetches it, the capabilities that this needs, and the path of what was fetched.
    pub(crate) fn operation(&self, keep_git_dir: Option<bool>, checksum: &str) -> Result<Operation, Fault> {
        match self {
            Self::Http(address) => http(address, checksum),
            Self::Git(git) => git.operation(keep_git_dir, checksum),
        }
    }
}

/// Whether it is an address as scp has them, `user@host:path`.
fn is_scp(text: &str) -> bool {
    let plain = |text: &str, more: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    let parts = text.split_once('@').and_then(|(user, rest)| Some((user, rest.split_once(':')?)));
    parts.is_some_and(|(user, (host, _))| plain(user, "-_") && plain(host, "-."))
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
    /// Parses `address[?query][#reference[:directory]]`.
    fn parse(text: &str) -> Result<Self, Fault> {
        let (address, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (remote, query) = address.split_once('?').unwrap_or((address, ""));
        let (reference, directory) = fragment.split_once(':').unwrap_or((fragment, ""));
        let (_, place) = remote.split_once("://").unwrap_or(("", remote));
        let end_of_host = if remote.contains("://") { '/' } else { ':' };
        // A user in front of the host is no part of the identity.
        let (host, path) = place.split_once(end_of_host).unwrap_or((place, ""));
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        let mut git = Self {
            remote: remote.to_owned(),
            identity: format!("{host}{}", paths::join("/", &percent_decoded(path))),
            reference: reference.to_owned(),
            directory: inner(directory),
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
                "mtime" if matches!(value.as_str(), "checkout" | "commit") => self.mtime = value,
                "mtime" => return Err(Fault::semantics(format!("`{value}` is no policy for file times"))),
                _ => return Err(Fault::semantics(format!("unexpected query `{key}` in the git address"))),
            }
        }
        Ok(())
    }

    /// The same repository, with the times of its commit.
    pub(crate) fn with_commit_times(self) -> Self {
        Self { mtime: "commit".to_owned(), ..self }
    }

    /// The policy for times of files counts for contexts; ADD, as BuildKit has it, does not use it.
    pub(crate) fn context_operation(&self, keep_git_dir: Option<bool>) -> Result<Operation, Fault> {
        let keep = [self.keep_git_dir, keep_git_dir].contains(&Some(true));
        let plain = Self { keep_git_dir: Some(keep), ..self.clone() };
        let (mut source, mut caps, path) = plain.operation(None, "")?;
        if !self.mtime.is_empty() {
            source.attrs.insert("git.mtime".to_owned(), self.mtime.clone());
            caps.push("source.git.mtime");
        }
        Ok((source, caps, path))
    }

    fn is_ssh(&self) -> bool {
        is_scp(&self.remote) || self.remote.to_ascii_lowercase().starts_with("ssh://")
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
        caps.extend(self.is_ssh().then_some("source.git.knownsshhosts"));
        let mut set = |name: &str, value: &str, cap: Option<&'static str>| {
            source.attrs.insert(name.to_owned(), value.to_owned());
            caps.extend(cap);
        };
        set("git.fullurl", &self.remote, Some("source.git.fullurl"));
        set("git.authtokensecret", "GIT_AUTH_TOKEN", None);
        set("git.authheadersecret", "GIT_AUTH_HEADER", None);
        if self.is_ssh() {
            // BuildKit also asks the server for its host keys, to pin them. A conversion asks nobody: the engine checks the
            // keys against those that the user knows.
            set("git.mountsshsock", DEFAULT_AGENT, Some("source.git.mountsshsock"));
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
    match value {
        "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Fault::semantics(format!("`{value}` is no value for `{key}` of the git address"))),
    }
}
