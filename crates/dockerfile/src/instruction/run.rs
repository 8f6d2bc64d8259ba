//! RUN, and the command lines of CMD and ENTRYPOINT.

use super::flags::{Flags, Takes};
use super::mount;
use crate::error::Fault;
use crate::parser::{Arguments, Heredoc, Node};

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CommandLine {
    /// Exec form: the words.
    Exec(Vec<String>),
    /// Shell form: a text for the shell.
    Shell(String),
}

/// A RUN.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// What to run.
    pub(crate) command: CommandLine,
    /// The heredocs of the command.
    pub(crate) heredocs: Vec<Heredoc>,
    /// The texts of `--mount`, variables still in them.
    pub(crate) mounts: Vec<String>,
    /// What each of the mounts has as `from`.
    pub(crate) mounts_from: Vec<Option<String>>,
    /// `--network`, if given.
    pub(crate) network: Option<Network>,
    /// Whether `--security=insecure` was given.
    pub(crate) insecure: bool,
}

/// Which network a command sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// The usual one.
    Default,
    /// None.
    None,
    /// The machine's own.
    Host,
}

pub(super) fn read(node: &Node) -> Result<Run, Fault> {
    let known = [
        ("mount", Takes::Values),
        ("network", Takes::Value),
        ("security", Takes::Value),
        ("device", Takes::Values),
    ];
    let flags = Flags::read(node, &known)?;
    if flags.values("device").next().is_some() {
        return Err(Fault::syntax("RUN --device is only in the labs channel of the Dockerfile language")
            .hint("the built-in language is the stable one, docker/dockerfile:1"));
    }
    let network = match flags.switch("network").map(|_| flags.value("network")).as_deref() {
        None => None,
        Some("default") => Some(Network::Default),
        Some("none") => Some(Network::None),
        Some("host") => Some(Network::Host),
        Some(other) => {
            let fault = Fault::syntax(format!("unsupported network mode `{other}`"));
            return Err(fault.suggest(other, ["default", "none", "host"]));
        }
    };
    let insecure = match flags.value("security").as_str() {
        "" | "sandbox" => false,
        "insecure" => true,
        other => {
            let fault = Fault::syntax(format!("unsupported security mode `{other}`"));
            return Err(fault.suggest(other, ["sandbox", "insecure"]));
        }
    };
    let mounts: Vec<String> = flags.values("mount").map(str::to_owned).collect();
    let mounts_from = mounts.iter().map(|text| mount::from(text)).collect::<Result<_, _>>()?;
    let heredocs = node.heredocs.clone();
    Ok(Run { command: command(node), heredocs, mounts, mounts_from, network, insecure })
}

/// The command of CMD or ENTRYPOINT.
pub(super) fn plain_command(node: &Node) -> Result<CommandLine, Fault> {
    Flags::none(node)?;
    Ok(command(node))
}

fn command(node: &Node) -> CommandLine {
    match &node.arguments {
        Arguments::Json(list) => CommandLine::Exec(list.clone()),
        Arguments::Text(text) => CommandLine::Shell(text.clone()),
    }
}
