//! `SOURCE_DATE_EPOCH`: the time of everything that a build adds, as a number, or as that of a source.
//!
//! Besides seconds since 1970 it can name the build context, a named context, or a stage that is nothing but one ADD from
//! the network. What has no time (a directory of the client's) gives none, as if the variable were not set.

use std::ops::RangeInclusive;

use gantry_llb::Definition;

use super::remote::{Remote, Shared};
use crate::context::{RemoteContext, source_definition};
use crate::environment::Environment;
use crate::error::{Error, Fault};
use crate::instruction::{ArgDefinition, Copy, CopyKind, Kind};
use crate::lex::Lexer;
use crate::options::{Images, NamedContext, Options, TimeRequest};
use crate::stages::{Base, Stage, Stages};

/// The years 0 to 9999, in seconds since 1970: what configs can say.
pub const EPOCHS: RangeInclusive<i64> = -62_167_219_200..=253_402_300_799;

const NAME: &str = "SOURCE_DATE_EPOCH";
/// What stands for the build context.
const CONTEXT: &str = "context";
/// What the step is called that finds out.
const STEP: &str = "[internal] resolve SOURCE_DATE_EPOCH";

/// What the time is, or what has to be known for it.
pub(super) enum Epoch {
    /// This, in seconds since 1970, if any.
    Known(Option<i64>),
    /// That of this source.
    Of(Box<TimeRequest>),
}

/// Reads the variable and gives everybody the number as it was understood.
pub(super) fn read(stages: &mut Stages, options: &mut Options, images: &Images) -> Result<Epoch, Error> {
    let given = options.build_args.get(NAME).cloned();
    let Some(text) = given.or_else(|| stages.globals.values.get(NAME).map(str::to_owned)) else {
        return Ok(Epoch::Known(None));
    };
    let seconds = match text.parse::<i64>() {
        Ok(seconds) => Some(seconds),
        Err(_) if text.is_empty() => None,
        Err(_) => match (images.time(&text), source(&text, stages, options)?) {
            (Some(time), _) => time,
            (None, None) => None,
            (None, Some(source)) => {
                return Ok(Epoch::Of(Box::new(TimeRequest { value: text, source })));
            }
        },
    };
    if let Some(seconds) = seconds.filter(|seconds| !EPOCHS.contains(seconds)) {
        let lines = stages.list[stages.target].lines.clone();
        let message = format!("invalid {NAME}: {seconds} is in none of the years 0 to 9999");
        return Err(Fault::semantics(message).at(&lines));
    }
    match seconds {
        None => {
            options.build_args.remove(NAME);
            stages.globals.values.remove(NAME);
        }
        Some(seconds) => {
            if let Some(given) = options.build_args.get_mut(NAME) {
                *given = seconds.to_string();
            }
            if stages.globals.values.get(NAME).is_some() {
                stages.globals.values.set(NAME, &seconds.to_string());
            }
        }
    }
    Ok(Epoch::Known(seconds))
}

/// The source that a value names; none if it is one without a time.
fn source(value: &str, stages: &Stages, options: &Options) -> Result<Option<Definition>, Error> {
    if value == CONTEXT {
        return Ok(options.context.as_ref().map(RemoteContext::fetch));
    }
    if let Some(context) = options.contexts.get(value) {
        return Ok(match context {
            NamedContext::Remote(remote) => Some(remote.fetch()),
            _ => None,
        });
    }
    match stages.find(value).map(|stage| &stages.list[stage]) {
        Some(stage) => only_source(stage, stages, options).map(Some).map_err(|fault| fault.at(&stage.lines)),
        None => {
            let lines = stages.list[stages.target].lines.clone();
            Err(Fault::semantics(format!("invalid {NAME}: {value}"))
                .hint("give seconds since 1970, `context`, a named context, or a stage with nothing but one ADD from the network")
                .at(&lines))
        }
    }
}

/// The one source of a stage that is nothing else.
fn only_source(stage: &Stage, stages: &Stages, options: &Options) -> Result<Definition, Fault> {
    if stage.base != Base::Scratch {
        return Err(Fault::semantics(format!("{NAME} stage must use FROM scratch")));
    }
    let lexer = Lexer::new('\\');
    let mut environment = stages.globals.values.clone();
    environment.remove(NAME);
    let mut found = None;
    for command in &stage.commands {
        match &command.instruction.kind {
            Kind::Arg(definitions) => declare(&mut environment, definitions, options, &lexer)?,
            Kind::Copy(copy) if copy.kind == CopyKind::Add && found.is_none() => {
                found = Some(added_source(copy, &environment, &lexer)?);
            }
            Kind::Copy(copy) if copy.kind == CopyKind::Add => {
                return Err(Fault::semantics(format!("{NAME} stage must contain exactly one remote ADD")));
            }
            _ => {
                return Err(Fault::semantics(format!(
                    "{NAME} stage does not meet source-only requirements: unsupported instruction `{}`",
                    command.instruction.source
                )));
            }
        }
    }
    found.ok_or_else(|| Fault::semantics(format!("{NAME} stage must contain exactly one remote ADD")))
}

fn declare(
    environment: &mut Environment,
    definitions: &[ArgDefinition],
    options: &Options,
    lexer: &Lexer,
) -> Result<(), Fault> {
    for ArgDefinition { name, default } in definitions {
        if let Some(value) = options.build_args.get(name) {
            environment.set(name, value);
        } else if let Some(default) = default {
            let value = lexer.word(default, environment)?.text;
            environment.set(name, &value);
        }
    }
    Ok(())
}

fn added_source(copy: &Copy, environment: &Environment, lexer: &Lexer) -> Result<Definition, Fault> {
    let ([source], []) = (&copy.sources[..], &copy.inline[..]) else {
        return Err(Fault::semantics(format!("{NAME} stage must contain exactly one remote ADD source")));
    };
    let source = lexer.word(source, environment)?.text;
    let checksum = lexer.word(&copy.checksum, environment)?.text;
    let remote = Remote::parse(&source)?.ok_or_else(|| {
        Fault::semantics(format!("{NAME} stage source must be a single HTTP(S) or Git ADD"))
    })?;
    let mut shared = Shared { keep_git_dir: copy.keep_git_dir, checksum };
    let (source, caps, _) = remote.operation(&mut shared)?;
    Ok(source_definition(&source, &caps, STEP.to_owned()))
}
