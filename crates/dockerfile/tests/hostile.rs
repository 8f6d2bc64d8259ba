//! Damaged Dockerfiles: whatever the text is, a conversion ends, and with a result or an error that has a place.
//!
//! The texts are the fixtures with pieces cut out, doubled and mixed up by a generator with a fixed seed, so that a
//! failure happens again.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be read has to end the test")]

use std::fs;
use std::path::Path;

use gantry_dockerfile::{Conversion, ImageInfo, Images, Options, convert};
use gantry_oci::{Digest, ImageConfig};

const ROUNDS: usize = 4000;
/// How often a conversion may ask for more images. A trigger of an image may name another image.
const MAX_QUESTIONS: usize = 20;

#[test]
fn damaged_files_end() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<_> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let texts: Vec<Vec<u8>> =
        files.iter().filter_map(|path| fs::read(path.join("Dockerfile")).ok()).collect();
    assert!(texts.len() > 100);
    let mut numbers = Numbers(0x5eed);
    let mut converted = 0;
    for _ in 0..ROUNDS {
        let text = damaged(&texts, &mut numbers);
        converted += usize::from(ends(&text));
    }
    assert!(converted > ROUNDS / 20, "only {converted} texts were still Dockerfiles");
}

/// A linear congruential generator: not random, only well mixed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit.max(1)
    }
}

fn damaged(texts: &[Vec<u8>], numbers: &mut Numbers) -> Vec<u8> {
    const PIECES: [&[u8]; 12] =
        [b"$", b"${", b"\\", b"\"", b"'", b"<<", b"--", b"=", b"\n", b"[", b"\xff", "é".as_bytes()];
    let mut text = texts[numbers.below(texts.len())].clone();
    for _ in 0..=numbers.below(3) {
        let from = numbers.below(text.len());
        let to = (from + numbers.below(12)).min(text.len());
        let piece = match numbers.below(4) {
            0 => Vec::new(),
            1 => PIECES[numbers.below(PIECES.len())].to_vec(),
            2 => text[from..to].repeat(2),
            _ => texts[numbers.below(texts.len())].clone(),
        };
        text.splice(from..to, piece);
    }
    text
}

/// Whether the text was a Dockerfile.
fn ends(text: &[u8]) -> bool {
    let options = Options::new("linux/arm64".parse().unwrap(), "linux/amd64".parse().unwrap());
    let mut images = Images::default();
    let lines = text.split(|byte| *byte == b'\n').count() as u32;
    for _ in 0..MAX_QUESTIONS {
        match convert(text, &options, &images) {
            Err(error) => {
                assert!(!error.message.is_empty());
                assert!(*error.lines.start() >= 1 && *error.lines.end() <= lines.max(1), "{error:?}");
                return false;
            }
            Ok(Conversion::Done(_)) => return true,
            Ok(Conversion::NeedsImages(requests)) => {
                for request in requests {
                    let config = ImageConfig { os: "linux".to_owned(), ..ImageConfig::default() };
                    let info = ImageInfo { digest: Digest::of("image"), config };
                    images.insert(request.reference, request.platform, info);
                }
            }
            Ok(Conversion::NeedsTime(request)) => images.insert_time(request.value, None),
        }
    }
    panic!("asks for images without end: {}", String::from_utf8_lossy(text));
}
