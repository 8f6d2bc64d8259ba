//! Build checks: what works, but is probably not meant so.
//!
//! Rules, their names and their messages are BuildKit's, so that `# check=skip=…` comments and the tools that read
//! results mean the same here. A [`Linter`] collects what the rest of the crate reports, less what the settings leave
//! out: those of the file's `check` directive, or of the build argument that replaces it, and those of a `check`
//! comment above an instruction, for that instruction.

mod rule;
mod secret;

pub use rule::Rule;
pub(crate) use secret::names_secret;

use std::collections::BTreeSet;

use crate::error::{Error, ErrorKind, Fault, Lines};

/// Something that works, but is probably not meant so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The rule.
    pub rule: Rule,
    /// What is doubtful.
    pub message: String,
    /// The lines of the instruction.
    pub lines: Lines,
}

/// The warnings so far.
#[derive(Debug, Default)]
pub(crate) struct Linter {
    settings: Settings,
    warnings: Vec<Warning>,
}

impl Linter {
    /// Reports under these settings from now on.
    pub(crate) fn configure(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Reports something about an instruction, which may have settings of its own.
    pub(crate) fn report(&mut self, rule: Rule, own: Option<&Settings>, lines: &Lines, message: String) {
        let mut settings = [Some(&self.settings), own].into_iter().flatten();
        let reported = match rule.is_experimental() {
            true => settings.any(|settings| settings.experimental.has(rule)),
            false => !settings.any(|settings| settings.skip.has(rule)),
        };
        if reported {
            self.warnings.push(Warning { rule, message, lines: lines.clone() });
        }
    }

    /// Refuses the file, if there were warnings and the settings say that they are errors.
    pub(crate) fn verdict(&self) -> Result<(), Error> {
        let Some(first) = self.warnings.first().filter(|_| self.settings.is_error) else { return Ok(()) };
        let mut rules: Vec<&str> = Vec::new();
        for warning in &self.warnings {
            if !rules.contains(&warning.rule.name()) {
                rules.push(warning.rule.name());
            }
        }
        let message = format!("lint violation found for rules: {}", rules.join(", "));
        let fault = Fault::semantics(message).hint(
            "with error=true warnings are errors: leave a rule out with skip=RuleName in a check directive",
        );
        Err(Error { kind: ErrorKind::Lint, ..fault.at(&first.lines) })
    }

    /// The warnings, in the order in which they came up.
    pub(crate) fn into_warnings(self) -> Vec<Warning> {
        self.warnings
    }
}

/// What is reported: `skip=A,B;error=true;experimental=all`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    skip: Selection,
    experimental: Selection,
    is_error: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Selection {
    All,
    Named(BTreeSet<String>),
}

impl Default for Selection {
    fn default() -> Self {
        Self::Named(BTreeSet::new())
    }
}

impl Selection {
    fn parse(text: &str) -> Self {
        match text.trim() {
            "all" => Self::All,
            names => Self::Named(names.split(',').map(|name| name.trim().to_owned()).collect()),
        }
    }

    fn has(&self, rule: Rule) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.contains(rule.name()),
        }
    }
}

impl Settings {
    /// Reads the value of a `check` directive, which ends at the first blank: what follows is a remark.
    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        Self::parse_all(text.split(' ').next().unwrap_or_default())
    }

    /// Reads the value of the build argument, which may hold blanks.
    pub(crate) fn parse_all(text: &str) -> Result<Self, Fault> {
        const OPTIONS: [&str; 3] = ["skip", "error", "experimental"];
        let mut settings = Self::default();
        for part in text.trim().splitn(3, ';').filter(|_| !text.trim().is_empty()) {
            let invalid = |what: &str| {
                Fault::syntax(format!("invalid check option `{what}`"))
                    .hint("write it like skip=RuleName,OtherRule;error=true")
            };
            let (key, value) = part.split_once('=').ok_or_else(|| invalid(part))?;
            match key.trim() {
                "skip" => settings.skip = Selection::parse(value),
                "experimental" => settings.experimental = Selection::parse(value),
                "error" => {
                    settings.is_error = crate::boolean(value.trim()).ok_or_else(|| invalid(part))?;
                }
                key => return Err(invalid(key).suggest(key, OPTIONS)),
            }
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests;
