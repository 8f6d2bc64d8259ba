//! The last lines of a step's output, which an error shows.

use std::collections::VecDeque;

/// As many lines as explain a failure without hiding it.
const TAIL_LINES: usize = 20;
/// A longer line is cut in the tail, not in the log.
const TAIL_LINE_BYTES: usize = 2000;

/// The last lines of a step's output.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    lines: VecDeque<Vec<u8>>,
    open: Vec<u8>,
}

impl Tail {
    pub(crate) fn push(&mut self, data: &[u8]) {
        for byte in data {
            match byte {
                b'\n' => self.close(),
                _ if self.open.len() < TAIL_LINE_BYTES => self.open.push(*byte),
                _ => {}
            }
        }
    }

    fn close(&mut self) {
        if self.lines.len() == TAIL_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(std::mem::take(&mut self.open));
    }

    pub(crate) fn text(&mut self) -> String {
        if !self.open.is_empty() {
            self.close();
        }
        let lines: Vec<_> =
            self.lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect();
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_keeps_the_last_lines() {
        let mut tail = Tail::default();
        for number in 0..100 {
            tail.push(format!("line {number}\n").as_bytes());
        }
        tail.push(b"unfinished");
        let text = tail.text();
        assert_eq!(text.lines().count(), TAIL_LINES);
        assert!(text.starts_with("line 81\n") && text.ends_with("line 99\nunfinished"), "{text}");
    }
}
