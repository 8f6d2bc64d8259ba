//! Instructions with types: what each one says, before variables are expanded.
//!
//! Reading is strict: an argument too many, a flag that does not exist or stands there twice is an error here, on
//! whichever stage it is, and not when somebody builds that stage.

mod copy;
mod flags;
mod from;
mod healthcheck;
mod mount;
mod run;
mod settings;

pub(crate) use copy::{Copy, CopyKind};
pub(crate) use from::From;
pub(crate) use mount::{Mount, MountType, Sharing};
pub(crate) use run::{CommandLine, Network, Run};
pub(crate) use settings::{ArgDefinition, Pairs};

use gantry_oci::Healthcheck;

use crate::error::{Error, Fault, Lines};
use crate::parser::{Arguments, Node, blank_separated, key_values};

/// One instruction.
#[derive(Debug, Clone)]
pub(crate) struct Instruction {
    /// What it says.
    pub(crate) kind: Kind,
    /// Its text, continuations joined.
    pub(crate) source: String,
    /// Where it stands.
    pub(crate) lines: Lines,
}

/// What an instruction says.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// `FROM`: a stage begins.
    From(From),
    /// `ARG`
    Arg(Vec<ArgDefinition>),
    /// `ENV`
    Env(Pairs),
    /// `LABEL`
    Label(Pairs),
    /// `RUN`
    Run(Run),
    /// `COPY` or `ADD`
    Copy(Copy),
    /// `WORKDIR`
    Workdir(String),
    /// `USER`
    User(String),
    /// `CMD`
    Cmd(CommandLine),
    /// `ENTRYPOINT`
    Entrypoint(CommandLine),
    /// `SHELL`
    Shell(Vec<String>),
    /// `EXPOSE`, sorted
    Expose(Vec<String>),
    /// `VOLUME`
    Volume(Vec<String>),
    /// `STOPSIGNAL`
    StopSignal(String),
    /// `HEALTHCHECK`
    Healthcheck(Healthcheck),
    /// `MAINTAINER`
    Maintainer(String),
    /// `ONBUILD`: the trigger's text, heredocs included
    Onbuild(String),
}

const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

impl Instruction {
    /// Gives a node its type.
    pub(crate) fn read(node: &Node, escape: char) -> Result<Self, Error> {
        let kind = read_kind(node, escape).map_err(|fault| fault.at(&node.lines))?;
        Ok(Self { kind, source: node.original.trim().to_owned(), lines: node.lines.clone() })
    }
}

fn read_kind(node: &Node, escape: char) -> Result<Kind, Fault> {
    let keyword = node.keyword.to_ascii_uppercase();
    let one = || settings::single_argument(node, &keyword);
    Ok(match keyword.as_str() {
        "FROM" => Kind::From(from::read(node)?),
        "RUN" => Kind::Run(run::read(node)?),
        "ADD" => Kind::Copy(copy::read(node, CopyKind::Add)?),
        "COPY" => Kind::Copy(copy::read(node, CopyKind::Copy)?),
        "HEALTHCHECK" => Kind::Healthcheck(healthcheck::read(node)?),
        "ONBUILD" => Kind::Onbuild(settings::trigger(node)?),
        "ARG" => Kind::Arg(settings::definitions(node, escape)?),
        "ENV" => Kind::Env(settings::pairs(node, &keyword, escape)?),
        "LABEL" => Kind::Label(settings::pairs(node, &keyword, escape)?),
        "CMD" => Kind::Cmd(run::plain_command(node)?),
        "ENTRYPOINT" => Kind::Entrypoint(run::plain_command(node)?),
        "SHELL" => Kind::Shell(settings::shell(node)?),
        "EXPOSE" => Kind::Expose(settings::ports(node)?),
        "VOLUME" => Kind::Volume(settings::volumes(node)?),
        "WORKDIR" => Kind::Workdir(one()?),
        "USER" => Kind::User(one()?),
        "STOPSIGNAL" => Kind::StopSignal(one()?),
        "MAINTAINER" => Kind::Maintainer(one()?),
        _ => {
            let fault = Fault::syntax(format!("unknown instruction: {}", node.keyword));
            return Err(fault.suggest(&keyword, KEYWORDS));
        }
    })
}

/// The arguments as words: the members of a JSON list, or what blanks separate.
fn words(node: &Node) -> Vec<String> {
    match &node.arguments {
        Arguments::Json(list) => list.clone(),
        Arguments::Text(text) => blank_separated(text),
    }
}

/// The arguments as one text; a JSON list cannot be here, because these instructions take none.
fn text(node: &Node) -> &str {
    match &node.arguments {
        Arguments::Text(text) => text,
        Arguments::Json(_) => "",
    }
}

fn at_least_one(keyword: &str) -> Fault {
    Fault::syntax(format!("{keyword} requires at least one argument"))
}

#[cfg(test)]
mod tests;
