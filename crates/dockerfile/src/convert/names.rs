//! The names of steps, as people know them from BuildKit: `[stage 2/5] RUN make`.

use gantry_oci::Platform;

use super::state::State;
use super::{Converter, Place};
use crate::environment::Environment;
use crate::lex::{Lexer, Quotes};
use crate::paths::clean;
use crate::stages::StageId;

/// What stands before the name of a trigger.
pub(super) const TRIGGER: &str = "ONBUILD ";
/// How BuildKit writes a platform that it does not know.
const UNKNOWN: &str = "unknown";

/// What a step comes from.
#[derive(Clone, Copy)]
pub(super) enum Step<'a> {
    /// The image that the stage begins with.
    Base,
    /// A RUN.
    Command(Place<'a>),
    /// Any other instruction.
    Instruction(Place<'a>),
}

impl Converter<'_> {
    /// Numbers a step of a stage and names it.
    pub(super) fn step_name(&self, state: &mut State, stage: StageId, text: &str, step: Step<'_>) -> String {
        let stage = &self.stages.list[stage];
        // The first step is named before the triggers of its image are known.
        let steps = if matches!(step, Step::Base) { stage.steps - stage.triggers } else { stage.steps };
        if steps == 0 {
            return text.to_owned();
        }
        state.step += 1;
        let mut name = "[".to_owned();
        if let Some(platform) = self.shown_platform(state, step).filter(|_| self.options.multi_platform) {
            name.push_str(&format!("{platform} "));
        }
        if !stage.label.is_empty() {
            name.push_str(&format!("{} ", stage.label));
        }
        let width = steps.to_string().len();
        name.push_str(&format!("{:width$}/{steps}] ", state.step));
        if matches!(step, Step::Instruction(place) | Step::Command(place) if place.command.is_trigger) {
            name.push_str(TRIGGER);
        }
        name + text
    }

    /// The platform in the name of a step. A command has that of the files, if they have one, and any other step that
    /// of the stage.
    fn shown_platform(&self, state: &State, step: Step<'_>) -> Option<String> {
        let (own, shown) = match (step, &state.platform, &state.files_platform) {
            (Step::Command(_), _, None) => return None,
            (Step::Command(_), _, Some(platform)) => (Some(platform), platform.to_string()),
            (_, Some(platform), _) => (Some(platform.platform()), platform.to_string()),
            (_, None, _) => (None, UNKNOWN.to_owned()),
        };
        let cross = match step {
            Step::Base => String::new(),
            _ => cross_target(own, &state.environment),
        };
        Some(shown + &cross)
    }

    /// Numbers and names the step of an instruction, variables expanded.
    pub(super) fn instruction_name(&self, state: &mut State, place: Place<'_>) -> String {
        let text = self.lexer.word(place.source(), &state.environment).map(|expanded| expanded.text);
        let text = upper_keyword(text.as_deref().unwrap_or(place.source()));
        self.step_name(state, place.stage, &text, Step::Instruction(place))
    }

    /// The name of a RUN: quotes stay, and so does what only the shell knows.
    pub(super) fn command_name(
        &self,
        state: &mut State,
        text: &str,
        environment: &Environment,
        place: Place<'_>,
    ) -> String {
        let lexer = Lexer { quotes: Quotes::Keep, keep_unset: true, ..self.lexer.clone() };
        let expanded = lexer.word(text, environment).map(|expanded| expanded.text);
        let text = upper_keyword(expanded.as_deref().unwrap_or(text));
        self.step_name(state, place.stage, &text, Step::Command(place))
    }
}

fn upper_keyword(text: &str) -> String {
    match text.split_once(' ') {
        Some((keyword, rest)) => format!("{} {rest}", keyword.to_uppercase()),
        None => text.to_uppercase(),
    }
}

/// `->arm64` in a stage that runs on one platform and says, by its variables, that it builds for another.
fn cross_target(own: Option<&Platform>, environment: &Environment) -> String {
    let (os, architecture) = own.map_or(("", ""), |own| (own.os(), own.architecture()));
    let names = ["TARGETOS", "TARGETARCH", "TARGETVARIANT"];
    let part = |name: &str, default: &str| match environment.get(name) {
        None | Some("") => default.to_owned(),
        Some(value) => value.to_owned(),
    };
    let declared = environment.get("TARGETPLATFORM").and_then(|text| text.parse::<Platform>().ok());
    let [target_os, target_architecture, variant] = match declared {
        Some(target) => [target.os(), target.architecture(), target.variant()].map(str::to_owned),
        None if names.iter().all(|name| environment.get(name).is_none()) => return String::new(),
        None => normal([part(names[0], os), part(names[1], architecture), part(names[2], "")]),
    };
    let hardware = clean(&format!("{target_architecture}/{variant}"));
    match (target_os == os, target_architecture == architecture) {
        (true, true) => String::new(),
        (true, false) => format!("->{hardware}"),
        (false, _) => format!("->{}", clean(&format!("{target_os}/{hardware}"))),
    }
}

/// The normal form of a platform's parts. Variables may hold anything, and what is no platform is shown all the same.
fn normal([os, architecture, variant]: [String; 3]) -> [String; 3] {
    let os = if os.is_empty() { "linux".to_owned() } else { os };
    match Platform::new(&os, &architecture, &variant) {
        Ok(platform) => [platform.os(), platform.architecture(), platform.variant()].map(str::to_owned),
        Err(_) => [os, architecture, variant].map(|part| part.to_lowercase()),
    }
}
