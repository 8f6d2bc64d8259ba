//! Splitting an instruction into words: its name, its flags, quoted words, `name=value` pairs.
//!
//! Quotes and escapes are honoured while splitting and, but for flags, kept: expansion takes them off later.

use std::borrow::Cow;

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
///
/// BuildKit takes each byte of a flag for a character: `é` becomes `Ã©`, and `à`, which has the byte of a no-break
/// space in it, ends the word. Flags are part of graphs and images, so they have to be read in the same way here.
fn split_flags(text: &str, escape: char) -> (Vec<String>, Cow<'_, str>) {
    let mut flags = Vec::new();
    let mut rest = after_blanks(text.as_bytes());
    while rest.starts_with(b"--") {
        let (word, after) = split_flag(rest, escape);
        rest = after_blanks(after);
        if word == "--" {
            break;
        }
        flags.push(word);
    }
    (flags, String::from_utf8_lossy(rest))
}

fn split_flag(text: &[u8], escape: char) -> (String, &[u8]) {
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.iter().map(|byte| char::from(*byte)).enumerate();
    while let Some((at, char)) = chars.next() {
        match (char, quote) {
            (char, None) if char.is_whitespace() => return (word, &text[at..]),
            ('\'' | '"', None) => quote = Some(char),
            (char, Some(open)) if char == open => quote = None,
            (char, _) if char == escape => word.extend(chars.next().map(|(_, char)| char)),
            (char, _) => word.push(char),
        }
    }
    (word, &[])
}

/// The kind of a HEALTHCHECK and its command. Here, too, bytes are characters.
pub(crate) fn split_kind(text: &str) -> (String, String) {
    let bytes = text.as_bytes();
    let end = bytes.iter().position(|byte| char::from(*byte).is_whitespace()).unwrap_or(bytes.len());
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (text(&bytes[..end]), text(after_blanks(&bytes[end..])))
}

fn after_blanks(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| !char::from(*byte).is_whitespace());
    &text[start.unwrap_or(text.len())..]
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
