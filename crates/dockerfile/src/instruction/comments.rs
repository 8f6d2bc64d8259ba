//! The comments above an instruction: what they describe, and which checks they leave out.
//!
//! A file may have thousands of comments above an instruction with thousands of names, so none of this is looked for
//! comment by comment.

use crate::lint::Settings;
use crate::parser::directive;

/// The comments above an instruction.
#[derive(Debug, Clone, Default)]
pub(crate) struct Comments {
    list: Vec<String>,
    /// The places in the list, in the order of the first words.
    by_word: Vec<usize>,
    check: Option<Settings>,
}

impl Comments {
    pub(super) fn new(list: &[String]) -> Self {
        let check = list.iter().find_map(|comment| directive::in_comment("check", comment));
        let mut by_word: Vec<usize> = (0..list.len()).collect();
        by_word.sort_by_key(|place| first_word(&list[*place]));
        Self { list: list.to_vec(), by_word, check: check.and_then(|text| Settings::parse(text).ok()) }
    }

    /// What a `check` comment says about the checks of the instruction.
    pub(crate) fn check(&self) -> Option<&Settings> {
        self.check.as_ref()
    }

    /// The first word of the last comment.
    pub(super) fn last_word(&self) -> Option<&str> {
        self.list.last().map(|comment| first_word(comment))
    }

    /// What they say about a stage or an argument: `# name description`. The first one counts.
    pub(super) fn description(&self, name: &str) -> Option<&str> {
        let word = first_word(name);
        let first = self.by_word.partition_point(|place| first_word(&self.list[*place]) < word);
        let comments = self.by_word[first..].iter().map(|place| self.list[*place].as_str());
        let mut same_word = comments.take_while(|comment| first_word(comment) == word);
        let found = same_word.find_map(|comment| comment.strip_prefix(name)?.strip_prefix(' '));
        found.filter(|_| !name.is_empty())
    }
}

/// A comment is trimmed: what stands before its first blank is a word.
fn first_word(text: &str) -> &str {
    text.split(' ').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_description_counts() {
        let comments = Comments::new(
            &["b of b", "a", "a  two", "b other", "ab no", "a b both", "a three", "check=skip=all"]
                .map(str::to_owned),
        );
        for (name, description) in [
            ("a", Some(" two")),
            ("b", Some("of b")),
            ("a b", Some("both")),
            ("ab", Some("no")),
            ("", None),
            ("of", None),
            ("z", None),
            ("check=skip=all", None),
        ] {
            assert_eq!(comments.description(name), description, "{name}");
        }
        assert_eq!(comments.last_word(), Some("check=skip=all"));
        assert!(comments.check().is_some() && Comments::default().check().is_none());
    }
}
