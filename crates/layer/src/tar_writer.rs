//! Entries to the bytes of a tar archive, in one canonical form.
//!
//! POSIX ustar where everything fits, a PAX extended header where something does not, nothing of GNU. The form is
//! that of Go's `archive/tar` in PAX mode, which the reference builder uses, so that both make the same bytes of
//! the same tree and their layers can be compared by digest.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use tar::Header;

use crate::entry::{Entry, Kind, Time};

/// The unit of everything in a tar archive.
pub(crate) const BLOCK: usize = 512;
/// Bytes copied at a time.
const COPY_BUFFER: usize = 128 << 10;
/// Length of a name field.
const NAME: usize = 100;
/// Length of the field for the leading directories of a name.
const PREFIX: usize = 155;
/// The directory into which a reader without PAX would unpack extended headers.
const PAX_DIRECTORY: &[u8] = b"PaxHeaders.0";

/// Writes entries.
#[derive(Debug)]
pub(crate) struct TarWriter<W> {
    out: W,
    buffer: Vec<u8>,
}

impl<W: Write> TarWriter<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, buffer: vec![0; COPY_BUFFER] }
    }

    /// Writes an entry that has no content.
    pub(crate) fn append(&mut self, entry: &Entry) -> io::Result<()> {
        let records = extended_records(entry);
        if !records.is_empty() {
            self.append_extended(entry, &records)?;
        }
        let header = main_header(entry, !records.is_empty());
        self.out.write_all(header.as_bytes())
    }

    /// Writes a file: its header and exactly `entry.size` bytes of `content`.
    ///
    /// Unless the content was whole, the archive is in pieces and of no more use.
    pub(crate) fn append_file(&mut self, entry: &Entry, content: &mut dyn Read) -> io::Result<Fed> {
        self.append(entry)?;
        let mut left = entry.size;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(COPY_BUFFER).min(COPY_BUFFER);
            match content.read(&mut self.buffer[..wanted]) {
                Ok(0) => return Ok(Fed::Short),
                Ok(read) => {
                    self.out.write_all(&self.buffer[..read])?;
                    left -= read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Ok(Fed::Failed(error)),
            }
        }
        self.pad(entry.size)?;
        Ok(Fed::Whole)
    }

    /// Writes the end of the archive.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()
    }

    fn append_extended(&mut self, entry: &Entry, records: &BTreeMap<Vec<u8>, Vec<u8>>) -> io::Result<()> {
        let mut data = Vec::new();
        for (key, value) in records {
            append_record(&mut data, key, value);
        }
        self.out.write_all(extended_header(&entry.name, data.len() as u64).as_bytes())?;
        self.out.write_all(&data)?;
        self.pad(data.len() as u64)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let over = (size % BLOCK as u64) as usize;
        if over == 0 { Ok(()) } else { self.out.write_all(&[0; BLOCK][over..]) }
    }
}

/// How the content of a file came in.
#[derive(Debug)]
pub(crate) enum Fed {
    /// All of it.
    Whole,
    /// It ended before its size.
    Short,
    /// It could not be read.
    Failed(io::Error),
}

/// What of an entry does not fit into ustar fields, as PAX records.
fn extended_records(entry: &Entry) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut records = BTreeMap::new();
    let mut number = |key: &str, value: u64, digits: u32| {
        if !fits_octal(value, digits) {
            records.insert(key.as_bytes().to_vec(), value.to_string().into_bytes());
        }
    };
    number("uid", entry.uid.into(), 7);
    number("gid", entry.gid.into(), 7);
    number("size", entry.size, 11);
    if !u64::try_from(entry.mtime.seconds).is_ok_and(|seconds| fits_octal(seconds, 11)) {
        records.insert(b"mtime".to_vec(), entry.mtime.seconds.to_string().into_bytes());
    }
    for (name, value) in &entry.xattrs {
        records.insert([b"SCHILY.xattr.", name.as_slice()].concat(), value.clone());
    }
    if !fits_field(&entry.link) {
        records.insert(b"linkpath".to_vec(), entry.link.clone());
    }
    // A name that the prefix field can save needs no record, unless there is an extended header anyway.
    if !fits_field(&entry.name) && (!records.is_empty() || split_name(&entry.name).is_none()) {
        records.insert(b"path".to_vec(), entry.name.clone());
    }
    records
}

fn fits_field(text: &[u8]) -> bool {
    text.len() <= NAME && text.is_ascii()
}

fn fits_octal(value: u64, digits: u32) -> bool {
    value < 1 << (3 * digits)
}

/// Splits a name between two of its components into the prefix and the name field, when both fit.
fn split_name(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if !name.is_ascii() {
        return None;
    }
    // The slash that is looked for may stand right behind a full prefix, but not at the end of a directory's name.
    let reach =
        if name.len() > PREFIX + 1 { PREFIX + 1 } else { name.len() - usize::from(name.ends_with(b"/")) };
    let slash = name[..reach].iter().rposition(|&byte| byte == b'/')?;
    let (prefix, rest) = (&name[..slash], &name[slash + 1..]);
    (!prefix.is_empty() && !rest.is_empty() && rest.len() <= NAME).then_some((prefix, rest))
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
fn append_record(data: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + rest.to_string().len();
    if length.to_string().len() > rest.to_string().len() {
        length = rest + length.to_string().len();
    }
    data.extend_from_slice(length.to_string().as_bytes());
    data.push(b' ');
    data.extend_from_slice(key);
    data.push(b'=');
    data.extend_from_slice(value);
    data.push(b'\n');
}

fn extended_header(name: &[u8], size: u64) -> Header {
    let slash = name.iter().rposition(|&byte| byte == b'/');
    let (directory, file) = name.split_at(slash.map_or(0, |slash| slash + 1));
    let directory = directory.strip_suffix(b"/").unwrap_or(directory);
    let parts: Vec<&[u8]> =
        [directory, PAX_DIRECTORY, file].into_iter().filter(|part| !part.is_empty()).collect();
    let mut full = ascii(&parts.join(&b'/'));
    full.truncate(NAME);
    while full.ends_with(b"/") {
        full.pop();
    }

    let mut header = Header::new_ustar();
    let fields = header.as_ustar_mut().expect("it was made as ustar");
    put_text(&mut fields.name, &full);
    put_octal(&mut fields.mode, 0);
    put_octal(&mut fields.uid, 0);
    put_octal(&mut fields.gid, 0);
    put_octal(&mut fields.size, size);
    put_octal(&mut fields.mtime, 0);
    fields.typeflag = [b'x'];
    seal(&mut header);
    header
}

fn main_header(entry: &Entry, extended: bool) -> Header {
    let mut header = Header::new_ustar();
    let fields = header.as_ustar_mut().expect("it was made as ustar");
    match split_name(&entry.name) {
        Some((prefix, name)) if !extended && entry.name.len() > NAME => {
            put_text(&mut fields.prefix, prefix);
            put_text(&mut fields.name, name);
        }
        _ => put_text(&mut fields.name, &ascii(&entry.name)),
    }
    let (flag, (major, minor)) = match entry.kind {
        Kind::File => (b'0', (0, 0)),
        Kind::HardLink => (b'1', (0, 0)),
        Kind::Symlink => (b'2', (0, 0)),
        Kind::Char(major, minor) => (b'3', (major, minor)),
        Kind::Block(major, minor) => (b'4', (major, minor)),
        Kind::Directory => (b'5', (0, 0)),
        Kind::Fifo => (b'6', (0, 0)),
    };
    put_octal(&mut fields.mode, entry.mode.into());
    put_octal(&mut fields.uid, entry.uid.into());
    put_octal(&mut fields.gid, entry.gid.into());
    put_octal(&mut fields.size, entry.size);
    put_octal(&mut fields.mtime, u64::try_from(entry.mtime.seconds).unwrap_or(0));
    fields.typeflag = [flag];
    put_text(&mut fields.linkname, &ascii(&entry.link));
    put_octal(&mut fields.dev_major, major.into());
    put_octal(&mut fields.dev_minor, minor.into());
    seal(&mut header);
    header
}

/// The ASCII part of a text: a field may hold no more, and the PAX record holds the whole.
fn ascii(text: &[u8]) -> Vec<u8> {
    text.iter().copied().filter(|byte| byte.is_ascii() && *byte != 0).collect()
}

fn put_text(field: &mut [u8], text: &[u8]) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
    // Cut off right behind a slash, a file would look like a directory to a reader that ignores PAX.
    if text.len() > field.len() {
        for byte in field.iter_mut().rev().take_while(|byte| **byte == b'/') {
            *byte = 0;
        }
    }
}

/// Zero-padded octal digits and a NUL; a number that does not fit is written as 0, as a record has it.
fn put_octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    let mut value = if fits_octal(value, digits as u32) { value } else { 0 };
    field[digits] = 0;
    for digit in field[..digits].iter_mut().rev() {
        *digit = b'0' + (value & 7) as u8;
        value >>= 3;
    }
}

/// Sets the checksum: six octal digits, a NUL and a space, counted over a field of spaces.
fn seal(header: &mut Header) {
    header.as_old_mut().cksum = *b"        ";
    let sum: u32 = header.as_bytes().iter().map(|&byte| u32::from(byte)).sum();
    put_octal(&mut header.as_old_mut().cksum[..7], sum.into());
}

/// The time as an archive keeps it: whole seconds, not later than `clamp`.
pub(crate) fn archived_time(seconds: i64, clamp: Option<i64>) -> Time {
    Time { seconds: clamp.map_or(seconds, |clamp| seconds.min(clamp)), nanoseconds: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_length() {
        for (value, record) in [
            (4, "13 path=vvvv\n"),
            // The length grows by a digit because of itself.
            (89, &*format!("98 path={}\n", "v".repeat(89))),
            (91, &*format!("101 path={}\n", "v".repeat(91))),
        ] {
            let mut data = Vec::new();
            append_record(&mut data, b"path", &vec![b'v'; value]);
            assert_eq!(String::from_utf8(data).unwrap(), record);
        }
    }

    #[test]
    fn names_are_split_only_where_both_parts_fit() {
        let d150 = "d".repeat(150);
        for (name, split) in [
            (format!("{d150}/{}", "f".repeat(100)), Some((150, 100))),
            (format!("{d150}/{}", "f".repeat(101)), None),
            (format!("{}/{}", "d".repeat(155), "f".repeat(20)), Some((155, 20))),
            (format!("{}/{}", "d".repeat(156), "f".repeat(20)), None),
            (format!("{}/x/", "d".repeat(120)), Some((120, 2))),
            (format!("{}/", "d".repeat(120)), None),
            (format!("{d150}/\u{e9}"), None),
            ("f".repeat(101), None),
        ] {
            let found = split_name(name.as_bytes()).map(|(prefix, rest)| (prefix.len(), rest.len()));
            assert_eq!(found, split, "{name}");
        }
    }
}
