//! `SOURCE_DATE_EPOCH`: the time of everything that a build adds.

use crate::error::{Error, Fault};
use crate::options::Options;
use crate::stages::Stages;

const NAME: &str = "SOURCE_DATE_EPOCH";
/// The value that asks for the time of the main build context.
const MAIN_CONTEXT: &str = "context";

/// Reads the time, and gives everybody the number as it was understood.
pub(super) fn resolve(stages: &mut Stages, options: &mut Options) -> Result<Option<i64>, Error> {
    let given = options.build_args.get(NAME).cloned();
    let Some(text) = given.or_else(|| stages.globals.values.get(NAME).map(str::to_owned)) else {
        return Ok(None);
    };
    // As in BuildKit, contexts without a time of their own, which directories and images are, set none.
    if text.is_empty() || text == MAIN_CONTEXT || options.contexts.contains_key(&text) {
        options.build_args.remove(NAME);
        stages.globals.values.remove(NAME);
        return Ok(None);
    }
    let seconds: i64 = text.parse().map_err(|_| {
        let lines = stages.list[stages.target].lines.clone();
        Fault::semantics(format!("invalid {NAME}: {text}")).hint("give it as seconds since 1970").at(&lines)
    })?;
    if let Some(given) = options.build_args.get_mut(NAME) {
        *given = seconds.to_string();
    }
    if stages.globals.values.get(NAME).is_some() {
        stages.globals.values.set(NAME, &seconds.to_string());
    }
    Ok(Some(seconds))
}
