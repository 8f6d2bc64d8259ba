//! The question whether a Dockerfile is well written (`--call=check`): build checks without a build.

use serde_json::{Map, Value, json};

use crate::convert::through;
use crate::error::Error;
use crate::lint::{Linter, Warning};
use crate::options::{Conversion, ImageRequest, Images, Options};
use crate::source_json::{self, Locations};
use crate::stages::Reach;

/// What the checks found.
#[derive(Debug, Clone)]
pub struct CheckReport {
    /// The Dockerfile's name.
    pub filename: String,
    /// The Dockerfile.
    pub text: Vec<u8>,
    /// What is doubtful, in the order in which it came up.
    pub warnings: Vec<Warning>,
    /// Why it cannot be built, if it cannot.
    pub error: Option<Error>,
    /// The images that have to be known before more can be said. The check is complete if there are none.
    pub wanted: Vec<ImageRequest>,
}

/// Checks a Dockerfile for one platform, with the images known so far: the stages that the target needs, or all of
/// them if no target is named. Call it again with the images that it wants.
pub fn check(text: &[u8], options: &Options, images: &Images) -> CheckReport {
    let reach = if options.target.is_some() { Reach::Target } else { Reach::All };
    let mut lint = Linter::default();
    let (wanted, error) = match through(text, options, images, reach, &mut lint, |_, _| ()) {
        // When its source was changed makes a Dockerfile neither better nor worse.
        Ok(Conversion::NeedsTime(wanted)) => {
            let mut images = images.clone();
            images.insert_time(wanted.value, None);
            return check(text, options, &images);
        }
        Ok(Conversion::NeedsImages(wanted)) => (wanted, None),
        Ok(Conversion::Done(_)) => (Vec::new(), None),
        Err(error) => (Vec::new(), Some(error)),
    };
    CheckReport {
        filename: options.filename.clone(),
        text: text.to_vec(),
        warnings: lint.into_warnings(),
        error,
        wanted,
    }
}

impl CheckReport {
    /// The result in the form of BuildKit's `frontend.lint` request.
    pub fn to_json(&self) -> Value {
        let mut locations = Locations::new();
        let warning = |found: &Warning| warning(found, locations.of(&found.lines));
        let mut result = json!({
            "warnings": self.warnings.iter().map(warning).collect::<Vec<_>>(),
            "sources": [{
                "filename": self.filename,
                "data": source_json::data(&self.text),
                "language": "Dockerfile",
            }],
        });
        if self.warnings.is_empty() {
            // So Go writes a list that nothing was ever added to.
            result["warnings"] = Value::Null;
        }
        if let Some(error) = &self.error {
            let location = if error.has_place() { source_json::locations(error) } else { json!({}) };
            result["buildError"] = json!({ "message": error.with_hints(), "location": location });
        }
        result
    }
}

fn warning(warning: &Warning, location: Value) -> Value {
    let mut object = Map::new();
    let mut text = |name: &str, text: &str| object.insert(name.to_owned(), text.into());
    text("ruleName", warning.rule.name());
    text("description", warning.rule.description());
    if let Some(url) = warning.rule.url() {
        text("url", &url);
    }
    text("detail", &warning.message);
    object.insert("location".to_owned(), location);
    Value::Object(object)
}

#[cfg(test)]
mod tests;
