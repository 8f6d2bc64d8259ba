//! The patterns of `${v#p}`, `${v%p}` and `${v/p/r}`: `*`, `?` and characters, no classes.
//!
//! Matching keeps the set of all places where a match may have come to, so its time is the product of the lengths.

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
        let mut chars = text.chars().peekable();
        let mut tokens = Vec::new();
        while let Some(char) = chars.next() {
            tokens.push(match char {
                '*' => Token::Star,
                '?' => Token::One,
                '\\' => match chars.next() {
                    // `}` and `/` had to be escaped for the substitution's sake.
                    Some(char @ ('}' | '/' | '*' | '?' | '\\')) => Token::Char(char),
                    _ => {
                        let message = format!(
                            "the pattern `{text}` has a backslash before a character that needs none"
                        );
                        return Err(Fault::syntax(message));
                    }
                },
                char => Token::Char(char),
            });
        }
        Ok(Self(tokens))
    }

    /// The value without its shortest or longest beginning that matches.
    pub(super) fn without_prefix(&self, value: &str, longest: bool) -> String {
        let chars: Vec<char> = value.chars().collect();
        let end = pick(&ends(self.0.iter(), &chars, Starts::First), longest);
        chars[end.unwrap_or(0)..].iter().collect()
    }

    /// The value without its shortest or longest end that matches.
    pub(super) fn without_suffix(&self, value: &str, longest: bool) -> String {
        let chars: Vec<char> = value.chars().rev().collect();
        let end = pick(&ends(self.0.iter().rev(), &chars, Starts::First), longest);
        chars[end.unwrap_or(0)..].iter().rev().collect()
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

    /// The value with all matches replaced. As in BuildKit, the replacement is a template of Go's `regexp`: `$0` is
    /// the match, `$$` a dollar, any other name nothing.
    pub(super) fn replace_all(&self, value: &str, replacement: &str) -> String {
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
                    result.push_str(&expand_template(replacement, &found));
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
        result
    }

    /// Where matches start: the ends of backward matches.
    fn starts(&self, chars: &[char]) -> Vec<bool> {
        let reversed: Vec<char> = chars.iter().rev().copied().collect();
        let mut ends = ends(self.0.iter().rev(), &reversed, Starts::Everywhere);
        ends.reverse();
        ends
    }

    fn longest(&self, chars: &[char]) -> usize {
        pick(&ends(self.0.iter(), chars, Starts::First), true).unwrap_or(0)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Starts {
    First,
    Everywhere,
}

/// After how many characters a match may end.
fn ends<'a>(tokens: impl Iterator<Item = &'a Token>, chars: &[char], starts: Starts) -> Vec<bool> {
    let mut places: Vec<bool> = (0..=chars.len()).map(|at| at == 0 || starts == Starts::Everywhere).collect();
    for token in tokens {
        match token {
            Token::Star => {
                for at in 0..chars.len() {
                    places[at + 1] |= places[at] && chars[at] != '\n';
                }
            }
            token => {
                for at in (0..chars.len()).rev() {
                    let fits = match token {
                        Token::Char(char) => chars[at] == *char,
                        _ => chars[at] != '\n',
                    };
                    places[at + 1] = places[at] && fits;
                }
                places[0] = false;
            }
        }
    }
    places
}

fn pick(ends: &[bool], longest: bool) -> Option<usize> {
    let mut found = ends.iter().enumerate().filter(|(_, end)| **end).map(|(at, _)| at);
    if longest { found.next_back() } else { found.next() }
}

fn expand_template(template: &str, found: &str) -> String {
    let mut result = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        result.push_str(before);
        let (braced, body) = after.strip_prefix('{').map_or((false, after), |body| (true, body));
        let length = body.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(body.len());
        let (name, behind) = body.split_at(length);
        rest = match (braced, behind.strip_prefix('}')) {
            _ if after.starts_with('$') => {
                result.push('$');
                &after[1..]
            }
            (true, Some(behind)) if !name.is_empty() => {
                result.push_str(if name == "0" { found } else { "" });
                behind
            }
            (false, _) if !name.is_empty() => {
                result.push_str(if name == "0" { found } else { "" });
                behind
            }
            _ => {
                result.push('$');
                after
            }
        };
    }
    result + rest
}
