//! Files with holes in an archive: the forms that GNU tar writes into PAX headers (`--sparse --format=pax`).
//!
//! Versions 0.0 and 0.1 have the map of the data in the header, 1.0 in front of it. A map may claim much more than was
//! sent, so what it makes is bounded.

use crate::error::LayerError;

/// What a file with holes may become: more than any disk image that people ship, and less than would fill a machine.
const MAX_SIZE: u64 = 256 << 30;
/// More pieces than a file on any file system falls into.
const MAX_PAIRS: usize = 1 << 20;

/// What extended headers say about holes.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// Whether there was any record, of whatever meaning.
    any: bool,
    name: Option<Vec<u8>>,
    size: Option<u64>,
    real_size: Option<u64>,
    version: (Option<Vec<u8>>, Option<Vec<u8>>),
    map: Vec<u64>,
}

/// Where the map is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// In the headers.
    InHeader,
    /// In front of the data.
    InFront,
}

/// A part of a file that has data: where it begins, and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Data {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// A file with holes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sparse {
    /// Its size, holes included.
    pub(crate) size: u64,
    /// What is not a hole, in order.
    pub(crate) data: Vec<Data>,
}

impl Records {
    /// Takes in a record whose key began with `GNU.sparse.`.
    pub(super) fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), LayerError> {
        self.any = true;
        match key {
            b"name" => self.name = Some(value.to_vec()),
            b"size" => self.size = Some(number(value)?),
            b"realsize" => self.real_size = Some(number(value)?),
            b"major" => self.version.0 = Some(value.to_vec()),
            b"minor" => self.version.1 = Some(value.to_vec()),
            b"map" => self.map = numbers(value, b',')?,
            b"offset" | b"numbytes" => self.map.push(number(value)?),
            _ => {}
        }
        Ok(())
    }

    /// The form of the map, `None` if these headers are about no file with holes.
    pub(super) fn form(&self) -> Option<Form> {
        match (self.version.0.as_deref(), self.version.1.as_deref()) {
            (Some(b"1"), Some(b"0")) => Some(Form::InFront),
            (Some(b"0"), Some(b"0" | b"1")) => Some(Form::InHeader),
            (None, None) if !self.map.is_empty() => Some(Form::InHeader),
            _ => None,
        }
    }

    /// Whether the headers say anything about holes, sense or not.
    pub(super) fn has_any(&self) -> bool {
        self.any
    }

    /// The name that the file really has, if it is one with holes.
    pub(super) fn name(&self) -> Option<&[u8]> {
        self.name.as_deref()
    }

    /// The file, of which `front` are the numbers of a map in front of the data, and `stored` bytes are in the archive.
    pub(super) fn file(self, front: Option<Vec<u64>>, stored: u64) -> Result<Sparse, LayerError> {
        let size = self.size.or(self.real_size).unwrap_or(stored);
        if size > MAX_SIZE {
            return Err(LayerError::Limit { what: "bytes in a file with holes", limit: MAX_SIZE });
        }
        let mut data = Vec::new();
        let (mut end, mut sum) = (0, 0);
        let map = front.unwrap_or(self.map);
        let pairs = map.chunks_exact(2);
        let is_even = pairs.remainder().is_empty();
        for pair in pairs {
            let [offset, length] = [pair[0], pair[1]];
            if offset < end || length > size || offset > size - length {
                return Err(invalid());
            }
            (end, sum) = (offset + length, sum + length);
            data.push(Data { offset, length });
        }
        match is_even && sum == stored {
            true => Ok(Sparse { size, data }),
            false => Err(invalid()),
        }
    }
}

/// How many lines a map in front of the data has, by its first one, which counts pairs.
pub(super) fn lines(first: &[u8]) -> Result<usize, LayerError> {
    let pairs = usize::try_from(number(first)?).ok().filter(|pairs| *pairs <= MAX_PAIRS);
    pairs.map(|pairs| 2 * pairs + 1).ok_or_else(invalid)
}

/// The numbers of such a map, from its lines after the first.
pub(super) fn front(text: &[u8], lines: usize) -> Result<Vec<u64>, LayerError> {
    text.split(|&byte| byte == b'\n').take(lines).skip(1).map(number).collect()
}

fn numbers(text: &[u8], separator: u8) -> Result<Vec<u64>, LayerError> {
    text.split(|&byte| byte == separator).map(number).collect()
}

fn number(text: &[u8]) -> Result<u64, LayerError> {
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse::<i64>().ok());
    number.and_then(|number| u64::try_from(number).ok()).ok_or_else(invalid)
}

fn invalid() -> LayerError {
    LayerError::damaged("the map of a file with holes is not valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_must_be_true() {
        for (map, stored, valid) in [
            (&[0, 2, 5, 3][..], 5, true),
            (&[], 0, true),
            (&[10, 0], 0, true),
            (&[0, 2, 1, 3], 5, false),
            (&[0, 2, 5], 2, false),
            (&[8, 3], 3, false),
            (&[0, 2], 3, false),
            (&[u64::MAX, 1], 1, false),
        ] {
            let records = Records { size: Some(10), map: map.to_vec(), ..Records::default() };
            assert_eq!(records.file(None, stored).is_ok(), valid, "{map:?} with {stored}");
        }
        let huge = Records { size: Some(1 << 60), ..Records::default() };
        assert!(matches!(huge.file(None, 0), Err(LayerError::Limit { .. })));
        assert_eq!(front(b"2\n0\n1\n7\n8\n\0\0", lines(b"2").unwrap()).unwrap(), [0, 1, 7, 8]);
        assert!(front(b"1\n0\n", 3).is_err());
        assert!(lines(b"-1").is_err() && lines(b"99999999999").is_err());
    }
}
