//! An index as bytes, for the disk.
//!
//! ```text
//! "gantry layer index 2 LIST\n"     LIST: which files are kept, as a digest in short
//! zstd frame with a checksum, of
//!   entry*                         in the archive's order, to the end
//!
//! entry   = shared:number          bytes that the path has in common with the one before
//!           rest:bytes             what follows them
//!           type:byte mode:number uid:number gid:number
//!           by type: f size:number program kept | h target:bytes | l target:bytes
//!                    | d | s (device or pipe) | w (whiteout) | o (opaque)
//! program = 0 | 1 class:byte order:byte machine:number type:number (0 | 1 loader:bytes) | 2 line:bytes
//! kept    = 0 | 1 content:bytes
//! bytes   = length:number, then so many
//! number  = LEB128
//! ```
//!
//! The frame's checksum tells damage. What cannot be read is made anew by whoever needs it, so an unknown version is
//! no different from damage.

use std::io::Write;
use std::sync::{Arc, LazyLock};

use super::{FileContent, IndexEntry, Item, LayerIndex, Program, kept};
use crate::elf::{Class, Elf, Order};
use crate::error::LayerError;
use crate::limits::Limits;

/// What an index begins with. One that was made when other files were kept is of another version: nobody may take a
/// file that it does not keep for one that the layer does not have.
static MAGIC: LazyLock<Vec<u8>> =
    LazyLock::new(|| format!("gantry layer index 2 {}\n", kept::version()).into_bytes());
/// Indexes compress to a tenth at any level; a higher one would only cost time.
const LEVEL: i32 = 1;

impl LayerIndex {
    /// The index as bytes. Equal indexes give equal bytes.
    ///
    /// # Errors
    /// When there is no memory for them.
    pub fn encode(&self) -> Result<Vec<u8>, LayerError> {
        let mut encoder = zstd::Encoder::new(MAGIC.clone(), LEVEL).map_err(LayerError::Output)?;
        encoder.include_checksum(true).map_err(LayerError::Output)?;
        let mut buffer = Vec::new();
        let mut last: &[u8] = b"";
        for entry in &self.entries {
            buffer.clear();
            put_entry(&mut buffer, entry, last);
            encoder.write_all(&buffer).map_err(LayerError::Output)?;
            last = &entry.path;
        }
        encoder.finish().map_err(LayerError::Output)
    }

    /// Reads what [`LayerIndex::encode`] has made.
    ///
    /// # Errors
    /// When the bytes are damaged or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, LayerError> {
        let damaged = || LayerError::damaged("it is no layer index of this version");
        let frame = bytes.strip_prefix(MAGIC.as_slice()).ok_or_else(damaged)?;
        let payload = zstd::decode_all(frame).map_err(LayerError::reading)?;
        let mut input = Input(&payload);
        let mut index = Self::default();
        let mut path: Vec<u8> = Vec::new();
        while !input.0.is_empty() {
            let entry = input.entry(&mut path).ok_or_else(damaged)?;
            index.entries.push(entry);
            if index.entries.len() as u64 > Limits::default().entries {
                return Err(damaged());
            }
        }
        Ok(index)
    }
}

fn put_entry(out: &mut Vec<u8>, entry: &IndexEntry, last: &[u8]) {
    let shared = entry.path.iter().zip(last).take_while(|(one, other)| one == other).count();
    put_number(out, shared as u64);
    put_bytes(out, &entry.path[shared..]);
    out.push(match &entry.item {
        Item::File(_) => b'f',
        Item::HardLink(_) => b'h',
        Item::Symlink(_) => b'l',
        Item::Directory => b'd',
        Item::Special => b's',
        Item::Whiteout => b'w',
        Item::Opaque => b'o',
    });
    for number in [entry.mode, entry.uid, entry.gid] {
        put_number(out, number.into());
    }
    match &entry.item {
        Item::File(content) => {
            put_number(out, content.size);
            put_program(out, content.program.as_deref());
            put_optional(out, content.kept.as_deref());
        }
        Item::HardLink(target) | Item::Symlink(target) => put_bytes(out, target),
        Item::Directory | Item::Special | Item::Whiteout | Item::Opaque => {}
    }
}

fn put_program(out: &mut Vec<u8>, program: Option<&Program>) {
    match program {
        None => out.push(0),
        Some(Program::Elf(elf)) => {
            let class = if elf.class == Class::Wide { 2 } else { 1 };
            let order = if elf.order == Order::Big { 2 } else { 1 };
            out.extend([1, class, order]);
            put_number(out, elf.machine.into());
            put_number(out, elf.kind.into());
            put_optional(out, elf.interpreter.as_deref());
        }
        Some(Program::Script(line)) => {
            out.push(2);
            put_bytes(out, line);
        }
    }
}

fn put_optional(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    out.push(u8::from(bytes.is_some()));
    if let Some(bytes) = bytes {
        put_bytes(out, bytes);
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// What is left to read; every method gives `None` where the bytes make no sense.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// The next entry; `path` is that of the last one before, and of this one behind.
    fn entry(&mut self, path: &mut Vec<u8>) -> Option<IndexEntry> {
        let shared = usize::try_from(self.number()?).ok().filter(|shared| *shared <= path.len())?;
        path.truncate(shared);
        path.extend_from_slice(self.bytes()?);
        let kind = self.byte()?;
        let [mode, uid, gid] = [self.small()?, self.small()?, self.small()?];
        let item = match kind {
            b'f' => Item::File(FileContent {
                size: self.number()?,
                program: self.program()?.map(Arc::new),
                kept: self.optional()?.map(Arc::from),
            }),
            b'h' => Item::HardLink(self.bytes()?.into()),
            b'l' => Item::Symlink(self.bytes()?.into()),
            b'd' => Item::Directory,
            b's' => Item::Special,
            b'w' => Item::Whiteout,
            b'o' => Item::Opaque,
            _ => return None,
        };
        Some(IndexEntry { path: path.as_slice().into(), mode, uid, gid, item })
    }

    fn program(&mut self) -> Option<Option<Program>> {
        Some(match self.byte()? {
            0 => None,
            1 => {
                let class = [Class::Narrow, Class::Wide]
                    .into_iter()
                    .nth(usize::from(self.byte()?).checked_sub(1)?)?;
                let order =
                    [Order::Little, Order::Big].into_iter().nth(usize::from(self.byte()?).checked_sub(1)?)?;
                let machine = u16::try_from(self.number()?).ok()?;
                let kind = u16::try_from(self.number()?).ok()?;
                let interpreter = self.optional()?.map(<[u8]>::to_vec);
                Some(Program::Elf(Elf { class, order, machine, kind, interpreter }))
            }
            2 => Some(Program::Script(self.bytes()?.to_vec())),
            _ => return None,
        })
    }

    fn optional(&mut self) -> Option<Option<&'a [u8]>> {
        match self.byte()? {
            0 => Some(None),
            1 => self.bytes().map(Some),
            _ => None,
        }
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn small(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> LayerIndex {
        let elf = Elf {
            class: Class::Wide,
            order: Order::Little,
            machine: 62,
            kind: 3,
            interpreter: Some(b"/lib/ld.so".to_vec()),
        };
        let file = |program, kept: Option<&[u8]>| {
            Item::File(FileContent {
                size: 1 << 40,
                program: Some(Arc::new(program)),
                kept: kept.map(Arc::from),
            })
        };
        let items = [
            ("bin", Item::Directory),
            ("bin/ls", file(Program::Elf(elf), None)),
            ("bin/run", file(Program::Script(b"/bin/sh -e".to_vec()), Some(b"content"))),
            ("bin/dir", Item::HardLink(b"bin/ls"[..].into())),
            ("lib", Item::Symlink(b"usr/\xff"[..].into())),
            ("dev/null", Item::Special),
            ("gone", Item::Whiteout),
            ("var", Item::Opaque),
        ];
        let entry = |(path, item): (&str, Item)| IndexEntry {
            path: path.as_bytes().into(),
            mode: 0o4755,
            uid: 1000,
            gid: u32::MAX - 1,
            item,
        };
        LayerIndex { entries: items.into_iter().map(entry).collect() }
    }

    #[test]
    fn what_is_written_is_read() {
        for index in [sample(), LayerIndex::default()] {
            assert_eq!(LayerIndex::decode(&index.encode().unwrap()).unwrap(), index);
        }
    }

    #[test]
    fn an_index_with_another_list_of_kept_files_is_unknown() {
        let bytes = sample().encode().unwrap();
        let start = bytes.iter().position(|&byte| byte == b'\n').unwrap() + 1;
        for other in ["gantry layer index 1\n", "gantry layer index 2 00000000\n"] {
            let other = [other.as_bytes(), &bytes[start..]].concat();
            assert!(LayerIndex::decode(&other).is_err());
        }
    }

    #[test]
    fn damage_is_noticed() {
        let bytes = sample().encode().unwrap();
        for length in 0..bytes.len() {
            assert!(LayerIndex::decode(&bytes[..length]).is_err(), "cut to {length}");
        }
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x10;
            // Some bits of a frame's header say nothing about its content.
            if let Ok(index) = LayerIndex::decode(&bytes) {
                assert_eq!(index, sample(), "byte {at}");
            }
        }
    }
}
