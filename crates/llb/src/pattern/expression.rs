//! Patterns of ignore files that are more than plain wildcards: classes, and whatever is behind a backslash.
//!
//! `moby/patternmatcher` turns a pattern into a regular expression of Go, and leaves more in it than its documentation
//! tells: `\d` is a digit, `\b` an edge of a word, `[0-9]{3}` three digits, `a*|b` two patterns, `[*]` not what it looks
//! like. What a file excludes is part of the result, so the same expression is written here, and rewritten for the
//! `regex` crate, which has another syntax and like Go's a running time that no pattern can blow up.

use std::iter::Peekable;
use std::str::Chars;

use regex::Error;
use regex::bytes::{Regex, RegexBuilder};

use super::room::Room;

/// Classes with names, inside of brackets. The two syntaxes agree on what is in them.
const NAMED: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];
/// Go's bound for the numbers of a repetition.
const MAX_REPEAT: u32 = 1000;
/// What one compiled pattern may take in memory. A pattern of a file takes some kilobytes.
const MAX_SIZE: usize = 4 << 20;
/// The size that is tried first, and doubled until the pattern fits. Most patterns are smaller.
const FIRST_SIZE: usize = 4 << 10;
/// How many bytes a pattern may have. No path is longer, and some need a thousand times as much while they are read.
const MAX_LENGTH: usize = 4096;
/// What a byte of a pattern counts for, as what takes long to read may be compiled to nothing.
const READING: usize = 64;

const BAD_CLASS: &str = "it has a class that cannot be";
const BAD_ESCAPE: &str = "it has a backslash before a letter or digit that means nothing there";
const BAD_REPEAT: &str = "it repeats something that cannot be repeated so";

const TOO_LARGE: &str = "it is too large for an expression";

/// Compiles a pattern, or says what is wrong with it.
pub(super) fn compile(pattern: &str, room: &mut Room) -> Result<Regex, &'static str> {
    if pattern.len() > MAX_LENGTH {
        return Err(TOO_LARGE);
    }
    room.take(pattern.len() * READING)?;
    let written = written(pattern);
    let rewritten = Rewriter { rest: &written, out: String::new(), last: Last::Nothing }.run()?;
    // How large an expression is nobody tells, only whether it is larger than a limit.
    let mut size = FIRST_SIZE;
    loop {
        room.take(size)?;
        match RegexBuilder::new(&rewritten).size_limit(size).build() {
            Ok(expression) => return Ok(expression),
            Err(Error::CompiledTooBig(_)) if size < MAX_SIZE => size *= 2,
            Err(Error::CompiledTooBig(_)) => return Err(TOO_LARGE),
            Err(_) => return Err("it means nothing"),
        }
    }
}

/// The expression that `moby/patternmatcher` makes.
fn written(pattern: &str) -> String {
    let mut text = "^".to_owned();
    let mut chars = pattern.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '*' if chars.next_if_eq(&'*').is_some() => {
                chars.next_if_eq(&'/');
                text.push_str(if chars.peek().is_none() { REST } else { DIRECTORIES });
            }
            '*' => text.push_str("[^/]*"),
            '?' => text.push_str("[^/]"),
            '.' | '+' | '(' | ')' | '$' => text.extend(['\\', char]),
            '\\' => text.extend(std::iter::once('\\').chain(chars.next())),
            char => text.push(char),
        }
    }
    text.push('$');
    text
}

/// What `**` at the end becomes.
const REST: &str = ".*";
/// What `**` becomes elsewhere.
const DIRECTORIES: &str = "(.*/)?";

/// A walk over an expression in Go's syntax that writes it in ours.
struct Rewriter<'a> {
    rest: &'a str,
    out: String,
    last: Last,
}

/// What stands before, as far as a repetition asks for it.
#[derive(PartialEq, Eq)]
enum Last {
    Nothing,
    Atom,
    Repetition,
}

impl Rewriter<'_> {
    fn run(mut self) -> Result<String, &'static str> {
        while let Some(char) = self.rest.chars().next() {
            if let Some(rest) = self.rest.strip_prefix(DIRECTORIES).or_else(|| self.rest.strip_prefix(REST)) {
                self.out.push_str(&self.rest[..self.rest.len() - rest.len()]);
                self.rest = rest;
                self.last = Last::Repetition;
                continue;
            }
            self.rest = &self.rest[char.len_utf8()..];
            match char {
                '[' => self.class()?,
                '\\' => self.escape()?,
                '{' => match bounds(self.rest) {
                    Some((bounds, rest)) => {
                        self.rest = rest;
                        self.repeat(&bounds?)?;
                    }
                    None => self.literal('{'),
                },
                '*' => self.repeat("*")?,
                '|' => {
                    self.out.push('|');
                    self.last = Last::Nothing;
                }
                '^' | '$' => self.atom(char.encode_utf8(&mut [0; 4])),
                char => self.literal(char),
            }
        }
        Ok(self.out)
    }

    fn go_on_with(&mut self, mut chars: Peekable<Chars<'_>>) {
        let peeked = chars.peek().map_or(0, |char| char.len_utf8());
        chars.next();
        let left = peeked + chars.map(char::len_utf8).sum::<usize>();
        self.rest = &self.rest[self.rest.len() - left..];
    }

    fn atom(&mut self, text: &str) {
        self.out.push_str(text);
        self.last = Last::Atom;
    }

    fn literal(&mut self, char: char) {
        self.atom(&escaped(char));
    }

    fn repeat(&mut self, operator: &str) -> Result<(), &'static str> {
        if self.last != Last::Atom {
            return Err(BAD_REPEAT);
        }
        self.out.push_str(operator);
        self.last = Last::Repetition;
        Ok(())
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Result<(), &'static str> {
        if let Some(quoted) = self.rest.strip_prefix('Q') {
            let (quoted, rest) = quoted.split_once("\\E").unwrap_or((quoted, ""));
            self.rest = rest;
            quoted.chars().for_each(|char| self.literal(char));
            return Ok(());
        }
        const ASSERTIONS: [(char, &str); 4] =
            [('A', r"\A"), ('z', r"\z"), ('b', r"(?-u:\b)"), ('B', r"(?-u:\B)")];
        if let Some((name, text)) = ASSERTIONS.iter().find(|(name, _)| self.rest.starts_with(*name)) {
            self.rest = &self.rest[name.len_utf8()..];
            self.atom(text);
            return Ok(());
        }
        let mut chars = self.rest.chars().peekable();
        let text = match set(&mut chars)? {
            Some(set) => set,
            None => escaped(char(&mut chars)?),
        };
        self.go_on_with(chars);
        self.atom(&text);
        Ok(())
    }

    /// A class, from after its bracket.
    fn class(&mut self) -> Result<(), &'static str> {
        const OPEN: &str = "its `[` is not closed";
        let mut text = "[".to_owned();
        if let Some(rest) = self.rest.strip_prefix('^') {
            text.push('^');
            self.rest = rest;
        }
        let mut first = true;
        while first || !self.rest.starts_with(']') {
            first = false;
            if let Some((name, rest)) = self.rest.strip_prefix("[:").and_then(|rest| rest.split_once(":]")) {
                if !NAMED.contains(&name.strip_prefix('^').unwrap_or(name)) {
                    return Err(BAD_CLASS);
                }
                text.push_str(&format!("[:{name}:]"));
                self.rest = rest;
                continue;
            }
            let mut chars = self.rest.chars().peekable();
            let low = match chars.next().ok_or(OPEN)? {
                '\\' => match set(&mut chars)? {
                    Some(set) => {
                        text.push_str(&set);
                        None
                    }
                    None => Some(char(&mut chars)?),
                },
                low => Some(low),
            };
            if let Some(low) = low {
                let mut high = low;
                let mut ahead = chars.clone();
                if ahead.next() == Some('-') && ahead.peek().is_some_and(|next| *next != ']') {
                    chars = ahead;
                    high = match chars.next().ok_or(OPEN)? {
                        '\\' => char(&mut chars)?,
                        high => high,
                    };
                }
                if high < low {
                    return Err(BAD_CLASS);
                }
                text.push_str(&format!("{}-{}", escaped(low), escaped(high)));
            }
            self.go_on_with(chars);
        }
        self.rest = &self.rest[1..];
        text.push(']');
        self.atom(&text);
        Ok(())
    }
}

/// A character as itself.
fn escaped(char: char) -> String {
    format!("\\u{{{:x}}}", u32::from(char))
}

/// The set of characters whose name follows a backslash, if one does.
fn set(chars: &mut Peekable<Chars<'_>>) -> Result<Option<String>, &'static str> {
    let text = match chars.peek() {
        Some('d') => "[0-9]".to_owned(),
        Some('D') => "[^0-9]".to_owned(),
        Some('s') => r"[\t\n\x0c\r ]".to_owned(),
        Some('S') => r"[^\t\n\x0c\r ]".to_owned(),
        Some('w') => "[0-9A-Za-z_]".to_owned(),
        Some('W') => "[^0-9A-Za-z_]".to_owned(),
        Some(sign @ ('p' | 'P')) => {
            let sign = *sign;
            chars.next();
            return property(sign, chars).map(Some);
        }
        _ => return Ok(None),
    };
    chars.next();
    Ok(Some(text))
}

/// A set of Unicode's: `\pL`, `\p{Greek}`, `\P{^Greek}`.
fn property(sign: char, chars: &mut Peekable<Chars<'_>>) -> Result<String, &'static str> {
    let name = match chars.next().ok_or(BAD_ESCAPE)? {
        '{' => chars.by_ref().take_while(|char| *char != '}').collect(),
        name => name.to_string(),
    };
    let (negated, name) = match name.strip_prefix('^') {
        Some(name) => (sign == 'p', name),
        None => (sign == 'P', name.as_str()),
    };
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Err(BAD_ESCAPE);
    }
    Ok(format!("\\{}{{{name}}}", if negated { 'P' } else { 'p' }))
}

/// The one character that is meant by what follows a backslash.
fn char(chars: &mut Peekable<Chars<'_>>) -> Result<char, &'static str> {
    let octal = |char: &char| char.is_digit(8);
    match chars.next().ok_or("it ends with a backslash")? {
        'a' => Ok('\u{7}'),
        'f' => Ok('\u{c}'),
        'n' => Ok('\n'),
        'r' => Ok('\r'),
        't' => Ok('\t'),
        'v' => Ok('\u{b}'),
        'x' => {
            let digits: String = match chars.next_if_eq(&'{') {
                Some(_) => chars.by_ref().take_while(|char| *char != '}').collect(),
                None => chars.by_ref().take(2).collect(),
            };
            number(&digits, 16)
        }
        first @ '0'..='7' => {
            let mut digits = first.to_string();
            while digits.len() < 3
                && let Some(digit) = chars.next_if(octal)
            {
                digits.push(digit);
            }
            // A single digit would be a reference to a group.
            if first != '0' && digits.len() == 1 { Err(BAD_ESCAPE) } else { number(&digits, 8) }
        }
        char if char.is_ascii() && !char.is_ascii_alphanumeric() => Ok(char),
        _ => Err(BAD_ESCAPE),
    }
}

fn number(digits: &str, radix: u32) -> Result<char, &'static str> {
    let plain = digits.chars().all(|digit| digit.is_digit(radix));
    let number = plain.then(|| u32::from_str_radix(digits, radix).ok()).flatten();
    number.and_then(char::from_u32).ok_or(BAD_ESCAPE)
}

/// The bounds of a repetition, from after its brace, and what follows; none if the brace is only a brace.
fn bounds(text: &str) -> Option<(Result<String, &'static str>, &str)> {
    let (bounds, rest) = text.split_once('}')?;
    let digits = |text: &str| {
        let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        plain && (text.len() == 1 || !text.starts_with('0'))
    };
    let (least, most) = bounds.split_once(',').unwrap_or((bounds, bounds));
    if !digits(least) || !(digits(most) || (most.is_empty() && bounds.contains(','))) {
        return None;
    }
    let value = |text: &str| text.parse::<u32>().unwrap_or(u32::MAX);
    let fits = value(least) <= MAX_REPEAT
        && (most.is_empty() || (value(most) <= MAX_REPEAT && value(least) <= value(most)));
    Some((if fits { Ok(format!("{{{bounds}}}")) } else { Err(BAD_REPEAT) }, rest))
}
