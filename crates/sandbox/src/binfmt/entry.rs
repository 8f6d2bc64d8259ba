//! One entry of binfmt_misc, as the kernel prints it.

use std::path::PathBuf;

/// An entry that is enabled and matches by magic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) interpreter: PathBuf,
    /// Flag `F`.
    pub(super) fixed: bool,
    offset: usize,
    magic: Vec<u8>,
    mask: Vec<u8>,
}

impl Entry {
    /// Reads an entry's text; none if it is disabled, matches by file name extension, or is not understood.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()? != "enabled" {
            return None;
        }
        let (mut interpreter, mut fixed, mut offset) = (None, false, 0);
        let (mut magic, mut mask) = (None, None);
        for line in lines {
            match line.split_once(' ') {
                Some(("interpreter", path)) => interpreter = Some(PathBuf::from(path)),
                Some(("flags:", flags)) => fixed = flags.contains('F'),
                Some(("offset", number)) => offset = number.trim().parse().ok()?,
                Some(("magic", digits)) => magic = Some(bytes(digits)?),
                Some(("mask", digits)) => mask = Some(bytes(digits)?),
                _ => {}
            }
        }
        let magic = magic?;
        let mask = mask.unwrap_or_else(|| vec![0xff; magic.len()]);
        (mask.len() == magic.len()).then_some(Self { interpreter: interpreter?, fixed, offset, magic, mask })
    }

    /// Whether the kernel gives a file that starts with `header` to this entry.
    pub(super) fn runs(&self, header: &[u8]) -> bool {
        header.get(self.offset..self.offset + self.magic.len()).is_some_and(|bytes| {
            bytes
                .iter()
                .zip(&self.magic)
                .zip(&self.mask)
                .all(|((byte, magic), mask)| (byte ^ magic) & mask == 0)
        })
    }
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.trim();
    if !digits.len().is_multiple_of(2) || !digits.is_ascii() {
        return None;
    }
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::elf::Machine;
    use super::*;

    const ARM64: &str = "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: POCF\noffset 0\n\
        magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n";

    #[test]
    fn entries_match_the_programs_they_are_for() {
        let entry = Entry::parse(ARM64).unwrap();
        assert_eq!(entry.interpreter, PathBuf::from("/usr/libexec/qemu-binfmt/aarch64-binfmt-P"));
        assert!(entry.fixed);
        for (arch, expected) in [("arm64", true), ("amd64", false), ("arm", false), ("riscv64", false)] {
            assert_eq!(entry.runs(&Machine::of(arch).unwrap().header()), expected, "{arch}");
        }
    }

    #[test]
    fn flags_and_defaults() {
        let entry = |text: &str| Entry::parse(text);
        assert!(!entry(&ARM64.replace("POCF", "OC")).unwrap().fixed);
        assert!(
            entry("enabled\ninterpreter /i\nflags: \noffset 1\nmagic 454c46\n").unwrap().runs(b"\x7fELF")
        );
        for unusable in [
            "",
            &ARM64.replace("enabled", "disabled"),
            "enabled\ninterpreter /usr/bin/jexec\nflags: \nextension .jar\n",
            &ARM64.replace("mask ff", "mask "),
            &ARM64.replace("magic 7f", "magic zz"),
        ] {
            assert_eq!(entry(unusable), None, "{unusable}");
        }
    }
}
