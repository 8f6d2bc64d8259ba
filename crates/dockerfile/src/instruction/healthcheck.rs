//! HEALTHCHECK.

use gantry_oci::Healthcheck;

use super::flags::{Flags, Takes};
use super::{at_least_one, text};
use crate::duration;
use crate::error::Fault;
use crate::parser::{Node, json_list, split_kind};

/// Durations below this are slips of the unit; 0 means the runtime's own default.
const MIN_DURATION: i64 = 1_000_000;

pub(super) fn read(node: &Node) -> Result<Healthcheck, Fault> {
    let (kind, rest) = split_kind(text(node));
    match kind.to_ascii_uppercase().as_str() {
        "" => Err(at_least_one("HEALTHCHECK")),
        "NONE" if rest.is_empty() => {
            Ok(Healthcheck { test: vec!["NONE".to_owned()], ..Healthcheck::default() })
        }
        "NONE" => {
            Err(Fault::syntax("HEALTHCHECK NONE takes no arguments").hint(super::example("HEALTHCHECK")))
        }
        flag if flag.starts_with("--") => Err(Fault::syntax(format!("unknown type {flag} in HEALTHCHECK"))
            .hint("flags stand before CMD, without other words between them")),
        "CMD" => with_command(node, &rest),
        other => Err(Fault::syntax(format!("unknown type {other} in HEALTHCHECK"))
            .hint("write HEALTHCHECK CMD command, or HEALTHCHECK NONE")),
    }
}

fn with_command(node: &Node, command: &str) -> Result<Healthcheck, Fault> {
    let known = [
        ("interval", Takes::Value),
        ("timeout", Takes::Value),
        ("start-period", Takes::Value),
        ("start-interval", Takes::Value),
        ("retries", Takes::Value),
    ];
    let flags = Flags::read(node, &known)?;
    let test = match json_list(command)? {
        Some(list) => std::iter::once("CMD".to_owned()).chain(list).collect(),
        None if command.is_empty() => Vec::new(),
        None => vec!["CMD-SHELL".to_owned(), command.to_owned()],
    };
    if test.len() < 2 {
        return Err(
            Fault::syntax("missing command after HEALTHCHECK CMD").hint(super::example("HEALTHCHECK"))
        );
    }
    Ok(Healthcheck {
        test,
        interval: interval(&flags, "interval")?,
        timeout: interval(&flags, "timeout")?,
        start_period: interval(&flags, "start-period")?,
        start_interval: interval(&flags, "start-interval")?,
        retries: retries(&flags)?,
    })
}

fn interval(flags: &Flags, name: &str) -> Result<i64, Fault> {
    match flags.value(name).as_str() {
        "" => Ok(0),
        text => match duration::parse(text).map_err(|fault| fault.context(format_args!("--{name}")))? {
            0 => Ok(0),
            short if short < MIN_DURATION => Err(Fault::syntax(format!("--{name} cannot be less than 1ms"))
                .hint("0s means the runtime's own default")),
            duration => Ok(duration),
        },
    }
}

fn retries(flags: &Flags) -> Result<i64, Fault> {
    let text = flags.value("retries");
    if text.is_empty() {
        return Ok(0);
    }
    let retries: i32 =
        text.parse().map_err(|_| Fault::syntax(format!("--retries `{text}` is not a number")))?;
    match retries {
        0.. => Ok(retries.into()),
        _ => Err(Fault::syntax(format!("--retries cannot be negative ({retries})"))),
    }
}
