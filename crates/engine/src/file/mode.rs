//! What becomes of permission bits: nothing, a number, or chmod's symbolic form (`u=rwX,go-w`).

use crate::error::Fault;

use super::place::DEFAULT_DIRECTORY_MODE;

const SET_USER: u32 = 0o4000;
const SET_GROUP: u32 = 0o2000;
const STICKY: u32 = 0o1000;

/// How a copy changes modes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ModeChange {
    /// Not at all.
    Keep,
    /// To this.
    Set(u32),
    /// By these clauses, in order.
    Symbolic(Vec<Clause>),
}

/// One clause of the symbolic form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Clause {
    /// A mask of the classes that it is about: `0o700`, `0o070`, `0o007`, added up.
    classes: u32,
    operator: Operator,
    /// Read, write and execute for one class: 4, 2, 1.
    bits: u32,
    /// `X`: execute for directories, and for what somebody may execute already.
    conditional_execute: bool,
    /// `s` and `t`.
    special: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Add,
    Remove,
    Assign,
}

impl ModeChange {
    /// From an action's fields: a symbolic text wins over a number, -1 stands for none.
    pub(crate) fn new(mode: i32, symbolic: &str) -> Result<Self, Fault> {
        if !symbolic.is_empty() {
            let clauses = symbolic.split(',').map(parse_clauses).collect::<Option<Vec<_>>>();
            let clauses = clauses.ok_or_else(|| Fault::Graph(format!("`{symbolic}` is not a mode")))?;
            return Ok(Self::Symbolic(clauses.concat()));
        }
        Ok(u32::try_from(mode).map_or(Self::Keep, |mode| Self::Set(mode & 0o7777)))
    }

    /// The new mode of a file that has this one.
    pub(crate) fn of(&self, mode: u32, is_directory: bool) -> u32 {
        let mode = mode & 0o7777;
        match self {
            Self::Keep => mode,
            Self::Set(mode) => *mode,
            Self::Symbolic(clauses) => {
                clauses.iter().fold(mode, |mode, clause| clause.apply(mode, is_directory))
            }
        }
    }

    /// The mode of a directory that is made on the way.
    pub(crate) fn of_made_directory(&self) -> u32 {
        match self {
            Self::Set(mode) => *mode,
            Self::Keep | Self::Symbolic(_) => DEFAULT_DIRECTORY_MODE,
        }
    }
}

impl Clause {
    fn apply(self, mode: u32, is_directory: bool) -> u32 {
        let executable = is_directory || mode & 0o111 != 0;
        let bits = self.bits | u32::from(self.conditional_execute && executable);
        let wanted = ((bits * 0o111) & self.classes) | self.special;
        match self.operator {
            Operator::Add => mode | wanted,
            Operator::Remove => mode & !wanted,
            Operator::Assign => (mode & !(self.classes | special_of(self.classes))) | wanted,
        }
    }
}

/// The special bits that belong to classes.
fn special_of(classes: u32) -> u32 {
    let bit = |class: u32, special: u32| if classes & class != 0 { special } else { 0 };
    bit(0o700, SET_USER) | bit(0o070, SET_GROUP) | bit(0o007, STICKY)
}

/// One part between commas: classes, then one or more operators with permissions.
fn parse_clauses(text: &str) -> Option<Vec<Clause>> {
    let operators = ['+', '-', '='];
    let (who, mut rest) = text.split_at(text.find(operators)?);
    let mut classes = 0;
    for class in who.chars() {
        classes |= match class {
            'u' => 0o700,
            'g' => 0o070,
            'o' => 0o007,
            'a' => 0o777,
            _ => return None,
        };
    }
    if who.is_empty() {
        classes = 0o777;
    }
    let mut clauses = Vec::new();
    while let Some(operator) = rest.chars().next() {
        let end = rest[1..].find(operators).map_or(rest.len(), |end| end + 1);
        clauses.push(parse_clause(classes, operator, &rest[1..end])?);
        rest = &rest[end..];
    }
    Some(clauses)
}

fn parse_clause(classes: u32, operator: char, permissions: &str) -> Option<Clause> {
    let operator = match operator {
        '+' => Operator::Add,
        '-' => Operator::Remove,
        '=' => Operator::Assign,
        _ => return None,
    };
    let mut clause = Clause { classes, operator, bits: 0, conditional_execute: false, special: 0 };
    for permission in permissions.chars() {
        match permission {
            'r' => clause.bits |= 4,
            'w' => clause.bits |= 2,
            'x' => clause.bits |= 1,
            'X' => clause.conditional_execute = true,
            's' => clause.special |= special_of(classes) & (SET_USER | SET_GROUP),
            't' => clause.special |= STICKY,
            _ => return None,
        }
    }
    Some(clause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes() {
        for (symbolic, before, is_directory, after) in [
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("a+x", 0o644, false, 0o755),
            ("+x", 0o644, false, 0o755),
            ("go-w", 0o666, false, 0o644),
            ("u+s,g+s", 0o755, false, 0o6755),
            ("u=rw", 0o4755, false, 0o655),
            ("+t", 0o777, true, 0o1777),
            ("o=", 0o777, false, 0o770),
            ("u+x-w", 0o600, false, 0o500),
        ] {
            let change = ModeChange::new(-1, symbolic).unwrap();
            let found = change.of(before, is_directory);
            assert_eq!(found, after, "{symbolic} on {before:o}: {found:o} instead of {after:o}");
        }
        assert_eq!(ModeChange::new(0o640, "").unwrap().of(0o777, false), 0o640);
        assert_eq!(ModeChange::new(-1, "").unwrap().of(0o100_755, false), 0o755);
        for bad in ["z=r", "u", "u=q", "u=rw,,", "=é"] {
            assert!(ModeChange::new(-1, bad).is_err(), "{bad}");
        }
    }
}
