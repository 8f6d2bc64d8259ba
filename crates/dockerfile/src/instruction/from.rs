//! FROM: the beginning of a stage.

use super::flags::{Flags, Takes};
use super::words;
use crate::error::Fault;
use crate::parser::Node;

/// The beginning of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct From {
    /// What it builds on: a stage, an image, `scratch`; variables still in it.
    pub(crate) base: String,
    /// Its name, in lower case.
    pub(crate) name: Option<String>,
    /// `--platform`, variables still in it; empty if not given.
    pub(crate) platform: String,
}

pub(super) fn read(node: &Node) -> Result<From, Fault> {
    let words = words(node);
    let (base, name) = match &words[..] {
        [base] => (base, None),
        [base, r#as, name] if r#as.eq_ignore_ascii_case("as") => (base, Some(stage_name(name)?)),
        _ => {
            return Err(Fault::syntax("FROM requires either one or three arguments")
                .hint("write FROM image, or FROM image AS stage"));
        }
    };
    let flags = Flags::read(node, &[("platform", Takes::Value)])?;
    Ok(From { base: base.clone(), name, platform: flags.value("platform") })
}

fn stage_name(text: &str) -> Result<String, Fault> {
    let name = text.to_lowercase();
    let valid = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b));
    if !valid {
        return Err(Fault::syntax(format!("`{text}` is not a name for a stage"))
            .hint("a name starts with a letter; letters, digits, `-`, `_` and `.` may follow"));
    }
    Ok(name)
}
