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
    /// The texts of `--device`.
    pub(crate) devices: Vec<String>,
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
    flags.values("device").try_for_each(check_device)?;
    let network = match flags.switch("network").map(|_| flags.value("network")).as_deref() {
        None => None,
        Some("default") => Some(Network::Default),
        Some("none") => Some(Network::None),
        Some("host") => Some(Network::Host),
        Some(other) => {
            let fault = Fault::syntax(format!("unsupported network mode `{other}`"));
            return Err(fault
                .suggest(other, ["default", "none", "host"])
                .hint("a RUN has the network `default`, `none` or `host`"));
        }
    };
    let insecure = match flags.values("security").next() {
        None | Some("sandbox") => false,
        Some("insecure") => true,
        Some(other) => {
            let fault = Fault::syntax(format!("unsupported security mode `{other}`"));
            return Err(fault
                .suggest(other, ["sandbox", "insecure"])
                .hint("the security modes are `sandbox`, which is the default, and `insecure`"));
        }
    };
    let mounts: Vec<String> = flags.values("mount").map(str::to_owned).collect();
    let mounts_from = mounts.iter().map(|text| mount::from(text)).collect::<Result<_, _>>()?;
    let heredocs = node.heredocs.clone();
    let devices = flags.values("device").map(str::to_owned).collect();
    Ok(Run { command: command(node), heredocs, mounts, mounts_from, network, insecure, devices })
}

/// Refuses what is no device in any channel of the language: `[name=]vendor/class=name[,required[=bool]]`.
fn check_device(text: &str) -> Result<(), Fault> {
    let mut named = false;
    for field in mount::fields(text)? {
        let (key, value) =
            field.split_once('=').map_or((field.as_str(), None), |(key, value)| (key, Some(value)));
        match (key.to_ascii_lowercase().as_str(), value) {
            ("required", None) => {}
            ("required", Some(value)) if crate::boolean(value).is_some() => {}
            ("required", Some(value)) => {
                return Err(Fault::syntax(format!("invalid value for device key `required`: `{value}`")));
            }
            _ if !named => named = true,
            (_, None) => {
                return Err(Fault::syntax(format!("device field `{field}` must be a key=value pair")));
            }
            ("name", Some(_)) => return Err(Fault::syntax(format!("device `{text}` has two names"))),
            (key, Some(_)) => {
                let fault = Fault::syntax(format!("unexpected key `{key}` in `{field}`"));
                return Err(fault.suggest(key, ["name", "required"]));
            }
        }
    }
    Ok(())
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
