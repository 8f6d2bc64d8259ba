//! The expansion of a FROM: its base and its platform, and what is doubtful about them.

use std::collections::BTreeSet;

use gantry_oci::Platform;

use super::{Globals, Stages};
use crate::error::Fault;
use crate::instruction::{self, Instruction};
use crate::lex::Expanded;
use crate::lint::{Linter, Rule};
use crate::platform::StagePlatform;
use crate::suggest::{self, MAX_COMPARISONS};

/// A FROM with its variables expanded.
pub(super) struct From {
    /// The base.
    pub(super) base: String,
    /// `--platform`, if given.
    pub(super) platform: Option<StagePlatform>,
    /// The arguments that were used.
    pub(super) used: BTreeSet<String>,
    /// The variables in the base that have no value.
    pub(super) unset: BTreeSet<String>,
}

impl Stages {
    /// The base and the platform of a FROM, variables expanded.
    pub(super) fn expand_from(
        &mut self,
        from: &instruction::From,
        first: &Instruction,
        lint: &mut Linter,
    ) -> Result<From, Fault> {
        let base = self.lexer.attempt(&from.base, &self.globals.values).map_err(|(fault, unset)| {
            self.check_declared(&unset, first, lint);
            fault
        })?;
        self.check_declared(&base.unset, first, lint);
        if base.text.is_empty() {
            return Err(Fault::semantics(format!("base name ({}) should not be blank", from.base)).hint(
                "only arguments declared before the first FROM can be used here; give this one a default",
            ));
        }
        let mut used = base.used;
        if from.platform.is_empty() {
            return Ok(From { base: base.text, platform: None, used, unset: base.unset });
        }
        let platform =
            self.lexer.attempt(&from.platform, &self.globals.values).map_err(|(fault, unset)| {
                self.check_declared(&unset, first, lint);
                fault
            })?;
        self.check_declared(&platform.unset, first, lint);
        self.check_platform(from, &platform, first, lint);
        let suggested = |fault: Fault| match platform.unset.first() {
            Some(name) => fault.suggest(name, self.globals.values.names()),
            None => fault,
        };
        if platform.text.is_empty() {
            let message = format!("empty platform value from expression {}", from.platform);
            return Err(suggested(Fault::semantics(message)).hint(
                "only arguments declared before the first FROM can be used here; give this one a default, or leave --platform out",
            ));
        }
        let parsed: Platform = platform.text.parse().map_err(|error: gantry_oci::PlatformError| {
            suggested(Fault::semantics(format!("failed to parse platform {}: {error}", from.platform)))
        })?;
        used.extend(platform.used);
        let written = StagePlatform::written(&platform.text, parsed);
        Ok(From { base: base.text, platform: Some(written), used, unset: base.unset })
    }

    fn check_declared(&mut self, unset: &BTreeSet<String>, first: &Instruction, lint: &mut Linter) {
        let Globals { values, declared } = &self.globals;
        for name in unset.iter().filter(|name| !declared.contains_key(*name)) {
            self.comparisons += values.len() + declared.len();
            let near = match self.comparisons > MAX_COMPARISONS {
                true => None,
                false => {
                    let declared = declared.keys().map(String::as_str);
                    suggest::first_closest(name, values.names().chain(declared))
                }
            };
            let hint = near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
            let message = format!("FROM argument '{name}' is not declared{hint}");
            lint.report(Rule::UndefinedArgInFrom, first.comments.check(), &first.lines, message);
        }
    }

    fn check_platform(
        &self,
        from: &instruction::From,
        platform: &Expanded,
        first: &Instruction,
        lint: &mut Linter,
    ) {
        const TARGET: &str = "TARGETPLATFORM";
        let mut report = |rule, message| lint.report(rule, first.comments.check(), &first.lines, message);
        let only_target = platform.unset.is_empty() && platform.used.iter().eq([TARGET]);
        if only_target && self.globals.values.get(TARGET) == Some(&platform.text) {
            let message = format!(
                "Setting platform to predefined {} in FROM is redundant as this is the default behavior",
                from.platform
            );
            report(Rule::RedundantTargetPlatform, message);
        }
        if !platform.unset.is_empty() || !platform.used.is_empty() {
            return;
        }
        let Ok(parsed) = platform.text.parse::<Platform>() else { return };
        let name = from.name.as_deref().unwrap_or_default();
        // A stage that is named after its platform means it.
        if !name.contains(parsed.os()) && !name.contains(parsed.architecture()) {
            let message = format!("FROM --platform flag should not use constant value {:?}", platform.text);
            report(Rule::FromPlatformFlagConstDisallowed, message);
        }
    }
}
