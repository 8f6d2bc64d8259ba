//! Build contexts that are not directories of the client: repositories, files and archives of web servers.

use gantry_llb::{Builder, Definition, Edge, pb};
use gantry_oci::without_logins;

use crate::convert::remote::{Remote, Shared};
use crate::error::Fault;
use crate::graph::NONE;

/// What a file is called that is fetched as a context; BuildKit's name.
const FILE: &str = "context";

/// A context that is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteContext {
    /// The address, without a password.
    shown: String,
    source: pb::SourceOp,
    caps: Vec<&'static str>,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Repository,
    File,
    Archive,
}

/// How a repository is checked out as a context.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GitOptions {
    /// Whether `.git` is part of the context (`BUILDKIT_CONTEXT_KEEP_GIT_DIR`).
    pub keep_git_dir: Option<bool>,
    /// Whether files get the time of their commit: so where `SOURCE_DATE_EPOCH` is given.
    pub commit_times: bool,
}

/// Why an address cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ContextError(String);

impl RemoteContext {
    /// The name, in their trees, of files that are fetched.
    pub const FILE: &str = FILE;

    /// The remote context that a text names; none if it is a path.
    pub fn parse(text: &str, options: GitOptions) -> Result<Option<Self>, ContextError> {
        match Remote::parse_context(text).map_err(refused)? {
            None => Ok(None),
            Some(remote) => Self::of(remote, text, options).map(Some).map_err(refused),
        }
    }

    fn of(remote: Remote, text: &str, options: GitOptions) -> Result<Self, Fault> {
        let shown = without_logins(text).into_owned();
        match remote {
            Remote::Git(git) => {
                let (source, caps, _) = git.context_operation(options.keep_git_dir, options.commit_times);
                Ok(Self { shown, source, caps, form: Form::Repository })
            }
            Remote::Http(address) => {
                let (mut source, caps, _) = Remote::Http(address).operation(&mut Shared::default())?;
                source.attrs.insert("http.filename".to_owned(), FILE.to_owned());
                Ok(Self { shown, source, caps, form: Form::File })
            }
        }
    }

    /// The same file, to be unpacked.
    #[must_use]
    pub fn unpacked(self) -> Self {
        Self { form: Form::Archive, ..self }
    }

    /// The agent that it takes to reach it.
    pub fn agent(&self) -> Option<&str> {
        self.source.attrs.get("git.mountsshsock").map(String::as_str)
    }

    /// Whether it is a repository, and not a file.
    pub fn is_repository(&self) -> bool {
        self.form == Form::Repository
    }

    /// Just the source, before anything is unpacked.
    pub fn fetch(&self) -> Definition {
        source_definition(&self.source, &self.caps, self.name())
    }

    /// The tree that a build sees.
    pub fn tree(&self) -> Definition {
        if self.form != Form::Archive {
            return self.fetch();
        }
        let mut builder = Builder::new();
        let fetched = builder.add(source_op(&self.source), Vec::new(), metadata(&self.caps, self.name()));
        let action = pb::FileAction { input: NONE, secondary_input: 0, output: 0, action: Some(unpack()) };
        let op = pb::Op {
            op: Some(pb::op::Op::File(pb::FileOp { actions: vec![action] })),
            constraints: Some(pb::WorkerConstraints::default()),
            ..pb::Op::default()
        };
        let inputs = vec![Edge { vertex: fetched, index: 0 }];
        let tree = builder.add(op, inputs, metadata(&["file.base"], UNPACK.to_owned()));
        builder.finish(Some(Edge { vertex: tree, index: 0 }), Vec::new())
    }

    pub(crate) fn is_archive(&self) -> bool {
        self.form == Form::Archive
    }

    pub(crate) fn source(&self) -> (&pb::SourceOp, &[&'static str]) {
        (&self.source, &self.caps)
    }

    /// The name of its step, when it is the main context.
    pub(crate) fn name(&self) -> String {
        match self.form {
            Form::Repository => format!("[internal] load git source {}", self.shown),
            Form::File | Form::Archive => "[internal] load remote build context".to_owned(),
        }
    }

    /// The name of its step, when it is a context of this name.
    pub(crate) fn named(&self, name: &str) -> String {
        match self.form {
            Form::Repository => self.name(),
            Form::File | Form::Archive => format!("[context {name}] {}", self.shown),
        }
    }
}

/// The name of the step that unpacks.
pub(crate) const UNPACK: &str = "[internal] unpack remote build context";

/// Unpacks the fetched file into an empty tree.
pub(crate) fn unpack() -> pb::file_action::Action {
    pb::file_action::Action::Copy(pb::FileActionCopy {
        src: format!("/{FILE}"),
        dest: "/".to_owned(),
        mode: NONE as i32,
        attempt_unpack_docker_compatibility: true,
        timestamp: NONE,
        ..pb::FileActionCopy::default()
    })
}

/// A graph of a source alone.
pub(crate) fn source_definition(source: &pb::SourceOp, caps: &[&'static str], name: String) -> Definition {
    let mut builder = Builder::new();
    let vertex = builder.add(source_op(source), Vec::new(), metadata(caps, name));
    builder.finish(Some(Edge { vertex, index: 0 }), Vec::new())
}

fn source_op(source: &pb::SourceOp) -> pb::Op {
    pb::Op {
        op: Some(pb::op::Op::Source(source.clone())),
        constraints: Some(pb::WorkerConstraints::default()),
        ..pb::Op::default()
    }
}

fn metadata(caps: &[&str], name: String) -> pb::OpMetadata {
    crate::convert::metadata(caps, name)
}

fn refused(fault: Fault) -> ContextError {
    ContextError(fault.into_message())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identifier(text: &str) -> Option<String> {
        let context = RemoteContext::parse(text, GitOptions::default()).unwrap()?;
        Some(format!("{} {}", context.source.identifier, context.source.attrs.get("git.fullurl")?))
    }

    #[test]
    fn what_is_remote() {
        for (text, expected) in [
            ("github.com/a/b#main:sub", Some("git://github.com/a/b#main:sub https://github.com/a/b")),
            ("git@h.test:a/b.git#v1", Some("git://h.test/a/b.git#v1 git@h.test:a/b.git")),
            ("ssh://git@h.test:22/a", Some("git://h.test:22/a ssh://git@h.test:22/a")),
            ("git://h.test/a", Some("git://h.test/a git://h.test/a")),
            (
                "https://h.test/a.git?branch=x&subdir=d",
                Some("git://h.test/a.git#refs/heads/x:d https://h.test/a.git"),
            ),
            ("HTTPS://u@H.test/a%20b.git#b%2Fc", Some("git://H.test/a b.git#b/c https://u@H.test/a%20b.git")),
            ("ftp://h.test/a.git", None),
            ("HTTPS://h.test/a", None),
            (".", None),
            ("./git@h:x", None),
            ("a/b@c:d", None),
        ] {
            assert_eq!(identifier(text).as_deref(), expected, "{text}");
        }
        let file = RemoteContext::parse("https://h.test/x.tar.gz", GitOptions::default()).unwrap().unwrap();
        assert_eq!(file.source.attrs["http.filename"], FILE);
        assert_eq!((file.is_repository(), file.unpacked().tree().vertices().len()), (false, 2));
        let refused = RemoteContext::parse("https://h.test/a.git?x=1", GitOptions::default());
        assert!(refused.unwrap_err().to_string().contains("unexpected query `x`"));
    }

    #[test]
    fn options_of_repositories() {
        let options = GitOptions { keep_git_dir: Some(true), commit_times: true };
        let context = RemoteContext::parse("https://u:secret@h.test/a.git", options).unwrap().unwrap();
        assert_eq!(context.source.attrs["git.keepgitdir"], "true");
        assert_eq!(context.source.attrs["git.mtime"], "commit");
        assert!(!context.name().contains("secret"), "{}", context.name());
        assert_eq!(context.agent(), None);
        let context = RemoteContext::parse("git@h.test:a?mtime=checkout", options).unwrap().unwrap();
        assert_eq!(context.source.attrs["git.mtime"], "checkout", "what the address says comes first");
        assert_eq!(context.agent(), Some("default"));
    }
}
