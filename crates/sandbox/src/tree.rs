//! Trees of files as the caller has them on disk, and the way to look at them from this process: on a thread of
//! its own, whose mounts nobody else sees.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::stage::Stage;

/// Layers with a writable one on top.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// Read-only directories, bottom first. May be empty.
    pub lower: Vec<PathBuf>,
    /// Receives all changes; the attributes of its root directory are those of the tree's root.
    pub upper: PathBuf,
    /// An existing directory on the same file system as `upper`, for this mount alone at any time. What is left in
    /// it afterwards is the caller's to delete; it may be used again before that.
    pub work: PathBuf,
}

/// A tree of files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tree {
    /// A directory (or, for a bind mount, a file) of the host.
    Directory(PathBuf),
    /// Layers to be read only, bottom first. If it is one, it is the directory itself.
    Layers(Vec<PathBuf>),
    /// Layers to be written to.
    Overlay(Overlay),
}

/// Runs `work` on a thread that sees `trees` mounted, at the paths that it gets in the same order. All that is on
/// that thread (and threads it starts) sees them; thread pools do not.
///
/// # Errors
/// [`Error::NotPermitted`] without CAP_SYS_ADMIN, otherwise what the kernel said about the mount.
pub fn with_trees<R: Send>(trees: &[Tree], work: impl FnOnce(&[PathBuf]) -> R + Send) -> Result<R, Error> {
    on_private_thread(|| {
        let mut stage = Stage::enter()?;
        let paths = trees.iter().map(|tree| stage.tree(tree)).collect::<Result<Vec<_>, _>>()?;
        let result = work(&paths);
        paths.iter().try_for_each(|path| stage.unmount(path))?;
        Ok(result)
    })
}

/// Runs `work` on a thread of its own, which may change its namespaces.
pub(crate) fn on_private_thread<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
