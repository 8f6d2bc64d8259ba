//! The replacement of `${v//p/r}`.
//!
//! As in BuildKit it is a template of Go's `regexp`: `$0` is the match, `$$` a dollar, any other name nothing. It is read
//! once, since there may be as many matches as the value has characters.

use crate::unicode::{is_digit, is_letter};

/// A template.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    /// Text, never empty, and never two in a row.
    Text(String),
    /// The match.
    Match,
}

impl Template {
    /// Reads a template. Every text is one.
    pub(super) fn parse(text: &str) -> Self {
        let mut template = Self::default();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            template.text(before);
            let (braced, body) = after.strip_prefix('{').map_or((false, after), |body| (true, body));
            let length = body.find(|c: char| !is_letter(c) && !is_digit(c) && c != '_').unwrap_or(body.len());
            let (name, behind) = body.split_at(length);
            let named = match (braced, behind.strip_prefix('}')) {
                _ if name.is_empty() => None,
                (true, closed) => closed,
                (false, _) => Some(behind),
            };
            rest = match (after.strip_prefix('$'), named) {
                (Some(behind), _) => {
                    template.text("$");
                    behind
                }
                (None, Some(behind)) => {
                    template.0.extend((name == "0").then_some(Piece::Match));
                    behind
                }
                (None, None) => {
                    template.text("$");
                    after
                }
            };
        }
        template.text(rest);
        template
    }

    fn text(&mut self, text: &str) {
        match self.0.last_mut() {
            _ if text.is_empty() => {}
            Some(Piece::Text(before)) => before.push_str(text),
            _ => self.0.push(Piece::Text(text.to_owned())),
        }
    }

    /// How many steps expanding it for all matches in a value takes at most.
    pub(super) fn work(&self, value: &str) -> usize {
        self.0.len().saturating_mul(value.len() + 1)
    }

    /// Appends what it makes of a match; none if the result would become longer than `limit` bytes.
    pub(super) fn expand(&self, found: &str, result: &mut String, limit: usize) -> Option<()> {
        for piece in &self.0 {
            let text = match piece {
                Piece::Text(text) => text,
                Piece::Match => found,
            };
            if result.len() + text.len() > limit {
                return None;
            }
            result.push_str(text);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_expand() {
        for (template, pieces, expected) in [
            ("", 0, ""),
            ("a-b", 1, "a-b"),
            ("$0", 1, "M"),
            ("<${0}>", 3, "<M>"),
            ("$bbbb", 0, ""),
            ("a$bb-c", 1, "a-c"),
            ("${1}x", 1, "x"),
            ("$$0", 1, "$0"),
            ("${0", 1, "${0"),
            ("${}", 1, "${}"),
            ("$-$", 1, "$-$"),
            ("$00", 0, ""),
        ] {
            let parsed = Template::parse(template);
            let mut result = String::new();
            assert_eq!(parsed.expand("M", &mut result, 10), Some(()), "{template}");
            assert_eq!((parsed.0.len(), result.as_str()), (pieces, expected), "{template}");
        }
        assert_eq!(Template::parse("$0$0").expand("match", &mut String::new(), 9), None);
    }
}
