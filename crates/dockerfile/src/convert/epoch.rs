//! `SOURCE_DATE_EPOCH`: the time of everything that a build adds, as a number, or as that of a source.
//!
//! Besides seconds since 1970 it can name the build context, a named context, or a stage that is nothing but one ADD from
//! the network. What has no time (a directory of the client's) gives none, as if the variable were not set.

use std::ops::RangeInclusive;

use gantry_llb::Definition;

use super::remote::{Remote, Shared};
use crate::context::{RemoteContext, source_definition};
use crate::environment::Environment;
use crate::error::{Error, Fault, Lines};
use crate::instruction::{ArgDefinition, Copy, CopyKind, Kind};
use crate::lex::Lexer;
use crate::options::{Images, NamedContext, Options, TimeRequest};
use crate::stages::{Draft, SCRATCH, Written, named_context};

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

/// Reads the variable and gives everybody the number as it was understood. A global argument without a value says
/// nothing; a build argument without one takes the variable away.
pub(super) fn read(draft: &mut Draft, options: &mut Options, images: &Images) -> Result<Epoch, Error> {
    let written = || draft.globals.values.get(NAME).filter(|text| !text.is_empty()).map(str::to_owned);
    let Some(text) = options.build_args.get(NAME).cloned().or_else(written) else {
        return Ok(Epoch::Known(None));
    };
    let seconds = match text.parse::<i64>() {
        Ok(seconds) => Some(seconds),
        Err(_) if text.is_empty() => None,
        Err(_) => match (images.time(&text), source(&text, draft, options)?) {
            (Some(time), _) => time,
            (None, None) => None,
            (None, Some(source)) => {
                return Ok(Epoch::Of(Box::new(TimeRequest { value: text, source })));
            }
        },
    };
    if let Some(seconds) = seconds.filter(|seconds| !EPOCHS.contains(seconds)) {
        let message = format!("invalid {NAME}: {seconds} is in none of the years 0 to 9999");
        return Err(Fault::semantics(message).at(&place(draft)));
    }
    match seconds {
        None => {
            options.build_args.remove(NAME);
            draft.globals.values.remove(NAME);
        }
        Some(seconds) => {
            if let Some(given) = options.build_args.get_mut(NAME) {
                *given = seconds.to_string();
            }
            if draft.globals.values.get(NAME).is_some() {
                draft.globals.values.set(NAME, &seconds.to_string());
            }
        }
    }
    Ok(Epoch::Known(seconds))
}

/// Where a value that cannot be is looked for: at the ARG, or, if only the command line has it, at the last stage.
fn place(draft: &Draft) -> Lines {
    let declared = draft.globals.declared.get(NAME).map(|argument| &argument.lines);
    let last = draft.stages.last().map(|stage| &stage.first.lines);
    declared.or(last).map_or(1..=1, Lines::clone)
}

/// The source that a value names; none if it is one without a time.
fn source(value: &str, draft: &Draft, options: &Options) -> Result<Option<Definition>, Error> {
    if value == CONTEXT {
        return Ok(options.context.as_ref().map(RemoteContext::fetch));
    }
    if let Some((_, context)) = named_context(value, &options.build_platform, options) {
        return Ok(match context {
            NamedContext::Remote(remote) => Some(remote.fetch()),
            _ => None,
        });
    }
    let named = |stage: &&Written| stage.from.name.as_deref() == Some(value.to_lowercase().as_str());
    match draft.stages.iter().find(named) {
        Some(stage) => {
            only_source(stage, draft, options).map(Some).map_err(|fault| fault.at(&stage.first.lines))
        }
        None => Err(Fault::semantics(format!("invalid {NAME}: {value}"))
            .hint("give seconds since 1970, `context`, a named context, or a stage with nothing but one ADD from the network")
            .at(&place(draft))),
    }
}

/// The one source of a stage that is nothing else.
fn only_source(stage: &Written, draft: &Draft, options: &Options) -> Result<Definition, Fault> {
    let lexer = &draft.lexer;
    let base = lexer.word(&stage.from.base, &draft.globals.values)?.text;
    if base != SCRATCH {
        return Err(Fault::semantics(format!("{NAME} stage must use FROM scratch")));
    }
    let mut environment = draft.globals.values.clone();
    environment.remove(NAME);
    let mut found = None;
    for instruction in &stage.commands {
        match &instruction.kind {
            Kind::Arg(definitions) => declare(&mut environment, definitions, options, lexer)?,
            Kind::Copy(copy) if copy.kind == CopyKind::Add && found.is_none() => {
                found = Some(added_source(copy, &environment, lexer)?);
            }
            Kind::Copy(copy) if copy.kind == CopyKind::Add => {
                return Err(Fault::semantics(format!("{NAME} stage must contain exactly one remote ADD")));
            }
            _ => {
                return Err(Fault::semantics(format!(
                    "{NAME} stage does not meet source-only requirements: unsupported instruction `{}`",
                    instruction.source
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
