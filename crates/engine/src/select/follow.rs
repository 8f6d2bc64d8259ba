//! The paths that copies name, as patterns of everything that is needed for them: what links on the way lead to, too.
//!
//! The rules are those of the reference's client, down to where they look odd. A link counts as a link only where no
//! wildcard stands before it, and a wildcard that matches a link brings all that it matches, whole.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use gantry_llb::pattern::{Glob, has_wildcard};

use crate::error::Fault;
use crate::rooted::{clean, clean_relative};

/// Patterns for everything that these paths need in the directory. `None`: everything there is.
pub(super) fn follow(directory: &Path, paths: &[String]) -> Result<Option<Vec<String>>, Fault> {
    let mut followed = Followed { root: directory, paths: BTreeSet::new() };
    for path in paths {
        followed.add(clean_relative(Path::new(path)))?;
    }
    match followed.paths.contains(Path::new("")) {
        true => Ok(None),
        false => Ok(Some(followed.paths.iter().map(|path| path.to_string_lossy().into_owned()).collect())),
    }
}

struct Followed<'a> {
    root: &'a Path,
    paths: BTreeSet<PathBuf>,
}

impl Followed<'_> {
    /// Adds a path, relative and clean, and all that its links lead to. Ends with loops of links, as nothing is added
    /// twice. The links are the user's, and there may be more in a row than calls fit on a stack.
    fn add(&mut self, path: PathBuf) -> Result<(), Fault> {
        let mut open = vec![path];
        while let Some(path) = open.pop() {
            // The first target comes next.
            open.extend(self.add_one(&path)?.into_iter().rev());
        }
        Ok(())
    }

    /// Adds a path up to its first link, and gives the paths that it leads to.
    fn add_one(&mut self, path: &Path) -> Result<Vec<PathBuf>, Fault> {
        let mut parts = path.components();
        let mut current = PathBuf::new();
        loop {
            current.extend(parts.next().map(Component::as_os_str));
            let rest = parts.as_path();
            let targets = self.targets(&current)?;
            if targets.is_empty() && !rest.as_os_str().is_empty() {
                continue;
            }
            if !self.paths.insert(current) {
                return Ok(Vec::new());
            }
            return Ok(targets.iter().map(|target| clean_relative(&target.join(rest))).collect());
        }
    }

    /// Where the links lead to that a path names, whose last part may be a pattern.
    fn targets(&self, path: &Path) -> Result<Vec<PathBuf>, Fault> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !has_wildcard(&name) {
            return Ok(self.target(path).into_iter().collect());
        }
        let directory = path.parent().unwrap_or(Path::new(""));
        let full = self.root.join(directory);
        let (Ok(glob), true) =
            (Glob::new(&name), fs::symlink_metadata(&full).is_ok_and(|metadata| metadata.is_dir()))
        else {
            return Ok(Vec::new());
        };
        let names = super::sorted_names(&full)?.into_iter();
        let matching = names.filter(|name| glob.matches(&super::text(Path::new(name))));
        Ok(matching.filter_map(|name| self.target(&directory.join(name))).collect())
    }

    fn target(&self, path: &Path) -> Option<PathBuf> {
        let link = fs::read_link(self.root.join(path)).ok()?;
        Some(clean(&path.parent().unwrap_or(Path::new("")).join(link)))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_chain_of_links_may_be_long() {
        const LENGTH: usize = 20_000;
        let directory = tempfile::tempdir().unwrap();
        for link in 0..LENGTH {
            symlink(format!("l{}", link + 1), directory.path().join(format!("l{link}"))).unwrap();
        }
        let found = follow(directory.path(), &["/l0".to_owned()]).unwrap();
        assert_eq!(found.unwrap().len(), LENGTH + 1);
    }

    #[test]
    fn links_are_followed_inside() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir_all(root.join("d/sub")).unwrap();
        for (link, target) in [
            ("l", "d"),
            ("abs", "/d/sub"),
            ("out", "../../x"),
            ("loop", "pool"),
            ("pool", "loop"),
            ("d/up", ".."),
            ("k1", "d"),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        for (path, expected) in [
            ("/d", Some("d")),
            ("/l/x", Some("d/x l")),
            ("/abs/y", Some("abs d/sub/y")),
            ("/out/z", Some("out x/z")),
            ("/loop/a", Some("loop pool")),
            ("/missing/*", Some("missing/*")),
            ("/k*/x", Some("d/x k*")),
            ("/*/up", None),
            ("/d/up", None),
            ("/", None),
        ] {
            let found = follow(root, &[path.to_owned()]).unwrap().map(|found| found.join(" "));
            assert_eq!(found.as_deref(), expected, "{path}");
        }
    }
}
