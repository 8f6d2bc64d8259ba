//! The patterns of `${v#p}`, `${v%p}` and `${v/p/r}`: `*`, `?` and characters, no classes.
//!
//! Matching keeps the set of all places that it may have come to, so its time is the product of the lengths. A pattern
//! with a star has one match per line at most, so that finding all matches takes no longer. What takes their place costs by
//! itself: see [`Template`].

use super::template::Template;
use super::without_mark;
use crate::error::Fault;

/// A pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Token>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Char(char),
    /// Any character but a newline.
    One,
    /// Any number of them.
    Star,
}

impl Pattern {
    /// Reads a pattern, escapes still in it.
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        Self::read(text).ok_or_else(|| bad_escape(text))
    }

    /// Reads a pattern for [`Pattern::without_suffix`]. As BuildKit turns the text round and not what it means, a
    /// backslash at its end belongs to the character before it.
    pub(super) fn parse_reversed(text: &str) -> Result<Self, Fault> {
        let mut units: Vec<String> = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(char) = chars.next() {
            let escaped = if char == '\\' { chars.next() } else { None };
            units.push(std::iter::once(char).chain(escaped).collect());
        }
        units.reverse();
        Self::read(&units.concat()).ok_or_else(|| bad_escape(text))
    }

    fn read(text: &str) -> Option<Self> {
        let mut chars = without_mark(text).chars().peekable();
        let mut tokens = Vec::new();
        while let Some(char) = chars.next() {
            tokens.push(match char {
                '*' => Token::Star,
                '?' => Token::One,
                '\\' => match chars.next() {
                    // `}` and `/` had to be escaped for the substitution's sake.
                    Some(char @ ('}' | '/' | '*' | '?' | '\\')) => Token::Char(char),
                    _ => return None,
                },
                char => Token::Char(char),
            });
        }
        Some(Self(tokens))
    }

    /// How many steps matching a value takes at most.
    pub(super) fn work(&self, value: &str) -> usize {
        value.len().saturating_mul(self.0.len() + 1)
    }

    /// The value without its shortest or longest beginning that matches.
    pub(super) fn without_prefix(&self, value: &str, extent: Extent) -> String {
        let length = Matcher::new(&self.0).anchored(value.chars(), extent).unwrap_or(0);
        value.chars().skip(length).collect()
    }

    /// The value without its shortest or longest end that matches the pattern, which was read from its end.
    pub(super) fn without_suffix(&self, value: &str, extent: Extent) -> String {
        let length = Matcher::new(&self.0).anchored(value.chars().rev(), extent).unwrap_or(0);
        let kept = value.chars().count() - length;
        value.chars().take(kept).collect()
    }

    /// The value with its first match, the longest one there, replaced as it stands.
    pub(super) fn replace_first(&self, value: &str, replacement: &str) -> String {
        let chars: Vec<char> = value.chars().collect();
        let Some(start) = self.starts(&chars).iter().position(|is_start| *is_start) else {
            return value.to_owned();
        };
        let end = start + self.longest(&chars[start..]);
        let text = |chars: &[char]| chars.iter().collect::<String>();
        format!("{}{replacement}{}", text(&chars[..start]), text(&chars[end..]))
    }

    /// The value with all matches replaced; none if it becomes longer than `limit` bytes.
    pub(super) fn replace_all(&self, value: &str, template: &Template, limit: usize) -> Option<String> {
        let chars: Vec<char> = value.chars().collect();
        let starts = self.starts(&chars);
        let mut result = String::new();
        let mut at = 0;
        let mut last_end = None;
        while at <= chars.len() {
            let length = if starts[at] { Some(self.longest(&chars[at..])) } else { None };
            match length {
                // An empty match right behind another one does not count.
                Some(length) if length > 0 || last_end != Some(at) => {
                    let found: String = chars[at..at + length].iter().collect();
                    template.expand(&found, &mut result, limit)?;
                    at += length;
                    last_end = Some(at);
                    if length > 0 {
                        continue;
                    }
                }
                _ => {}
            }
            result.extend(chars.get(at));
            at += 1;
        }
        (result.len() <= limit).then_some(result)
    }

    /// Where matches start: the ends of backward matches.
    fn starts(&self, chars: &[char]) -> Vec<bool> {
        let tokens: Vec<Token> = self.0.iter().rev().copied().collect();
        let mut matcher = Matcher::new(&tokens);
        let mut starts = vec![false; chars.len() + 1];
        starts[chars.len()] = matcher.accepts();
        for (at, char) in chars.iter().enumerate().rev() {
            matcher.step(*char);
            matcher.enter(0);
            starts[at] = matcher.accepts();
        }
        starts
    }

    fn longest(&self, chars: &[char]) -> usize {
        Matcher::new(&self.0).anchored(chars.iter().copied(), Extent::Longest).unwrap_or(0)
    }
}

fn bad_escape(text: &str) -> Fault {
    Fault::syntax(format!("the pattern `{text}` has a backslash before a character that needs none"))
}

/// Which of several matches is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// `#` and `%`
    Shortest,
    /// `##` and `%%`
    Longest,
}

/// All places of a pattern that matching may have come to.
struct Matcher<'a> {
    tokens: &'a [Token],
    places: Vec<bool>,
    /// The places of the step before.
    before: Vec<bool>,
}

impl<'a> Matcher<'a> {
    fn new(tokens: &'a [Token]) -> Self {
        let none = vec![false; tokens.len() + 1];
        let mut matcher = Self { tokens, places: none.clone(), before: none };
        matcher.enter(0);
        matcher
    }

    /// Notes a place, and those behind stars, which may match nothing.
    fn enter(&mut self, place: usize) {
        let mut place = place;
        self.places[place] = true;
        while self.tokens.get(place) == Some(&Token::Star) {
            place += 1;
            self.places[place] = true;
        }
    }

    fn step(&mut self, char: char) {
        std::mem::swap(&mut self.places, &mut self.before);
        self.places.fill(false);
        for place in 0..self.tokens.len() {
            if !self.before[place] {
                continue;
            }
            match &self.tokens[place] {
                Token::Star if char != '\n' => self.enter(place),
                Token::One if char != '\n' => self.enter(place + 1),
                Token::Char(wanted) if *wanted == char => self.enter(place + 1),
                _ => {}
            }
        }
    }

    fn accepts(&self) -> bool {
        self.places[self.tokens.len()]
    }

    /// The number of characters that match, from the first one on; none if none do.
    fn anchored(mut self, chars: impl Iterator<Item = char>, extent: Extent) -> Option<usize> {
        let mut found = self.accepts().then_some(0);
        for (char, length) in chars.zip(1..) {
            let decided = found.is_some() && extent == Extent::Shortest;
            if decided || !self.places.contains(&true) {
                break;
            }
            self.step(char);
            if self.accepts() {
                found = Some(length);
            }
        }
        found
    }
}
