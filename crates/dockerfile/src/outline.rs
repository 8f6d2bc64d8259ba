//! The question what a target asks of its user (`--call=outline`): build arguments, secrets and agents.

use std::collections::BTreeSet;

use gantry_llb::Members;
use serde_json::{Value, json};

use crate::convert::{Converter, Mention, through};
use crate::error::{Error, Lines};
use crate::lint::{Linter, Warning};
use crate::options::{Conversion, Images, Options};
use crate::source_json::{self, Locations};
use crate::stages::{Base, Reach, StageId};

/// What a target asks of its user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// The target's name; empty if it has none.
    pub name: String,
    /// What the comment above it says about it; empty if nothing.
    pub description: String,
    /// The arguments that it and the stages it needs declare, in the order of the file.
    pub arguments: Vec<OutlineArgument>,
    /// Their secrets.
    pub secrets: Vec<OutlineSecret>,
    /// Their agents.
    pub agents: Vec<OutlineSecret>,
    /// The Dockerfile.
    pub text: Vec<u8>,
    /// What is doubtful about it.
    pub warnings: Vec<Warning>,
}

/// A build argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlineArgument {
    /// Its name.
    pub name: String,
    /// What the comment above it says about it; empty if nothing.
    pub description: String,
    /// The value that it has in this build; empty if none.
    pub value: String,
    /// Its ARG.
    pub lines: Lines,
}

/// A secret, or an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlineSecret {
    /// Its id.
    pub name: String,
    /// Whether the build fails without it.
    pub required: bool,
    /// The RUN that mounts it.
    pub lines: Lines,
}

/// Describes a target for one platform, with the images known so far. Call it again with the images that it asks for.
pub fn outline(text: &[u8], options: &Options, images: &Images) -> Result<Conversion<Outline>, Error> {
    let mut lint = Linter::default();
    let answer = through(text, options, images, Reach::Target, &mut lint, |converter, _| Outline {
        text: text.to_vec(),
        ..of_target(&converter)
    })?;
    Ok(match answer {
        Conversion::Done(mut outline) => {
            outline.warnings = lint.into_warnings();
            Conversion::Done(outline)
        }
        unknown => unknown,
    })
}

fn of_target(converter: &Converter<'_>) -> Outline {
    let target = &converter.stages.list[converter.stages.target];
    let mut outline = Outline {
        name: target.name.clone().unwrap_or_default(),
        description: target.description.clone().unwrap_or_default(),
        arguments: Vec::new(),
        secrets: Vec::new(),
        agents: Vec::new(),
        text: Vec::new(),
        warnings: Vec::new(),
    };
    let (mut arguments, mut secrets, mut agents) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for stage in from_target(converter) {
        for argument in arguments_of(converter, stage) {
            if arguments.insert(argument.name.clone()) {
                outline.arguments.push(argument);
            }
        }
        let mentions = &converter.mentions[stage];
        let new = |(name, mention): (&String, &Mention), seen: &mut BTreeSet<String>| {
            let secret = OutlineSecret {
                name: name.clone(),
                required: mention.required,
                lines: mention.lines.clone(),
            };
            seen.insert(name.clone()).then_some(secret)
        };
        outline.secrets.extend(mentions.secrets.iter().filter_map(|entry| new(entry, &mut secrets)));
        outline.agents.extend(mentions.agents.iter().filter_map(|entry| new(entry, &mut agents)));
    }
    outline.arguments.sort_by_key(|argument| *argument.lines.start());
    outline.secrets.sort_by_key(|secret| *secret.lines.start());
    outline.agents.sort_by_key(|agent| *agent.lines.start());
    outline
}

/// The target and the stages that it needs, nearest first, since what they say counts before what others say.
fn from_target(converter: &Converter<'_>) -> Vec<StageId> {
    let stages = converter.stages;
    let mut seen = vec![false; stages.list.len()];
    let mut open = vec![stages.target];
    let mut order = Vec::new();
    while let Some(stage) = open.pop() {
        if std::mem::replace(&mut seen[stage], true) {
            continue;
        }
        order.push(stage);
        open.extend(stages.list[stage].needs().iter().rev());
        if let Base::Stage(base) = stages.list[stage].base {
            open.push(base);
        }
    }
    order
}

/// The arguments that a stage uses: its own, and the global ones, with all that their values are made of.
fn arguments_of(converter: &Converter<'_>, stage: StageId) -> Vec<OutlineArgument> {
    let globals = &converter.stages.globals.declared;
    let mentions = &converter.mentions[stage];
    let mut open: Vec<&String> = mentions.used.iter().collect();
    open.extend(&converter.stages.list[stage].arguments);
    let mut seen = BTreeSet::new();
    let mut arguments = Vec::new();
    while let Some(name) = open.pop() {
        if !seen.insert(name) {
            continue;
        }
        let (value, description, lines) = match (mentions.arguments.get(name), globals.get(name)) {
            (Some((value, description, lines)), _) => (value.clone(), description.clone(), lines.clone()),
            (None, Some(global)) => {
                open.extend(&global.parts);
                (global.value.clone(), global.description.clone(), global.lines.clone())
            }
            // A predefined one.
            (None, None) => continue,
        };
        let description = description.unwrap_or_default();
        arguments.push(OutlineArgument { name: name.clone(), description, value, lines });
    }
    arguments.sort_by(|left, right| left.name.cmp(&right.name));
    arguments
}

impl Outline {
    /// The result in the form of BuildKit's `frontend.outline` request.
    pub fn to_json(&self) -> Value {
        let mut locations = Locations::new();
        let mut result = Members::default();
        result.text("name", &self.name).text("description", &self.description);
        result.list("args", &self.arguments, |argument: &OutlineArgument| {
            let mut object = Members::default();
            object.set("name", argument.name.as_str());
            object.text("description", &argument.description).text("value", &argument.value);
            object.set("location", locations.of(&argument.lines)).done()
        });
        for (name, list) in [("secrets", &self.secrets), ("ssh", &self.agents)] {
            result.list(name, list, |secret: &OutlineSecret| {
                let mut object = Members::default();
                object.set("name", secret.name.as_str()).flag("required", secret.required);
                object.set("location", locations.of(&secret.lines)).done()
            });
        }
        result.set("sources", json!([source_json::data(&self.text)])).done()
    }
}

#[cfg(test)]
mod tests;
