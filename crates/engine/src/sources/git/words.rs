//! What git says, in pieces that may be shown: a password or a character that two reads cut in half is put together
//! first.

/// A line longer than this is shown in parts.
const MAX_LINE: usize = 64 << 10;
/// One byte less than the longest character of UTF-8.
const PART_OF_CHARACTER: usize = 3;
const MASK: &str = "xxxxx";

/// What was said and is not shown yet.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// What is masked.
    hidden: Option<Vec<u8>>,
    pending: Vec<u8>,
}

impl Words {
    /// Words in which this text is masked; it has no line feed.
    pub(super) fn hiding(hidden: Option<&str>) -> Self {
        let hidden = hidden.filter(|text| !text.is_empty()).map(|text| text.as_bytes().to_vec());
        Self { hidden, pending: Vec::new() }
    }

    /// Takes what was read, and gives what can be shown by now: whole lines.
    pub(super) fn add(&mut self, read: &[u8]) -> String {
        self.pending.extend_from_slice(read);
        let line = self.pending.iter().rposition(|byte| matches!(byte, b'\n' | b'\r'));
        match line {
            Some(end) => self.give(end + 1),
            None if self.pending.len() > MAX_LINE => {
                self.pending = self.masked(&self.pending);
                let beginning = self.hidden.as_ref().map_or(0, |hidden| hidden.len() - 1);
                let kept = beginning.max(PART_OF_CHARACTER);
                let mut end = self.pending.len().saturating_sub(kept);
                // Not between the bytes of a character.
                while end > 0 && self.pending[end] & 0xc0 == 0x80 {
                    end -= 1;
                }
                self.give(end)
            }
            None => String::new(),
        }
    }

    /// Gives the rest.
    pub(super) fn end(mut self) -> String {
        self.give(self.pending.len())
    }

    fn give(&mut self, end: usize) -> String {
        let rest = self.pending.split_off(end);
        let given = std::mem::replace(&mut self.pending, rest);
        String::from_utf8_lossy(&self.masked(&given)).into_owned()
    }

    fn masked(&self, text: &[u8]) -> Vec<u8> {
        let Some(hidden) = &self.hidden else { return text.to_vec() };
        let mut masked = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.windows(hidden.len()).position(|part| part == hidden.as_slice()) {
            masked.extend_from_slice(&rest[..at]);
            masked.extend_from_slice(MASK.as_bytes());
            rest = &rest[at + hidden.len()..];
        }
        masked.extend_from_slice(rest);
        masked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is shown of a text that arrives in pieces of this size.
    fn shown(text: &str, size: usize) -> (String, usize) {
        let mut words = Words::hiding(Some("me:secret"));
        let (mut shown, mut most) = (String::new(), 0);
        for piece in text.as_bytes().chunks(size) {
            shown.push_str(&words.add(piece));
            most = most.max(words.pending.len());
        }
        shown.push_str(&words.end());
        (shown, most)
    }

    #[test]
    fn passwords_and_characters_that_are_cut_by_a_read() {
        let text = "fatal: no 'https://me:secret@h/ä€𝄞'\nme:secre\nend me:secret";
        for size in 1..text.len() {
            let expected = "fatal: no 'https://xxxxx@h/ä€𝄞'\nme:secre\nend xxxxx";
            assert_eq!(shown(text, size).0, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn a_line_without_an_end_is_not_kept_for_ever() {
        let text = "a€𝄞 me:secret ".repeat(20_000);
        for size in [1021, 4096] {
            let (shown, most) = shown(&text, size);
            assert!(shown == "a€𝄞 xxxxx ".repeat(20_000), "in pieces of {size}");
            assert!(most <= MAX_LINE + size, "{most}");
        }
    }
}
