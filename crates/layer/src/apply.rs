//! A layer blob to a directory that overlayfs can mount.
//!
//! Its index is made on the way. The content is
//! proven by its digest at the end; until then nothing it says is believed, and after an error the caller throws
//! the directory away.

use std::io::Read;
use std::path::{Path, PathBuf};

use gantry_oci::Digest;

use crate::error::LayerError;
use crate::extract::{Extracted, Extractor, Target};
use crate::index::LayerIndex;
use crate::limits::Limits;
use crate::lower::LowerDir;
use crate::overlay::{Marker, OverlayXattrs};
use crate::root::{self, Root};
use crate::stream::while_decompressing;
use crate::tar_reader::TarReader;

/// How a layer is unpacked.
#[derive(Debug, Clone, Default)]
pub struct ApplyOptions {
    /// Where the mount will look for overlayfs's attributes.
    pub xattrs: OverlayXattrs,
    /// The overlay directories below, the topmost first: directories that the archive uses without describing them
    /// get their metadata from there.
    pub lower: Vec<PathBuf>,
    /// What is too much.
    pub limits: Limits,
}

/// What a layer was unpacked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Uncompressed bytes.
    pub tar_size: u64,
    /// What came of its entries.
    pub extracted: Extracted,
    /// What the archive holds.
    pub index: LayerIndex,
}

/// Unpacks a layer blob into `target`, an existing empty directory, which only its owner should be able to enter.
///
/// The compression is recognised by content. Whiteouts become those of overlayfs. Nothing outside `target` is
/// touched, whatever the archive contains.
///
/// # Errors
/// When the blob is damaged, beyond a limit, refused, or not what `diff_id` says, or when a file cannot be made.
/// What is in `target` then is of no use.
pub fn apply_layer(
    blob: impl Read + Send,
    target: &Path,
    diff_id: &Digest,
    options: &ApplyOptions,
) -> Result<Applied, LayerError> {
    let root = Root::open(target).map_err(|error| LayerError::path("open", target, error))?;
    let overlay = Target::Overlay { xattrs: options.xattrs, lower: LowerDir::root(&options.lower) };
    let extractor = Extractor::new(root, overlay, options.limits);

    let applied = while_decompressing(blob, options.limits, |tar| extract(tar, extractor, options.limits))?;
    if applied.diff_id != *diff_id {
        return Err(LayerError::DiffId { expected: *diff_id, found: applied.diff_id });
    }
    let (extracted, index) = applied.value;
    Ok(Applied { tar_size: applied.tar_size, extracted, index })
}

fn extract(
    tar: impl Read,
    mut extractor: Extractor,
    limits: Limits,
) -> Result<(Extracted, LayerIndex), LayerError> {
    let mut archive = TarReader::recording(tar, limits);
    while let Some(entry) = archive.next_entry()? {
        let Some(path) = extractor.admit(&entry)? else { continue };
        let (parent, name) = root::split(&path);
        match Marker::of(name) {
            None => extractor.make(&path, &entry, &mut archive)?,
            Some(Marker::Opaque) => extractor.make_opaque(parent)?,
            Some(Marker::Whiteout(b"" | b"." | b"..")) => {
                return Err(LayerError::refused(&path, "it is a whiteout of no name"));
            }
            Some(Marker::Whiteout(hidden)) => extractor.hide(&root::join(parent, hidden))?,
            Some(Marker::Reserved) => {}
        }
    }
    // The digest is of the whole stream, also of what some tools write behind the end of the archive.
    let index = archive.finish_index()?;
    Ok((extractor.finish()?, index))
}
