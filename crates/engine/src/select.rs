//! What a copy selects from its source: wildcards resolved, ignored files left out, directories walked.
//!
//! One selection serves both the cache key and the copy, so that the two can never disagree about what is copied.

mod context;
mod expand;
mod follow;
mod walk;

use std::borrow::Cow;
use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use gantry_llb::pattern::{Matcher, PatternError, has_wildcard};
use gantry_llb::pb::FileActionCopy;
use rustix::fs::OFlags;

pub(crate) use self::context::ContextFilter;
use self::expand::expand;
use self::walk::Walk;
use crate::error::{At, Fault};
use crate::rooted;

/// How many parts a path may have: more than an archive's may, of which images are made, and few enough for the stack.
const MAX_DEPTH: usize = 500;

/// The directory that a copy reads from.
#[derive(Debug, Clone)]
pub(crate) struct SourceRoot<'a> {
    /// Where it is.
    pub(crate) path: &'a Path,
    /// What of it takes part; `None` is everything.
    pub(crate) filter: Option<&'a ContextFilter>,
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
    /// Why it is here.
    pub(crate) role: Role,
}

impl Entry {
    /// Opens the regular file that it is. If something else has taken its place, neither a link is followed nor a pipe
    /// waited for.
    pub(crate) fn open(&self) -> Result<File, Fault> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(flags.bits().cast_signed());
        let file = options.open(&self.path).reading(&self.path)?;
        match file.metadata().reading(&self.path)?.is_file() {
            true => Ok(file),
            false => Err(Fault::Changed(self.path.clone())),
        }
    }
}

/// Why an entry is part of a selection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It was selected.
    Selected,
    /// It is a directory on the way to something that was.
    OnTheWay,
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

/// What a copy names, apart from what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Wanted {
    path: Named,
    follows: bool,
    may_be_nothing: bool,
    include: Vec<String>,
    exclude: Vec<String>,
    required: Vec<String>,
}

/// How a copy names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Named {
    /// By a pattern.
    Pattern(String),
    /// By a path, cleaned.
    Path(PathBuf),
}

impl Wanted {
    /// What this copy names. All that is there has one name, however it is written.
    pub(crate) fn by(copy: &FileActionCopy) -> Self {
        let is_pattern = copy.allow_wildcard && has_wildcard(&copy.src);
        let path = match is_pattern {
            true => Named::Pattern(copy.src.clone()),
            false => Named::Path(rooted::clean_relative(Path::new(&copy.src))),
        };
        let is_root = path == Named::Path(PathBuf::new());
        let filters = !copy.include_patterns.is_empty() || !copy.exclude_patterns.is_empty();
        Self {
            path,
            follows: copy.follow_symlink && (filters || !is_root),
            may_be_nothing: is_pattern && copy.allow_empty_wildcard,
            include: copy.include_patterns.clone(),
            exclude: copy.exclude_patterns.clone(),
            required: copy.required_paths.clone(),
        }
    }
}

/// Selects what one copy action copies.
pub(crate) fn select(source: &SourceRoot<'_>, copy: &FileActionCopy) -> Result<Vec<Item>, Fault> {
    let walk = Walk::new(source, copy)?;
    let is_pattern = copy.allow_wildcard && has_wildcard(&copy.src);
    let paths = match is_pattern {
        true => expand(source, copy)?,
        false => vec![rooted::clean_relative(Path::new(&copy.src))],
    };
    if paths.is_empty() && !copy.allow_empty_wildcard {
        return Err(missing(source, copy, false));
    }
    let mut items = Vec::new();
    for path in paths {
        let resolved = source.resolve(&path, copy.follow_symlink)?;
        if rooted::find(source.path, &resolved).is_none() {
            return Err(missing(source, copy, false));
        }
        let entries = walk.item(resolved)?;
        // A context of which everything is ignored is an empty directory, not a missing one.
        if entries.is_empty() {
            return Err(missing(source, copy, true));
        }
        items.push(Item { name: path.file_name().unwrap_or_default().to_owned(), entries });
    }
    require(source, copy, &items)?;
    require_targets(source, copy, &items)?;
    Ok(items)
}

/// Fails where a copy that filters the root of its source selects a link there that leads nowhere.
///
/// The reference follows such links for its key. It does not where the copy names a directory.
fn require_targets(source: &SourceRoot<'_>, copy: &FileActionCopy, items: &[Item]) -> Result<(), Fault> {
    let filters = !copy.include_patterns.is_empty() || !copy.exclude_patterns.is_empty();
    let of_root = rooted::clean_relative(Path::new(&copy.src)).as_os_str().is_empty();
    if !(filters && of_root && copy.follow_symlink) {
        return Ok(());
    }
    let entries = items.iter().flat_map(|item| &item.entries);
    for link in entries.filter(|entry| entry.role == Role::Selected && entry.metadata.is_symlink()) {
        if link.relative.iter().count() == 1 && !source.has(&source.resolve(&link.relative, true)?)? {
            let src = format!("/{}", link.relative.display());
            return Err(missing(source, &FileActionCopy { src, ..copy.clone() }, false));
        }
    }
    Ok(())
}

/// Fails unless something was selected at each path that the copy cannot do without.
fn require(source: &SourceRoot<'_>, copy: &FileActionCopy, items: &[Item]) -> Result<(), Fault> {
    let top = rooted::clean(Path::new(&copy.src));
    for required in &copy.required_paths {
        let is_it = |entry: &Entry| {
            !entry.relative.as_os_str().is_empty()
                && top.join(&entry.relative).to_string_lossy().starts_with(required)
        };
        if !items.iter().flat_map(|item| &item.entries).any(is_it) {
            return Err(missing(source, &FileActionCopy { src: required.clone(), ..copy.clone() }, false));
        }
    }
    Ok(())
}

fn missing(source: &SourceRoot<'_>, copy: &FileActionCopy, excluded: bool) -> Fault {
    let origin = match source.ownership {
        Ownership::Root => "the build context",
        Ownership::Kept => "the stage or image that it comes from",
    };
    Fault::NotInSource { path: copy.src.clone(), origin, excluded }
}

impl SourceRoot<'_> {
    /// The real place of a path, relative like it. Links that do not take part lead nowhere.
    fn resolve(&self, path: &Path, follow_last: bool) -> Result<PathBuf, Fault> {
        let (followed, last) = match (follow_last, path.parent(), path.file_name()) {
            (false, Some(parent), Some(name)) => (parent, Some(name)),
            _ => (path, None),
        };
        let shows = |path: &Path| self.filter.map_or(Ok(true), |filter| filter.shows(self.path, path));
        let unreadable = |error: ResolveError| match error {
            ResolveError::System(source) => Fault::Unreadable { path: path.to_owned(), source },
            ResolveError::Filter(fault) => fault,
        };
        let found =
            rooted::resolve_among(self.path, followed, |path| shows(path).map_err(ResolveError::Filter));
        let mut found = found.map_err(unreadable)?;
        found.extend(last);
        Ok(found.strip_prefix(self.path).map(Path::to_owned).unwrap_or_default())
    }

    /// Whether there is something at a path that has no links in it.
    fn has(&self, path: &Path) -> Result<bool, Fault> {
        let exists = rooted::find(self.path, path).is_some();
        Ok(exists && self.filter.map_or(Ok(true), |filter| filter.shows(self.path, path))?)
    }
}

/// Why a path could not be resolved.
enum ResolveError {
    System(std::io::Error),
    Filter(Fault),
}

impl From<std::io::Error> for ResolveError {
    fn from(error: std::io::Error) -> Self {
        Self::System(error)
    }
}

fn matcher(patterns: &[String]) -> Result<Option<Matcher>, Fault> {
    match patterns {
        [] => Ok(None),
        _ => Matcher::new(patterns).map(Some).map_err(|error| bad_pattern(&patterns.join(" "), &error)),
    }
}

fn bad_pattern(pattern: &str, error: &PatternError) -> Fault {
    Fault::Pattern { pattern: pattern.to_owned(), reason: error.to_string() }
}

/// A path as patterns see it: what is not Unicode counts as so many characters that nobody can name.
fn text(path: &Path) -> Cow<'_, str> {
    /// The first of a range without any characters.
    const NAMELESS: u32 = 0x10_ff00;
    let Err(_) = std::str::from_utf8(path.as_os_str().as_bytes()) else { return path.to_string_lossy() };
    let mut text = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().filter_map(|byte| char::from_u32(NAMELESS + u32::from(*byte))));
    }
    Cow::Owned(text)
}

/// The names in a directory. Everything that goes down a tree asks for them, so that this is where it ends.
fn sorted_names(directory: &Path) -> Result<Vec<OsString>, Fault> {
    if directory.components().count() > MAX_DEPTH {
        return Err(Fault::TooDeep(directory.to_owned()));
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).reading(directory)? {
        names.push(entry.reading(directory)?.file_name());
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use gantry_llb::LocalFilter;

    use super::*;

    fn names(root: &Path, src: &str, ignore: &[&str]) -> Result<Vec<String>, String> {
        let exclude = ignore.iter().map(|pattern| (*pattern).to_owned()).collect();
        let filter = LocalFilter { exclude, ..LocalFilter::default() };
        let filter = ContextFilter::new(root, &filter).unwrap();
        let source = SourceRoot { path: root, filter: Some(&filter), ownership: Ownership::Root };
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
    fn a_link_that_is_ignored_leads_nowhere() {
        let (context, host) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (root, host) = (context.path(), host.path());
        fs::create_dir(host.join("sub")).unwrap();
        for file in ["id_rsa", "sub/key"] {
            fs::write(host.join(file), "secret").unwrap();
        }
        std::os::unix::fs::symlink("id_rsa", host.join("link")).unwrap();
        std::os::unix::fs::symlink(host, root.join("a")).unwrap();
        fs::write(root.join("other"), "").unwrap();
        let rows: [(&str, &[&str]); 9] = [
            ("/a/id_rsa", &["a", "!a/id_rsa"]),
            ("/a/id_rsa", &["*", "!a/id_rsa"]),
            ("/a/link", &["a", "!a/link"]),
            ("/a/sub", &["a", "!a/sub"]),
            ("/a/sub/key", &["*", "!a/sub"]),
            ("/a/sub/*", &["a", "!a/sub"]),
            ("/a/sub/*", &["*", "!a/sub"]),
            ("/a/*", &["a", "!a/id_rsa"]),
            ("/other/../a/id_rsa", &["a", "!a/id_rsa"]),
        ];
        for (src, ignore) in rows {
            let found = names(root, src, ignore);
            let missing = found.as_ref().is_err_and(|error| error.contains("does not exist"));
            assert!(missing, "{src} without {ignore:?}: {found:?}");
        }
        assert_eq!(names(root, "/*/*", &["a", "!a/id_rsa"]).unwrap(), Vec::<String>::new());
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
