//! A compiled pattern: a nondeterministic automaton that is run over all its states at once.
//!
//! Running it costs at most the product of the pattern's and the path's lengths, whatever the pattern is. Patterns
//! without wildcards, by far the most, are compared as text.

use std::iter::Peekable;
use std::str::Chars;

use regex::bytes::Regex;

use super::expression;
use super::room::Room;

/// What `**` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flavour {
    /// Any number of directories (ignore files).
    IgnoreFile,
    /// No more than `*` (Go's `path.Match`).
    Go,
}

/// A pattern, ready to run.
#[derive(Debug, Clone)]
pub(super) struct Program {
    /// How most patterns can be answered without running anything.
    shortcut: Shortcut,
    /// The characters that stand before the first wildcard.
    prefix: String,
    tokens: Vec<Token>,
}

#[derive(Debug, Clone)]
enum Shortcut {
    /// The path is the prefix, or it does not match.
    Exact,
    /// `prefix**`: the path starts with the prefix.
    Prefix,
    /// `**suffix`: the path ends with the text; after `**/` it may also be the text without its slash.
    Suffix(String),
    /// No automaton knows, only an expression.
    Expression(Regex),
    /// Only the automaton knows.
    None,
}

/// A state of the automaton, and what leads on to the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// This character.
    Char(char),
    /// Any character but `/`.
    One,
    /// One of a class, or none of it; a class can match a `/`, as it does in Go.
    Class { negated: bool, ranges: Vec<(char, char)> },
    /// Any characters but `/`, or none.
    Star,
    /// Any characters but a newline, or none.
    Rest,
    /// Nothing, or what [`Token::Deep`] takes: the entry to it.
    MaybeDeep,
    /// Any characters but a newline, up to and with a `/`.
    Deep,
}

impl Program {
    /// Compiles a pattern, or says what is wrong with it.
    pub(super) fn compile(pattern: &str, flavour: Flavour, room: &mut Room) -> Result<Self, &'static str> {
        if flavour == Flavour::IgnoreFile && pattern.contains(['\\', '[', ']']) {
            return Self::expression(pattern, room);
        }
        let tokens = tokenise(pattern, flavour)?;
        let mut prefix = String::new();
        for token in &tokens {
            let Token::Char(char) = token else { break };
            prefix.push(*char);
        }
        let literal = prefix.chars().count();
        let shortcut = match &tokens[literal..] {
            [] => Shortcut::Exact,
            [Token::Rest] => Shortcut::Prefix,
            [Token::MaybeDeep, Token::Deep, text @ ..]
                if literal == 0 && text.iter().all(|token| matches!(token, Token::Char(_))) =>
            {
                Shortcut::Suffix(pattern["**".len()..].to_owned())
            }
            // As text these characters mean themselves, beside wildcards they do not.
            _ if flavour == Flavour::IgnoreFile && pattern.contains(['{', '}', '|', '^']) => {
                return Self::expression(pattern, room);
            }
            _ => Shortcut::None,
        };
        Ok(Self { shortcut, prefix, tokens })
    }

    fn expression(pattern: &str, room: &mut Room) -> Result<Self, &'static str> {
        let shortcut = Shortcut::Expression(expression::compile(pattern, room)?);
        Ok(Self { shortcut, prefix: String::new(), tokens: Vec::new() })
    }

    /// Whether the pattern matches the whole path.
    pub(super) fn matches(&self, path: &str) -> bool {
        match &self.shortcut {
            Shortcut::Exact => path == self.prefix,
            Shortcut::Prefix => path.starts_with(&self.prefix),
            Shortcut::Suffix(suffix) => {
                path.ends_with(suffix) || suffix.strip_prefix('/').is_some_and(|name| name == path)
            }
            Shortcut::Expression(expression) => expression.is_match(path.as_bytes()),
            Shortcut::None => path.starts_with(&self.prefix) && self.accepts(&self.run(path, |_| {})),
        }
    }

    /// Whether the pattern matches the path or a directory above it.
    pub(super) fn matches_or_parent(&self, path: &str) -> bool {
        let mut parent_matches = false;
        match &self.shortcut {
            Shortcut::None if !path.starts_with(&self.prefix) => false,
            Shortcut::None => {
                let states = self.run(path, |states| parent_matches |= self.accepts(states));
                parent_matches || self.accepts(&states)
            }
            _ => {
                let mut parents = path.match_indices('/').map(|(slash, _)| &path[..slash]);
                self.matches(path) || parents.any(|parent| self.matches(parent))
            }
        }
    }

    /// Whether the pattern may match something below this directory.
    pub(super) fn may_match_below(&self, directory: &str) -> bool {
        // The suffix form is looser than its automaton: it matches in the middle of a name. An expression cannot be asked.
        matches!(self.shortcut, Shortcut::Suffix(_) | Shortcut::Expression(_))
            || self.run(&format!("{directory}/"), |_| {}).contains(&true)
            || self.matches(directory)
    }

    fn accepts(&self, states: &[bool]) -> bool {
        states[self.tokens.len()]
    }

    /// The states that the automaton may be in after the text; the last one accepts. `before_slash` sees those that
    /// it may be in where a directory's name ends.
    fn run(&self, text: &str, mut before_slash: impl FnMut(&[bool])) -> Vec<bool> {
        let mut states = vec![false; self.tokens.len() + 1];
        let mut next = states.clone();
        states[0] = true;
        self.close(&mut states);
        for char in text.chars() {
            if char == '/' {
                before_slash(&states);
            }
            next.fill(false);
            for (index, token) in self.tokens.iter().enumerate().filter(|(index, _)| states[*index]) {
                let (stays, goes_on) = token.step(char);
                next[index] |= stays;
                next[index + 1] |= goes_on;
            }
            self.close(&mut next);
            std::mem::swap(&mut states, &mut next);
        }
        states
    }

    /// Adds the states that are reached without a character.
    fn close(&self, states: &mut [bool]) {
        for (index, token) in self.tokens.iter().enumerate() {
            if !states[index] {
                continue;
            }
            match token {
                Token::Star | Token::Rest => states[index + 1] = true,
                Token::MaybeDeep => (states[index + 1], states[index + 2]) = (true, true),
                _ => {}
            }
        }
    }
}

impl Token {
    /// Whether the automaton, on this character, stays in the state, and whether it goes on.
    fn step(&self, char: char) -> (bool, bool) {
        match self {
            Self::Char(wanted) => (false, char == *wanted),
            Self::One => (false, char != '/'),
            Self::Class { negated, ranges } => {
                (false, ranges.iter().any(|(low, high)| (*low..=*high).contains(&char)) != *negated)
            }
            Self::Star => (char != '/', false),
            Self::Rest => (char != '\n', false),
            Self::MaybeDeep => (false, false),
            Self::Deep => (char != '\n', char == '/'),
        }
    }
}

/// What `moby/patternmatcher` checks of a pattern before anything else: that Go's `Match` of the path `.` finds no error
/// in it. That looks no further than to the first part, between two stars, that does not match.
pub(super) fn check_beginning(pattern: &str) -> Result<(), &'static str> {
    let mut rest = pattern;
    let mut unmatched = ".".chars();
    loop {
        rest = rest.trim_start_matches('*');
        let (part, behind) = rest.split_at(part_length(rest));
        if part.is_empty() {
            return Ok(());
        }
        let matched = tokenise(part, Flavour::Go)?
            .iter()
            .all(|token| unmatched.next().is_some_and(|char| token.step(char).1));
        if !matched {
            return Ok(());
        }
        rest = behind;
    }
}

/// How far it is to the next star that is in no class.
fn part_length(pattern: &str) -> usize {
    let mut in_class = false;
    let mut chars = pattern.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '\\' => drop(chars.next()),
            '[' => in_class = true,
            ']' => in_class = false,
            '*' if !in_class => return at,
            _ => {}
        }
    }
    pattern.len()
}

fn tokenise(pattern: &str, flavour: Flavour) -> Result<Vec<Token>, &'static str> {
    let mut chars = pattern.chars().peekable();
    let mut tokens = Vec::new();
    while let Some(char) = chars.next() {
        match char {
            '*' if flavour == Flavour::IgnoreFile && chars.next_if_eq(&'*').is_some() => {
                chars.next_if_eq(&'/');
                match chars.peek() {
                    None => tokens.push(Token::Rest),
                    Some(_) => tokens.extend([Token::MaybeDeep, Token::Deep]),
                }
            }
            '*' => tokens.push(Token::Star),
            '?' => tokens.push(Token::One),
            '[' => tokens.push(class(&mut chars)?),
            '\\' => tokens.push(Token::Char(chars.next().ok_or("it ends with a backslash")?)),
            char => tokens.push(Token::Char(char)),
        }
    }
    Ok(tokens)
}

/// A class, from after its `[` to its `]`, which is literal nowhere but behind a backslash.
fn class(chars: &mut Peekable<Chars<'_>>) -> Result<Token, &'static str> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty() && chars.next_if_eq(&']').is_some() {
            return Ok(Token::Class { negated, ranges });
        }
        let low = class_bound(chars)?;
        let high = match chars.next_if_eq(&'-') {
            None => low,
            Some(_) => class_bound(chars)?,
        };
        ranges.push((low, high));
    }
}

fn class_bound(chars: &mut Peekable<Chars<'_>>) -> Result<char, &'static str> {
    const OPEN: &str = "its `[` is not closed";
    match chars.next().ok_or(OPEN)? {
        '\\' => chars.next().ok_or(OPEN),
        '-' | ']' => Err("a `-` or `]` in its class needs a backslash"),
        char => Ok(char),
    }
}
