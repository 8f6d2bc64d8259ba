//! Lines of a Dockerfile with some around them, as `docker buildx` shows what a check found; but long ones are cut, for
//! an instruction may have a warning for each of its words.

use std::ops::RangeInclusive;

use crate::failure::{clean, cut};

/// How many lines are shown around one line, and around several.
const AROUND_ONE: u32 = 4;
const AROUND_MANY: u32 = 2;
/// How many lines are shown in all. An instruction with more has a screen full, which is enough to know it again.
const MAX_LINES: usize = 60;

/// The lines, marked, with those around them. `all` are those of the file.
pub(super) fn show(file: &str, all: &[&str], lines: &RangeInclusive<u32>) -> String {
    const RULE: &str = "--------------------\n";
    let count = u32::try_from(all.len()).unwrap_or(u32::MAX);
    let (first, last) = (*lines.start(), (*lines.end()).min(count));
    if first == 0 || first > count {
        return String::new();
    }
    let (start, end) = widened(first, last, count);
    let mut shown = place(file, lines) + RULE;
    for (line, number) in all.iter().zip(1..=end).skip(start as usize - 1).take(MAX_LINES) {
        let mark = if lines.contains(&number) { ">>>" } else { "   " };
        shown.push_str(&format!(" {number:3} | {mark} {}\n", clean(&cut(line.trim_end_matches('\r')))));
    }
    let more = (end - start + 1) as usize;
    if let Some(more) = more.checked_sub(MAX_LINES).filter(|more| *more > 0) {
        shown.push_str(&format!("     | … {more} more\n"));
    }
    shown + RULE
}

/// Where the lines are.
pub(super) fn place(file: &str, lines: &RangeInclusive<u32>) -> String {
    format!("{}:{}\n", clean(file), lines.start())
}

/// The lines, with as many around them as are shown, on both sides where there are such.
fn widened(first: u32, last: u32, count: u32) -> (u32, u32) {
    let around = if first == last { AROUND_ONE } else { AROUND_MANY };
    let (mut start, mut end, mut added) = (first, last, 0);
    while added < around {
        if start > 1 {
            start -= 1;
            added += 1;
        }
        if end != count {
            end += 1;
            added += 1;
        }
        // One for the round itself, so that it ends.
        added += 1;
    }
    (start, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_those_around() {
        let text = &["a", "b", "c", "d", "e", "f", ""];
        assert_eq!(
            show("D", text, &(4..=4)),
            "D:4\n--------------------\n   2 |     b\n   3 |     c\n   4 | >>> d\n   5 |     e\n   6 |     f\n\
             --------------------\n"
        );
        assert_eq!(
            show("D", text, &(1..=2)),
            "D:1\n--------------------\n   1 | >>> a\n   2 | >>> b\n   3 |     c\n--------------------\n"
        );
        assert_eq!(show("D", text, &(9..=9)), "");
    }

    #[test]
    fn what_is_long_is_cut() {
        let line = "é".repeat(50_000);
        let shown = show("D", &["FROM a", &line], &(2..=2));
        assert!(shown.len() < 3000 && shown.contains("é…\n"), "{shown}");
        let shown = show("D", &["a"; 5000], &(101..=3000));
        assert_eq!(shown.lines().count(), 3 + MAX_LINES + 1);
        assert!(shown.contains("\n 100 |     a\n 101 | >>> a\n"), "{shown}");
        assert!(shown.contains("\n     | … 2842 more\n---"), "{shown}");
    }
}
