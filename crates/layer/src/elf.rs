//! The architecture of a program, read from its ELF header.
//!
//! A platform is a claim; the machine field of the binaries in an image is the proof. Values are those of the
//! ELF specification (`e_machine`), names those of the OCI image specification (`GOARCH`).

const MAGIC: &[u8] = b"\x7fELF";
/// Bytes of the header that are needed: up to the end of `e_machine`.
const NEEDED: usize = 20;

/// The OCI architecture of the ELF file that starts with `head`, if it is one and its machine has an OCI name.
///
/// Twenty bytes are enough; more are ignored.
pub fn elf_machine(head: &[u8]) -> Option<&'static str> {
    if head.len() < NEEDED || !head.starts_with(MAGIC) {
        return None;
    }
    let wide = match head[4] {
        1 => false,
        2 => true,
        _ => return None,
    };
    let (little, machine) = match head[5] {
        1 => (true, u16::from_le_bytes([head[18], head[19]])),
        2 => (false, u16::from_be_bytes([head[18], head[19]])),
        _ => return None,
    };
    Some(match (machine, wide, little) {
        (3, false, true) => "386",
        (62, true, true) => "amd64",
        (40, false, true) => "arm",
        (40, false, false) => "armbe",
        (183, true, true) => "arm64",
        (183, true, false) => "arm64be",
        (243, true, true) => "riscv64",
        (243, false, true) => "riscv",
        (21, true, true) => "ppc64le",
        (21, true, false) => "ppc64",
        (20, false, false) => "ppc",
        (22, true, false) => "s390x",
        (22, false, false) => "s390",
        (258, true, true) => "loong64",
        (8, true, true) => "mips64le",
        (8, true, false) => "mips64",
        (8, false, true) => "mipsle",
        (8, false, false) => "mips",
        (43, true, false) => "sparc64",
        _ => return None,
    })
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
            (3, 1, [62, 0], None),
            (2, 0, [62, 0], None),
            (2, 1, [0xff, 0xff], None),
        ] {
            assert_eq!(elf_machine(&header(class, data, machine)), name, "{class} {data} {machine:?}");
        }
    }

    #[test]
    fn anything_else_is_no_program() {
        let whole = header(2, 1, [62, 0]);
        for length in 0..NEEDED {
            assert_eq!(elf_machine(&whole[..length]), None);
        }
        assert_eq!(elf_machine(b"#!/bin/sh\n# a script, not a program"), None);
    }
}
