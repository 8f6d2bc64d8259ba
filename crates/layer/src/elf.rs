//! What a program is for, read from its ELF header.
//!
//! A platform is a claim; the machine field of the programs in an image is the proof. Layouts and numbers are those of
//! the ELF specification (gABI, chapters "ELF Header" and "Program Header"), names those of the OCI image specification
//! (`GOARCH`). Nothing read here is believed further than its own bounds: a header may be a hostile file's.

use std::fmt;

const MAGIC: &[u8] = b"\x7fELF";
/// Bytes of the start of a file in which linkers put the path of the loader: Go's ends with the first page, everybody
/// else's stands behind the program headers.
pub(crate) const HEAD: usize = 8 << 10;
/// The kernel's own limit on the path of a loader.
const MAX_INTERPRETER: u64 = 4096;
/// `PT_INTERP`, the program header that names the loader.
const INTERPRETER: u64 = 3;
/// `ET_EXEC` and `ET_DYN`: what a kernel starts, and libraries.
const LOADABLE: [u16; 2] = [2, 3];

/// Whether addresses have 32 or 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    /// `ELFCLASS32`.
    Narrow,
    /// `ELFCLASS64`.
    Wide,
}

/// The order of the bytes of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Order {
    /// `ELFDATA2LSB`.
    Little,
    /// `ELFDATA2MSB`.
    Big,
}

/// The header of an ELF file, as far as it says where the file can run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Elf {
    pub(crate) class: Class,
    pub(crate) order: Order,
    /// `e_machine`.
    pub(crate) machine: u16,
    /// `e_type`.
    pub(crate) kind: u16,
    /// The path of `PT_INTERP`, if it stands within the first bytes of the file.
    pub(crate) interpreter: Option<Vec<u8>>,
}

impl Elf {
    /// Reads the header of the file that starts with `head`; `None` if it is no ELF file. The more of the file there
    /// is, the likelier it is that the loader is found; [`HEAD`] bytes are enough for every linker's output.
    pub(crate) fn parse(head: &[u8]) -> Option<Self> {
        if !head.starts_with(MAGIC) {
            return None;
        }
        let class = match head.get(4)? {
            1 => Class::Narrow,
            2 => Class::Wide,
            _ => return None,
        };
        let order = match head.get(5)? {
            1 => Order::Little,
            2 => Order::Big,
            _ => return None,
        };
        let fields = Fields { bytes: head, class, order };
        let kind = u16::try_from(fields.number(16, 2)?).ok()?;
        let machine = u16::try_from(fields.number(18, 2)?).ok()?;
        let interpreter = fields.interpreter().map(<[u8]>::to_vec);
        Some(Self { class, order, machine, kind, interpreter })
    }

    /// The OCI architecture, if the machine has one. Programs of the x32 ABI count as `amd64`, whose CPUs run them.
    ///
    /// Of `arm` the header does not tell the variant: that stands in a section that is optional and describes what the
    /// compiler allowed itself, not what the program does.
    pub fn architecture(&self) -> Option<&'static str> {
        use {Class::*, Order::*};
        Some(match (self.machine, self.class, self.order) {
            (3 | 6, Narrow, Little) => "386",
            (62, _, Little) => "amd64",
            (40, Narrow, Little) => "arm",
            (40, Narrow, Big) => "armbe",
            (183, Wide, Little) => "arm64",
            (183, Wide, Big) => "arm64be",
            (243, Wide, Little) => "riscv64",
            (243, Narrow, Little) => "riscv",
            (21, Wide, Little) => "ppc64le",
            (21, Wide, Big) => "ppc64",
            (20, Narrow, Big) => "ppc",
            (22, Wide, Big) => "s390x",
            (22, Narrow, Big) => "s390",
            (258, Wide, Little) => "loong64",
            (8, Wide, Little) => "mips64le",
            (8, Wide, Big) => "mips64",
            // The n32 ABI of 64-bit MIPS has narrow files; its images are those of plain MIPS to everybody.
            (8, Narrow, Little) => "mipsle",
            (8, Narrow, Big) => "mips",
            (43, Wide, Big) => "sparc64",
            _ => return None,
        })
    }

    /// Whether it can be executed or loaded, in contrast to object files and core dumps.
    pub fn is_loadable(&self) -> bool {
        LOADABLE.contains(&self.kind)
    }

    /// The path of the loader that starts the program; `None` for static programs and most libraries.
    pub fn interpreter(&self) -> Option<&[u8]> {
        self.interpreter.as_deref()
    }
}

/// "an x86-64 program": what people call it.
impl fmt::Display for Elf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.architecture() {
            Some("amd64") => f.write_str("an x86-64 program"),
            Some("386") => f.write_str("a 32-bit x86 program"),
            Some("arm64") => f.write_str("a 64-bit ARM program"),
            Some("arm") => f.write_str("a 32-bit ARM program"),
            Some("riscv64") => f.write_str("a 64-bit RISC-V program"),
            Some(other) => write!(f, "a program for {other}"),
            None => write!(f, "a program for ELF machine {}", self.machine),
        }
    }
}

/// Numbers of a header, whose places and sizes depend on the class.
struct Fields<'a> {
    bytes: &'a [u8],
    class: Class,
    order: Order,
}

impl<'a> Fields<'a> {
    fn number(&self, at: usize, size: usize) -> Option<u64> {
        let bytes = self.bytes.get(at..at.checked_add(size)?)?;
        let fold = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Some(match self.order {
            Order::Big => bytes.iter().fold(0, fold),
            Order::Little => bytes.iter().rev().fold(0, fold),
        })
    }

    /// The path that the first program header of its kind points at.
    fn interpreter(&self) -> Option<&'a [u8]> {
        let (table, entry_size, count) = match self.class {
            Class::Narrow => (self.number(28, 4)?, self.number(42, 2)?, self.number(44, 2)?),
            Class::Wide => (self.number(32, 8)?, self.number(54, 2)?, self.number(56, 2)?),
        };
        let (table, entry_size) = (usize::try_from(table).ok()?, usize::try_from(entry_size).ok()?);
        // The headers of one file number 65535 at most, and those that do not fit into the head end the search.
        for position in 0..usize::try_from(count).ok()? {
            let at = table.checked_add(position.checked_mul(entry_size)?)?;
            if self.number(at, 4)? != INTERPRETER {
                continue;
            }
            let (offset, size) = match self.class {
                Class::Narrow => (self.number(at.checked_add(4)?, 4)?, self.number(at.checked_add(16)?, 4)?),
                Class::Wide => (self.number(at.checked_add(8)?, 8)?, self.number(at.checked_add(32)?, 8)?),
            };
            if size > MAX_INTERPRETER {
                return None;
            }
            let start = usize::try_from(offset).ok()?;
            let path = self.bytes.get(start..start.checked_add(usize::try_from(size).ok()?)?)?;
            return path.split(|&byte| byte == 0).next().filter(|path| !path.is_empty());
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(class: u8, data: u8, machine: [u8; 2]) -> Vec<u8> {
        let mut head = vec![0; 64];
        head[..4].copy_from_slice(MAGIC);
        head[4] = class;
        head[5] = data;
        head[18..20].copy_from_slice(&machine);
        head
    }

    #[test]
    fn machines_have_their_oci_names() {
        for (class, data, machine, name) in [
            (2, 1, [62, 0], Some("amd64")),
            (1, 1, [62, 0], Some("amd64")),
            (2, 2, [0, 62], None),
            (1, 1, [3, 0], Some("386")),
            (2, 1, [183, 0], Some("arm64")),
            (1, 1, [40, 0], Some("arm")),
            (2, 1, [243, 0], Some("riscv64")),
            (2, 1, [21, 0], Some("ppc64le")),
            (2, 2, [0, 21], Some("ppc64")),
            (2, 2, [0, 22], Some("s390x")),
            (2, 1, [22, 0], None),
            (2, 1, [2, 1], Some("loong64")),
            (2, 1, [8, 0], Some("mips64le")),
            (1, 1, [8, 0], Some("mipsle")),
            (2, 1, [0xff, 0xff], None),
        ] {
            let elf = Elf::parse(&header(class, data, machine)).unwrap();
            assert_eq!(elf.architecture(), name, "{class} {data} {machine:?}");
        }
        assert_eq!(Elf::parse(&header(2, 1, [62, 0])).unwrap().to_string(), "an x86-64 program");
        assert_eq!(Elf::parse(&header(2, 1, [5, 1])).unwrap().to_string(), "a program for ELF machine 261");
    }

    #[test]
    fn loaders_are_found_in_both_classes() {
        let path = b"/lib/ld.so.1\0";
        let mut wide = header(2, 1, [183, 0]);
        wide[32] = 64;
        wide[54] = 56;
        wide[56] = 2;
        wide.resize(64 + 2 * 56, 0);
        wide[64 + 56] = 3;
        wide[64 + 56 + 8] = 176;
        wide[64 + 56 + 32] = 13;
        wide.extend_from_slice(path);
        assert_eq!(Elf::parse(&wide).unwrap().interpreter(), Some(&b"/lib/ld.so.1"[..]));
        let mut narrow = header(1, 2, [0, 20]);
        narrow[31] = 52;
        narrow[43] = 32;
        narrow[45] = 1;
        narrow.truncate(52);
        narrow.resize(52 + 32, 0);
        narrow[52 + 3] = 3;
        narrow[52 + 7] = 84;
        narrow[52 + 19] = 13;
        narrow.extend_from_slice(path);
        assert_eq!(Elf::parse(&narrow).unwrap().interpreter(), Some(&b"/lib/ld.so.1"[..]));
    }

    #[test]
    fn anything_else_is_no_program() {
        let whole = header(2, 1, [62, 0]);
        for length in 0..20 {
            assert_eq!(Elf::parse(&whole[..length]), None);
        }
        for bad in
            [header(3, 1, [62, 0]), header(2, 0, [62, 0]), b"#!/bin/sh\n# a script, not a program".to_vec()]
        {
            assert_eq!(Elf::parse(&bad), None);
        }
    }

    #[test]
    fn lies_about_places_lead_nowhere() {
        for (at, bytes) in [(32, [0xff; 8]), (54, [0xff; 8])] {
            let mut head = header(2, 1, [62, 0]);
            head[32] = 64;
            head[56] = 0xff;
            head[at..at + 8].copy_from_slice(&bytes);
            head.resize(4096, 3);
            assert_eq!(Elf::parse(&head).unwrap().interpreter(), None);
        }
    }
}
