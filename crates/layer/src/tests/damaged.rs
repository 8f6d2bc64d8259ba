//! Archives that broke on the way: an error every time, a panic never.

use super::*;
use crate::extract_archive;

/// A small deterministic generator, as the same damage must be done in every run.
struct Noise(u64);

impl Noise {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

fn layer(compression: Compression) -> (LayerDigests, Vec<u8>) {
    let tree = Tree::new();
    tree.dir("d").file("d/one", &"content ".repeat(500)).file("d/two", "").link("one", "d/link");
    tree.hard_link("d/one", "d/hard").file("n".repeat(150), "a long name").settle(1_600_000_000);
    tree.write(&WriteOptions { compression, ..WriteOptions::default() }).unwrap()
}

#[test]
fn a_truncated_blob_is_an_error() {
    for compression in [Compression::None, Compression::GZIP, Compression::ZSTD] {
        let (digests, blob) = layer(compression);
        let step = (blob.len() / 60).max(1);
        for length in (0..blob.len()).step_by(step).chain([blob.len() - 1]) {
            let target = Tree::new();
            let result = crate::apply_layer(
                &blob[..length],
                target.root(),
                &digests.diff_id,
                &ApplyOptions::default(),
            );
            assert!(result.is_err(), "{compression:?}: {length} of {} bytes", blob.len());
        }
    }
}

#[test]
fn a_corrupt_blob_is_an_error() {
    let mut noise = Noise(1);
    for compression in [Compression::None, Compression::GZIP, Compression::ZSTD] {
        let (digests, blob) = layer(compression);
        for _ in 0..150 {
            let mut corrupt = blob.clone();
            let at = noise.below(corrupt.len());
            corrupt[at] ^= 1 << noise.below(8);
            let target = Tree::new();
            let result =
                crate::apply_layer(&*corrupt, target.root(), &digests.diff_id, &ApplyOptions::default());
            let harmless = result.is_ok() && {
                // Bits that carry no content, such as the file name in a gzip header.
                let mut content = Vec::new();
                let decompressed = crate::compression::Decompressed::new(&*corrupt, crate::Limits::default());
                std::io::Read::read_to_end(&mut decompressed.unwrap(), &mut content).unwrap();
                Digest::of(content) == digests.diff_id
            };
            assert!(result.is_err() || harmless, "{compression:?}: byte {at}");
        }
    }
}

#[test]
fn no_header_makes_the_reader_panic() {
    let (_, tar) = layer(Compression::None);
    let mut noise = Noise(2);
    for _ in 0..20_000 {
        let mut mutant = tar[..2048.min(tar.len())].to_vec();
        for _ in 0..=noise.below(6) {
            let at = noise.below(512);
            mutant[at] = [0, 1, 0x7f, 0x80, 0xff, b'/', b'7', b' ', b'x', b'L'][noise.below(10)];
        }
        // With a right checksum the damage gets further.
        let mut header = tar::Header::from_byte_slice(&mutant[..512]).clone();
        header.set_cksum();
        mutant[..512].copy_from_slice(header.as_bytes());
        let mut reader = crate::tar_reader::TarReader::new(&*mutant);
        while let Ok(Some(_)) = reader.next_entry() {}
    }
}

#[test]
fn claims_of_size_cost_no_memory() {
    for flag in *b"xgLK" {
        let mut header = tar::Header::new_ustar();
        header.set_size(8 << 30);
        header.as_old_mut().linkflag = [flag];
        header.set_cksum();
        let error = apply(header.as_bytes(), Tree::new().root(), &ApplyOptions::default()).unwrap_err();
        assert!(matches!(error, LayerError::Limit { .. }), "{error}");
    }
}

#[test]
fn unknown_forms_are_refused() {
    for (flag, part) in [(b'S', "sparse"), (b'D', "type `D`"), (b'X', "type `X`")] {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..3].copy_from_slice(b"odd");
        header.set_size(0);
        header.as_old_mut().linkflag = [flag];
        header.set_cksum();
        let error = apply(header.as_bytes(), Tree::new().root(), &ApplyOptions::default()).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
    for garbage in [&b"hello"[..], &[1; 600], b"BZh91AY", b"\xfd7zXZ\0"] {
        assert!(extract_archive(garbage, Tree::new().root(), "", None).is_err());
    }
}
