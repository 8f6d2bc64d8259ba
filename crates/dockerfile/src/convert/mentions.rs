//! What a stage asks of its user: arguments, secrets, agents.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Lines;

/// What the instructions of a stage mention.
#[derive(Debug, Default)]
pub(crate) struct Mentions {
    /// The arguments that it declares, with the value and the description of each.
    pub(crate) arguments: BTreeMap<String, (String, Option<String>, Lines)>,
    /// The names of all arguments that it uses, global ones included.
    pub(crate) used: BTreeSet<String>,
    /// Its secrets by id.
    pub(crate) secrets: BTreeMap<String, Mention>,
    /// Its agents by id.
    pub(crate) agents: BTreeMap<String, Mention>,
}

/// Where something is mentioned first, and whether it has to be there.
#[derive(Debug, Clone)]
pub(crate) struct Mention {
    /// Whether the build fails without it.
    pub(crate) required: bool,
    /// The instruction.
    pub(crate) lines: Lines,
}
