//! Questions about a Dockerfile that are answered without a build.

use std::sync::Arc;

use gantry_dockerfile::{
    CheckReport, ErrorKind, Images, Outline, Requests, Targets, check, convert, describe, outline, targets,
};
use gantry_engine::Solver;
use gantry_llb::{Progress, ProgressEvent, protojson};
use gantry_oci::Platform;
use tokio_util::sync::CancellationToken;

use crate::context::{self, Client, Input};
use crate::error::{Error, of_dockerfile};
use crate::gantry::Gantry;
use crate::plan::{MAX_ROUNDS, Sources, answered, learn, options};
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
    /// Which questions are there? (`subrequests.describe`)
    Requests,
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
    /// To [`Question::Requests`].
    Requests(Requests),
}

/// Answers a question about the Dockerfile of a build, for the first of its platforms. Base images are resolved; nothing
/// is fetched of them but metadata.
pub async fn call(
    gantry: &Gantry,
    request: &BuildRequest,
    question: Question,
    cancel: CancellationToken,
) -> Result<Answer, Error> {
    let client = tokio::task::block_in_place(|| Client::prepare(gantry, request))?;
    let solver = Solver::new(gantry.engine.clone(), client.job(request, Arc::new(Silent), cancel));
    let input = context::read(&client, &solver, request).await?;
    let sources = Sources { images: &gantry.registry, client: &client, solver: &solver };
    let platform = request.platforms.first().cloned().unwrap_or_else(Platform::host);
    let options = options(&input, request, &platform);
    let text = &input.text;
    match question {
        Question::Targets => targets(text).map(Answer::Targets).map_err(|error| of_dockerfile(error, &input)),
        Question::Outline => {
            let known = &mut Images::default();
            let outline = answered(sources, &input, known, |known| outline(text, &options, known)).await?;
            Ok(Answer::Outline(outline))
        }
        Question::Graph => {
            let known = &mut Images::default();
            let converted = answered(sources, &input, known, |known| convert(text, &options, known)).await?;
            Ok(Answer::Graph(protojson::definition(&converted.definition)))
        }
        Question::Requests => Ok(Answer::Requests(describe())),
        Question::Check => {
            let check = |known: &Images| check(text, &options, known);
            Ok(Answer::Check(checked(sources, &input, check).await))
        }
    }
}

/// A check is answered whatever happens: an image that cannot be resolved is one of the things that it found.
async fn checked(sources: Sources<'_>, input: &Input, check: impl Fn(&Images) -> CheckReport) -> CheckReport {
    let mut known = Images::default();
    let mut report = check(&known);
    for _ in 0..MAX_ROUNDS {
        let wanted = std::mem::take(&mut report.wanted);
        if wanted.is_empty() {
            break;
        }
        if let Err(error) = learn(sources, input, wanted, &mut known).await {
            let lines = error.excerpt.map_or(1..=1, |excerpt| excerpt.lines);
            let message = std::iter::once(error.message).chain(error.causes).collect::<Vec<_>>().join(": ");
            let kind = ErrorKind::Semantics;
            let (others, hints) = (Vec::new(), error.hints);
            report.error = Some(gantry_dockerfile::Error { kind, message, lines, others, hints });
            break;
        }
        report = check(&known);
    }
    report
}

/// The answer is all that is shown: not how a context was fetched that is elsewhere.
struct Silent;

impl Progress for Silent {
    fn event(&self, _: ProgressEvent) {}
}
