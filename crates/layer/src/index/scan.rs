//! The index of a layer that is not unpacked: from the bytes of its blob alone.

use std::io::Read;

use gantry_oci::Digest;

use super::LayerIndex;
use crate::error::LayerError;
use crate::limits::Limits;
use crate::stream::while_decompressing;
use crate::tar_reader::TarReader;

/// What a layer was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanned {
    /// Its files.
    pub index: LayerIndex,
    /// The digest of the uncompressed archive.
    pub diff_id: Digest,
    /// Bytes of the uncompressed archive.
    pub tar_size: u64,
}

/// Reads a layer blob to its end and makes its index, touching no file.
///
/// The compression is recognised by content. Nothing is made, so nothing has to be contained; what is too large is
/// refused all the same.
///
/// # Errors
/// When the blob is damaged, beyond a limit, or of an unsupported compression.
pub fn scan_layer(blob: impl Read + Send, limits: Limits) -> Result<Scanned, LayerError> {
    let scanned = while_decompressing(blob, limits, |tar| {
        let mut archive = TarReader::recording(tar, limits);
        while archive.next_entry()?.is_some() {}
        archive.finish_index()
    })?;
    Ok(Scanned { index: scanned.value, diff_id: scanned.diff_id, tar_size: scanned.tar_size })
}
