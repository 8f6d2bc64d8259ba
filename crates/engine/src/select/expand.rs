//! Wildcards in a copy's source: the paths that they match.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use gantry_llb::pattern::{Glob, has_wildcard};
use gantry_llb::pb::FileActionCopy;

use super::{SourceRoot, bad_pattern, missing, sorted_names};
use crate::error::Fault;
use crate::rooted;

/// The paths, relative to the source, that a pattern matches; in the order of a walk.
///
/// The directory in which the pattern begins has to be there.
pub(super) fn expand(source: &SourceRoot<'_>, copy: &FileActionCopy) -> Result<Vec<PathBuf>, Fault> {
    let cleaned = rooted::clean_relative(Path::new(&copy.src));
    let parts: Vec<&OsStr> = cleaned.iter().collect();
    let literal = parts.iter().take_while(|part| !has_wildcard(&part.to_string_lossy())).count();
    let start = source.resolve(&parts[..literal].iter().collect::<PathBuf>(), copy.follow_symlink)?;
    if !source.has(&start)? {
        return Err(missing(source, copy, false));
    }
    let pattern: PathBuf = parts[literal..].iter().collect();
    let pattern = pattern.to_string_lossy();
    let glob = Glob::new(&pattern).map_err(|error| bad_pattern(&copy.src, &error))?;
    let mut expansion = Expansion { source, glob, depth: parts.len() - literal, found: Vec::new() };
    // A class may match a slash.
    if pattern.contains('[') {
        expansion.depth = usize::MAX;
    }
    expansion.search(&start, Path::new(""), 1)?;
    Ok(expansion.found)
}

/// The search for what a pattern matches.
struct Expansion<'a> {
    source: &'a SourceRoot<'a>,
    glob: Glob,
    /// How many parts the longest path has that it could match.
    depth: usize,
    found: Vec<PathBuf>,
}

impl Expansion<'_> {
    /// Searches a directory, whose path is that of the start and then `below`.
    fn search(&mut self, start: &Path, below: &Path, depth: usize) -> Result<(), Fault> {
        let directory = start.join(below);
        let full = self.source.path.join(&directory);
        if !fs::symlink_metadata(&full).is_ok_and(|metadata| metadata.is_dir()) {
            return Ok(());
        }
        for name in sorted_names(&full)? {
            let path = below.join(&name);
            if self.glob.matches(&super::text(&path)) {
                if self.source.has(&directory.join(&name))? {
                    self.found.push(directory.join(name));
                }
            } else if depth < self.depth {
                self.search(start, &path, depth + 1)?;
            }
        }
        Ok(())
    }
}
