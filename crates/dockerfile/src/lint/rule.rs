//! The rules: names, descriptions and pages, as in BuildKit's documentation.

use std::fmt;

/// Where the pages of the rules are.
const PAGES: &str = "https://docs.docker.com/go/dockerfile/rule/";

/// A build check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// The name of a stage has upper-case letters.
    StageNameCasing,
    /// `FROM` and `as` are cased differently.
    FromAsCasing,
    /// An instruction has an empty line inside.
    NoEmptyContinuation,
    /// Instructions are cased differently.
    ConsistentInstructionCasing,
    /// Two stages have one name.
    DuplicateStageName,
    /// A stage is called `scratch` or `context`.
    ReservedStageName,
    /// A CMD or ENTRYPOINT is run by a shell, which does not pass signals on.
    JsonArgsRecommended,
    /// MAINTAINER is used.
    MaintainerDeprecated,
    /// FROM uses an argument that is not declared.
    UndefinedArgInFrom,
    /// A WORKDIR depends on the base image.
    WorkdirRelativePath,
    /// A variable is used that is not set.
    UndefinedVar,
    /// Of several CMD, ENTRYPOINT or HEALTHCHECK only the last counts.
    MultipleInstructionsDisallowed,
    /// ENV or LABEL without `=`.
    LegacyKeyValueFormat,
    /// A base image is for another platform.
    InvalidBaseImagePlatform,
    /// `FROM --platform=$TARGETPLATFORM` is what FROM does anyway.
    RedundantTargetPlatform,
    /// ARG or ENV holds what sounds like a secret.
    SecretsUsedInArgOrEnv,
    /// The defaults of arguments give no valid image name.
    InvalidDefaultArgInFrom,
    /// `FROM --platform` always names the same platform.
    FromPlatformFlagConstDisallowed,
    /// COPY or ADD names a file that the ignore file leaves out.
    CopyIgnoredFile,
    /// The comment above a stage or argument does not describe it. Experimental.
    InvalidDefinitionDescription,
    /// The protocol of an EXPOSE has upper-case letters.
    ExposeProtoCasing,
    /// EXPOSE names an address or port of the host.
    ExposeInvalidFormat,
}

/// What the documentation says about a rule: name, description, page.
type Facts = (Rule, &'static str, &'static str, &'static str);

/// One for each rule, in the order of the type.
const FACTS: [Facts; 22] = [
    (Rule::StageNameCasing, "StageNameCasing", "Stage names should be lowercase", "stage-name-casing"),
    (
        Rule::FromAsCasing,
        "FromAsCasing",
        "The 'as' keyword should match the case of the 'from' keyword",
        "from-as-casing",
    ),
    (
        Rule::NoEmptyContinuation,
        "NoEmptyContinuation",
        "Empty continuation lines will become errors in a future release",
        "no-empty-continuation",
    ),
    (
        Rule::ConsistentInstructionCasing,
        "ConsistentInstructionCasing",
        "All commands within the Dockerfile should use the same casing (either upper or lower)",
        "consistent-instruction-casing",
    ),
    (Rule::DuplicateStageName, "DuplicateStageName", "Stage names should be unique", "duplicate-stage-name"),
    (
        Rule::ReservedStageName,
        "ReservedStageName",
        "Reserved words should not be used as stage names",
        "reserved-stage-name",
    ),
    (
        Rule::JsonArgsRecommended,
        "JSONArgsRecommended",
        "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
        "json-args-recommended",
    ),
    (
        Rule::MaintainerDeprecated,
        "MaintainerDeprecated",
        "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
        "maintainer-deprecated",
    ),
    (
        Rule::UndefinedArgInFrom,
        "UndefinedArgInFrom",
        "FROM command must use declared ARGs",
        "undefined-arg-in-from",
    ),
    (
        Rule::WorkdirRelativePath,
        "WorkdirRelativePath",
        "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes",
        "workdir-relative-path",
    ),
    (Rule::UndefinedVar, "UndefinedVar", "Variables should be defined before their use", "undefined-var"),
    (
        Rule::MultipleInstructionsDisallowed,
        "MultipleInstructionsDisallowed",
        "Multiple instructions of the same type should not be used in the same stage",
        "multiple-instructions-disallowed",
    ),
    (
        Rule::LegacyKeyValueFormat,
        "LegacyKeyValueFormat",
        "Legacy key/value format with whitespace separator should not be used",
        "legacy-key-value-format",
    ),
    (
        Rule::InvalidBaseImagePlatform,
        "InvalidBaseImagePlatform",
        "Base image platform does not match expected target platform",
        "",
    ),
    (
        Rule::RedundantTargetPlatform,
        "RedundantTargetPlatform",
        "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
        "redundant-target-platform",
    ),
    (
        Rule::SecretsUsedInArgOrEnv,
        "SecretsUsedInArgOrEnv",
        "Sensitive data should not be used in the ARG or ENV commands",
        "secrets-used-in-arg-or-env",
    ),
    (
        Rule::InvalidDefaultArgInFrom,
        "InvalidDefaultArgInFrom",
        "Default value for global ARG results in an empty or invalid base image name",
        "invalid-default-arg-in-from",
    ),
    (
        Rule::FromPlatformFlagConstDisallowed,
        "FromPlatformFlagConstDisallowed",
        "FROM --platform flag should not use a constant value",
        "from-platform-flag-const-disallowed",
    ),
    (
        Rule::CopyIgnoredFile,
        "CopyIgnoredFile",
        "Attempting to Copy file that is excluded by .dockerignore",
        "copy-ignored-file",
    ),
    (
        Rule::InvalidDefinitionDescription,
        "InvalidDefinitionDescription",
        "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not intended to be a description comment, add an empty line or comment between the instruction and the comment.",
        "invalid-definition-description",
    ),
    (
        Rule::ExposeProtoCasing,
        "ExposeProtoCasing",
        "Protocol in EXPOSE instruction should be lowercase",
        "expose-proto-casing",
    ),
    (
        Rule::ExposeInvalidFormat,
        "ExposeInvalidFormat",
        "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release",
        "expose-invalid-format",
    ),
];

impl Rule {
    /// Its name, by which it can be skipped.
    pub fn name(self) -> &'static str {
        FACTS[self as usize].1
    }

    /// What it wants.
    pub fn description(self) -> &'static str {
        FACTS[self as usize].2
    }

    /// The address of its documentation.
    pub fn url(self) -> Option<String> {
        match FACTS[self as usize].3 {
            "" => None,
            page => Some(format!("{PAGES}{page}/")),
        }
    }

    /// Whether it is followed only on request.
    pub(crate) fn is_experimental(self) -> bool {
        self == Self::InvalidDefinitionDescription
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_in_order() {
        for (index, facts) in FACTS.iter().enumerate() {
            assert_eq!(facts.0 as usize, index, "{}", facts.0);
        }
    }
}
