//! What can be wrong with a Dockerfile, and where.
//!
//! Code that works on one line's text makes a [`Fault`], which knows no line; who knows the line turns it into an
//! [`Error`]. An error thus always has a place.

use std::ops::RangeInclusive;

use crate::suggest;

/// Lines of the Dockerfile, 1-based and inclusive.
pub type Lines = RangeInclusive<u32>;

/// What class of fault an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The text is not a Dockerfile.
    Syntax,
    /// It is one, but asks for something that cannot be.
    Semantics,
    /// It is written for another front end.
    Unsupported,
    /// It is one, but has no stage of the name that the options ask for: no line of it is at fault.
    Target,
    /// It could be built, but its build checks found something, and it says that this is an error.
    Lint,
}

/// Why a Dockerfile cannot be converted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// The class of the fault.
    pub kind: ErrorKind,
    /// What is wrong.
    pub message: String,
    /// The lines of the instruction at fault.
    pub lines: Lines,
    /// The lines of others that have part in it, if it takes several.
    pub others: Vec<Lines>,
    /// What to do about it.
    pub hints: Vec<String>,
}

impl Error {
    /// The message with what to do about it, in one line. Tools look for the rules at the end of a verdict.
    pub(crate) fn with_hints(&self) -> String {
        match self.hints.is_empty() || self.kind == ErrorKind::Lint {
            true => self.message.clone(),
            false => format!("{} ({})", self.message, self.hints.join("; ")),
        }
    }

    /// Whether its lines are at fault. Those of a missing target or of a verdict are only somewhere to look.
    pub fn has_place(&self) -> bool {
        !matches!(self.kind, ErrorKind::Target | ErrorKind::Lint)
    }
}

/// An error that has no place yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    kind: ErrorKind,
    message: String,
    hints: Vec<String>,
}

impl Fault {
    /// The text cannot be read.
    pub(crate) fn syntax(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Syntax, message: message.into(), hints: Vec::new() }
    }

    /// The text can be read, but not done.
    pub(crate) fn semantics(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Semantics, message: message.into(), hints: Vec::new() }
    }

    /// The options ask for a stage that is not there.
    pub(crate) fn target(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Target, message: message.into(), hints: Vec::new() }
    }

    /// The text is for another program.
    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Unsupported, message: message.into(), hints: Vec::new() }
    }

    /// Only what is wrong.
    pub(crate) fn into_message(self) -> String {
        self.message
    }

    /// Adds what to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds the option that the word was probably meant to be, if one is near.
    pub(crate) fn suggest<'a>(self, word: &str, options: impl IntoIterator<Item = &'a str>) -> Self {
        match suggest::closest(word, options) {
            Some(option) => self.hint(format!("did you mean `{option}`?")),
            None => self,
        }
    }

    /// Puts what was done before the message.
    pub(crate) fn context(self, doing: impl std::fmt::Display) -> Self {
        Self { message: format!("{doing}: {}", self.message), ..self }
    }

    /// The error on these lines.
    pub(crate) fn at(self, lines: &Lines) -> Error {
        let (lines, others) = (lines.clone(), Vec::new());
        Error { kind: self.kind, message: self.message, lines, others, hints: self.hints }
    }
}
