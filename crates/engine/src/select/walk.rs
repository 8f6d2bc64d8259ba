//! The walk over what a copy names: what takes part in its source, and what the copy includes and excludes of that.
//!
//! Two filters decide, one after the other. A directory that takes part in the source for the sake of something in it is
//! there for the copy like any other, also if the copy excludes that something.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use gantry_llb::pattern::{Known, Matcher};
use gantry_llb::pb::FileActionCopy;

use super::context::{Above, ContextFilter, Verdict};
use super::{Entry, Role, SourceRoot, matcher, sorted_names};
use crate::error::{At, Fault};

/// The walk of one copy.
pub(super) struct Walk<'a> {
    root: &'a Path,
    filter: Option<&'a ContextFilter>,
    exclude: Option<Matcher>,
    include: Option<Matcher>,
}

/// What is known of the directory that the walk is in.
#[derive(Debug, Clone, Default)]
struct Here {
    context: Above,
    exclude: Known,
    include: Known,
}

impl<'a> Walk<'a> {
    pub(super) fn new(source: &SourceRoot<'a>, copy: &FileActionCopy) -> Result<Self, Fault> {
        Ok(Self {
            root: source.path,
            filter: source.filter,
            exclude: matcher(&copy.exclude_patterns)?,
            include: matcher(&copy.include_patterns)?,
        })
    }

    /// What is selected at a path of the source: nothing, if it does not take part.
    pub(super) fn item(&self, path: PathBuf) -> Result<Vec<Entry>, Fault> {
        let mut entries = Vec::new();
        let (verdict, context) = match self.filter {
            Some(filter) => filter.at(&path),
            None => (Verdict::Keep, Above::default()),
        };
        let place = self.root.join(&path);
        let metadata = fs::symlink_metadata(&place).reading(&place)?;
        let top = Entry { relative: PathBuf::new(), path: place, metadata, role: Role::Selected };
        self.visit((top, path), (verdict, Here { context, ..Here::default() }), &mut entries)?;
        Ok(entries)
    }

    /// Visits an entry, which is at a path of the source; true if it takes part there.
    fn visit(
        &self,
        (entry, path): (Entry, PathBuf),
        (verdict, here): (Verdict, Here),
        entries: &mut Vec<Entry>,
    ) -> Result<bool, Fault> {
        let is_directory = entry.metadata.is_dir();
        if verdict == Verdict::Drop || (verdict == Verdict::ForChildren && !is_directory) {
            return Ok(false);
        }
        let (selected, may_have_selected, here) = self.judge(&entry, here);
        if !selected && !is_directory {
            return Ok(true);
        }
        if verdict == Verdict::Keep && !may_have_selected {
            return Ok(true);
        }
        let (place, relative) = (entry.path.clone(), entry.relative.clone());
        let position = entries.len();
        entries.push(Entry { role: if selected { Role::Selected } else { Role::OnTheWay }, ..entry });
        let mut takes_part = verdict == Verdict::Keep;
        if is_directory {
            for name in sorted_names(&place)? {
                takes_part |= self.child((&place, &relative, &path), &name, &here, entries)?;
            }
        }
        if !takes_part {
            entries.truncate(position);
        } else if !selected && entries.len() == position + 1 {
            entries.pop();
        }
        Ok(takes_part)
    }

    fn child(
        &self,
        (place, relative, path): (&Path, &Path, &Path),
        name: &OsStr,
        here: &Here,
        entries: &mut Vec<Entry>,
    ) -> Result<bool, Fault> {
        let path = path.join(name);
        let (verdict, context) = match self.filter {
            Some(filter) => filter.judge(&path, &here.context),
            None => (Verdict::Keep, Above::default()),
        };
        if verdict == Verdict::Drop {
            return Ok(false);
        }
        let place = place.join(name);
        let metadata = match fs::symlink_metadata(&place) {
            // Removed since the directory was read: an editor's file, a lock.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            metadata => metadata.reading(&place)?,
        };
        let entry = Entry { relative: relative.join(name), path: place, metadata, role: Role::Selected };
        let here = Here { context, exclude: here.exclude.clone(), include: here.include.clone() };
        self.visit((entry, path), (verdict, here), entries)
    }

    /// Whether the copy selects an entry, whether it may select it or something below it, and what is known below it.
    fn judge(&self, entry: &Entry, here: Here) -> (bool, bool, Here) {
        let path = super::text(&entry.relative);
        if path.is_empty() {
            return (true, true, here);
        }
        let (mut selected, mut may_have_selected) = (true, true);
        let mut below = Here { context: here.context, ..Here::default() };
        if let Some(include) = &self.include {
            let (included, known) = include.excludes_in(&path, &here.include);
            below.include = known;
            selected = included;
            may_have_selected = included || include.may_select_below(&path);
        }
        if let Some(exclude) = &self.exclude {
            let (excluded, known) = exclude.excludes_in(&path, &here.exclude);
            below.exclude = known;
            selected &= !excluded;
            may_have_selected &= !excluded || exclude.may_reinclude_below(&path);
        }
        (selected, may_have_selected, below)
    }
}
