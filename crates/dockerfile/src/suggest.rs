//! Did-you-mean: the option that a mistyped word is nearest to.

/// How many letters may be wrong. With more, a suggestion is a guess.
const MAX_DISTANCE: usize = 2;
/// Words longer than this are no slips of the finger, and the table of distances grows with their square.
const MAX_WORD: usize = 128;

/// The option that is nearest to the word, if one is near; none if the word itself is an option.
pub(crate) fn closest<'a>(word: &str, options: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut best = None;
    for option in options {
        if option == word {
            return None;
        }
        let distance = distance(word, option);
        if distance <= MAX_DISTANCE && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, option));
        }
    }
    best.map(|(_, option)| option.to_owned())
}

/// Levenshtein's distance, in which two swapped neighbours are one mistake.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    if left.len().max(right.len()) > MAX_WORD || left.len().abs_diff(right.len()) > MAX_DISTANCE {
        return usize::MAX;
    }
    let mut table = vec![vec![0; right.len() + 1]; left.len() + 1];
    for i in 0..=left.len() {
        for j in 0..=right.len() {
            if i == 0 || j == 0 {
                table[i][j] = i + j;
                continue;
            }
            let replaced = table[i - 1][j - 1] + usize::from(left[i - 1] != right[j - 1]);
            let mut least = replaced.min(table[i - 1][j] + 1).min(table[i][j - 1] + 1);
            if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                least = least.min(table[i - 2][j - 2] + 1);
            }
            table[i][j] = least;
        }
    }
    table[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_options() {
        for (word, options, wanted) in [
            ("RNU", &["ENV", "RUN"][..], Some("RUN")),
            ("chonw", &["chown", "chmod"], Some("chown")),
            ("bulid", &["build", "test"], Some("build")),
            ("tmp", &["bind", "tmpfs"], Some("tmpfs")),
            ("RUN", &["RUN", "RUM"], None),
            ("zzzz", &["RUN"], None),
            ("", &["ab", "abc"], Some("ab")),
        ] {
            assert_eq!(closest(word, options.iter().copied()).as_deref(), wanted, "{word}");
        }
    }
}
