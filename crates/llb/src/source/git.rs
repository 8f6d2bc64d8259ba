//! A repository at one commit: `git://host/path#ref:subdir` with attributes `git.*`.
//!
//! The identifier names host and path whatever the protocol; `git.fullurl` is the address for git.

use gantry_oci::{login_of, without_logins};

use super::SourceError;
use crate::pattern::clean;
use crate::pb;

/// A repository, and what of it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitSource {
    /// The address for git. It may hold a password: see [`GitSource::shown`].
    pub remote: String,
    /// Branch, tag or commit; empty for the default branch.
    pub reference: String,
    /// The directory in the repository, without `.` and `..`; empty for all of it.
    pub subdir: String,
    /// `git.checksum`: the commit that it must be, or the beginning of it.
    pub checksum: Option<String>,
    /// `git.keepgitdir`: whether `.git` is part of the result.
    pub keep_git_dir: bool,
    /// Whether submodules are left out (`git.skipsubmodules`).
    pub skip_submodules: bool,
    /// `git.fetchbycommit`: the commit of `checksum` is fetched, whatever `reference` points at.
    pub fetch_by_commit: bool,
    /// `git.mtime`.
    pub times: FileTimes,
    /// `git.authtokensecret`.
    pub token_secret: Option<String>,
    /// `git.authheadersecret`.
    pub header_secret: Option<String>,
    /// `git.mountsshsock`: the agent that logs in.
    pub agent: Option<String>,
    /// `git.knownsshhosts`: the host keys to accept, in the form of `known_hosts`.
    pub known_hosts: Option<String>,
}

/// What times the files get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileTimes {
    /// When they were checked out.
    Checkout,
    /// When the commit was made.
    Commit,
}

impl GitSource {
    pub(super) fn parse(op: &pb::SourceOp, rest: &str) -> Result<Self, SourceError> {
        // What would need more than a work tree is not read silently past.
        for name in ["git.bundle", "git.checkoutbundle", "git.sig.pubkey"] {
            if op.attrs.contains_key(name) {
                return Err(SourceError::Scheme(format!("git with {name}")));
            }
        }
        let (place, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
        let text = |name: &str| op.attrs.get(name).filter(|value| !value.is_empty()).cloned();
        let is = |name: &str| op.attrs.get(name).is_some_and(|value| value == "true");
        check_reference(reference)?;
        let checksum = text("git.checksum");
        if let Some(checksum) = &checksum
            && !checksum.bytes().all(|byte| byte.is_ascii_hexdigit())
        {
            return Err(SourceError::GitChecksum(checksum.clone()));
        }
        let checksum = checksum.map(|checksum| checksum.to_ascii_lowercase());
        let fetch_by_commit = is("git.fetchbycommit");
        if fetch_by_commit
            && ![Some(reference), checksum.as_deref()].into_iter().flatten().any(Self::is_commit)
        {
            return Err(SourceError::GitCommit);
        }
        Ok(Self {
            remote: text("git.fullurl").unwrap_or_else(|| format!("https://{place}")),
            reference: reference.to_owned(),
            subdir: clean(&format!("/{subdir}")).trim_start_matches('/').to_owned(),
            checksum,
            keep_git_dir: is("git.keepgitdir"),
            skip_submodules: is("git.skipsubmodules"),
            fetch_by_commit,
            times: match op.attrs.get("git.mtime").map(String::as_str) {
                Some("commit") => FileTimes::Commit,
                _ => FileTimes::Checkout,
            },
            token_secret: text("git.authtokensecret"),
            header_secret: text("git.authheadersecret"),
            agent: text("git.mountsshsock"),
            known_hosts: text("git.knownsshhosts"),
        })
    }

    /// The address without the password that may be in it, in BuildKit's form: it stands in `.git/config`, too.
    pub fn shown(&self) -> String {
        without_logins(&self.remote).into_owned()
    }

    /// The user and password, or the token, in the address. The `git@` of SSH is none.
    pub fn credentials(&self) -> Option<&str> {
        login_of(&self.remote)
    }

    /// Whether the reference is a whole commit id, which nobody has to be asked about.
    pub fn is_commit(text: &str) -> bool {
        matches!(text.len(), 40 | 64)
            && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    }
}

/// A reference becomes an argument of git's, and may not be an option, a pattern or a second refspec there.
fn check_reference(reference: &str) -> Result<(), SourceError> {
    let forbidden = |c: char| c.is_control() || c.is_whitespace() || "\\~^:?*[".contains(c);
    let bad = reference.starts_with(['-', '+', '/', '.'])
        || reference.ends_with('/')
        || reference.contains("..")
        || reference.contains("@{")
        || reference.contains("//")
        || reference.contains(forbidden);
    if bad { Err(SourceError::GitRef(reference.to_owned())) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Source;

    fn parse(identifier: &str, attrs: &[(&str, &str)]) -> Result<GitSource, SourceError> {
        let attrs = attrs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        match Source::parse(&pb::SourceOp { identifier: identifier.to_owned(), attrs })? {
            Source::Git(git) => Ok(*git),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn parts() {
        let git = parse("git://h/p.git#v1:a/../b/./c", &[("git.fullurl", "ssh://git@h/p.git")]).unwrap();
        assert_eq!((git.remote.as_str(), git.reference.as_str()), ("ssh://git@h/p.git", "v1"));
        assert_eq!(git.subdir, "b/c");
        assert_eq!(parse("git://h/p", &[]).unwrap().remote, "https://h/p");
        assert_eq!(parse("git://h/p#:../../..", &[]).unwrap().subdir, "");
        let commit = parse("git://h/p", &[("git.checksum", "ABC")]).unwrap();
        assert_eq!(commit.checksum.as_deref(), Some("abc"));
    }

    #[test]
    fn hostile_references() {
        for reference in [
            "-c",
            "--upload-pack=x",
            "+a",
            "a b",
            "a\n",
            "a..b",
            "a^",
            "a~1",
            "a:b",
            "a*",
            "/a",
            ".a",
            "a@{1}",
        ] {
            let identifier = format!("git://h/p#{}", reference.replace(':', "\\"));
            assert!(matches!(parse(&identifier, &[]), Err(SourceError::GitRef(_))), "{reference}");
        }
        for reference in ["main", "refs/heads/a/b", "v1.2.3", "feature-x", "a@b"] {
            assert!(parse(&format!("git://h/p#{reference}"), &[]).is_ok(), "{reference}");
        }
        assert!(matches!(parse("git://h/p", &[("git.checksum", "-x")]), Err(SourceError::GitChecksum(_))));
    }

    #[test]
    fn a_commit_that_is_fetched_by_its_id_has_one() {
        let (id, by_commit) = ("a".repeat(40), ("git.fetchbycommit", "true"));
        for attrs in [vec![by_commit], vec![by_commit, ("git.checksum", "abc")]] {
            assert!(matches!(parse("git://h/p#main", &attrs), Err(SourceError::GitCommit)), "{attrs:?}");
        }
        assert!(parse("git://h/p#main", &[by_commit, ("git.checksum", &id)]).is_ok());
        assert!(parse(&format!("git://h/p#{id}"), &[by_commit]).is_ok());
    }

    #[test]
    fn passwords_are_not_shown() {
        let git = parse("git://h/p", &[("git.fullurl", "https://me:secret@h/p.git")]).unwrap();
        assert_eq!(git.shown(), "https://xxxxx:xxxxx@h/p.git");
        let git = parse("git://h/p", &[("git.fullurl", "https://token@h/p.git")]).unwrap();
        assert_eq!(git.shown(), "https://xxxxx@h/p.git");
        let git = parse("git://h/p", &[("git.fullurl", "ssh://git@h/p.git")]).unwrap();
        assert_eq!(git.shown(), "ssh://git@h/p.git");
    }
}
