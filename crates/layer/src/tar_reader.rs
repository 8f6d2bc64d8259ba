//! The bytes of a tar archive to entries, trusting none of them.
//!
//! Reads ustar, PAX, GNU long names and old tars. Extended headers are bounded, because a header may claim any size
//! for them; in layers sparse files are refused, because no builder writes them there and they are a way to claim more
//! than was sent. No input makes it panic.

mod sparse;

use std::collections::BTreeMap;
use std::io::{self, Read};

use tar::Header;

use crate::entry::{Entry, Kind, Time, Xattrs};
use crate::error::{LayerError, shown};
use crate::index::{LayerIndex, Recorder};
use crate::limits::Limits;
use crate::tar_writer::BLOCK;
use sparse::{Data, Form, Sparse};

/// What one extended header or map of holes may hold, the same bound as Go's `archive/tar` has.
const MAX_EXTENDED: u64 = 1 << 20;

/// The names that GNU tar puts in front of an entry. They count before those of an extended header, as with Go.
#[derive(Debug, Default)]
struct LongNames {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

/// Reads entries one after the other.
#[derive(Debug)]
pub(crate) struct TarReader<R> {
    input: R,
    /// Content of the current entry that was not read yet.
    content: u64,
    /// What fills the last block of that content.
    padding: u64,
    /// Where the current entry has holes, and how far it was read.
    holes: Option<Holes>,
    /// Sees every entry and what is read of its content.
    recorder: Option<Recorder>,
    has_global_header: bool,
}

/// What is still to come of a file with holes.
#[derive(Debug)]
struct Holes {
    file: Sparse,
    /// How much of it was read.
    position: u64,
    /// Which of its pieces of data comes next, or is being read.
    next: usize,
}

/// What an extended header says about the entry that follows it. Of several the last one counts, as with Go.
#[derive(Debug, Default)]
struct Extended {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    uid: Option<u32>,
    gid: Option<u32>,
    size: Option<u64>,
    mtime: Option<Time>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    sparse: sparse::Records,
}

impl<R: Read> TarReader<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input, content: 0, padding: 0, holes: None, recorder: None, has_global_header: false }
    }

    /// A reader that makes an index of what passes: see [`TarReader::finish_index`].
    pub(crate) fn recording(input: R, limits: Limits) -> Self {
        Self { recorder: Some(Recorder::new(limits)), ..Self::new(input) }
    }

    /// The next entry, `None` at the end. What was not read of the last one's content is skipped.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>, LayerError> {
        let (mut extended, mut long) = (Extended::default(), LongNames::default());
        self.show_rest()?;
        loop {
            self.skip(self.content + self.padding)?;
            (self.content, self.padding, self.holes) = (0, 0, None);
            let Some(header) = self.next_header()? else { return Ok(None) };
            match header.as_old().linkflag[0] {
                b'x' => {
                    let data = self.extended_data(&header)?;
                    extended = Extended::read(&data)?;
                }
                b'g' => {
                    // Global headers carry comments, such as the commit of a `git archive`.
                    self.extended_data(&header)?;
                    self.has_global_header = true;
                }
                b'L' => long.name = Some(until_nul(self.extended_data(&header)?)),
                b'K' => long.link = Some(until_nul(self.extended_data(&header)?)),
                flag => {
                    let (name, link) = (long.name.or(extended.name), long.link.or(extended.link));
                    let extended = Extended { name, link, ..extended };
                    return self.entry(&header, flag, extended).map(Some);
                }
            }
        }
    }

    /// Whether a header for all entries was among what was read.
    pub(crate) fn has_global_header(&self) -> bool {
        self.has_global_header
    }

    /// Reads the current entry's content.
    pub(crate) fn content(&mut self) -> Content<'_, R> {
        Content(self)
    }

    /// Reads the input to its end, and gives the index of all that passed.
    ///
    /// Only for a reader that records.
    pub(crate) fn finish_index(mut self) -> Result<LayerIndex, LayerError> {
        let recorder = self.recorder.take().expect("it was made by `recording`");
        self.drain()?;
        Ok(recorder.finish())
    }

    /// Reads the input to its end, which may be beyond the end of the archive.
    pub(crate) fn drain(mut self) -> Result<(), LayerError> {
        io::copy(&mut self.input, &mut io::sink()).map(drop).map_err(LayerError::reading)
    }

    /// Shows the recorder what it wants of content that nobody has read.
    fn show_rest(&mut self) -> Result<(), LayerError> {
        let mut buffer = [0; 512];
        while let Some(recorder) = &self.recorder {
            let wanted = recorder.wants().min(buffer.len());
            if wanted == 0 || self.content == 0 {
                break;
            }
            match self.content().read(&mut buffer[..wanted]) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(LayerError::reading(error)),
            }
        }
        Ok(())
    }

    fn next_header(&mut self) -> Result<Option<Header>, LayerError> {
        let Some(block) = self.next_block()? else { return Ok(None) };
        if block == [0; BLOCK] {
            return match self.next_block()? {
                None => Ok(None),
                Some(second) if second == [0; BLOCK] => Ok(None),
                Some(_) => Err(LayerError::damaged("an empty block stands between two entries")),
            };
        }
        if !has_valid_checksum(&block) {
            return Err(LayerError::damaged("an entry's checksum is wrong"));
        }
        Ok(Some(Header::from_byte_slice(&block).clone()))
    }

    /// A whole block, `None` when the input ends before it.
    fn next_block(&mut self) -> Result<Option<[u8; BLOCK]>, LayerError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.input.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(LayerError::damaged("it ends within an entry's header")),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(LayerError::reading(error)),
            }
        }
        Ok(Some(block))
    }

    fn extended_data(&mut self, header: &Header) -> Result<Vec<u8>, LayerError> {
        let size = unsigned(&header.as_old().size, "size")?;
        if size > MAX_EXTENDED {
            return Err(LayerError::Limit { what: "bytes in an extended header", limit: MAX_EXTENDED });
        }
        let mut data = vec![0; size as usize];
        self.input.read_exact(&mut data).map_err(LayerError::reading)?;
        self.skip(padding(size))?;
        Ok(data)
    }

    fn entry(&mut self, header: &Header, flag: u8, extended: Extended) -> Result<Entry, LayerError> {
        let old = header.as_old();
        if self.recorder.is_some() && extended.sparse.has_any() {
            return Err(LayerError::damaged("it has a sparse file, which is not supported in a layer"));
        }
        let form = extended.sparse.form();
        let real_name = extended.sparse.name().filter(|_| form.is_some()).map(<[u8]>::to_vec);
        let name = real_name.or(extended.name).unwrap_or_else(|| header.path_bytes().into_owned());
        let link = extended.link.unwrap_or_else(|| until_nul(old.linkname.to_vec()));
        for text in [&name, &link] {
            if text.contains(&0) {
                return Err(LayerError::refused(&name, "its name holds a NUL byte"));
            }
        }
        let kind = kind(header, flag, &name)?;
        if form.is_some() && kind != Kind::File {
            return Err(LayerError::damaged("it has holes in something that is no file"));
        }
        let size = match extended.size {
            Some(size) => size,
            None => unsigned(&old.size, "size")?,
        };
        let size = if kind == Kind::File { size } else { 0 };
        // The largest 32-bit number means "no change" to the kernel, so it is nobody's.
        let id = |known: Option<u32>, field: &[u8], what| {
            let id = match known {
                Some(id) => Some(id),
                None => u32::try_from(unsigned(field, what)?).ok(),
            };
            id.filter(|&id| id != u32::MAX)
                .ok_or_else(|| LayerError::refused(&name, format!("its {what} is not a valid number")))
        };
        let mut entry = Entry {
            kind,
            mode: (unsigned(&old.mode, "mode")? & 0o7777) as u32,
            uid: id(extended.uid, &old.uid, "owner")?,
            gid: id(extended.gid, &old.gid, "group")?,
            size,
            mtime: match extended.mtime {
                Some(time) => time,
                None => Time { seconds: number(&old.mtime, "time")?, nanoseconds: 0 },
            },
            link: if matches!(kind, Kind::HardLink | Kind::Symlink) { link } else { Vec::new() },
            xattrs: Xattrs::from_iter(extended.xattrs),
            name,
        };
        (self.content, self.padding) = (entry.size, padding(entry.size));
        if let Some(form) = form {
            entry.size = self.sparse(extended.sparse, &form)?;
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.begin(&entry)?;
        }
        Ok(entry)
    }

    /// Prepares to read a file with holes, and gives its size.
    fn sparse(&mut self, records: sparse::Records, form: &Form) -> Result<u64, LayerError> {
        let front = match form {
            Form::InHeader => None,
            Form::InFront => Some(self.sparse_map()?),
        };
        let file = records.file(front, self.content)?;
        let size = file.size;
        self.holes = Some(Holes { file, position: 0, next: 0 });
        Ok(size)
    }

    /// Reads the map that stands in front of the data, in whole blocks.
    fn sparse_map(&mut self) -> Result<Vec<u64>, LayerError> {
        let mut text = Vec::new();
        let (mut seen, mut wanted) = (0, None);
        while wanted.is_none_or(|wanted| seen < wanted) {
            if text.len() as u64 >= MAX_EXTENDED {
                return Err(LayerError::Limit { what: "bytes in the map of a file", limit: MAX_EXTENDED });
            }
            let mut block = [0; BLOCK];
            self.content().read_exact(&mut block).map_err(LayerError::reading)?;
            seen += block.iter().filter(|&&byte| byte == b'\n').count();
            text.extend(block);
            if let Some(end) = text.iter().position(|&byte| byte == b'\n').filter(|_| wanted.is_none()) {
                wanted = Some(sparse::lines(&text[..end])?);
            } else if wanted.is_none() {
                return Err(LayerError::damaged("the map of a file with holes has no count"));
            }
        }
        sparse::front(&text, wanted.unwrap_or_default())
    }

    fn skip(&mut self, bytes: u64) -> Result<(), LayerError> {
        let skipped =
            io::copy(&mut self.input.by_ref().take(bytes), &mut io::sink()).map_err(LayerError::reading)?;
        if skipped == bytes { Ok(()) } else { Err(LayerError::damaged("it ends within an entry's content")) }
    }
}

/// The content of the current entry; ends where the entry ends.
#[derive(Debug)]
pub(crate) struct Content<'a, R>(&'a mut TarReader<R>);

impl<R> Content<'_, R> {
    /// Passes over the hole that comes next, and says how long it is: 0 if data comes next, or the end.
    pub(crate) fn pass_hole(&mut self) -> u64 {
        let Some(holes) = &mut self.0.holes else { return 0 };
        let is_read = |data: &Data| data.offset + data.length <= holes.position;
        holes.next += holes.file.data[holes.next..].iter().take_while(|data| is_read(data)).count();
        let end = holes.file.data.get(holes.next).map_or(holes.file.size, |data| data.offset);
        let length = end.saturating_sub(holes.position);
        holes.position += length;
        length
    }

    /// How much of what comes next is data.
    fn data(&self) -> u64 {
        let Some(holes) = &self.0.holes else { return self.0.content };
        let piece = holes.file.data.get(holes.next);
        piece.map_or(0, |data| (data.offset + data.length).saturating_sub(holes.position))
    }
}

/// Of a file with holes, reads up to the next hole.
impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.data()).unwrap_or(usize::MAX).min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let read = self.0.input.read(&mut buffer[..wanted])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.0.content -= read as u64;
        if let Some(holes) = &mut self.0.holes {
            holes.position += read as u64;
        }
        if let Some(recorder) = &mut self.0.recorder {
            recorder.take(&buffer[..read]);
        }
        Ok(read)
    }
}

/// Whether a block is the header of an entry: what tells a tar archive from everything else.
pub(crate) fn has_valid_checksum(block: &[u8; BLOCK]) -> bool {
    const FIELD: std::ops::Range<usize> = 148..156;
    let Ok(expected) = number(&block[FIELD], "checksum") else { return false };
    let bytes = block.iter().enumerate().map(|(at, &byte)| if FIELD.contains(&at) { b' ' } else { byte });
    // Some old writers summed signed bytes.
    let (unsigned, signed) = bytes.fold((0_i64, 0_i64), |(unsigned, signed), byte| {
        (unsigned + i64::from(byte), signed + i64::from(byte.cast_signed()))
    });
    expected != 0 && (expected == unsigned || expected == signed)
}

fn kind(header: &Header, flag: u8, name: &[u8]) -> Result<Kind, LayerError> {
    let device = || {
        let number = |part: io::Result<Option<u32>>| {
            part.ok().flatten().ok_or_else(|| LayerError::refused(name, "its device number is not valid"))
        };
        Ok::<_, LayerError>((number(header.device_major())?, number(header.device_minor())?))
    };
    Ok(match flag {
        // Tars from before POSIX have no type for directories, only the slash.
        0 if name.ends_with(b"/") => Kind::Directory,
        0 | b'0' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => device().map(|(major, minor)| Kind::Char(major, minor))?,
        b'4' => device().map(|(major, minor)| Kind::Block(major, minor))?,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        b'S' => return Err(LayerError::refused(name, "it is a sparse file")),
        other => {
            let reason = format!("its type `{}` is not known", shown([other]));
            return Err(LayerError::refused(name, reason));
        }
    })
}

impl Extended {
    /// The records of one extended header, each `LENGTH KEY=VALUE\n`.
    fn read(mut data: &[u8]) -> Result<Self, LayerError> {
        let mut extended = Self::default();
        while !data.is_empty() {
            let (record, rest) =
                split_record(data).ok_or_else(|| LayerError::damaged("an extended header is not valid"))?;
            data = rest;
            let equals = record
                .iter()
                .position(|&byte| byte == b'=')
                .ok_or_else(|| LayerError::damaged("an extended header has a record without `=`"))?;
            extended.set(&record[..equals], &record[equals + 1..])?;
        }
        Ok(extended)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), LayerError> {
        let invalid = || LayerError::damaged(format!("the extended header `{}` is not valid", shown(key)));
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            self.xattrs.insert(name.to_vec(), value.to_vec());
            return Ok(());
        }
        if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
            return self.sparse.set(key, value);
        }
        // An empty value takes the field of the header again.
        let text = (!value.is_empty()).then_some(value);
        match key {
            b"path" => self.name = text.map(<[u8]>::to_vec),
            b"linkpath" => self.link = text.map(<[u8]>::to_vec),
            b"uid" => self.uid = text.map(|text| decimal(text).ok_or_else(invalid)).transpose()?,
            b"gid" => self.gid = text.map(|text| decimal(text).ok_or_else(invalid)).transpose()?,
            b"size" => {
                let size: Option<i64> = text.map(|text| decimal(text).ok_or_else(invalid)).transpose()?;
                self.size = size.map(|size| u64::try_from(size).map_err(|_| invalid())).transpose()?;
            }
            b"mtime" => self.mtime = text.map(|text| time(text).ok_or_else(invalid)).transpose()?,
            _ => {}
        }
        Ok(())
    }
}

/// The first record without its length and line end, and what follows it.
fn split_record(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = data.iter().position(|&byte| byte == b' ')?;
    let length: usize = decimal(&data[..space])?;
    if length <= space + 1 || length > data.len() {
        return None;
    }
    let record = data[space + 1..length].strip_suffix(b"\n")?;
    Some((record, &data[length..]))
}

fn decimal<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Decimal seconds with an optional fraction, of which nanoseconds are kept.
fn time(text: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanoseconds = fraction
        .bytes()
        .chain(std::iter::repeat(b'0'))
        .take(9)
        .fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    // The fraction of a negative time counts away from zero.
    if whole.starts_with('-') && nanoseconds > 0 {
        return Some(Time { seconds: seconds.checked_sub(1)?, nanoseconds: 1_000_000_000 - nanoseconds });
    }
    Some(Time { seconds, nanoseconds })
}

/// A field that may not be negative.
fn unsigned(field: &[u8], what: &str) -> Result<u64, LayerError> {
    u64::try_from(number(field, what)?)
        .map_err(|_| LayerError::damaged(format!("an entry's {what} is negative")))
}

/// A numeric field: octal digits between blanks, or big-endian base 256 when the first bit is set.
fn number(field: &[u8], what: &str) -> Result<i64, LayerError> {
    let invalid = || LayerError::damaged(format!("an entry's {what} is not a number"));
    if field.first().is_some_and(|byte| byte & 0x80 != 0) {
        return base256(field).ok_or_else(invalid);
    }
    let text = field.split(|&byte| byte == 0).find(|part| !part.is_empty()).unwrap_or_default().trim_ascii();
    text.iter().try_fold(0_i64, |sum, &digit| match digit {
        b'0'..=b'7' => {
            sum.checked_mul(8).and_then(|sum| sum.checked_add(i64::from(digit - b'0'))).ok_or_else(invalid)
        }
        _ => Err(invalid()),
    })
}

/// Two's complement with the first bit replaced by the mark; the second is the sign.
fn base256(field: &[u8]) -> Option<i64> {
    let negative = field[0] & 0x40 != 0;
    let mut value: i64 = if negative { -1 } else { 0 };
    for (at, &byte) in field.iter().enumerate() {
        let byte = match (at, negative) {
            (0, true) => byte | 0x80,
            (0, false) => byte & 0x7f,
            _ => byte,
        };
        value = value.checked_mul(256)?.checked_add(i64::from(byte))?;
    }
    Some(value)
}

fn until_nul(mut text: Vec<u8>) -> Vec<u8> {
    let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
    text.truncate(end);
    text
}

fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

#[cfg(test)]
mod tests;
