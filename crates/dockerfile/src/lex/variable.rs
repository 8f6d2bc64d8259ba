//! What follows a `$`: names, braces, modifiers.

use std::borrow::Cow;

use super::Scan;
use super::limits::{Excess, MAX_EXPANSION};
use super::pattern::{Extent, Pattern};
use super::template::Template;
use crate::error::Fault;
use crate::unicode::{is_digit, is_letter};

impl<'a> Scan<'a> {
    /// What takes the place of the `$`, which has been read, and of what belongs to it. Whoever asks adds it to a text, and
    /// so it is counted here.
    pub(super) fn dollar(&mut self) -> Result<Cow<'a, str>, Fault> {
        let value = self.substitution()?;
        self.produced = self.lexer.spent.produce(self.produced, value.len())?;
        Ok(value)
    }

    fn substitution(&mut self) -> Result<Cow<'a, str>, Fault> {
        if self.chars.next_if_eq(&'{').is_some() {
            return self.braced();
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".into());
        }
        match self.value(&name) {
            None if self.lexer.keep_unset => Ok(format!("${name}").into()),
            value => Ok(value.unwrap_or_default().into()),
        }
    }

    fn braced(&mut self) -> Result<Cow<'a, str>, Fault> {
        match self.chars.peek() {
            None => return Err(missing_brace()),
            Some('{' | '}' | ':') => {
                return Err(Fault::syntax("bad substitution")
                    .hint("write ${name}, with a name right behind the brace"));
            }
            _ => {}
        }
        let name = self.name();
        match self.chars.next().ok_or_else(missing_brace)? {
            '}' => match self.value(&name) {
                None if self.lexer.keep_unset => Ok(format!("${{{name}}}").into()),
                value => Ok(value.unwrap_or_default().into()),
            },
            ':' => {
                let modifier = self.chars.next().ok_or_else(missing_brace)?;
                match modifier {
                    '#' | '%' => Err(unsupported(&format!(":{modifier}"))),
                    // One that does not exist is found out at the end.
                    modifier => self.conditional(&name, modifier, true),
                }
            }
            modifier @ ('-' | '+' | '?') => self.conditional(&name, modifier, false),
            modifier @ ('#' | '%') => self.trimmed(&name, modifier).map(Cow::Owned),
            '/' => self.replaced(&name).map(Cow::Owned),
            other => Err(unsupported(&other.to_string())),
        }
    }

    /// `${v-word}`, `${v+word}`, `${v?word}`, and with a colon, which makes empty as good as not set. A modifier that does
    /// not exist is one only if the variable is set, or has to be.
    fn conditional(&mut self, name: &str, modifier: char, colon: bool) -> Result<Cow<'a, str>, Fault> {
        let word = self.until(Some('}'), false)?.text;
        let value = self.value(name);
        if value.is_none() && self.lexer.keep_unset {
            let colon = if colon { ":" } else { "" };
            return Ok(format!("${{{name}{colon}{modifier}{word}}}").into());
        }
        if !matches!(modifier, '-' | '+' | '?') {
            return Err(unsupported(&format!(":{modifier}")));
        }
        let unset = value.is_none();
        let value = value.filter(|value| !colon || !value.is_empty());
        match (modifier, value) {
            ('-' | '?', Some(value)) => Ok(value.into()),
            ('-', None) | ('+', Some(_)) => Ok(word.into()),
            ('+', None) => Ok(Cow::default()),
            ('?', None) => Err(Fault::semantics(match (word.as_str(), unset) {
                ("", true) => format!("{name}: is not allowed to be unset"),
                ("", false) => format!("{name}: is not allowed to be empty"),
                (word, _) => format!("{name}: {word}"),
            })),
            (other, _) => Err(unsupported(&format!(":{other}"))),
        }
    }

    /// `${v#pattern}` and its kin: the value without a beginning or an end that matches.
    fn trimmed(&mut self, name: &str, modifier: char) -> Result<String, Fault> {
        let word = self.until(Some('}'), true)?.text;
        let value = match self.value(name) {
            None if self.lexer.keep_unset => return Ok(format!("${{{name}{modifier}{word}}}")),
            value => value.unwrap_or_default(),
        };
        let (extent, text) = match word.strip_prefix(modifier) {
            Some(text) => (Extent::Longest, text),
            None => (Extent::Shortest, word.as_str()),
        };
        match modifier {
            '#' => Ok(self.limited(Pattern::parse(text)?, value)?.without_prefix(value, extent)),
            _ => Ok(self.limited(Pattern::parse_reversed(text)?, value)?.without_suffix(value, extent)),
        }
    }

    /// `${v/pattern/replacement}` and `${v//pattern/replacement}`.
    fn replaced(&mut self, name: &str) -> Result<String, Fault> {
        let all = self.chars.next_if_eq(&'/').is_some();
        let text = self.until(Some('/'), true)?.text;
        let replacement = self.until(Some('}'), true)?.text;
        let value = match self.value(name) {
            None if self.lexer.keep_unset => return Ok(format!("${{{name}/{text}/{replacement}}}")),
            value => value.unwrap_or_default(),
        };
        let pattern = self.limited(Pattern::parse(&text)?, value)?;
        if !all {
            return Ok(pattern.replace_first(value, &replacement));
        }
        let template = Template::parse(&replacement);
        self.lexer.spent.work(template.work(value))?;
        let replaced = pattern.replace_all(value, &template, MAX_EXPANSION);
        replaced.ok_or_else(|| self.lexer.spent.exceed(Excess::Text))
    }

    /// The pattern, if there is still time to match it.
    fn limited(&self, pattern: Pattern, value: &str) -> Result<Pattern, Fault> {
        self.lexer.spent.work(pattern.work(value))?;
        Ok(pattern)
    }

    /// A name: letters, digits and `_`; or digits alone; or one of the shell's special parameters.
    fn name(&mut self) -> String {
        let mut name = String::new();
        if let Some(special) =
            self.chars.next_if(|char| matches!(char, '@' | '*' | '#' | '?' | '-' | '$' | '!'))
        {
            name.push(special);
            return name;
        }
        let digits = self.chars.peek().is_some_and(|char| is_digit(*char));
        while let Some(char) = self.chars.next_if(|char| match digits {
            true => is_digit(*char),
            false => is_letter(*char) || is_digit(*char) || *char == '_',
        }) {
            name.push(char);
        }
        name
    }

    fn value(&mut self, name: &str) -> Option<&'a str> {
        let value = self.environment.get(name);
        let asked = if value.is_some() { &mut self.used } else { &mut self.unset };
        if !asked.contains(name) {
            asked.insert(name.to_owned());
        }
        value
    }
}

fn missing_brace() -> Fault {
    Fault::syntax("a `}` is missing").hint("close the `${`, or escape its `$`")
}

fn unsupported(modifier: &str) -> Fault {
    Fault::syntax(format!("unsupported modifier ({modifier}) in substitution"))
        .hint("the modifiers are :- - :+ + :? ? # ## % %% / and //")
}
