//! Programs that no machine runs, but whose header says which one should.

/// The header of a 64-bit file and one program header behind it.
const HEADERS: usize = 64 + 56;

/// The start of a program for this OCI architecture, as a linker writes it, that wants no loader.
///
/// Panics if the architecture has none here.
pub fn program(architecture: &str) -> Vec<u8> {
    let (class, order, machine): (u8, u8, u16) = match architecture {
        "amd64" => (2, 1, 62),
        "386" => (1, 1, 3),
        "arm64" => (2, 1, 183),
        "arm" => (1, 1, 40),
        "riscv64" => (2, 1, 243),
        "s390x" => (2, 2, 22),
        "ppc64le" => (2, 1, 21),
        // Xtensa, for which there is firmware and no Linux image.
        "xtensa" => (1, 1, 94),
        other => panic!("there is no program for {other} here"),
    };
    let number = |value: u16| if order == 1 { value.to_le_bytes() } else { value.to_be_bytes() };
    let mut bytes = vec![0; HEADERS];
    bytes[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, order]);
    bytes[16..18].copy_from_slice(&number(2));
    bytes[18..20].copy_from_slice(&number(machine));
    bytes
}

/// The start of a program for a 64-bit little-endian architecture that wants this loader.
pub fn dynamic_program(architecture: &str, loader: &str) -> Vec<u8> {
    let mut bytes = program(architecture);
    assert_eq!(bytes[4..6], [2, 1], "only 64-bit little-endian programs are made with a loader");
    bytes[32] = 64;
    bytes[54] = 56;
    bytes[56] = 1;
    bytes[64] = 3;
    bytes[64 + 8] = u8::try_from(HEADERS).expect("headers are short");
    bytes[64 + 32] = u8::try_from(loader.len() + 1).expect("a loader's path is short");
    bytes.extend_from_slice(loader.as_bytes());
    bytes.push(0);
    bytes
}
