//! The names of steps, as people know them from BuildKit: `[stage 2/5] RUN make`.

use gantry_oci::Platform;

use super::state::State;
use super::{Converter, Place};
use crate::environment::Environment;
use crate::lex::{Lexer, Quotes};
use crate::stages::StageId;

impl Converter<'_> {
    /// Numbers a step of a stage and names it.
    pub(super) fn step_name(
        &self,
        state: &mut State,
        stage: StageId,
        text: &str,
        is_trigger: bool,
    ) -> String {
        let stage = &self.stages.list[stage];
        if stage.steps == 0 {
            return text.to_owned();
        }
        state.step += 1;
        let mut name = "[".to_owned();
        if self.options.multi_platform {
            let cross = cross_target(&state.platform, &state.environment);
            name.push_str(&format!("{}{cross} ", state.platform));
        }
        if !stage.label.is_empty() {
            name.push_str(&format!("{} ", stage.label));
        }
        let width = stage.steps.to_string().len();
        name.push_str(&format!("{:width$}/{}] ", state.step, stage.steps));
        if is_trigger {
            name.push_str("ONBUILD ");
        }
        name + text
    }

    /// Numbers and names the step of an instruction, variables expanded.
    pub(super) fn instruction_name(&self, state: &mut State, place: Place<'_>) -> String {
        let text = self.lexer.word(place.source(), &state.environment).map(|expanded| expanded.text);
        let text = upper_keyword(text.as_deref().unwrap_or(place.source()));
        self.step_name(state, place.stage, &text, place.command.is_trigger)
    }

    /// The name of a RUN: quotes stay, and so does what only the shell knows.
    pub(super) fn command_name(
        &self,
        state: &mut State,
        text: &str,
        environment: &Environment,
        place: Place<'_>,
    ) -> String {
        let lexer = Lexer { quotes: Quotes::Keep, keep_unset: true, ..self.lexer };
        let expanded = lexer.word(text, environment).map(|expanded| expanded.text);
        let text = upper_keyword(expanded.as_deref().unwrap_or(text));
        self.step_name(state, place.stage, &text, place.command.is_trigger)
    }
}

fn upper_keyword(text: &str) -> String {
    match text.split_once(' ') {
        Some((keyword, rest)) => format!("{} {rest}", keyword.to_uppercase()),
        None => text.to_uppercase(),
    }
}

/// `->arm64` in a stage that runs on one platform and says, by its variables, that it builds for another.
fn cross_target(own: &Platform, environment: &Environment) -> String {
    let part = |name: &str, default: &str| match environment.get(name) {
        None | Some("") => default.to_owned(),
        Some(value) => value.to_owned(),
    };
    let declared = environment.get("TARGETPLATFORM").and_then(|text| text.parse::<Platform>().ok());
    let target = declared.or_else(|| {
        let declared =
            ["TARGETOS", "TARGETARCH", "TARGETVARIANT"].iter().any(|name| environment.get(name).is_some());
        let (os, architecture) = (part("TARGETOS", own.os()), part("TARGETARCH", own.architecture()));
        declared.then(|| Platform::new(&os, &architecture, &part("TARGETVARIANT", "")).ok()).flatten()
    });
    match target {
        Some(target) if target.os() != own.os() => format!("->{target}"),
        Some(target) if target.architecture() != own.architecture() => {
            format!("->{}", target.to_string().split_once('/').map_or("", |(_, rest)| rest))
        }
        _ => String::new(),
    }
}
