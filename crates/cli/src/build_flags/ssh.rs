//! `--ssh default|ID[=SOCKET|KEY[,KEY…]]`

use std::ffi::OsString;
use std::path::PathBuf;

use gantry_release::Error;

use crate::failure::usage;

/// The agent that is meant where none is named.
const DEFAULT: &str = "default";
/// Where the user's own agent is.
const AGENT: &str = "SSH_AUTH_SOCK";

/// Parses one value. Without a path, the user's own agent is meant.
pub(super) fn parse(
    text: &str,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<(String, Vec<PathBuf>), Error> {
    let (id, paths) = text.split_once('=').unwrap_or((text, ""));
    let id = if id.is_empty() { DEFAULT } else { id };
    if !paths.is_empty() {
        return Ok((id.to_owned(), paths.split(',').map(PathBuf::from).collect()));
    }
    match variable(AGENT).filter(|socket| !socket.is_empty()) {
        Some(socket) => Ok((id.to_owned(), vec![PathBuf::from(socket)])),
        None => Err(usage(format!("--ssh {text}: {AGENT} is not set, so there is no agent"))
            .hint(format!("start one, or name a socket or a key: --ssh {id}=PATH"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammar() {
        let agent = |_: &str| Some(OsString::from("/run/agent"));
        let paths = |text: &str| {
            let (id, paths) = parse(text, agent).unwrap();
            format!(
                "{id}:{}",
                paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join("+")
            )
        };
        assert_eq!(paths("default"), "default:/run/agent");
        assert_eq!(paths("x="), "x:/run/agent");
        assert_eq!(paths("x=/a,/b"), "x:/a+/b");
        assert_eq!(paths("=/a"), "default:/a");
        assert!(parse("default", |_| None).unwrap_err().to_string().contains("SSH_AUTH_SOCK"));
    }
}
