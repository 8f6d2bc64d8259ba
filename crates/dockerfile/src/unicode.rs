//! What Go's `unicode` and `strconv` say of characters: Rust's own questions draw other lines.
//!
//! Names of variables are made of letters and digits, and the history quotes what cannot be printed. Rust takes `ⅷ` for
//! alphabetic and `³` for numeric, Go neither for a letter nor for a digit.

use icu_properties::CodePointMapData;
use icu_properties::props::{GeneralCategory, GeneralCategoryGroup as Group};

/// Whether it is a letter.
pub(crate) fn is_letter(char: char) -> bool {
    match char.is_ascii() {
        true => char.is_ascii_alphabetic(),
        false => Group::Letter.contains(category(char)),
    }
}

/// Whether it is a decimal digit of some script.
pub(crate) fn is_digit(char: char) -> bool {
    match char.is_ascii() {
        true => char.is_ascii_digit(),
        false => category(char) == GeneralCategory::DecimalNumber,
    }
}

/// Whether `%q` prints it as it is.
pub(crate) fn is_printable(char: char) -> bool {
    const PRINTED: [Group; 5] =
        [Group::Letter, Group::Mark, Group::Number, Group::Punctuation, Group::Symbol];
    match char.is_ascii() {
        true => !char.is_ascii_control(),
        false => PRINTED.iter().any(|group| group.contains(category(char))),
    }
}

fn category(char: char) -> GeneralCategory {
    CodePointMapData::<GeneralCategory>::new().get(char)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn categories_of_characters() {
        for (char, letter, digit, printable) in [
            ('a', true, false, true),
            ('7', false, true, true),
            (' ', false, false, true),
            ('\u{7f}', false, false, false),
            ('é', true, false, true),
            ('ª', true, false, true),
            ('٣', false, true, true),
            ('²', false, false, true),
            ('ⅷ', false, false, true),
            ('\u{301}', false, false, true),
            ('\u{a0}', false, false, false),
            ('\u{200b}', false, false, false),
            ('\u{feff}', false, false, false),
            ('😀', false, false, true),
            ('\u{e000}', false, false, false),
        ] {
            assert_eq!(
                (is_letter(char), is_digit(char), is_printable(char)),
                (letter, digit, printable),
                "{char:?}"
            );
        }
    }
}
