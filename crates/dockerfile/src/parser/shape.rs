//! What the arguments of each instruction look like, before anybody asks what they mean.
//!
//! As in BuildKit, a file is parsed as a whole before its instructions are read one by one. So a list or a pair of the
//! wrong shape is refused wherever it stands, triggers included, and before a check says anything about the file.

use super::{json_list, key_values, words};
use crate::error::Fault;

/// How deep triggers are looked into. Each level is read anew, and none of them is ever accepted.
const MAX_TRIGGERS: usize = 32;

/// What the arguments of an instruction look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A JSON list, or text.
    Json,
    /// Pairs of names and values.
    Pairs(&'static str),
    /// HEALTHCHECK: a word, then a JSON list or text.
    Check,
    /// ONBUILD: an instruction.
    Trigger,
    /// Text.
    Text,
}

impl Shape {
    /// The shape that an instruction's arguments have.
    pub(super) fn of(keyword: &str) -> Self {
        match keyword.to_ascii_lowercase().as_str() {
            "add" | "cmd" | "copy" | "entrypoint" | "run" | "shell" | "volume" => Self::Json,
            "env" => Self::Pairs("ENV"),
            "label" => Self::Pairs("LABEL"),
            "healthcheck" => Self::Check,
            "onbuild" => Self::Trigger,
            _ => Self::Text,
        }
    }

    /// Refuses a text of another shape.
    pub(super) fn check(self, text: &str, escape: char) -> Result<(), Fault> {
        match self {
            Self::Json => json_list(text).map(drop),
            Self::Pairs(keyword) => key_values(text, keyword, escape).map(drop),
            Self::Check => {
                let (_, command) = words::split_kind(text);
                json_list(&command).map(drop)
            }
            Self::Trigger => {
                let (mut keyword, _, mut rest) = words::split_instruction(text, escape);
                // One trigger in another is refused later; what is in that one is looked at all the same.
                for _ in 0..MAX_TRIGGERS {
                    match Self::of(&keyword) {
                        Self::Trigger => (keyword, _, rest) = words::split_instruction(&rest, escape),
                        shape => return shape.check(&rest, escape),
                    }
                }
                Ok(())
            }
            Self::Text => Ok(()),
        }
    }
}
