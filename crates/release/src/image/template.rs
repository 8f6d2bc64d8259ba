//! Go templates, as far as people use them to print images: fields, variables, `if`, `range`, `with`, pipelines and
//! the functions that have a use with JSON.
//!
//! A template is parsed once ([`parse`]) and run over a JSON value ([`run`]). A field is found by its name in JSON or in
//! Go (`.mediaType`, `.MediaType`, `.Platform.OSVersion`), since Go's types are not here to ask.

mod functions;
mod lex;
mod parse;
mod run;
#[cfg(test)]
mod tests;

pub(super) use parse::parse;
pub(super) use run::run;

/// Why a template is wrong, or does not fit what it is run over. In Go's words where it has such.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template: {0}")]
pub(super) struct TemplateError(String);

/// What a template consists of.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Text(String),
    /// Prints a pipeline's value.
    Print(Pipeline),
    /// Sets a variable; the flag says that it is a new one.
    Set {
        name: String,
        is_new: bool,
        value: Pipeline,
    },
    If {
        condition: Pipeline,
        then: Vec<Self>,
        otherwise: Vec<Self>,
    },
    With {
        value: Pipeline,
        variable: Option<String>,
        then: Vec<Self>,
        otherwise: Vec<Self>,
    },
    Range {
        over: Pipeline,
        key: Option<String>,
        value: Option<String>,
        each: Vec<Self>,
        none: Vec<Self>,
    },
    Break,
    Continue,
}

/// Commands, each of which gets the value of the one before as its last argument.
pub(super) type Pipeline = Vec<Command>;

/// A function with its arguments, or one operand alone.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Command {
    Call { function: String, arguments: Vec<Operand> },
    Value(Operand),
}

/// A value's source.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Operand {
    pub(super) base: Base,
    /// Fields of it, outermost first.
    pub(super) fields: Vec<String>,
}

/// Where an operand begins.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Base {
    /// `.`
    Dot,
    /// `$name`, or `$` for what the template is run over.
    Variable(String),
    Literal(serde_json::Value),
    Group(Pipeline),
    /// A function without arguments, as the argument of another.
    Function(String),
}
