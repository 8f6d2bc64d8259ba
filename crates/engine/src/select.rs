//! What a copy selects from its source: wildcards resolved, ignored files left out, directories walked.
//!
//! One selection serves both the cache key and the copy, so that the two can never disagree about what is copied.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

use gantry_llb::pattern::{Glob, Matcher, PatternError, has_wildcard};
use gantry_llb::pb::FileActionCopy;

use crate::error::{At, Fault};
use crate::rooted;

/// The directory that a copy reads from.
#[derive(Debug, Clone)]
pub(crate) struct SourceRoot<'a> {
    /// Where it is.
    pub(crate) path: &'a Path,
    /// What of it does not take part.
    pub(crate) ignore: Option<&'a Matcher>,
    /// Whose files they are.
    pub(crate) ownership: Ownership,
}

/// Who owns the copied files, unless the copy says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// As in the source: another stage or image.
    Kept,
    /// Root: who owns the files of a build context is an accident of the client's machine.
    Root,
}

/// One of the things that a copy's source path names: several if it has wildcards.
#[derive(Debug)]
pub(crate) struct Item {
    /// The last part of its path, which becomes its name in a directory.
    pub(crate) name: OsString,
    /// The thing itself, and what is below it, parents first.
    pub(crate) entries: Vec<Entry>,
}

/// One file, directory or link.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Relative to the item; empty for the item itself.
    pub(crate) relative: PathBuf,
    /// Where it really is.
    pub(crate) path: PathBuf,
    /// As it was when it was selected.
    pub(crate) metadata: Metadata,
}

/// The action that copies a directory's whole content to the root of a tree, as it is.
pub(crate) fn whole(directory: &str) -> FileActionCopy {
    FileActionCopy {
        src: directory.to_owned(),
        dest: "/".to_owned(),
        dir_copy_contents: true,
        mode: -1,
        ..FileActionCopy::default()
    }
}

/// Selects what one copy action copies.
pub(crate) fn select(source: &SourceRoot<'_>, copy: &FileActionCopy) -> Result<Vec<Item>, Fault> {
    let filter = Filter::new(source, copy)?;
    let matches = match copy.allow_wildcard && has_wildcard(&copy.src) {
        true => expand(source.path, copy)?,
        false => vec![rooted::clean(Path::new(&copy.src))],
    };
    let wildcard = matches.first().is_none_or(|first| *first != rooted::clean(Path::new(&copy.src)));
    let mut items = Vec::new();
    for path in matches {
        let resolved = match copy.follow_symlink {
            true => rooted::resolve(source.path, &path),
            false => rooted::resolve_parent(source.path, &path),
        }
        .reading(&path)?;
        let mut entries = Vec::new();
        if let Ok(metadata) = fs::symlink_metadata(&resolved) {
            filter.walk(Entry { relative: PathBuf::new(), path: resolved, metadata }, &mut entries)?;
        } else if wildcard {
            continue;
        } else {
            return Err(missing(source, copy, false));
        }
        // A context of which everything is ignored is an empty directory, not a missing one.
        if entries.is_empty() && !wildcard {
            return Err(missing(source, copy, true));
        }
        if !entries.is_empty() {
            items.push(Item { name: path.file_name().unwrap_or_default().to_owned(), entries });
        }
    }
    if items.is_empty() && !copy.allow_empty_wildcard {
        return Err(missing(source, copy, false));
    }
    Ok(items)
}

fn missing(source: &SourceRoot<'_>, copy: &FileActionCopy, excluded: bool) -> Fault {
    let origin = match source.ownership {
        Ownership::Root => "the build context",
        Ownership::Kept => "the stage or image that it is copied from",
    };
    Fault::NotInSource { path: copy.src.clone(), origin, excluded }
}

/// The paths, absolute in the source, that a pattern matches; sorted.
fn expand(root: &Path, copy: &FileActionCopy) -> Result<Vec<PathBuf>, Fault> {
    let cleaned = rooted::clean(Path::new(&copy.src));
    let parts: Vec<&OsStr> = cleaned.iter().skip(1).collect();
    let literal = parts.iter().take_while(|part| !has_wildcard(&part.to_string_lossy())).count();
    let base: PathBuf = parts[..literal].iter().collect();
    let start = match copy.follow_symlink {
        true => rooted::resolve(root, &base),
        false => rooted::resolve_parent(root, &base),
    }
    .reading(&base)?;
    let mut found = vec![start];
    for part in &parts[literal..] {
        let pattern = part.to_string_lossy();
        let glob = Glob::new(&pattern).map_err(|error| bad_pattern(&copy.src, &error))?;
        let mut next = Vec::new();
        for directory in
            found.iter().filter(|path| path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()))
        {
            for name in sorted_names(directory)? {
                if glob.matches(&name.to_string_lossy()) {
                    next.push(directory.join(name));
                }
            }
        }
        found = next;
    }
    Ok(found.iter().map(|path| Path::new("/").join(path.strip_prefix(root).unwrap_or(path))).collect())
}

fn bad_pattern(pattern: &str, error: &PatternError) -> Fault {
    Fault::Pattern { pattern: pattern.to_owned(), reason: error.to_string() }
}

fn sorted_names(directory: &Path) -> Result<Vec<OsString>, Fault> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).reading(directory)? {
        names.push(entry.reading(directory)?.file_name());
    }
    names.sort();
    Ok(names)
}

/// Decides what a walk keeps.
struct Filter<'a> {
    root: &'a Path,
    ignore: Option<&'a Matcher>,
    exclude: Option<Matcher>,
    include: Option<Matcher>,
}

/// What a filter says of one path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Keep,
    /// Keep it, if it is a directory, for the sake of something below it.
    ForChildren,
    Drop,
}

impl<'a> Filter<'a> {
    fn new(source: &SourceRoot<'a>, copy: &FileActionCopy) -> Result<Self, Fault> {
        let matcher = |patterns: &[String]| match patterns {
            [] => Ok(None),
            _ => Matcher::new(patterns).map(Some).map_err(|error| bad_pattern(&patterns.join(" "), &error)),
        };
        Ok(Self {
            root: source.path,
            ignore: source.ignore,
            exclude: matcher(&copy.exclude_patterns)?,
            include: matcher(&copy.include_patterns)?,
        })
    }

    fn walk(&self, entry: Entry, entries: &mut Vec<Entry>) -> Result<(), Fault> {
        let verdict = self.verdict(&entry);
        let is_directory = entry.metadata.is_dir();
        if verdict == Verdict::Drop || (verdict == Verdict::ForChildren && !is_directory) {
            return Ok(());
        }
        let (path, relative) = (entry.path.clone(), entry.relative.clone());
        let position = entries.len();
        entries.push(entry);
        if is_directory {
            for name in sorted_names(&path)? {
                let path = path.join(&name);
                let metadata = fs::symlink_metadata(&path).reading(&path)?;
                self.walk(Entry { relative: relative.join(&name), path, metadata }, entries)?;
            }
            if verdict == Verdict::ForChildren && entries.len() == position + 1 {
                entries.pop();
            }
        }
        Ok(())
    }

    fn verdict(&self, entry: &Entry) -> Verdict {
        let in_root = entry.path.strip_prefix(self.root).unwrap_or(&entry.path).to_string_lossy();
        let in_item = entry.relative.to_string_lossy();
        let mut verdict = Verdict::Keep;
        if let Some(ignore) = self.ignore.filter(|_| !in_root.is_empty()) {
            verdict = verdict.and(dropped(ignore, &in_root));
        }
        if in_item.is_empty() {
            return verdict;
        }
        if let Some(exclude) = &self.exclude {
            verdict = verdict.and(dropped(exclude, &in_item));
        }
        if let Some(include) = &self.include
            && !include.excludes(&in_item)
        {
            verdict = verdict.and(Verdict::ForChildren);
        }
        verdict
    }
}

fn dropped(matcher: &Matcher, path: &str) -> Verdict {
    match matcher.excludes(path) {
        false => Verdict::Keep,
        true if matcher.may_reinclude_below(path) => Verdict::ForChildren,
        true => Verdict::Drop,
    }
}

impl Verdict {
    /// The stricter of the two.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Drop, _) | (_, Self::Drop) => Self::Drop,
            (Self::ForChildren, _) | (_, Self::ForChildren) => Self::ForChildren,
            _ => Self::Keep,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(root: &Path, src: &str, ignore: &[&str]) -> Result<Vec<String>, String> {
        let ignore = Matcher::new(ignore).unwrap();
        let source = SourceRoot { path: root, ignore: Some(&ignore), ownership: Ownership::Root };
        let copy = FileActionCopy {
            src: src.into(),
            follow_symlink: true,
            allow_wildcard: true,
            allow_empty_wildcard: true,
            ..FileActionCopy::default()
        };
        let items = select(&source, &copy).map_err(|fault| fault.to_string())?;
        let line = |item: &Item, entry: &Entry| {
            format!("{}|{}", item.name.to_string_lossy(), entry.relative.to_string_lossy())
        };
        Ok(items.iter().flat_map(|item| item.entries.iter().map(move |entry| line(item, entry))).collect())
    }

    #[test]
    fn selections() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for file in ["a.txt", "b.txt", "dir/x", "dir/y", "dir/sub/z", "out/keep/k", "out/drop"] {
            fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
            fs::write(root.join(file), file).unwrap();
        }
        std::os::unix::fs::symlink("dir", root.join("link")).unwrap();
        let rows: [(&str, &[&str], &[&str]); 7] = [
            ("/a.txt", &[], &["a.txt|"]),
            ("/*.txt", &["b.*"], &["a.txt|"]),
            ("/dir", &["dir/sub"], &["dir|", "dir|x", "dir|y"]),
            ("/link", &[], &["link|", "link|sub", "link|sub/z", "link|x", "link|y"]),
            ("/out", &["out", "!out/keep"], &["out|", "out|keep", "out|keep/k"]),
            ("/d*/s*", &[], &["sub|", "sub|z"]),
            ("/*.none", &[], &[]),
        ];
        for (src, ignore, expected) in rows {
            assert_eq!(names(root, src, ignore).unwrap(), expected, "{src} without {ignore:?}");
        }
        assert!(names(root, "/none", &[]).unwrap_err().contains("does not exist in the build context"));
        assert!(names(root, "/a.txt", &["a.txt"]).is_err());
        let whole = names(root, "/", &["**"]).unwrap();
        assert_eq!(whole, ["|"], "an ignored context is an empty directory");
    }
}
