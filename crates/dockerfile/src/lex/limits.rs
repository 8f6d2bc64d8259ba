//! What the texts of a file may cost: how much variables may stand for, and how long patterns may be matched.
//!
//! One text can say a lot with few words, and so can many, each of which is harmless. So both are bounded, one text and all
//! texts of a file. Who goes on without a text that was refused is refused later: see [`Spent::verdict`].

use std::cell::Cell;

use crate::error::Fault;

/// How many bytes the variables of one text may stand for. Doubling a variable sixty times must end in an error and not in
/// an empty memory.
pub(super) const MAX_EXPANSION: usize = 4 << 20;
/// How many bytes the variables of all texts of a file may stand for. Some are kept several times (in the config, the
/// history, the commands and their names). Those of real files stay below a megabyte.
const MAX_EXPANSIONS: usize = 64 << 20;
/// How many steps of pattern matching all texts of a file may cost: a second at most. A name of a file costs some hundreds.
const MAX_WORK: usize = 32 << 20;

/// What texts have cost so far.
#[derive(Debug, Default)]
pub(crate) struct Spent {
    produced: Cell<usize>,
    work: Cell<usize>,
    excess: Cell<Option<Excess>>,
}

/// The limit that was exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Excess {
    /// [`MAX_EXPANSION`]
    Text,
    /// [`MAX_EXPANSIONS`]
    File,
    /// [`MAX_WORK`]
    Patterns,
}

impl Spent {
    /// Counts bytes that come out of a variable, in a text that had `before` already. Returns how many it has now.
    pub(super) fn produce(&self, before: usize, bytes: usize) -> Result<usize, Fault> {
        let (text, file) = (before.saturating_add(bytes), self.produced.get().saturating_add(bytes));
        self.produced.set(file);
        match (text > MAX_EXPANSION, file > MAX_EXPANSIONS) {
            (true, _) => Err(self.exceed(Excess::Text)),
            (false, true) => Err(self.exceed(Excess::File)),
            (false, false) => Ok(text),
        }
    }

    /// Counts steps of pattern matching, before they are done.
    pub(super) fn work(&self, steps: usize) -> Result<(), Fault> {
        self.work.set(self.work.get().saturating_add(steps));
        match self.work.get() > MAX_WORK {
            true => Err(self.exceed(Excess::Patterns)),
            false => Ok(()),
        }
    }

    /// Notes that a limit was exceeded, and says so.
    pub(super) fn exceed(&self, excess: Excess) -> Fault {
        self.excess.set(Some(excess));
        excess.fault()
    }

    /// The fault of a limit that was exceeded, if one was.
    pub(super) fn verdict(&self) -> Result<(), Fault> {
        self.excess.get().map_or(Ok(()), |excess| Err(excess.fault()))
    }
}

impl Excess {
    fn fault(self) -> Fault {
        Fault::semantics(match self {
            Self::Text => format!("it grows beyond {} MiB", MAX_EXPANSION >> 20),
            Self::File => format!(
                "with it, what the variables of the file stand for grows beyond {} MiB",
                MAX_EXPANSIONS >> 20
            ),
            Self::Patterns => {
                "its patterns, with those before it, and the values that they are matched against are too long"
                    .to_owned()
            }
        })
    }
}
