//! `--ulimit NAME=SOFT[:HARD]`; -1 is unlimited.

use gantry_release::{Error, Ulimit};

use crate::failure::usage;

/// What Docker calls the limits of getrlimit(2).
const NAMES: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];
const UNLIMITED: i64 = -1;

/// Parses one limit. Without a hard limit, it is the soft one.
pub(super) fn parse(text: &str) -> Result<Ulimit, Error> {
    let wrong = |reason: String| usage(format!("--ulimit {text}: {reason}"));
    let (name, limits) = text.split_once('=').ok_or_else(|| wrong("it is NAME=SOFT[:HARD]".to_owned()))?;
    if !NAMES.contains(&name) {
        return Err(wrong(format!("`{name}` is not a limit")).hint(format!("there are {}", NAMES.join(", "))));
    }
    let number = |text: &str| match text.parse::<i64>() {
        Ok(number) if number >= UNLIMITED => Ok(number),
        _ => Err(wrong(format!("`{text}` is not a limit's number"))),
    };
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let (soft, hard) = (number(soft)?, number(hard)?);
    if hard != UNLIMITED && (soft == UNLIMITED || soft > hard) {
        return Err(wrong("the soft limit is above the hard one".to_owned()));
    }
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        let limit = |text: &str| parse(text).map(|limit| (limit.name, limit.soft, limit.hard));
        assert_eq!(limit("nofile=1024").unwrap(), ("nofile".to_owned(), 1024, 1024));
        assert_eq!(limit("nproc=1:2").unwrap(), ("nproc".to_owned(), 1, 2));
        assert_eq!(limit("core=-1").unwrap(), ("core".to_owned(), -1, -1));
        for text in ["nofile", "files=1", "nofile=x", "nofile=2:1", "nofile=-1:5", "nofile=-2"] {
            assert!(limit(text).is_err(), "{text}");
        }
    }
}
