//! What may be adjusted about verification: `[verify]` of the configuration, and how strictly a build takes it.

use gantry_llb::key::KeyWriter;
use gantry_llb::pattern::Matcher;

use crate::error::{Class, Error};

/// Half of the programs in PATH is far more than stray cross tools ever are, and far less than an honest image has.
const MAJORITY: f64 = 0.5;

/// The rules, as written. Patterns are those of ignore files, for paths without a slash in front.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// Programs here may be for any machine: they are neither judged nor reported.
    pub allow_foreign: Vec<String>,
    /// Files that are not looked at at all.
    pub ignore: Vec<String>,
    /// Files that have to be for the platform, besides those that decide anyway.
    pub deciding: Vec<String>,
    /// The share of programs in PATH that has to be for the platform, from 0 to 1.
    pub majority: f64,
}

impl Default for Rules {
    fn default() -> Self {
        Self { allow_foreign: Vec::new(), ignore: Vec::new(), deciding: Vec::new(), majority: MAJORITY }
    }
}

/// How strictly a build takes what it finds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum VerifyMode {
    /// Nothing is looked at.
    Off,
    /// What is wrong is a warning.
    Report,
    /// What is wrong ends the build before anything leaves the machine.
    #[default]
    Enforce,
}

/// How a build verifies what it starts from and what it makes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VerifyPolicy {
    /// How strictly.
    pub mode: VerifyMode,
    /// By what.
    pub rules: Rules,
}

/// The rules, ready to be applied.
#[derive(Debug, Clone)]
pub(crate) struct CompiledRules {
    pub(crate) allow_foreign: Matcher,
    pub(crate) ignore: Matcher,
    pub(crate) deciding: Matcher,
    pub(crate) majority: f64,
}

impl Rules {
    /// Checks the patterns and the numbers.
    pub(crate) fn compile(&self) -> Result<CompiledRules, Error> {
        let compile = |name: &str, patterns: &[String]| {
            let relative: Vec<&str> =
                patterns.iter().map(|pattern| pattern.trim_start_matches('/')).collect();
            Matcher::new(&relative).map_err(|error| {
                Error::new(Class::Usage, format!("`{name}` of the verification rules: {error}"))
            })
        };
        if !(0.0..=1.0).contains(&self.majority) {
            let message = format!("`majority` of the verification rules is {}", self.majority);
            return Err(Error::new(Class::Usage, message).hint("it is a share, from 0 to 1"));
        }
        Ok(CompiledRules {
            allow_foreign: compile("allow-foreign", &self.allow_foreign)?,
            ignore: compile("ignore", &self.ignore)?,
            deciding: compile("deciding", &self.deciding)?,
            majority: self.majority,
        })
    }

    /// Adds the rules to the key of a verdict.
    pub(crate) fn write_key(&self, key: &mut KeyWriter) {
        for list in [&self.allow_foreign, &self.ignore, &self.deciding] {
            key.number(list.len() as u64);
            for pattern in list {
                key.part(pattern);
            }
        }
        key.number(self.majority.to_bits());
    }
}
