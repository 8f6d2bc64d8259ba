//! Did-you-mean: the option that a mistyped word is nearest to.

/// How many pairs of names are compared for the suggestions of one kind of warning. Whoever mistypes that many variables
/// learns nothing from further ones.
pub(crate) const MAX_COMPARISONS: usize = 20_000;
/// How many letters may be wrong. With more, a suggestion is a guess.
const MAX_DISTANCE: usize = 2;
/// Words longer than this are no slips of the finger, and the table of distances grows with their square.
const MAX_WORD: usize = 128;

/// The option that is nearest to the word, if one is near, the first of equally near ones: as BuildKit chooses among
/// variables, whose order it knows. None if the word itself is an option.
pub(crate) fn first_closest<'a>(word: &str, options: impl IntoIterator<Item = &'a str>) -> Option<String> {
    best(word, options, |_| ())
}

/// The option that is nearest to the word, if one is near; none if the word itself is an option.
pub(crate) fn closest<'a>(word: &str, options: impl IntoIterator<Item = &'a str>) -> Option<String> {
    // Of equally near ones, the one with the same letters was meant.
    best(word, options, |option| letters(word) != letters(option))
}

/// The option with the least distance, and of those the one with the least rank.
fn best<'a, R: PartialOrd>(
    word: &str,
    options: impl IntoIterator<Item = &'a str>,
    rank: impl Fn(&str) -> R,
) -> Option<String> {
    let mut best = None;
    for option in options {
        if option == word {
            return None;
        }
        let distance = distance(word, option);
        if distance > MAX_DISTANCE {
            continue;
        }
        let rank = (distance, rank(option));
        if best.as_ref().is_none_or(|(least, _)| rank < *least) {
            best = Some((rank, option));
        }
    }
    best.map(|(_, option)| option.to_owned()).filter(|option| !option.is_empty())
}

/// Levenshtein's distance, or more than [`MAX_DISTANCE`] if it is more than that.
fn distance(left: &str, right: &str) -> usize {
    const FAR: usize = MAX_DISTANCE + 1;
    // A character is one to four bytes, so bytes alone tell most pairs apart.
    if left.len() > MAX_WORD || right.len() > MAX_WORD || left.len().abs_diff(right.len()) > 4 * MAX_DISTANCE
    {
        return FAR;
    }
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, char) in left.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, other) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(char != *other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
        if row.iter().all(|distance| *distance > MAX_DISTANCE) {
            return FAR;
        }
    }
    row[right.len()]
}

fn letters(word: &str) -> Vec<char> {
    let mut letters: Vec<char> = word.chars().collect();
    letters.sort_unstable();
    letters
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
        assert_eq!(first_closest("RNU", ["ENV", "RUN"]).as_deref(), Some("ENV"));
        assert_eq!(first_closest("A", [""]), None);
    }
}
