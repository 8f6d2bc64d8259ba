//! A package header: rpm's own store of tagged values.
//!
//! ```text
//! u32 entries   u32 length of the data          (all numbers big-endian)
//! entry × n     u32 tag, type, offset, count
//! data          strings end with a zero byte
//! ```

use super::bytes::{Order, slice, u32_at};

const ENTRY: usize = 16;
const INT32: usize = 4;
const STRING: usize = 6;
const STRING_ARRAY: usize = 8;
const I18N_STRING: usize = 9;
/// rpm's own limits: 64 Ki entries, 256 MiB of data.
const MAX_ENTRIES: usize = 0xffff;
const MAX_DATA: usize = 256 << 20;

/// The tags that a bill of materials needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    Name = 1000,
    Version = 1001,
    Release = 1002,
    Epoch = 1003,
    Vendor = 1011,
    License = 1014,
    Url = 1020,
    Arch = 1022,
    SourceRpm = 1044,
}

/// A header, checked for its size.
#[derive(Debug)]
pub(super) struct Header<'a> {
    entries: &'a [u8],
    data: &'a [u8],
}

impl<'a> Header<'a> {
    /// Reads the outline of a header.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let damaged = || "a package's header is damaged".to_owned();
        let count = u32_at(bytes, 0, Order::Big).filter(|count| *count <= MAX_ENTRIES).ok_or_else(damaged)?;
        let length = u32_at(bytes, 4, Order::Big).filter(|length| *length <= MAX_DATA).ok_or_else(damaged)?;
        let entries = slice(bytes, 8, count * ENTRY).ok_or_else(damaged)?;
        let data = slice(bytes, 8 + count * ENTRY, length).ok_or_else(damaged)?;
        Ok(Self { entries, data })
    }

    /// A text; the first of several.
    pub(super) fn text(&self, tag: Tag) -> Option<String> {
        let (kind, offset) = self.entry(tag)?;
        if !matches!(kind, STRING | STRING_ARRAY | I18N_STRING) {
            return None;
        }
        let rest = self.data.get(offset..)?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        Some(String::from_utf8_lossy(&rest[..end]).into_owned())
    }

    /// A number.
    pub(super) fn number(&self, tag: Tag) -> Option<u32> {
        let (kind, offset) = self.entry(tag)?;
        let number = u32_at(self.data, offset, Order::Big).filter(|_| kind == INT32)?;
        u32::try_from(number).ok()
    }

    fn entry(&self, tag: Tag) -> Option<(usize, usize)> {
        let entry = self
            .entries
            .chunks_exact(ENTRY)
            .find(|entry| u32_at(entry, 0, Order::Big) == Some(tag as usize))?;
        Some((u32_at(entry, 4, Order::Big)?, u32_at(entry, 8, Order::Big)?))
    }
}
