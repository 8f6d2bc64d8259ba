//! What of a client's directory takes part in a build.
//!
//! Two lists decide: what is ignored, and what the copies of a build name at all. The reference sends its daemon what both
//! let through, and copies from that; so a path that they hold back does not exist for a copy, whatever it is for.

use std::fs;
use std::path::{Path, PathBuf};

use gantry_llb::LocalFilter;
use gantry_llb::pattern::{Known, Matcher};

use super::follow::follow;
use crate::error::{At, Fault};

/// The lists of one directory, compiled.
#[derive(Debug)]
pub(crate) struct ContextFilter {
    /// What the copies name; `None` is everything.
    include: Option<Matcher>,
    /// What is ignored.
    exclude: Option<Matcher>,
}

/// What is known of a directory that a walk is in.
#[derive(Debug, Clone, Default)]
pub(super) struct Above {
    include: Known,
    exclude: Known,
}

/// What a filter says of one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Keep,
    /// Keep it, if it is a directory, for the sake of something below it.
    ForChildren,
    Drop,
}

impl ContextFilter {
    /// The filter of a directory. Links that the copies name are looked up now.
    pub(crate) fn new(directory: &Path, filter: &LocalFilter) -> Result<Self, Fault> {
        let mut include = filter.include.clone();
        if !filter.follow.is_empty() {
            include.extend(follow(directory, &filter.follow)?.unwrap_or_default());
        }
        Ok(Self { include: super::matcher(&include)?, exclude: super::matcher(&filter.exclude)? })
    }

    /// The verdict on a path in the directory that `above` is about, and what is known below that path.
    pub(super) fn judge(&self, path: &Path, above: &Above) -> (Verdict, Above) {
        let path = super::text(path);
        let mut verdict = Verdict::Keep;
        let mut known = Above::default();
        if let Some(include) = &self.include {
            let (included, below) = include.excludes_in(&path, &above.include);
            known.include = below;
            verdict = match included {
                true => Verdict::Keep,
                false if include.may_select_below(&path) => Verdict::ForChildren,
                false => Verdict::Drop,
            };
        }
        if let Some(exclude) = &self.exclude {
            let (excluded, below) = exclude.excludes_in(&path, &above.exclude);
            known.exclude = below;
            verdict = match excluded {
                false => verdict,
                true if verdict != Verdict::Drop && exclude.may_reinclude_below(&path) => {
                    Verdict::ForChildren
                }
                true => Verdict::Drop,
            };
        }
        (verdict, known)
    }

    /// The verdict on a path, relative to the directory, taking those above it into account.
    pub(super) fn at(&self, path: &Path) -> (Verdict, Above) {
        let mut above = Above::default();
        let mut verdict = Verdict::Keep;
        let mut here = PathBuf::new();
        for part in path {
            if verdict == Verdict::Drop {
                break;
            }
            here.push(part);
            (verdict, above) = self.judge(&here, &above);
        }
        (verdict, above)
    }

    /// Whether the path, relative to the directory at `root`, takes part.
    pub(super) fn shows(&self, root: &Path, path: &Path) -> Result<bool, Fault> {
        match self.at(path) {
            (Verdict::Keep, _) => Ok(true),
            (Verdict::Drop, _) => Ok(false),
            (Verdict::ForChildren, above) => self.shows_below(root, path, &above),
        }
    }

    fn shows_below(&self, root: &Path, directory: &Path, above: &Above) -> Result<bool, Fault> {
        let full = root.join(directory);
        if !fs::symlink_metadata(&full).is_ok_and(|metadata| metadata.is_dir()) {
            return Ok(false);
        }
        for name in super::sorted_names(&full)? {
            let path = directory.join(name);
            let shows = match self.judge(&path, above) {
                (Verdict::Keep, _) => fs::symlink_metadata(root.join(&path)).map(|_| true).reading(&path)?,
                (Verdict::ForChildren, below) => self.shows_below(root, &path, &below)?,
                (Verdict::Drop, _) => false,
            };
            if shows {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_part() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for file in ["a/b/c", "a/k", "d/x", "d/sub/y", "e/f", "top"] {
            fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
            fs::write(root.join(file), "").unwrap();
        }
        std::os::unix::fs::symlink("d/sub", root.join("link")).unwrap();
        let rows: [(&[&str], &[&str], &str); 6] = [
            (&[], &[], "a a/b a/b/c a/k d d/sub d/sub/y d/x e e/f link top"),
            (&[], &["a", "!a/k"], "a a/k d d/sub d/sub/y d/x e e/f link top"),
            // The last rule is not tried on `a`, and so not on what is in it.
            (&[], &["a/b", "!a"], "a a/k d d/sub d/sub/y d/x e e/f link top"),
            (&["/link/y", "/top"], &[], "d d/sub d/sub/y link top"),
            (&["/d/*.none", "/e/f"], &[], "e e/f"),
            (&["/"], &["**/y"], "a a/b a/b/c a/k d d/sub d/x e e/f link top"),
        ];
        let every = ["a", "a/b", "a/b/c", "a/k", "d", "d/sub", "d/sub/y", "d/x", "e", "e/f", "link", "top"];
        for (follow, exclude, expected) in rows {
            let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
            let filter = LocalFilter { include: Vec::new(), exclude: texts(exclude), follow: texts(follow) };
            let filter = ContextFilter::new(root, &filter).unwrap();
            let shown = every.iter().filter(|path| filter.shows(root, Path::new(path)).unwrap());
            let shown: Vec<_> = shown.copied().collect();
            assert_eq!(shown.join(" "), expected, "{follow:?} without {exclude:?}");
        }
    }
}
