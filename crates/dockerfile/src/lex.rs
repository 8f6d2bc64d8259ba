//! Shell words: quotes, escapes and variables, as BuildKit reads them.
//!
//! `$v`, `${v}` and the forms `:-` `-` `:+` `+` `:?` `?` `#` `##` `%` `%%` `/` `//`, nested to a limit. The escape
//! character is the file's own. Nothing here knows about instructions.

mod limits;
mod pattern;
mod template;
mod variable;

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::environment::Environment;
use crate::error::Fault;
use limits::Spent;

/// How deep `${a:-${b:-…}}` may nest. Real files stop at two or three.
const MAX_NESTING: usize = 64;
/// How much of a text a message quotes: its lines are shown anyway.
const MAX_QUOTED: usize = 200;

/// What happens to quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quotes {
    /// They quote and vanish.
    Process,
    /// They quote and stay.
    Keep,
    /// They are characters like any other.
    Ignore,
}

/// The rules for one text. What texts cost is counted together for a lexer and its clones, so a file has only one.
#[derive(Debug, Clone)]
pub(crate) struct Lexer {
    /// The escape character.
    pub(crate) escape: char,
    /// What happens to quotes.
    pub(crate) quotes: Quotes,
    /// Whether escape characters stay.
    pub(crate) raw_escapes: bool,
    /// Whether a variable that is not set stays as it was written.
    pub(crate) keep_unset: bool,
    /// What they have cost so far.
    pub(crate) spent: Rc<Spent>,
}

/// An expanded word.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Expanded {
    /// The text.
    pub(crate) text: String,
    /// The variables that were asked for and are set.
    pub(crate) used: BTreeSet<String>,
    /// The variables that were asked for and not set.
    pub(crate) unset: BTreeSet<String>,
}

impl Lexer {
    /// The ordinary rules.
    pub(crate) fn new(escape: char) -> Self {
        Self { escape, quotes: Quotes::Process, raw_escapes: false, keep_unset: false, spent: Rc::default() }
    }

    /// Expands a text into one word: blanks in it stay.
    pub(crate) fn word(&self, text: &str, environment: &Environment) -> Result<Expanded, Fault> {
        self.attempt(text, environment).map_err(|(fault, _)| fault)
    }

    /// As [`Lexer::word`], but a fault comes with the variables that had been asked for and not set until then.
    pub(crate) fn attempt(
        &self,
        text: &str,
        environment: &Environment,
    ) -> Result<Expanded, (Fault, BTreeSet<String>)> {
        let text = without_mark(text);
        // Most texts mean themselves.
        if !text.contains(['$', '\'', '"', self.escape]) {
            return Ok(Expanded { text: text.to_owned(), ..Expanded::default() });
        }
        let mut scan = Scan::new(self, text, environment);
        match scan.until(None, self.raw_escapes) {
            Ok(output) => Ok(Expanded { text: output.text, used: scan.used, unset: scan.unset }),
            Err(fault) => Err((failed(text, fault), scan.unset)),
        }
    }

    /// Expands a text and splits it at unquoted blanks, those that come out of variables included.
    ///
    /// As in BuildKit, the word so far is lost where a word inside braces begins: `1${X:-2}` is the word `2`.
    pub(crate) fn words(&self, text: &str, environment: &Environment) -> Result<Vec<String>, Fault> {
        let mut scan = Scan::new(self, without_mark(text), environment);
        let output = scan.until(None, self.raw_escapes).map_err(|fault| failed(text, fault))?;
        Ok(output.words)
    }

    /// Refuses to go on after a text that went beyond a limit, for those who did without the text.
    pub(crate) fn within_limits(&self) -> Result<(), Fault> {
        self.spent.verdict()
    }
}

/// The text without a byte order mark before it, which the scanner that BuildKit reads words with passes over.
fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

fn failed(text: &str, fault: Fault) -> Fault {
    match text.char_indices().nth(MAX_QUOTED) {
        None => fault.context(format_args!("cannot expand `{text}`")),
        Some((end, _)) => fault.context(format_args!("cannot expand `{}…`", &text[..end])),
    }
}

/// A walk over one text.
struct Scan<'a> {
    lexer: &'a Lexer,
    environment: &'a Environment,
    chars: std::iter::Peekable<std::str::Chars<'a>>,
    raw_escapes: bool,
    depth: usize,
    /// How many bytes variables were replaced by.
    produced: usize,
    /// The word so far, of the innermost text that is being read.
    word: String,
    used: BTreeSet<String>,
    unset: BTreeSet<String>,
}

/// What came out so far: as one text, and the complete words.
#[derive(Default)]
struct Output {
    text: String,
    words: Vec<String>,
}

impl<'a> Scan<'a> {
    fn new(lexer: &'a Lexer, text: &'a str, environment: &'a Environment) -> Self {
        Self {
            lexer,
            environment,
            chars: text.chars().peekable(),
            raw_escapes: lexer.raw_escapes,
            depth: 0,
            produced: 0,
            word: String::new(),
            used: BTreeSet::new(),
            unset: BTreeSet::new(),
        }
    }

    /// Adds a character that may separate words.
    fn char(&mut self, output: &mut Output, char: char) {
        output.text.push(char);
        match char.is_whitespace() {
            true => self.end_word(output),
            false => self.word.push(char),
        }
    }

    /// Adds a text that is part of the word, whatever is in it.
    fn quoted(&mut self, output: &mut Output, text: &str) {
        output.text.push_str(text);
        self.word.push_str(text);
    }

    /// Adds a text whose blanks separate words.
    fn unquoted(&mut self, output: &mut Output, text: &str) {
        output.text.push_str(text);
        let mut parts = text.split(char::is_whitespace);
        self.word.push_str(parts.next().unwrap_or_default());
        for part in parts {
            self.end_word(output);
            self.word.push_str(part);
        }
    }

    fn end_word(&mut self, output: &mut Output) {
        if !self.word.is_empty() {
            output.words.push(std::mem::take(&mut self.word));
        }
    }

    /// Reads up to and with the character `stop`, or to the end.
    fn until(&mut self, stop: Option<char>, raw_escapes: bool) -> Result<Output, Fault> {
        self.depth += 1;
        if self.depth > MAX_NESTING {
            return Err(Fault::syntax(format!("variables are nested more than {MAX_NESTING} deep")));
        }
        let outer_escapes = std::mem::replace(&mut self.raw_escapes, raw_escapes);
        let mut output = Output::default();
        self.word.clear();
        let ended = self.fill(&mut output, stop);
        self.end_word(&mut output);
        self.raw_escapes = outer_escapes;
        self.depth -= 1;
        match (ended?, stop) {
            (false, Some(stop)) => Err(Fault::syntax(format!("a `{stop}` is missing"))),
            _ => Ok(output),
        }
    }

    /// Whether the character `stop` was met.
    fn fill(&mut self, output: &mut Output, stop: Option<char>) -> Result<bool, Fault> {
        while let Some(char) = self.chars.next() {
            if Some(char) == stop {
                return Ok(true);
            }
            match char {
                '\'' | '"' if self.lexer.quotes != Quotes::Ignore => {
                    let text = if char == '"' { self.double_quoted()? } else { self.single_quoted()? };
                    self.quoted(output, &text);
                }
                '$' => {
                    let value = self.dollar()?;
                    self.unquoted(output, &value);
                }
                '<' => {
                    let mark = self.heredoc_mark();
                    self.quoted(output, &mark);
                }
                char if char == self.lexer.escape => {
                    if self.raw_escapes {
                        self.quoted(output, char.encode_utf8(&mut [0; 4]));
                    }
                    let Some(escaped) = self.chars.next() else { break };
                    self.quoted(output, escaped.encode_utf8(&mut [0; 4]));
                }
                char => self.char(output, char),
            }
        }
        Ok(false)
    }

    /// `<`, or `<<` with the blanks after it, which then do not part it from the heredoc's name.
    fn heredoc_mark(&mut self) -> String {
        let mut mark = "<".to_owned();
        if self.chars.next_if_eq(&'<').is_some() {
            mark.push('<');
            while let Some(blank) = self.chars.next_if(|char| matches!(char, '\t' | '\r' | ' ')) {
                mark.push(blank);
            }
        }
        mark
    }

    fn single_quoted(&mut self) -> Result<String, Fault> {
        let mut text = String::new();
        for char in self.chars.by_ref() {
            if char == '\'' {
                return Ok(self.with_quotes('\'', text));
            }
            text.push(char);
        }
        Err(Fault::syntax("a single quote is not closed").hint("close it, or escape it"))
    }

    fn double_quoted(&mut self) -> Result<String, Fault> {
        let mut text = String::new();
        while let Some(char) = self.chars.next() {
            match char {
                '"' => return Ok(self.with_quotes('"', text)),
                '$' => text.push_str(&self.dollar()?),
                char if char == self.lexer.escape => {
                    let escape = self.lexer.escape;
                    if self.raw_escapes {
                        text.push(char);
                    }
                    // What cannot be escaped keeps its escape character.
                    match self.chars.next_if(|next| matches!(next, '"' | '$') || *next == escape) {
                        Some(escaped) => text.push(escaped),
                        None if self.chars.peek().is_some() => text.push(char),
                        None => {}
                    }
                }
                char => text.push(char),
            }
        }
        Err(Fault::syntax("a double quote is not closed").hint("close it, or escape it"))
    }

    fn with_quotes(&self, quote: char, text: String) -> String {
        match self.lexer.quotes {
            Quotes::Keep => format!("{quote}{text}{quote}"),
            _ => text,
        }
    }
}

#[cfg(test)]
mod tests;
