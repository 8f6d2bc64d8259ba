//! The question what a Dockerfile can build (`--call=targets`): its stages.

use gantry_llb::Members;
use serde_json::{Value, json};

use crate::error::{Error, Lines};
use crate::lint::Linter;
use crate::source_json::{self, Locations};
use crate::{front_end, parser, stages};

/// The stages of a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Targets {
    /// The stages, in order. The last one is built if none is named.
    pub list: Vec<Target>,
    /// The Dockerfile.
    pub text: Vec<u8>,
}

/// A stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name, in lower case; empty if it has none.
    pub name: String,
    /// What the comment above it says about it; empty if nothing.
    pub description: String,
    /// What it builds on, variables still in it.
    pub base: String,
    /// Its platform, variables still in it; empty if not given.
    pub platform: String,
    /// Its FROM.
    pub lines: Lines,
}

/// Lists the stages of a Dockerfile. Nothing is expanded, and no image has to be known.
pub fn targets(text: &[u8]) -> Result<Targets, Error> {
    let read = front_end::read_text(text)?;
    let file = parser::parse(&read.decoded)?;
    let (_, written) = stages::read(&file, &mut Linter::default())?;
    let target = |stage: &stages::Written| {
        let name = stage.from.name.clone().unwrap_or_default();
        Target {
            description: stage.first.description(&name).unwrap_or_default().to_owned(),
            name,
            base: stage.from.base.clone(),
            platform: stage.from.platform.clone(),
            lines: stage.first.lines.clone(),
        }
    };
    Ok(Targets { list: written.iter().map(target).collect(), text: text.to_vec() })
}

impl Targets {
    /// The result in the form of BuildKit's `frontend.targets` request.
    pub fn to_json(&self) -> Value {
        let mut locations = Locations::new();
        let target = |(index, target): (usize, &Target)| {
            let mut object = Members::default();
            object.text("name", &target.name).flag("default", index + 1 == self.list.len());
            object.text("description", &target.description).text("base", &target.base);
            object.text("platform", &target.platform);
            object.set("location", locations.of(&target.lines)).done()
        };
        let list: Vec<Value> = self.list.iter().enumerate().map(target).collect();
        // So Go writes a list that nothing was ever added to.
        let list = if list.is_empty() { Value::Null } else { Value::Array(list) };
        json!({ "targets": list, "sources": [source_json::data(&self.text)] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_with_descriptions() {
        let text = b"# base starts it all\nFROM --platform=$BUILDPLATFORM a:$TAG AS Base\n\n# other text\nFROM base as two\n";
        let targets = targets(text).unwrap();
        let texts = |target: &'_ Target| {
            [&target.name, &target.description, &target.base, &target.platform].map(String::clone)
        };
        let found: Vec<[String; 4]> = targets.list.iter().map(texts).collect();
        assert_eq!(found, [["base", "starts it all", "a:$TAG", "$BUILDPLATFORM"], ["two", "", "base", ""]]);
        assert_eq!(
            targets.to_json()["targets"],
            json!([
                {
                    "name": "base", "description": "starts it all", "base": "a:$TAG",
                    "platform": "$BUILDPLATFORM",
                    "location": { "ranges": [{ "start": { "line": 2 }, "end": { "line": 2 } }] },
                },
                {
                    "name": "two", "default": true, "base": "base",
                    "location": { "ranges": [{ "start": { "line": 5 }, "end": { "line": 5 } }] },
                },
            ])
        );
        assert_eq!(super::targets(b"ARG a").unwrap().to_json()["targets"], Value::Null);
        assert!(super::targets(b"RUN x").is_err() && super::targets(b"FROM a b").is_err());
    }
}
