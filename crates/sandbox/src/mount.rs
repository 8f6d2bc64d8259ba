//! What is mounted on top of the root: bind mounts, tmpfs and files that exist only in memory.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Tree;

/// One mount of a [`Spec`](crate::Spec).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// An absolute path in the root; symbolic links in it are followed within the root. What does not exist is
    /// there during the run only, unless it lies inside another writable bind mount.
    pub dest: String,
    /// What is mounted there.
    pub kind: MountKind,
}

impl Mount {
    /// The names in the destination's path.
    pub(crate) fn components(&self) -> Vec<&str> {
        self.dest.split('/').filter(|name| !matches!(*name, "" | ".")).collect()
    }
}

/// What a mount shows.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    /// A directory or file of the host, or a part of it.
    Bind {
        /// The tree.
        source: Tree,
        /// A path in the tree, whose symbolic links are followed within the tree; empty for all of it.
        selector: PathBuf,
        /// Whether the process may not write to it.
        readonly: bool,
    },
    /// An empty file system in memory. Its root has the permission bits of the directory that it covers, or 1777
    /// where there is none.
    Tmpfs {
        /// The most bytes it can hold; `None` leaves the kernel's default, half of the memory.
        size: Option<u64>,
        /// Whether the process may not write to it.
        readonly: bool,
    },
    /// A file in memory: a secret, or a generated file such as `/etc/hosts`.
    File {
        /// Its bytes.
        contents: Vec<u8>,
        /// Its permission bits.
        mode: u32,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
        /// Whether the process may not write to it.
        readonly: bool,
    },
}

impl fmt::Debug for MountKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { source, selector, readonly } => f
                .debug_struct("Bind")
                .field("source", source)
                .field("selector", selector)
                .field("readonly", readonly)
                .finish(),
            Self::Tmpfs { size, readonly } => {
                f.debug_struct("Tmpfs").field("size", size).field("readonly", readonly).finish()
            }
            // The contents may be a secret.
            Self::File { contents, mode, .. } => {
                f.debug_struct("File").field("len", &contents.len()).field("mode", mode).finish()
            }
        }
    }
}
