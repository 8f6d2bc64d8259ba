//! What becomes of permission bits: nothing, a number, or chmod's symbolic form (`u=rwX,go-w`, `g=u`).
//!
//! The symbolic form is read as the reference reads it, which is BSD's `setmode`: `X` asks what somebody could execute
//! before any change, and `-X` is `-x`.

use crate::error::Fault;

use super::place::DEFAULT_DIRECTORY_MODE;

const SET_USER: u32 = 0o4000;
const SET_GROUP: u32 = 0o2000;
const STICKY: u32 = 0o1000;
const EXECUTE: u32 = 0o111;
/// What is changed where no class is named, and by `a`.
const ALL: u32 = SET_USER | SET_GROUP | 0o777;
const OTHERS: u32 = 0o007;

/// How a copy changes modes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ModeChange {
    /// Not at all.
    Keep,
    /// To this.
    Set(u32),
    /// By these steps, in order.
    Symbolic(Vec<Step>),
}

/// One step of the symbolic form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Add(u32),
    Remove(u32),
    /// For directories, and for what somebody could execute at first.
    AddIfExecutable(u32),
    /// What one class may do, for other classes.
    Copy {
        /// How far to shift a mode to the right to have the class that is copied from.
        from: u32,
        /// The classes that are changed, as their read bits.
        to: u32,
        operator: Operator,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Add,
    Remove,
    Assign,
}

impl ModeChange {
    /// From an action's fields: a symbolic text wins over a number, -1 stands for none.
    pub(crate) fn new(mode: i32, symbolic: &str) -> Result<Self, Fault> {
        if !symbolic.is_empty() {
            let steps = parse(symbolic);
            return steps
                .map(Self::Symbolic)
                .ok_or_else(|| Fault::Graph(format!("`{symbolic}` is not a mode")));
        }
        Ok(u32::try_from(mode).map_or(Self::Keep, |mode| Self::Set(mode & 0o7777)))
    }

    /// The new mode of a file that has this one.
    pub(crate) fn of(&self, mode: u32, is_directory: bool) -> u32 {
        let mode = mode & 0o7777;
        let executable = is_directory || mode & EXECUTE != 0;
        match self {
            Self::Keep => mode,
            Self::Set(mode) => *mode,
            Self::Symbolic(steps) => steps.iter().fold(mode, |mode, step| step.apply(mode, executable)),
        }
    }

    /// The mode of a directory that is made on the way: without the special bits, as with the reference.
    pub(crate) fn of_made_directory(&self) -> u32 {
        match self {
            Self::Set(mode) => *mode & 0o777,
            Self::Keep | Self::Symbolic(_) => DEFAULT_DIRECTORY_MODE,
        }
    }
}

impl Step {
    fn apply(self, mode: u32, executable: bool) -> u32 {
        match self {
            Self::Add(bits) => mode | bits,
            Self::Remove(bits) => mode & !bits,
            Self::AddIfExecutable(bits) if executable => mode | bits,
            Self::AddIfExecutable(_) => mode,
            Self::Copy { from, to, operator } => {
                // A read bit is the highest of its class: times 4/4, 2/4 and 1/4 it is the class's bits.
                let spread = |bits: u32| (to >> 2) * bits;
                let copied = spread((mode >> from) & 0o7);
                match operator {
                    Operator::Add => mode | copied,
                    Operator::Remove => mode & !copied,
                    Operator::Assign => (mode & !spread(0o7)) | copied,
                }
            }
        }
    }
}

/// The steps of a whole text: parts between commas, each with classes and one or more operators.
fn parse(text: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    for part in text.split(',') {
        let operators = ['+', '-', '='];
        let (who, mut rest) = part.split_at(part.find(operators)?);
        let classes = who.chars().try_fold(0, |classes, class| Some(classes | class_of(class)?))?;
        while let Some(operator) = rest.chars().next() {
            let end = rest[1..].find(operators).map_or(rest.len(), |end| end + 1);
            parse_clause(classes, operator, &rest[1..end], &mut steps)?;
            rest = &rest[end..];
        }
    }
    Some(steps)
}

fn class_of(class: char) -> Option<u32> {
    match class {
        'u' => Some(SET_USER | 0o700),
        'g' => Some(SET_GROUP | 0o070),
        'o' => Some(OTHERS),
        'a' => Some(ALL),
        _ => None,
    }
}

/// One operator with its permissions, while it is read.
struct Clause {
    operator: Operator,
    /// What may be changed; 0 where no class is named.
    who: u32,
    bits: u32,
    conditional: u32,
    /// The classes were cleared already, which an assignment does first.
    cleared: bool,
}

/// Reads one operator's permissions, for these classes; 0 if none are named.
fn parse_clause(classes: u32, operator: char, permissions: &str, steps: &mut Vec<Step>) -> Option<()> {
    let operator = match operator {
        '+' => Operator::Add,
        '-' => Operator::Remove,
        '=' => Operator::Assign,
        _ => return None,
    };
    let mut clause = Clause { operator, who: classes, bits: 0, conditional: 0, cleared: false };
    for permission in permissions.chars() {
        let not_only_others = clause.who == 0 || clause.who & !OTHERS != 0;
        match permission {
            'r' => clause.bits |= 0o444,
            'w' => clause.bits |= 0o222,
            'x' => clause.bits |= EXECUTE,
            'X' if operator == Operator::Remove => clause.bits |= EXECUTE,
            'X' => clause.conditional = EXECUTE,
            's' if not_only_others => clause.bits |= SET_USER | SET_GROUP,
            't' if not_only_others => {
                clause.who |= STICKY;
                clause.bits |= STICKY;
            }
            's' | 't' => {}
            'u' => clause.copy(6, steps),
            'g' => clause.copy(3, steps),
            'o' => clause.copy(0, steps),
            _ => return None,
        }
    }
    if operator == Operator::Assign && !clause.cleared && clause.bits == 0 {
        steps.push(Step::Remove(clause.affected()));
    }
    clause.flush(steps);
    Some(())
}

impl Clause {
    fn affected(&self) -> u32 {
        if self.who == 0 { ALL } else { self.who }
    }

    /// Adds the steps for what was read so far.
    fn flush(&mut self, steps: &mut Vec<Step>) {
        let mask = if self.who == 0 { u32::MAX } else { self.who };
        if self.bits != 0 {
            match self.operator {
                Operator::Add => steps.push(Step::Add(mask & self.bits)),
                Operator::Remove => steps.push(Step::Remove(mask & self.bits)),
                Operator::Assign => {
                    steps.extend([Step::Remove(self.affected()), Step::Add(mask & self.bits)]);
                }
            }
        }
        if self.conditional != 0 {
            steps.push(Step::AddIfExecutable(mask & self.conditional));
        }
        (self.bits, self.conditional, self.cleared) = (0, 0, true);
    }

    /// Adds the step that copies what a class may do.
    fn copy(&mut self, from: u32, steps: &mut Vec<Step>) {
        self.flush(steps);
        let to = if self.who == 0 { 0o444 } else { self.who & 0o444 };
        steps.push(Step::Copy { from, to, operator: self.operator });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What BSD's `setmode` makes of them, and with it the reference.
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
            ("g=u", 0o640, false, 0o660),
            ("u=g,o=u", 0o750, false, 0o555),
            ("go=u-w", 0o4751, false, 0o4755),
            ("a+u", 0o421, false, 0o465),
            ("o-u", 0o456, false, 0o452),
            ("=g", 0o7640, false, 0o7444),
            ("u=gw", 0o750, false, 0o250),
            ("a=rw,a+X", 0o755, false, 0o777),
            ("a-X", 0o755, false, 0o644),
            ("o+st", 0o644, false, 0o644),
            ("a+s", 0o644, false, 0o6644),
            ("+xt", 0o644, false, 0o1644),
            ("=", 0o7777, false, 0o1000),
            ("a=t", 0o777, false, 0o1000),
        ] {
            let change = ModeChange::new(-1, symbolic).unwrap();
            let found = change.of(before, is_directory);
            assert_eq!(found, after, "{symbolic} on {before:o}: {found:o} instead of {after:o}");
        }
        assert_eq!(ModeChange::new(0o640, "").unwrap().of(0o777, false), 0o640);
        assert_eq!(ModeChange::new(0o4750, "").unwrap().of_made_directory(), 0o750);
        assert_eq!(ModeChange::new(-1, "").unwrap().of(0o100_755, false), 0o755);
        for bad in ["z=r", "u", "u=q", "u=rw,,", "=é", "u=r,"] {
            assert!(ModeChange::new(-1, bad).is_err(), "{bad}");
        }
    }
}
