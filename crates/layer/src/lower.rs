//! What is below a layer: the layers under it, looked at as overlayfs would, without mounting them.
//!
//! A layer's own directory does not say whether a name is new or changed, and an archive may leave out the
//! directories that it does not change. Both questions are about the layers below.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::LayerError;
use crate::overlay::{self, Merging};
use crate::xattr;

/// One directory of the merged view: the directories that make it up, the topmost first.
#[derive(Debug, Clone, Default)]
pub(crate) struct LowerDir(Vec<PathBuf>);

/// A name in a [`LowerDir`].
#[derive(Debug)]
pub(crate) struct LowerChild {
    /// Where the file is that is seen.
    pub(crate) path: PathBuf,
    /// Its metadata.
    pub(crate) metadata: Metadata,
    /// What is seen in it; nothing, unless it is a directory.
    pub(crate) inside: LowerDir,
}

impl LowerDir {
    /// The root of the view of these layer directories, the topmost first.
    pub(crate) fn root(layers: &[PathBuf]) -> Self {
        Self(layers.to_vec())
    }

    /// What is seen under `name`, if anything.
    pub(crate) fn child(&self, name: &OsStr) -> Result<Option<LowerChild>, LayerError> {
        let mut seen: Option<LowerChild> = None;
        for directory in &self.0 {
            let path = directory.join(name);
            let metadata = match fs::symlink_metadata(&path) {
                Ok(metadata) => metadata,
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                    continue;
                }
                Err(error) => return Err(LayerError::path("look at", &path, error)),
            };
            if !metadata.is_dir() {
                if seen.is_none() && !overlay::is_whiteout(&metadata) {
                    seen = Some(LowerChild { path, metadata, inside: Self::default() });
                }
                break;
            }
            let opaque = overlay::merging(&path, &xattr::names(&path)?)? == Merging::Opaque;
            let child = seen.get_or_insert_with(|| LowerChild {
                path: path.clone(),
                metadata,
                inside: Self::default(),
            });
            child.inside.0.push(path);
            if opaque {
                break;
            }
        }
        Ok(seen)
    }

    /// The names that are seen, and those of whiteouts.
    pub(crate) fn names(&self) -> Result<BTreeSet<OsString>, LayerError> {
        let mut names = BTreeSet::new();
        for directory in &self.0 {
            let failed = |error| LayerError::path("list", directory, error);
            for child in fs::read_dir(directory).map_err(failed)? {
                names.insert(child.map_err(failed)?.file_name());
            }
        }
        Ok(names)
    }

    /// What is seen at a path that has no links in it.
    pub(crate) fn descendant(&self, path: &Path) -> Result<Option<LowerChild>, LayerError> {
        let mut found: Option<LowerChild> = None;
        for name in path {
            let directory = found.as_ref().map_or(self, |child| &child.inside);
            match directory.child(name)? {
                Some(child) => found = Some(child),
                None => return Ok(None),
            }
        }
        Ok(found)
    }
}
