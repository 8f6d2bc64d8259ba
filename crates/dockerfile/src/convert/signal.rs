//! The signals that STOPSIGNAL may name.

use crate::error::Fault;
use crate::suggest;

/// Linux's names, without `SIG`.
const NAMES: [&str; 35] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE",
    "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU",
    "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN",
];
/// `RTMIN+n` and `RTMAX-n` go this far.
const MAX_FROM_RTMIN: u8 = 15;
const MAX_FROM_RTMAX: u8 = 14;

/// Refuses what is no signal: a name, with or without `SIG`, or a number other than 0.
pub(super) fn check(text: &str) -> Result<(), Fault> {
    if let Ok(number) = text.parse::<i64>() {
        return if number == 0 { Err(invalid(text)) } else { Ok(()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |prefix: &str, most: u8| {
        let offset = name.strip_prefix(prefix).and_then(|offset| offset.parse::<u8>().ok());
        offset.is_some_and(|offset| (1..=most).contains(&offset))
    };
    let known = NAMES.contains(&name) || name == "RTMAX";
    match known || offset("RTMIN+", MAX_FROM_RTMIN) || offset("RTMAX-", MAX_FROM_RTMAX) {
        true => Ok(()),
        false => Err(match suggest::closest(name, NAMES).filter(|_| !name.is_empty()) {
            Some(near) => invalid(text).hint(format!("did you mean `SIG{near}`?")),
            None => invalid(text).hint("write a name like SIGTERM, or a number"),
        }),
    }
}

fn invalid(text: &str) -> Fault {
    Fault::semantics(format!("invalid signal: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals() {
        for good in ["SIGTERM", "term", "USR1", "9", "37", "SIGRTMIN+3", "RTMAX-14", "RTMAX"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["", "SIGFOO", "0", "RTMIN+16", "SIG", "RTMAX+1", "RTMIN+0"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
