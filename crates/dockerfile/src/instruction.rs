//! Instructions with types: what each one says, before variables are expanded.
//!
//! Reading is strict: an argument too many, a flag that does not exist or stands there twice is an error here, on
//! whichever stage it is, and not when somebody builds that stage.

mod casing;
mod comments;
mod copy;
mod flags;
mod from;
mod healthcheck;
mod mount;
mod run;
mod settings;

pub(crate) use casing::check_casing;
pub(crate) use comments::Comments;
pub(crate) use copy::{Copy, CopyKind};
pub(crate) use from::From;
pub(crate) use mount::{Mount, MountType, Sharing};
pub(crate) use run::{CommandLine, Network, Run};
pub(crate) use settings::{ArgDefinition, Pairs};

use gantry_oci::Healthcheck;

use crate::error::{Error, Fault, Lines};
use crate::lint::{Linter, Rule};
use crate::parser::{Arguments, Node, blank_separated, key_values};
use crate::suggest;

/// One instruction.
#[derive(Debug, Clone)]
pub(crate) struct Instruction {
    /// What it says.
    pub(crate) kind: Kind,
    /// Its name as it was written.
    pub(crate) keyword: String,
    /// Its text, continuations joined.
    pub(crate) source: String,
    /// The comments above it.
    pub(crate) comments: Comments,
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
    /// Gives a node its type, and reports what is doubtful about how it is written.
    pub(crate) fn read(node: &Node, escape: char, lint: &mut Linter) -> Result<Self, Error> {
        let comments = Comments::new(&node.comments);
        check_writing(node, &comments, lint);
        let kind = read_kind(node, escape).map_err(|fault| fault.at(&node.lines))?;
        let instruction = Self {
            kind,
            keyword: node.keyword.clone(),
            source: node.original.trim().to_owned(),
            comments,
            lines: node.lines.clone(),
        };
        instruction.check_description(lint);
        Ok(instruction)
    }

    /// What the comments above it say about a stage or an argument: `# name description`.
    pub(crate) fn description(&self, name: &str) -> Option<&str> {
        self.comments.description(name)
    }

    /// A comment right above a stage or an argument is taken for its description.
    fn check_description(&self, lint: &mut Linter) {
        let (keyword, names): (_, Vec<&str>) = match &self.kind {
            Kind::From(from) => ("FROM", from.name.iter().map(String::as_str).collect()),
            Kind::Arg(arguments) => {
                ("ARG", arguments.iter().map(|argument| argument.name.as_str()).collect())
            }
            _ => return,
        };
        let (Some(described), Some(first)) = (self.comments.last_word(), names.first()) else { return };
        if names.contains(&described) {
            return;
        }
        let example = if names.len() > 1 { "<arg_key>" } else { first };
        let message = format!("Comment for {keyword} should follow the format: `# {example} <description>`");
        lint.report(Rule::InvalidDefinitionDescription, self.comments.check(), &self.lines, message);
    }
}

fn check_writing(node: &Node, comments: &Comments, lint: &mut Linter) {
    let mut report = |rule, message| lint.report(rule, comments.check(), &node.lines, message);
    match node.keyword.to_ascii_lowercase().as_str() {
        "maintainer" => {
            let message = "Maintainer instruction is deprecated in favor of using label";
            report(Rule::MaintainerDeprecated, message.to_owned());
        }
        "from" => {
            let words = words(node);
            if let [_, _, name] = &words[..]
                && *name != name.to_lowercase()
            {
                report(Rule::StageNameCasing, format!("Stage name '{name}' should be lowercase"));
            }
            if let [_, r#as, _, ..] = &words[..]
                && !casing::match_each_other(&node.keyword, r#as)
            {
                let message = format!("'{as}' and '{}' keywords' casing do not match", node.keyword);
                report(Rule::FromAsCasing, message);
            }
        }
        _ => {}
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
        _ => return Err(unknown(node, &keyword, escape)),
    })
}

fn unknown(node: &Node, keyword: &str, escape: char) -> Fault {
    let fault = Fault::syntax(format!("unknown instruction: {}", node.keyword));
    match suggest::closest(keyword, KEYWORDS) {
        Some(near) => fault.hint(format!("did you mean `{near}`?")),
        None if keyword.starts_with("--") => fault.hint("flags stand behind the name of an instruction"),
        None => {
            fault.hint(format!("if it belongs to the instruction above, end the line before with `{escape}`"))
        }
    }
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
    Fault::syntax(format!("{keyword} requires at least one argument")).hint(example(keyword))
}

/// How an instruction is written.
fn example(keyword: &str) -> String {
    let arguments = match keyword {
        "ARG" => "NAME, or ARG NAME=default",
        "ENV" | "LABEL" => "name=value",
        "EXPOSE" => "80/tcp",
        "HEALTHCHECK" => "CMD command, or HEALTHCHECK NONE",
        "ONBUILD" => "RUN command",
        "SHELL" => "[\"/bin/sh\", \"-c\"]",
        "STOPSIGNAL" => "SIGTERM",
        "USER" => "name, or USER name:group",
        "VOLUME" => "/path",
        "WORKDIR" => "/path",
        _ => "name",
    };
    format!("write {keyword} {arguments}")
}

#[cfg(test)]
mod tests;
