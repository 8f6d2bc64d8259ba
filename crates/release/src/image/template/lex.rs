//! Splits a template into text and actions, and actions into words. `{{-` and `-}}` take the white space beside them.

use serde_json::Value;

use super::TemplateError;

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Action(Vec<Word>),
}

/// A word of an action.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Word {
    /// `.a.b`, without the first dot; empty for `.`.
    Fields(Vec<String>),
    /// `$name.a.b`.
    Variable(String, Vec<String>),
    Name(String),
    Literal(Value),
    /// One of `|`, `(`, `,`, `:=`, `=`.
    Sign(&'static str),
    /// A closing parenthesis, with the fields that follow it.
    Close(Vec<String>),
}

/// Splits a template.
pub(super) fn split(template: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest = template;
    let mut trims = false;
    while let Some((text, after)) = rest.split_once("{{") {
        let (end_trimmed, after) = match after.strip_prefix('-') {
            Some(inner) if inner.starts_with(char::is_whitespace) => (true, inner),
            _ => (false, after),
        };
        push_text(&mut pieces, text, (trims, end_trimmed));
        let (action, next, trims_next) = action(after)?;
        if !action.is_empty() {
            pieces.push(Piece::Action(action));
        }
        (rest, trims) = (next, trims_next);
    }
    push_text(&mut pieces, rest, (trims, false));
    Ok(pieces)
}

fn push_text(pieces: &mut Vec<Piece>, text: &str, (start, end): (bool, bool)) {
    let text = if start { text.trim_start() } else { text };
    let text = if end { text.trim_end() } else { text };
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

/// The words of an action, what comes after it, and whether that loses its white space. A comment has no words.
fn action(text: &str) -> Result<(Vec<Word>, &str, bool), TemplateError> {
    let unclosed = || TemplateError("unclosed action".to_owned());
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    if let Some(comment) = rest.strip_prefix("/*") {
        rest = comment.split_once("*/").ok_or_else(unclosed)?.1.trim_start();
    }
    loop {
        let spaced = rest.starts_with(char::is_whitespace);
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix("}}") {
            return Ok((words, after, false));
        }
        if let Some(after) = rest.strip_prefix("-}}").filter(|_| spaced || words.is_empty()) {
            return Ok((words, after, true));
        }
        if rest.is_empty() {
            return Err(unclosed());
        }
        let (word, after) = word(rest)?;
        words.push(word);
        rest = after;
    }
}

fn word(text: &str) -> Result<(Word, &str), TemplateError> {
    for sign in [":=", "=", "|", "(", ","] {
        if let Some(rest) = text.strip_prefix(sign) {
            return Ok((Word::Sign(sign), rest));
        }
    }
    let first = text.chars().next().unwrap_or_default();
    match first {
        ')' => {
            let (fields, rest) = fields(&text[1..]);
            Ok((Word::Close(fields), rest))
        }
        '"' | '`' | '\'' => literal(text, first),
        '.' if !text[1..].starts_with(|c: char| c.is_ascii_digit()) => {
            let (found, rest) = fields(text);
            match found.is_empty() {
                true => Ok((Word::Fields(Vec::new()), &text[1..])),
                false => Ok((Word::Fields(found), rest)),
            }
        }
        '$' => {
            let (name, rest) = identifier(&text[1..]);
            let (found, rest) = fields(rest);
            Ok((Word::Variable(name.to_owned(), found), rest))
        }
        c if c.is_ascii_digit() || matches!(c, '-' | '+' | '.') => number(text),
        c if c.is_alphabetic() || c == '_' => {
            let (name, rest) = identifier(text);
            Ok((
                match name {
                    "true" => Word::Literal(Value::Bool(true)),
                    "false" => Word::Literal(Value::Bool(false)),
                    "nil" => Word::Literal(Value::Null),
                    name => Word::Name(name.to_owned()),
                },
                rest,
            ))
        }
        c => Err(TemplateError(format!("unexpected `{c}` in an action"))),
    }
}

/// `.a.b` at the beginning of a text.
fn fields(mut text: &str) -> (Vec<String>, &str) {
    let mut found = Vec::new();
    while let Some(after) = text.strip_prefix('.') {
        let (name, rest) = identifier(after);
        if name.is_empty() {
            break;
        }
        found.push(name.to_owned());
        text = rest;
    }
    (found, text)
}

fn identifier(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    text.split_at(end)
}

fn number(text: &str) -> Result<(Word, &str), TemplateError> {
    let end = text
        .find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '-' | '+' | '_'))
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let value = digits
        .trim_start_matches('+')
        .parse::<i64>()
        .map(Value::from)
        .ok()
        .or_else(|| digits.parse::<f64>().ok().and_then(serde_json::Number::from_f64).map(Value::Number));
    let value = value.ok_or_else(|| TemplateError(format!("`{digits}` is not a number")))?;
    Ok((Word::Literal(value), rest))
}

/// A quoted text: `"…"` with escapes, `` `…` `` without, `'c'` as the character's number.
fn literal(text: &str, quote: char) -> Result<(Word, &str), TemplateError> {
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => {
                let rest = &text[at + c.len_utf8()..];
                let literal = match (quote, value.chars().next()) {
                    ('\'', Some(c)) => Value::from(u32::from(c)),
                    _ => Value::String(value),
                };
                return Ok((Word::Literal(literal), rest));
            }
            '\\' if quote != '`' => value.push(match chars.next() {
                Some((_, 'n')) => '\n',
                Some((_, 't')) => '\t',
                Some((_, 'r')) => '\r',
                Some((_, c)) => c,
                None => break,
            }),
            c => value.push(c),
        }
    }
    Err(TemplateError("unterminated quoted string".to_owned()))
}
