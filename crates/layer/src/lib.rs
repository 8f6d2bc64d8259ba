//! File trees to layer archives and back.
//!
//! A layer is an overlay directory on one side and a compressed tar on the other. Writing is canonical: the same
//! tree gives the same bytes, whoever wrote it and in whatever order. Reading trusts nothing: every archive may
//! be hostile, so names are contained in their root by the kernel, sizes are capped and digests are checked.
//!
//! Everything here is synchronous, streams, and keeps no more in memory than names of directories and hard links.

mod apply;
mod archive;
mod compression;
mod digesting;
mod entry;
mod error;
mod extract;
mod limits;
mod lower;
mod overlay;
mod root;
mod tar_reader;
mod tar_writer;
mod write;
mod xattr;

pub use apply::{Applied, ApplyOptions, apply_layer};
pub use archive::{extract_archive, is_archive};
pub use compression::{ArchiveKind, Compression};
pub use error::LayerError;
pub use extract::Extracted;
pub use limits::Limits;
pub use overlay::OverlayXattrs;
pub use write::{LayerDigests, WriteOptions, write_layer, write_tree};

#[cfg(test)]
mod tests;
