//! Exit codes: one per class of failure, here and nowhere else.
//!
//! 0 done · 1 build failed · 2 usage or configuration · 3 not allowed · 4 not found · 5 verification failed ·
//! 6 publish failed · 10 internal error · 128+n ended by signal n

use std::process::ExitCode;

use gantry_release::{Class, Error};

use crate::failure;

/// The exit code of a usage error.
pub(crate) const USAGE: u8 = 2;

/// The exit code of a check that found something, as with buildx.
pub(crate) const FOUND: u8 = 1;

/// Shows an error and gives its exit code.
pub(crate) fn report(error: &Error) -> ExitCode {
    failure::show(error);
    ExitCode::from(code(error.class))
}

/// The exit code of a process that this signal ended, by the shells' convention.
pub(crate) fn of_signal(signal: u8) -> ExitCode {
    ExitCode::from(128 + signal)
}

fn code(class: Class) -> u8 {
    match class {
        Class::Build => 1,
        Class::Usage => USAGE,
        Class::Denied => 3,
        Class::NotFound => 4,
        Class::Verification => 5,
        Class::Publish => 6,
        // Cancelled without a signal does not happen; if it does, it is our fault.
        Class::Internal | Class::Cancelled => 10,
    }
}
