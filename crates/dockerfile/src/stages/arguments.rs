//! Global arguments: those before the first stage, and the predefined ones, which FROM can use.

use std::collections::{BTreeMap, BTreeSet};

use super::Written;
use crate::environment::Environment;
use crate::error::{Error, Lines};
use crate::instruction::{ArgDefinition, Instruction, Kind};
use crate::lex::Lexer;
use crate::lint::{Linter, Rule};
use crate::options::Options;

/// The global arguments.
#[derive(Debug, Clone, Default)]
pub(crate) struct Globals {
    /// Those that have values.
    pub(crate) values: Environment,
    /// Those that the file declares, with and without values.
    pub(crate) declared: BTreeMap<String, GlobalArgument>,
}

/// A declared argument.
#[derive(Debug, Clone)]
pub(crate) struct GlobalArgument {
    /// Its value; empty if it has none.
    pub(crate) value: String,
    /// The other arguments that its value is made of.
    pub(crate) parts: BTreeSet<String>,
    /// What the comment above it says about it.
    pub(crate) description: Option<String>,
    /// Its ARG.
    pub(crate) lines: Lines,
}

impl Globals {
    /// The predefined arguments.
    pub(super) fn predefined(target: Option<&str>, options: &Options) -> Self {
        let (build, wanted) = (&options.build_platform, &options.platform);
        let predefined = [
            ("BUILDPLATFORM", build.to_string()),
            ("BUILDOS", build.os().to_owned()),
            ("BUILDOSVERSION", build.os_version().to_owned()),
            ("BUILDARCH", build.architecture().to_owned()),
            ("BUILDVARIANT", build.variant().to_owned()),
            ("TARGETPLATFORM", wanted.to_string()),
            ("TARGETOS", wanted.os().to_owned()),
            ("TARGETOSVERSION", wanted.os_version().to_owned()),
            ("TARGETARCH", wanted.architecture().to_owned()),
            ("TARGETVARIANT", wanted.variant().to_owned()),
            ("TARGETSTAGE", target.unwrap_or("default").to_owned()),
        ];
        let mut globals = Self::default();
        for (name, value) in predefined {
            globals.values.set(name, options.build_args.get(name).unwrap_or(&value));
        }
        globals
    }

    /// These, and those that the instructions before the first stage declare.
    pub(super) fn with(
        &self,
        arguments: &[Instruction],
        lexer: &Lexer,
        given: &BTreeMap<String, String>,
    ) -> Result<Self, Error> {
        let mut globals = self.clone();
        for instruction in arguments {
            let Kind::Arg(definitions) = &instruction.kind else { continue };
            for definition in definitions {
                globals.declare(definition, instruction, lexer, given)?;
            }
        }
        Ok(globals)
    }

    fn declare(
        &mut self,
        definition: &ArgDefinition,
        instruction: &Instruction,
        lexer: &Lexer,
        given: &BTreeMap<String, String>,
    ) -> Result<(), Error> {
        let ArgDefinition { name, default } = definition;
        let mut parts = BTreeSet::new();
        let value = match (given.get(name), default) {
            (Some(value), _) => Some(value.clone()),
            (None, Some(default)) => {
                let value = lexer.word(default, &self.values);
                let value = value.map_err(|fault| fault.at(&instruction.lines))?;
                parts = value.used;
                Some(value.text)
            }
            (None, None) => None,
        };
        // One that is made of itself is made of what it was made of before.
        if parts.remove(name)
            && let Some(before) = self.declared.remove(name)
        {
            let own = std::mem::replace(&mut parts, before.parts);
            parts.extend(own);
        }
        if let Some(value) = &value {
            self.values.set(name, value);
        }
        let argument = GlobalArgument {
            value: value.unwrap_or_default(),
            parts,
            description: instruction.description(name).map(str::to_owned),
            lines: instruction.lines.clone(),
        };
        self.declared.insert(name.clone(), argument);
        Ok(())
    }

    /// Reports base images that have no valid name unless build arguments give them one.
    pub(super) fn check_defaults(
        &self,
        arguments: &[Instruction],
        stages: &[Written],
        lexer: &Lexer,
        lint: &mut Linter,
    ) {
        // A fault of the text comes up again where it counts.
        let Ok(defaults) = self.with(arguments, lexer, &BTreeMap::new()) else { return };
        for Written { from, first, .. } in stages {
            let Ok(base) = lexer.word(&from.base, &defaults.values) else { return };
            if base.text.parse::<gantry_oci::Reference>().is_err() {
                let message = format!(
                    "Default value for ARG {} results in empty or invalid base image name",
                    from.base
                );
                lint.report(Rule::InvalidDefaultArgInFrom, None, &first.lines, message);
            }
        }
    }
}
