//! ELF headers as the architectures of OCI have them, see elf(5).

/// What tells the architecture in an ELF header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Machine {
    class: Class,
    order: Order,
    number: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Bits32 = 1,
    Bits64 = 2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Little = 1,
    Big = 2,
}

const EXECUTABLE: u16 = 2;
const X86: u16 = 3;
const ARM: u16 = 40;

impl Machine {
    /// The machine of an OCI (that is, Go's) architecture.
    pub(super) fn of(arch: &str) -> Option<Self> {
        use Class::{Bits32, Bits64};
        use Order::{Big, Little};
        let (class, order, number) = match arch {
            "386" => (Bits32, Little, X86),
            "amd64" => (Bits64, Little, 62),
            "arm" => (Bits32, Little, ARM),
            "arm64" => (Bits64, Little, 183),
            "loong64" => (Bits64, Little, 258),
            "mips64le" => (Bits64, Little, 8),
            "mips64" => (Bits64, Big, 8),
            "ppc64le" => (Bits64, Little, 21),
            "riscv64" => (Bits64, Little, 243),
            "s390x" => (Bits64, Big, 22),
            _ => return None,
        };
        Some(Self { class, order, number })
    }

    /// The first 128 bytes of an executable, which is as far as the kernel looks.
    pub(super) fn header(self) -> Vec<u8> {
        let half = |value: u16| match self.order {
            Order::Little => value.to_le_bytes(),
            Order::Big => value.to_be_bytes(),
        };
        let mut header = b"\x7fELF".to_vec();
        header.extend([self.class as u8, self.order as u8, 1]);
        header.resize(16, 0);
        header.extend(half(EXECUTABLE));
        header.extend(half(self.number));
        header.resize(128, 0);
        header
    }
}

/// The smallest program of a 32-bit `arch` that the 64-bit `host` may run by itself; it exits with status 0.
pub(super) fn smallest_program(host: &str, arch: &str) -> Option<Vec<u8>> {
    match (host, arch) {
        // mov eax, 1 (exit); xor ebx, ebx; int 0x80
        ("amd64", "386") => Some(program(X86, 0, &[0xb8, 1, 0, 0, 0, 0x31, 0xdb, 0xcd, 0x80])),
        // mov r7, #1 (exit); mov r0, #0; svc 0
        ("arm64", "arm") => {
            let code = [0xe3a0_7001_u32, 0xe3a0_0000, 0xef00_0000].map(u32::to_le_bytes).concat();
            Some(program(ARM, 0x0500_0000, &code))
        }
        _ => None,
    }
}

/// A 32-bit little-endian executable of one segment.
fn program(machine: u16, flags: u32, code: &[u8]) -> Vec<u8> {
    const BASE: u32 = 0x10000;
    const HEADER: u16 = 52;
    const SEGMENT_HEADER: u16 = 32;
    const CODE: u32 = (HEADER + SEGMENT_HEADER) as u32;
    const PAGE: u32 = 0x1000;
    let size = CODE + code.len() as u32;
    let mut elf = b"\x7fELF\x01\x01\x01".to_vec();
    elf.resize(16, 0);
    let halves = |elf: &mut Vec<u8>, values: &[u16]| elf.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    let words = |elf: &mut Vec<u8>, values: &[u32]| elf.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    halves(&mut elf, &[EXECUTABLE, machine]);
    // Version, entry point, offsets of segment and section headers, flags.
    words(&mut elf, &[1, BASE + CODE, HEADER.into(), 0, flags]);
    // Sizes and counts of headers.
    halves(&mut elf, &[HEADER, SEGMENT_HEADER, 1, 0, 0, 0]);
    // Loadable, from offset 0, at BASE (virtual and physical), sizes in file and memory, read and execute.
    words(&mut elf, &[1, 0, BASE, BASE, size, size, 5, PAGE]);
    elf.extend(code);
    elf
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_those_of_real_programs() {
        for (arch, start) in [
            ("amd64", "7f454c46020101000000000000000000 02003e00"),
            ("386", "7f454c46010101000000000000000000 02000300"),
            ("s390x", "7f454c46020201000000000000000000 00020016"),
        ] {
            let hex: String =
                Machine::of(arch).unwrap().header()[..20].iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(hex, start.replace(' ', ""), "{arch}");
        }
        assert!(Machine::of("vax").is_none());
    }

    #[test]
    fn small_programs_are_complete() {
        let program = smallest_program("amd64", "386").unwrap();
        assert_eq!(program.len(), 52 + 32 + 9);
        assert!(smallest_program("amd64", "arm").is_none());
    }
}
