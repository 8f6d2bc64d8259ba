//! The Berkeley DB hash, `Packages`: keys and values on pages, large values in chains of overflow pages.
//!
//! ```text
//! page 0      at 12 magic 0x061561, at 20 page size, at 24 encryption, at 25 page type 8   (in the writer's order)
//! page n      at 16 next page, at 20 entries, at 22 offset, at 25 type: 2 or 13 hash, 7 overflow; then from 26
//!             u16 offsets of the entries (hash), or that many bytes as `offset` says (overflow)
//! entry       u8 kind: 1 the bytes themselves, 3 u24 unused, u32 first overflow page, u32 length
//! ```
//!
//! Entries are keys and values in turn. The key of a package is a 32-bit number; key 0 holds the highest of them.

use super::MAX_HEADERS;
use super::bytes::{Order, slice, u16_at, u32_at};

const MAGIC: usize = 0x0006_1561;
const META: u8 = 8;
const HASH_UNSORTED: u8 = 2;
const HASH: u8 = 13;
const OVERFLOW: u8 = 7;
const PAGE_HEADER: usize = 26;
const INLINE: u8 = 1;
const OFF_PAGE: u8 = 3;
/// Berkeley DB's own limits.
const PAGE_SIZES: std::ops::RangeInclusive<usize> = 512..=65_536;

/// The headers of all packages.
pub(super) fn headers(database: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let mut database = Database::open(database)?;
    let mut headers = Vec::new();
    for page in database.bytes.chunks_exact(database.page_size).skip(1) {
        if !matches!(page[25], HASH | HASH_UNSORTED) {
            continue;
        }
        headers.extend(database.packages(page)?);
        if headers.len() > MAX_HEADERS {
            return Err(format!("it has more than {MAX_HEADERS} packages"));
        }
    }
    Ok(headers)
}

fn damaged(what: &str) -> String {
    format!("it is damaged: {what}")
}

struct Database<'a> {
    bytes: &'a [u8],
    page_size: usize,
    order: Order,
    /// How many bytes values may still have: together not more than the file, unless pages are used twice.
    budget: usize,
}

impl<'a> Database<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self, String> {
        let orders = [Order::Little, Order::Big];
        let order = orders.into_iter().find(|order| u32_at(bytes, 12, *order) == Some(MAGIC));
        let order = order.filter(|_| bytes.get(25) == Some(&META));
        let order = order.ok_or_else(|| damaged("it is no hash of Berkeley DB"))?;
        if bytes.get(24) != Some(&0) {
            return Err("it is encrypted".to_owned());
        }
        let page_size =
            u32_at(bytes, 20, order).filter(|size| PAGE_SIZES.contains(size) && size.is_power_of_two());
        let page_size = page_size.ok_or_else(|| damaged("its pages have no possible size"))?;
        Ok(Self { bytes, page_size, order, budget: bytes.len() })
    }

    /// The values of a page whose keys are packages' numbers.
    fn packages(&mut self, page: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        let order = self.order;
        // Pages are filled from their end, so an entry ends where the one before it begins.
        let offset = |entry: usize| u16_at(page, PAGE_HEADER + 2 * entry, order);
        let mut read = || {
            let mut values = Vec::new();
            for pair in 0..u16_at(page, 20, order)? / 2 {
                let (key_at, value_at) = (offset(2 * pair)?, offset(2 * pair + 1)?);
                let key_end = if pair == 0 { page.len() } else { offset(2 * pair - 1)? };
                let key = page.get(key_at..key_end)?;
                if u32_at(key, 1, order)? != 0 {
                    values.push(self.value(page.get(value_at..key_at)?)?);
                }
            }
            Some(values)
        };
        read().ok_or_else(|| damaged("an entry points where there is none"))
    }

    fn value(&mut self, entry: &[u8]) -> Option<Vec<u8>> {
        let value = match *entry.first()? {
            INLINE => Some(entry[1..].to_vec()),
            OFF_PAGE => self.overflow(u32_at(entry, 4, self.order)?, u32_at(entry, 8, self.order)?),
            _ => None,
        }?;
        self.budget = self.budget.checked_sub(value.len())?;
        Some(value)
    }

    fn overflow(&self, first: usize, length: usize) -> Option<Vec<u8>> {
        if length > self.budget {
            return None;
        }
        let mut value = Vec::with_capacity(length);
        let mut next = first;
        while next != 0 && value.len() < length {
            let page = slice(self.bytes, next.checked_mul(self.page_size)?, self.page_size)?;
            let part = slice(page, PAGE_HEADER, u16_at(page, 22, self.order)?)?;
            // A page without bytes could point at itself.
            if page[25] != OVERFLOW || part.is_empty() {
                return None;
            }
            value.extend_from_slice(part);
            next = u32_at(page, 16, self.order)?;
        }
        (value.len() == length).then_some(value)
    }
}
