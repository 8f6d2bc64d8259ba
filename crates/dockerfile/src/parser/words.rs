//! Splitting an instruction into words: its name, its flags, quoted words, `name=value` pairs.
//!
//! Quotes and escapes are honoured while splitting and, but for flags, kept: expansion takes them off later.

use crate::error::Fault;

/// A pair of ENV or LABEL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyValue {
    /// The name, quotes and variables in it.
    pub(crate) key: String,
    /// The value, likewise.
    pub(crate) value: String,
}

/// What separates words: every ASCII blank but a newline, which only a heredoc can bring in.
const BLANKS: [char; 5] = ['\t', '\u{b}', '\u{c}', '\r', ' '];

/// The name, the flags and the rest of an instruction.
pub(super) fn split_instruction(line: &str, escape: char) -> (String, Vec<String>, String) {
    let line = line.trim();
    let Some((keyword, rest)) = line.split_once(BLANKS) else {
        return (line.to_owned(), Vec::new(), String::new());
    };
    let (flags, rest) = split_flags(rest.trim_start_matches(BLANKS), escape);
    (keyword.to_owned(), flags, rest.trim().to_owned())
}

/// The leading words that start with `--`, quotes and escapes taken off, up to a lone `--`; and what follows.
fn split_flags(text: &str, escape: char) -> (Vec<String>, &str) {
    let mut flags = Vec::new();
    let mut rest = text.trim_start();
    while rest.starts_with("--") {
        let (word, after) = split_flag(rest, escape);
        rest = after.trim_start();
        if word == "--" {
            break;
        }
        flags.push(word);
    }
    (flags, rest)
}

fn split_flag(text: &str, escape: char) -> (String, &str) {
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match (char, quote) {
            (char, None) if char.is_whitespace() => return (word, &text[at..]),
            ('\'' | '"', None) => quote = Some(char),
            (char, Some(open)) if char == open => quote = None,
            (char, _) if char == escape => word.extend(chars.next().map(|(_, char)| char)),
            (char, _) => word.push(char),
        }
    }
    (word, "")
}

/// Splits at blanks.
pub(crate) fn blank_separated(text: &str) -> Vec<String> {
    text.split(BLANKS).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Splits at blanks that are neither quoted nor escaped. Quotes and escapes stay.
pub(crate) fn quoted_words(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        if quote.is_none() && char.is_whitespace() {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            continue;
        }
        match quote {
            None if matches!(char, '\'' | '"') => quote = Some(char),
            Some(open) if char == open => quote = None,
            _ => {}
        }
        // Nothing can be escaped inside single quotes.
        if char == escape && quote != Some('\'') {
            // An escape at the very end escapes nothing.
            let Some(escaped) = chars.next() else { break };
            word.extend([char, escaped]);
            continue;
        }
        word.push(char);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// `a=1 b="2 3"`, or the old form of one pair, `name rest of the line`. The flag says whether it was the old form.
pub(crate) fn key_values(text: &str, keyword: &str, escape: char) -> Result<(Vec<KeyValue>, bool), Fault> {
    let words = quoted_words(text, escape);
    let Some(first) = words.first() else { return Ok((Vec::new(), false)) };
    if !first.contains('=') {
        let (key, value) = text.split_once(BLANKS).ok_or_else(|| {
            Fault::syntax(format!("{keyword} needs a name and a value"))
                .hint(format!("write {keyword} {first}=value"))
        })?;
        let value = value.trim_start_matches(BLANKS).to_owned();
        return Ok((vec![KeyValue { key: key.to_owned(), value }], true));
    }
    let pair = |word: &String| match word.split_once('=') {
        Some((key, value)) => Ok(KeyValue { key: key.to_owned(), value: value.to_owned() }),
        None => Err(Fault::syntax(format!("`{word}` has no `=`"))
            .hint("put a value with blanks in it into double quotes: name=\"a value\"")),
    };
    words.iter().map(pair).collect::<Result<_, _>>().map(|pairs| (pairs, false))
}
