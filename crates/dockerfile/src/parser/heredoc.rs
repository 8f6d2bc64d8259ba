//! Heredocs: `<<NAME`, `<<-NAME`, `<<"NAME"`, with a file descriptor before them or without.

use std::sync::Arc;

use crate::environment::Environment;
use crate::error::Fault;
use crate::lex::{Lexer, Quotes};

/// A heredoc.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heredoc {
    /// The word that ends it, quotes taken off.
    pub(crate) name: String,
    /// Whether variables in it are expanded: no part of the word was quoted.
    pub(crate) expand: bool,
    /// Whether leading tabs are dropped (`<<-`).
    pub(crate) chomp: bool,
    /// The lines. Many words may name the same heredoc.
    pub(crate) content: Arc<str>,
}

impl Heredoc {
    /// The content as the instruction sees it: without leading tabs, if they are to be dropped.
    pub(crate) fn body(&self) -> String {
        if !self.chomp {
            return self.content.to_string();
        }
        self.content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }

    /// The heredoc that a word opens, if it opens one.
    pub(crate) fn open(word: &str) -> Result<Option<Self>, Fault> {
        let Some(rest) = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<") else {
            return Ok(None);
        };
        let (chomp, rest) = match rest.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let rest = rest.trim_start();
        if rest.is_empty() || rest.contains('<') {
            return Ok(None);
        }
        let plain = Lexer { keep_unset: true, ..Lexer::new('\\') }.words(rest, &Environment::default())?;
        let raw = Lexer { keep_unset: true, quotes: Quotes::Keep, ..Lexer::new('\\') }
            .words(rest, &Environment::default())?;
        let Ok([plain]) = <[String; 1]>::try_from(plain) else { return Ok(None) };
        let Ok([raw]) = <[String; 1]>::try_from(raw) else {
            return Err(Fault::syntax(format!("`{word}` is no heredoc: its name has a part that is empty")));
        };
        let quotes = |text: &str| text.matches(['\'', '"']).count();
        let expand = quotes(&plain) == quotes(&raw);
        Ok(Some(Self { name: plain, expand, chomp, content: Arc::default() }))
    }
}

/// The heredocs that a line opens, in order, still empty.
pub(super) fn openings(line: &str) -> Result<Vec<Heredoc>, Fault> {
    let lexer = Lexer { quotes: Quotes::Keep, raw_escapes: true, keep_unset: true, ..Lexer::new('\\') };
    // A line that is no sequence of shell words has no heredocs; the shell may complain about it later.
    let words = lexer.words(line, &Environment::default()).unwrap_or_default();
    words.iter().filter_map(|word| Heredoc::open(word).transpose()).collect()
}
