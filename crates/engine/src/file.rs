//! File operations: copy, mkdir, mkfile, symlink and remove, on a mounted tree.
//!
//! Semantics are those of BuildKit's file backend, down to which directory keeps its mode. All actions of one
//! operation write into one upper directory: one layer.

mod copy;
mod mode;
mod place;
mod run;
mod sparse;

pub(crate) use copy::{MergedTimes, WholeCopy, copy_items};
pub(crate) use place::Look;
pub(crate) use run::{FileOperation, Source, apply};
