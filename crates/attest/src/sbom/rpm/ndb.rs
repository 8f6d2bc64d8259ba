//! SUSE's database, `Packages.db`: blobs of 16-byte blocks, found through slots.
//!
//! ```text
//! header   "RpmP", u32 version 0, u32 generation, u32 pages of slots, 16 more bytes    (numbers little-endian)
//! slot     "Slot", u32 package, u32 first block, u32 blocks; the header's place is that of the first two
//! blob     "BlbS", u32 package, u32 time, u32 length; then that many bytes
//! ```

use super::MAX_HEADERS;
use super::bytes::{Order, slice, u32_at};

const MAGIC: &[u8] = b"RpmP";
const SLOT_MAGIC: &[u8] = b"Slot";
const BLOB_MAGIC: &[u8] = b"BlbS";
const PAGE: usize = 4096;
const SLOT: usize = 16;
const HEADER: usize = 32;
const BLOCK: usize = 16;
const BLOB_HEADER: usize = 16;

/// The headers of all packages.
pub(super) fn headers(database: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let damaged = |what: &str| format!("it is damaged: {what}");
    if slice(database, 0, 4) != Some(MAGIC) || u32_at(database, 4, Order::Little) != Some(0) {
        return Err(damaged("it does not begin as one"));
    }
    let pages = u32_at(database, 12, Order::Little).ok_or_else(|| damaged("its header is cut off"))?;
    let end = pages.saturating_mul(PAGE).min(database.len());
    let slots = database.get(HEADER..end).unwrap_or_default();
    let mut headers = Vec::new();
    // All packages together are not larger than the file, unless blocks are used twice.
    let mut budget = database.len();
    for slot in slots.chunks_exact(SLOT) {
        if slice(slot, 0, 4) != Some(SLOT_MAGIC) {
            return Err(damaged("a slot does not begin as one"));
        }
        let package = u32_at(slot, 4, Order::Little);
        let block = u32_at(slot, 8, Order::Little).unwrap_or_default();
        // A slot that is free.
        if package == Some(0) || block == 0 {
            continue;
        }
        let blob =
            blob(database, block, package).ok_or_else(|| damaged("a package is not where it should be"))?;
        budget = budget.checked_sub(blob.len()).ok_or_else(|| damaged("its blocks are used twice"))?;
        headers.push(blob.to_vec());
        if headers.len() > MAX_HEADERS {
            return Err(format!("it has more than {MAX_HEADERS} packages"));
        }
    }
    Ok(headers)
}

fn blob(database: &[u8], block: usize, package: Option<usize>) -> Option<&[u8]> {
    let start = block.checked_mul(BLOCK)?;
    let header = slice(database, start, BLOB_HEADER)?;
    if slice(header, 0, 4) != Some(BLOB_MAGIC) || u32_at(header, 4, Order::Little) != package {
        return None;
    }
    slice(database, start.checked_add(BLOB_HEADER)?, u32_at(header, 12, Order::Little)?)
}
