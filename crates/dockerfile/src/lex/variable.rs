//! What follows a `$`: names, braces, modifiers.

use super::{Scan, pattern};
use crate::error::Fault;

impl Scan<'_> {
    /// The value of the variable that follows the `$`, which has been read.
    pub(super) fn dollar(&mut self) -> Result<String, Fault> {
        if self.chars.next_if_eq(&'{').is_some() {
            return self.braced();
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".to_owned());
        }
        match self.value(&name) {
            None if self.lexer.keep_unset => Ok(format!("${name}")),
            value => Ok(value.unwrap_or_default()),
        }
    }

    fn braced(&mut self) -> Result<String, Fault> {
        match self.chars.peek() {
            None => return Err(missing_brace()),
            Some('{' | '}' | ':') => return Err(Fault::syntax("bad substitution")),
            _ => {}
        }
        let name = self.name();
        match self.chars.next().ok_or_else(missing_brace)? {
            '}' => match self.value(&name) {
                None if self.lexer.keep_unset => Ok(format!("${{{name}}}")),
                value => Ok(value.unwrap_or_default()),
            },
            ':' => {
                let modifier = self.chars.next().ok_or_else(missing_brace)?;
                match modifier {
                    '-' | '+' | '?' => self.conditional(&name, modifier, true),
                    other => Err(unsupported(&format!(":{other}"))),
                }
            }
            modifier @ ('-' | '+' | '?') => self.conditional(&name, modifier, false),
            modifier @ ('#' | '%') => self.trimmed(&name, modifier),
            '/' => self.replaced(&name),
            other => Err(unsupported(&other.to_string())),
        }
    }

    /// `${v-word}`, `${v+word}`, `${v?word}`, and with a colon, which makes empty as good as not set.
    fn conditional(&mut self, name: &str, modifier: char, colon: bool) -> Result<String, Fault> {
        let word = self.until(Some('}'), false)?.text;
        let value = self.value(name);
        if value.is_none() && self.lexer.keep_unset {
            let colon = if colon { ":" } else { "" };
            return Ok(format!("${{{name}{colon}{modifier}{word}}}"));
        }
        let unset = value.is_none();
        let value = value.filter(|value| !colon || !value.is_empty());
        match (modifier, value) {
            ('-', value) => Ok(value.unwrap_or(word)),
            ('+', value) => Ok(value.map_or_else(String::new, |_| word)),
            (_, Some(value)) => Ok(value),
            (_, None) => Err(Fault::semantics(match (word.as_str(), unset) {
                ("", true) => format!("{name}: is not allowed to be unset"),
                ("", false) => format!("{name}: is not allowed to be empty"),
                (word, _) => format!("{name}: {word}"),
            })),
        }
    }

    /// `${v#pattern}` and its kin: the value without a beginning or an end that matches.
    fn trimmed(&mut self, name: &str, modifier: char) -> Result<String, Fault> {
        let word = self.until(Some('}'), true)?.text;
        let Some(value) = self.value(name) else {
            return Ok(match self.lexer.keep_unset {
                true => format!("${{{name}{modifier}{word}}}"),
                false => String::new(),
            });
        };
        let (longest, text) = match word.strip_prefix(modifier) {
            Some(text) => (true, text),
            None => (false, word.as_str()),
        };
        let pattern = pattern::Pattern::parse(text)?;
        Ok(match modifier {
            '#' => pattern.without_prefix(&value, longest),
            _ => pattern.without_suffix(&value, longest),
        })
    }

    /// `${v/pattern/replacement}` and `${v//pattern/replacement}`.
    fn replaced(&mut self, name: &str) -> Result<String, Fault> {
        let all = self.chars.next_if_eq(&'/').is_some();
        let text = self.until(Some('/'), true)?.text;
        let replacement = self.until(Some('}'), true)?.text;
        let Some(value) = self.value(name) else {
            return Ok(match self.lexer.keep_unset {
                true => format!("${{{name}/{text}/{replacement}}}"),
                false => String::new(),
            });
        };
        let pattern = pattern::Pattern::parse(&text)?;
        Ok(match all {
            true => pattern.replace_all(&value, &replacement),
            false => pattern.replace_first(&value, &replacement),
        })
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
        let digits = self.chars.peek().is_some_and(|char| char.is_numeric());
        while let Some(char) = self.chars.next_if(|char| match digits {
            true => char.is_numeric(),
            false => char.is_alphanumeric() || *char == '_',
        }) {
            name.push(char);
        }
        name
    }

    fn value(&mut self, name: &str) -> Option<String> {
        let value = self.environment.get(name).map(str::to_owned);
        if value.is_none() {
            self.unset.insert(name.to_owned());
        }
        value
    }
}

fn missing_brace() -> Fault {
    Fault::syntax("a `}` is missing")
}

fn unsupported(modifier: &str) -> Fault {
    Fault::syntax(format!("unsupported modifier ({modifier}) in substitution"))
        .hint("the modifiers are :- - :+ + :? ? # ## % %% / and //")
}
