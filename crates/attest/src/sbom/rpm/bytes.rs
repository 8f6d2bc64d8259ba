//! Numbers out of foreign bytes: every access is checked.

/// Which end of a number comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Little,
    Big,
}

/// `length` bytes at `offset`.
pub(super) fn slice(bytes: &[u8], offset: usize, length: usize) -> Option<&[u8]> {
    bytes.get(offset..offset.checked_add(length)?)
}

/// A 32-bit number, as a `usize`.
pub(super) fn u32_at(bytes: &[u8], offset: usize, order: Order) -> Option<usize> {
    let four: [u8; 4] = slice(bytes, offset, 4)?.try_into().ok()?;
    let number = match order {
        Order::Little => u32::from_le_bytes(four),
        Order::Big => u32::from_be_bytes(four),
    };
    usize::try_from(number).ok()
}

/// A 16-bit number, as a `usize`.
pub(super) fn u16_at(bytes: &[u8], offset: usize, order: Order) -> Option<usize> {
    let two: [u8; 2] = slice(bytes, offset, 2)?.try_into().ok()?;
    Some(usize::from(match order {
        Order::Little => u16::from_le_bytes(two),
        Order::Big => u16::from_be_bytes(two),
    }))
}
