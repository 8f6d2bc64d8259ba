//! File trees to layer archives and back.
//!
//! A layer is an overlay directory on one side and a compressed tar on the other. Writing is canonical: the same
//! tree gives the same bytes, whoever wrote it and in whatever order. Reading trusts nothing: every archive may
//! be hostile, so names are contained in their root by the kernel, sizes are capped and digests are checked.
//!
//! Whichever way an archive goes, its [`LayerIndex`] is made in passing: what it holds, without the bytes. A
//! [`FileTree`] is the view that the indexes of an image's layers give together.
//!
//! Everything here is synchronous, streams, and keeps no more in memory than names and the index.

mod apply;
mod archive;
mod compression;
mod digesting;
mod elf;
mod entry;
mod error;
mod extract;
mod file_tree;
mod index;
mod limits;
mod lower;
mod overlay;
mod pick;
mod root;
mod stream;
mod tar_reader;
mod tar_writer;
mod write;
mod xattr;

pub use apply::{Applied, ApplyOptions, apply_layer};
pub use archive::{extract_archive, is_archive, newest_file};
pub use compression::{Compression, decompressed};
pub use elf::Elf;
pub use error::LayerError;
pub use extract::Extracted;
pub use file_tree::{FileTree, Node, NodeKind};
pub use index::{FileContent, LayerIndex, Program, Scanned, scan_layer};
pub use limits::Limits;
pub use overlay::OverlayXattrs;
pub use pick::pick_files;
pub use write::{LayerDigests, WriteOptions, Written, recompress, write_layer, write_tree};

#[cfg(test)]
mod tests;
