//! The instructions that only set something: ARG, ENV, LABEL, EXPOSE, VOLUME, SHELL, and those of one argument.

use super::flags::Flags;
use super::{at_least_one, example, key_values, text, words};
use crate::error::Fault;
use crate::parser::{Arguments, KeyValue, Node, quoted_words};

/// The pairs of ENV or LABEL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pairs {
    /// The pairs.
    pub(crate) pairs: Vec<KeyValue>,
    /// Whether they were written in the old form, without `=`.
    pub(crate) old_form: bool,
}

/// One argument that ARG defines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ArgDefinition {
    /// Its name.
    pub(crate) name: String,
    /// Its default, variables still in it.
    pub(crate) default: Option<String>,
}

pub(super) fn pairs(node: &Node, keyword: &str, escape: char) -> Result<Pairs, Fault> {
    Flags::none(node)?;
    let (pairs, old_form) = key_values(text(node), keyword, escape)?;
    if pairs.is_empty() {
        return Err(at_least_one(keyword));
    }
    if pairs.iter().any(|pair| pair.key.is_empty()) {
        return Err(Fault::syntax(format!("a name of {keyword} is empty")).hint(example(keyword)));
    }
    Ok(Pairs { pairs, old_form })
}

/// The definitions of ARG, which ignores flags.
pub(super) fn definitions(node: &Node, escape: char) -> Result<Vec<ArgDefinition>, Fault> {
    let words = quoted_words(text(node), escape);
    if words.is_empty() {
        return Err(at_least_one("ARG"));
    }
    let definition = |word: &String| match word.split_once('=') {
        Some(("", _)) => Err(Fault::syntax("a name of ARG is empty").hint(example("ARG"))),
        Some((name, default)) => {
            Ok(ArgDefinition { name: name.to_owned(), default: Some(default.to_owned()) })
        }
        None => Ok(ArgDefinition { name: word.clone(), default: None }),
    };
    words.iter().map(definition).collect()
}

/// The one argument of an instruction. STOPSIGNAL ignores flags.
pub(super) fn single_argument(node: &Node, keyword: &str) -> Result<String, Fault> {
    if keyword != "STOPSIGNAL" {
        Flags::none(node)?;
    }
    match text(node) {
        "" => Err(Fault::syntax(format!("{keyword} requires exactly one argument")).hint(example(keyword))),
        text => Ok(text.to_owned()),
    }
}

pub(super) fn shell(node: &Node) -> Result<Vec<String>, Fault> {
    Flags::none(node)?;
    match &node.arguments {
        Arguments::Json(list) if !list.is_empty() => Ok(list.clone()),
        Arguments::Text(text) if !text.is_empty() => {
            Err(Fault::syntax("SHELL requires the arguments to be in JSON form")
                .hint("write SHELL [\"/bin/sh\", \"-c\"]"))
        }
        _ => Err(at_least_one("SHELL")),
    }
}

pub(super) fn ports(node: &Node) -> Result<Vec<String>, Fault> {
    Flags::none(node)?;
    let mut ports = words(node);
    if ports.is_empty() {
        return Err(at_least_one("EXPOSE"));
    }
    ports.sort();
    Ok(ports)
}

pub(super) fn volumes(node: &Node) -> Result<Vec<String>, Fault> {
    Flags::none(node)?;
    let volumes: Vec<String> = words(node).iter().map(|volume| volume.trim().to_owned()).collect();
    if volumes.is_empty() {
        return Err(at_least_one("VOLUME"));
    }
    if volumes.iter().any(String::is_empty) {
        return Err(Fault::syntax("a path of VOLUME is empty"));
    }
    Ok(volumes)
}

/// The trigger of ONBUILD, as it was written, with its heredocs behind it.
pub(super) fn trigger(node: &Node) -> Result<String, Fault> {
    /// What may stand between the name and the trigger; other blanks are part of the trigger.
    const BLANKS: [char; 5] = ['\t', '\n', '\u{c}', '\r', ' '];
    Flags::none(node)?;
    let keyword = words(node).into_iter().next().unwrap_or_default();
    match keyword.to_ascii_uppercase().as_str() {
        "" => return Err(at_least_one("ONBUILD")),
        keyword @ ("FROM" | "MAINTAINER" | "ONBUILD") => {
            return Err(Fault::syntax(format!("{keyword} isn't allowed as an ONBUILD trigger"))
                .hint("a trigger is any other instruction, like ONBUILD RUN command"));
        }
        _ => {}
    }
    let written = node.original.trim_start();
    let mut expression = written[node.keyword.len()..].trim_start_matches(BLANKS).to_owned();
    for heredoc in &node.heredocs {
        expression.push('\n');
        expression.push_str(&heredoc.content);
        expression.push_str(&heredoc.name);
    }
    Ok(expression)
}
