//! COPY and ADD.

use std::collections::HashMap;

use super::flags::{Flags, Takes};
use super::words;
use crate::error::Fault;
use crate::parser::{Heredoc, Node};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CopyKind {
    /// `COPY`
    Copy,
    /// `ADD`
    Add,
}

impl CopyKind {
    /// Its name.
    pub(crate) fn keyword(self) -> &'static str {
        match self {
            Self::Copy => "COPY",
            Self::Add => "ADD",
        }
    }
}

/// A COPY or ADD. Variables are still in its texts.
#[derive(Debug, Clone)]
pub(crate) struct Copy {
    /// Which of the two.
    pub(crate) kind: CopyKind,
    /// What is copied.
    pub(crate) sources: Vec<String>,
    /// The files written in the Dockerfile itself.
    pub(crate) inline: Vec<Heredoc>,
    /// Where to.
    pub(crate) destination: String,
    /// `--from`; empty for the build context.
    pub(crate) from: String,
    /// `--chown`; empty if not given.
    pub(crate) chown: String,
    /// `--chmod`; empty if not given.
    pub(crate) chmod: String,
    /// `--link`
    pub(crate) link: bool,
    /// `--parents`
    pub(crate) parents: bool,
    /// `--exclude`
    pub(crate) exclude: Vec<String>,
    /// `--checksum`; empty if not given.
    pub(crate) checksum: String,
    /// `--unpack`, if given.
    pub(crate) unpack: Option<bool>,
    /// `--keep-git-dir`, if given.
    pub(crate) keep_git_dir: Option<bool>,
}

const SHARED_FLAGS: [(&str, Takes); 4] =
    [("chown", Takes::Value), ("chmod", Takes::Value), ("link", Takes::Bool), ("exclude", Takes::Values)];
const COPY_FLAGS: [(&str, Takes); 2] = [("from", Takes::Value), ("parents", Takes::Bool)];
const ADD_FLAGS: [(&str, Takes); 3] =
    [("checksum", Takes::Value), ("unpack", Takes::Bool), ("keep-git-dir", Takes::Bool)];

pub(super) fn read(node: &Node, kind: CopyKind) -> Result<Copy, Fault> {
    let keyword = kind.keyword();
    let mut words = words(node);
    let Some(destination) = words.pop().filter(|_| !words.is_empty()) else {
        return Err(Fault::syntax(format!(
            "{keyword} requires at least two arguments, a source and a destination"
        ))
        .hint(format!("write it like {keyword} source destination; the last word is where it goes")));
    };
    let mut known = SHARED_FLAGS.to_vec();
    match kind {
        CopyKind::Copy => known.extend(COPY_FLAGS),
        CopyKind::Add => known.extend(ADD_FLAGS),
    }
    let flags = Flags::read(node, &known)?;
    if is_heredoc(&destination) {
        return Err(Fault::syntax(format!("{keyword} cannot accept a heredoc as a destination")));
    }
    let (inline, sources): (Vec<String>, Vec<String>) = words.into_iter().partition(|word| is_heredoc(word));
    // Of heredocs with the same name, the last one is meant.
    let by_name: HashMap<&str, &Heredoc> =
        node.heredocs.iter().map(|heredoc| (heredoc.name.as_str(), heredoc)).collect();
    let content = |word: &String| {
        let opened = Heredoc::open(word).ok().flatten()?;
        let found = by_name.get(opened.name.as_str()).map(|found| (*found).clone());
        Some(found.unwrap_or(opened))
    };
    Ok(Copy {
        kind,
        sources,
        inline: inline.iter().filter_map(content).collect(),
        destination,
        from: flags.value("from"),
        chown: flags.value("chown"),
        chmod: flags.value("chmod"),
        link: flags.switch("link").unwrap_or(false),
        parents: flags.switch("parents").unwrap_or(false),
        exclude: flags.values("exclude").map(str::to_owned).collect(),
        checksum: flags.value("checksum"),
        unpack: flags.switch("unpack"),
        keep_git_dir: flags.switch("keep-git-dir"),
    })
}

fn is_heredoc(word: &str) -> bool {
    matches!(Heredoc::open(word), Ok(Some(_)))
}
