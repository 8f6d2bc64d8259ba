//! The casing of keywords: all upper or all lower case, and the same throughout a file.

use super::Instruction;
use crate::lint::{Linter, Rule};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Casing {
    Upper,
    Lower,
    Mixed,
}

impl Casing {
    /// That of a keyword, which is ASCII.
    fn of(keyword: &str) -> Self {
        let any = |is: fn(&u8) -> bool| keyword.as_bytes().iter().any(is);
        match (any(u8::is_ascii_lowercase), any(u8::is_ascii_uppercase)) {
            (_, false) => Self::Lower,
            (false, true) => Self::Upper,
            (true, true) => Self::Mixed,
        }
    }
}

/// Whether `as` is written like the `FROM` before it. One that is consistent with nothing is reported elsewhere.
pub(super) fn match_each_other(from: &str, r#as: &str) -> bool {
    match Casing::of(from) {
        Casing::Mixed => true,
        Casing::Lower => *r#as == r#as.to_lowercase(),
        Casing::Upper => *r#as == r#as.to_uppercase(),
    }
}

/// Reports the instructions that are cased unlike most.
pub(crate) fn check_casing<'a>(
    instructions: impl Iterator<Item = &'a Instruction> + Clone,
    lint: &mut Linter,
) {
    let count = |casing| {
        instructions.clone().filter(|instruction| Casing::of(&instruction.keyword) == casing).count()
    };
    let (wanted, name) = match count(Casing::Lower) > count(Casing::Upper) {
        true => (Casing::Lower, "lowercase"),
        false => (Casing::Upper, "uppercase"),
    };
    for instruction in instructions.filter(|instruction| Casing::of(&instruction.keyword) != wanted) {
        let message = format!(
            "Command '{}' should match the case of the command majority ({name})",
            instruction.keyword
        );
        lint.report(Rule::ConsistentInstructionCasing, None, &instruction.lines, message);
    }
}
