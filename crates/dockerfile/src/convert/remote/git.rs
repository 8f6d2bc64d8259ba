//! The repository that an address names: `address[?query][#reference[:directory]]`, and the operation that fetches it.

use gantry_llb::pb;

use super::Operation;
use super::address::Address;
use crate::error::Fault;
use crate::paths;

/// Such a repository may be named without its scheme, as a context only.
const IMPLICIT_HTTPS: &str = "github.com/";
const CAP_GIT: &str = "source.git";
/// The agent that logs in over SSH.
const DEFAULT_AGENT: &str = "default";
const TAGS: &str = "refs/tags/";
const BRANCHES: &str = "refs/heads/";
/// What may stand in a query without a value, and then means yes.
const SWITCHES: [&str; 3] = ["keep-git-dir", "submodules", "fetch-by-commit"];

/// A repository, and what of it is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Git {
    /// The address for git.
    remote: String,
    /// Host and path, however they are reached.
    identity: String,
    is_ssh: bool,
    /// Branch, tag or commit; empty for the default branch.
    reference: String,
    /// The directory in it; empty for all.
    directory: String,
    /// The commit that it has to be; empty for any.
    checksum: String,
    keep_git_dir: Option<bool>,
    submodules: Option<bool>,
    fetch_by_commit: bool,
    /// What times files get, as the address says it; empty for the time of the checkout.
    mtime: String,
}

/// Settings of one instruction's repositories, which each of them may add to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Shared {
    /// Whether `.git` stays.
    pub(crate) keep_git_dir: Option<bool>,
    /// What the source has to be; empty for anything.
    pub(crate) checksum: String,
}

impl Git {
    /// The repository that a text names, if it does.
    pub(super) fn parse(text: &str) -> Result<Option<Self>, Fault> {
        if text.starts_with(IMPLICIT_HTTPS) {
            // That is a path, but one that can be wrong in the way of an address.
            return Self::parse_implicit(text).map(|_| None);
        }
        let address = match text.split_once("://") {
            Some((scheme, _)) if is_word(scheme) => match scheme.to_ascii_lowercase().as_str() {
                "http" | "https" => {
                    Address::with_scheme(text).filter(|address| address.path.ends_with(".git"))
                }
                "git" | "ssh" => Address::with_scheme(text),
                _ => None,
            },
            _ => Address::of_scp(text),
        };
        address.map(Self::new).transpose()
    }

    /// The repository that `github.com/…` names.
    pub(super) fn parse_implicit(text: &str) -> Result<Option<Self>, Fault> {
        let is_implicit = text.starts_with(IMPLICIT_HTTPS);
        let address = is_implicit.then(|| Address::with_scheme(&format!("https://{text}"))).flatten();
        address.map(Self::new).transpose()
    }

    fn new(address: Address) -> Result<Self, Fault> {
        let (reference, directory) = address.fragment.split_once(':').unwrap_or((&address.fragment, ""));
        let mut git = Self {
            identity: format!("{}{}", address.host, paths::join("/", &address.path)),
            is_ssh: address.scheme == "ssh",
            reference: reference.to_owned(),
            directory: paths::join("/", directory).trim_start_matches('/').to_owned(),
            remote: address.remote,
            ..Self::default()
        };
        git.read_query(&address.query)?;
        Ok(git)
    }

    fn read_query(&mut self, query: &[(String, String)]) -> Result<(), Fault> {
        let (mut tag, mut branch) = (None, None);
        for (at, (key, value)) in query.iter().enumerate() {
            if query[..at].iter().any(|(earlier, _)| earlier == key) {
                return Err(refused(format!("query `{key}` of the git address has multiple values")));
            }
            if value.is_empty() && !SWITCHES.contains(&key.as_str()) {
                return Err(refused(format!("query `{key}` of the git address has no value")));
            }
            match key.as_str() {
                "ref" => set(&mut self.reference, value, key)?,
                "tag" => tag = Some(prefixed(TAGS, value)),
                "branch" => branch = Some(prefixed(BRANCHES, value)),
                "subdir" => set(&mut self.directory, value, key)?,
                "checksum" | "commit" => self.checksum = value.clone(),
                "keep-git-dir" => self.keep_git_dir = Some(switch(key, value)?),
                "submodules" => self.submodules = Some(switch(key, value)?),
                "fetch-by-commit" => self.fetch_by_commit = switch(key, value)?,
                "mtime" if matches!(value.as_str(), "checkout" | "commit") => self.mtime = value.clone(),
                "mtime" => return Err(refused(format!("`{value}` is no policy for file times"))),
                _ => return Err(refused(format!("unexpected query `{key}` in the git address"))),
            }
        }
        for (key, value) in [("tag", tag), ("branch", branch)] {
            if let Some(value) = value {
                set(&mut self.reference, &value, key)?;
            }
        }
        Ok(())
    }

    /// The operation for a build context. What the address says of the times of files comes before `commit_times`.
    pub(crate) fn context_operation(&self, keep_git_dir: Option<bool>, commit_times: bool) -> Operation {
        let keep = [self.keep_git_dir, keep_git_dir].contains(&Some(true));
        let (mut source, mut caps, path) = self.source(keep, &self.checksum);
        let mtime = match self.mtime.as_str() {
            "" if commit_times => "commit",
            mtime => mtime,
        };
        if !mtime.is_empty() {
            source.attrs.insert("git.mtime".to_owned(), mtime.to_owned());
            caps.push("source.git.mtime");
        }
        (source, caps, path)
    }

    /// The operation for ADD, which, as BuildKit has it, uses no policy for times. What the address says counts for
    /// the instruction's further sources, too.
    pub(super) fn operation(&self, shared: &mut Shared) -> Result<Operation, Fault> {
        if let (Some(flag), Some(query)) = (shared.keep_git_dir, self.keep_git_dir)
            && flag != query
        {
            return Err(refused("--keep-git-dir and the git address contradict each other"));
        }
        if !shared.checksum.is_empty() && !self.checksum.is_empty() && shared.checksum != self.checksum {
            return Err(refused("--checksum and the git address name different commits"));
        }
        shared.keep_git_dir = self.keep_git_dir.or(shared.keep_git_dir);
        if !self.checksum.is_empty() {
            shared.checksum.clone_from(&self.checksum);
        }
        Ok(self.source(shared.keep_git_dir.unwrap_or(false), &shared.checksum))
    }

    fn source(&self, keep_git_dir: bool, checksum: &str) -> Operation {
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
        if let Some(agent) = self.agent() {
            // BuildKit also asks the server for its host keys, to pin them. A conversion asks nobody: the engine checks the
            // keys against those that the user knows.
            set("git.mountsshsock", agent, Some("source.git.mountsshsock"));
        }
        if keep_git_dir {
            set("git.keepgitdir", "true", Some("source.git.keepgitdir"));
        }
        if !checksum.is_empty() {
            set("git.checksum", checksum, Some("source.git.checksum"));
        }
        if self.submodules == Some(false) {
            set("git.skipsubmodules", "true", Some("source.git.skipsubmodules"));
        }
        if self.fetch_by_commit {
            set("git.fetchbycommit", "true", Some("source.git.fetchbycommit"));
        }
        (source, caps, "/".to_owned())
    }

    /// The agent that it takes to reach it.
    pub(crate) fn agent(&self) -> Option<&'static str> {
        self.is_ssh.then_some(DEFAULT_AGENT)
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn refused(message: impl Into<String>) -> Fault {
    Fault::semantics(message)
}

fn prefixed(prefix: &str, name: &str) -> String {
    match name.starts_with(prefix) {
        true => name.to_owned(),
        false => format!("{prefix}{name}"),
    }
}

fn set(field: &mut String, value: &str, key: &str) -> Result<(), Fault> {
    if !field.is_empty() && field != value {
        return Err(refused(format!("`{key}` of the git address contradicts another part of it")));
    }
    value.clone_into(field);
    Ok(())
}

fn switch(key: &str, value: &str) -> Result<bool, Fault> {
    // A key alone switches on.
    let on = if value.is_empty() { Some(true) } else { crate::boolean(value) };
    on.ok_or_else(|| refused(format!("`{value}` is no value for `{key}` of the git address")))
}
