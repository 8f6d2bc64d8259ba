//! Stages as they are written: a FROM and the instructions after it, and how they are named.

use std::collections::BTreeSet;

use gantry_oci::Reference;

use super::RESERVED;
use crate::error::{Error, Fault};
use crate::instruction::{self, Instruction, Kind};
use crate::lint::{Linter, Rule};
use crate::parser::Dockerfile;

/// A stage as it was written.
#[derive(Debug)]
pub(crate) struct Written {
    /// What its FROM says.
    pub(crate) from: instruction::From,
    /// Its FROM.
    pub(crate) first: Instruction,
    /// The instructions after it.
    pub(crate) commands: Vec<Instruction>,
}

/// The arguments before the first stage, and the stages, of which a file of arguments alone has none.
pub(crate) fn read(file: &Dockerfile, lint: &mut Linter) -> Result<(Vec<Instruction>, Vec<Written>), Error> {
    let mut arguments = Vec::new();
    let mut stages: Vec<Written> = Vec::new();
    for node in &file.nodes {
        let instruction = Instruction::read(node, file.escape, lint)?;
        match (&instruction.kind, stages.last_mut()) {
            (Kind::From(from), _) => {
                let from = from.clone();
                stages.push(Written { from, first: instruction, commands: Vec::new() });
            }
            (_, Some(stage)) => stage.commands.push(instruction),
            (Kind::Arg(_), None) => arguments.push(instruction),
            (_, None) => {
                return Err(Fault::semantics("no build stage in current context")
                    .hint("only ARG may stand before the first FROM")
                    .at(&node.lines));
            }
        }
    }
    Ok((arguments, stages))
}

/// Reports names that mean something else, or more than one stage.
pub(super) fn check_names(stages: &[Written], lint: &mut Linter) {
    let mut seen = BTreeSet::new();
    for stage in stages {
        let Some(name) = stage.from.name.as_deref() else { continue };
        let mut report = |rule, message| lint.report(rule, None, &stage.first.lines, message);
        if RESERVED.contains(&name) {
            let message = format!("Stage name should not use the same name as reserved stage {name:?}");
            report(Rule::ReservedStageName, message);
        }
        if !seen.insert(name) {
            let message = format!("Duplicate stage name {name:?}, stage names should be unique");
            report(Rule::DuplicateStageName, message);
        }
    }
}

/// Refuses the name of a stage that no context could have: a context may replace any stage.
pub(super) fn check_name(name: &str) -> Result<(), Fault> {
    match name.parse::<Reference>() {
        Ok(_) => Ok(()),
        Err(_) => Err(Fault::syntax(format!("`{name}` is not a name for a stage"))
            .hint("a name ends with a letter or digit; between them stands one `.`, up to two `_`, or any number of `-`")),
    }
}
