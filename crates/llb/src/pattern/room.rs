//! The memory that the expressions of one list of patterns may take together.
//!
//! One that is as large as an expression may be is harmless, a thousand of them are not, and a list says each with a few
//! characters.

/// What all expressions of a list may take: enough for some thousands of ordinary size.
const MAX_LIST_SIZE: usize = 32 << 20;

/// The memory that is left.
#[derive(Debug)]
pub(super) struct Room(usize);

const TOO_LARGE: &str = "with those before it, it is too large for a list of expressions";

impl Default for Room {
    fn default() -> Self {
        Self(MAX_LIST_SIZE)
    }
}

impl Room {
    /// Takes some of it, or says why there is not enough.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), &'static str> {
        self.0 = self.0.checked_sub(bytes).ok_or(TOO_LARGE)?;
        Ok(())
    }
}
