//! Questions about a Dockerfile that are answered without a build.

use gantry_dockerfile::{CheckReport, ErrorKind, Images, Outline, Targets, check, convert, outline, targets};
use gantry_llb::protojson;
use gantry_oci::Platform;

use crate::context::{self, Input};
use crate::error::{Error, of_dockerfile};
use crate::gantry::Gantry;
use crate::plan::{MAX_ROUNDS, answered, learn, options};
use crate::request::BuildRequest;

/// A question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Is it well written? (`check`)
    Check,
    /// What does the target ask of its user? (`outline`)
    Outline,
    /// Which stages are there? (`targets`)
    Targets,
    /// Which graph does the target become? (`convertllb`)
    Graph,
}

/// An answer.
#[derive(Debug)]
pub enum Answer {
    /// To [`Question::Check`].
    Check(CheckReport),
    /// To [`Question::Outline`].
    Outline(Outline),
    /// To [`Question::Targets`].
    Targets(Targets),
    /// To [`Question::Graph`]: the graph in BuildKit's JSON.
    Graph(serde_json::Value),
}

/// Answers a question about the Dockerfile of a build, for the first of its platforms. Base images are resolved; nothing
/// is fetched of them but metadata.
pub async fn call(gantry: &Gantry, request: &BuildRequest, question: Question) -> Result<Answer, Error> {
    let input = context::read(request)?;
    let platform = request.platforms.first().cloned().unwrap_or_else(Platform::host);
    let options = options(&input, request, &platform);
    let (text, images) = (input.text.as_bytes(), &gantry.registry);
    match question {
        Question::Targets => {
            targets(text).map(Answer::Targets).map_err(|error| of_dockerfile(error, &input.name, &input.text))
        }
        Question::Outline => {
            let outline = answered(images, &input, |known| outline(text, &options, known)).await?;
            Ok(Answer::Outline(outline))
        }
        Question::Graph => {
            let converted = answered(images, &input, |known| convert(text, &options, known)).await?;
            Ok(Answer::Graph(protojson::definition(&converted.definition)))
        }
        Question::Check => {
            let check = |known: &Images| check(text, &options, known);
            Ok(Answer::Check(checked(gantry, &input, check).await))
        }
    }
}

/// A check is answered whatever happens: an image that cannot be resolved is one of the things that it found.
async fn checked(gantry: &Gantry, input: &Input, check: impl Fn(&Images) -> CheckReport) -> CheckReport {
    let mut known = Images::default();
    let mut report = check(&known);
    for _ in 0..MAX_ROUNDS {
        let wanted = std::mem::take(&mut report.wanted);
        if wanted.is_empty() {
            break;
        }
        if let Err(error) = learn(&gantry.registry, input, wanted, &mut known).await {
            let lines = error.excerpt.map_or(1..=1, |excerpt| excerpt.lines);
            let message = std::iter::once(error.message).chain(error.causes).collect::<Vec<_>>().join(": ");
            let kind = ErrorKind::Semantics;
            report.error = Some(gantry_dockerfile::Error { kind, message, lines, hints: error.hints });
            break;
        }
        report = check(&known);
    }
    report
}
