//! `gantry verify`, and the same checks within a build: is an image what it says it is?
//!
//! Three ways in. [`verify`] looks at an image wherever it is: a registry, files, the local store. `bases` looks at what
//! a build starts from, before it does any work, and `built` at what came of it, before anything leaves the machine.
//! All end in `programs`: the proof from bytes, which compares the platform that an image claims with the machine that
//! its programs are for, without running any.

mod bases;
mod blobs;
mod built;
mod content;
mod document;
mod files;
mod image;
mod machine;
mod pipe;
mod platforms;
mod programs;
mod report;
mod rules;
mod saved;
mod subject;

use std::sync::Arc;

use gantry_oci::Platform;
use tokio_util::sync::CancellationToken;

use crate::error::{Class, Error};
use crate::events::{Events, Step};
use crate::gantry::Gantry;
use content::Content;
use image::Examination;

pub(crate) use bases::check_bases;
pub(crate) use built::{Candidate, check_built, check_programs};
pub use report::{Check, CheckName, ImageReport, Outcome, ProgramCounts, VerifyReport};
pub use rules::{Rules, VerifyMode, VerifyPolicy};
pub use subject::Subject;

/// What is to be verified, and how closely.
#[derive(Debug, Clone)]
pub struct VerifyRequest {
    /// What.
    pub subject: Subject,
    /// The platforms that it has to have, exactly these; whatever it has if none is named.
    pub platforms: Vec<Platform>,
    /// How much is read.
    pub depth: Depth,
    /// What its programs are judged by.
    pub rules: Rules,
}

/// How much of an image is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Documents only: layers are asked for, and nothing is said about their programs.
    Documents,
    /// Layers whose files are not known from an earlier time are read once.
    Programs,
    /// Every blob is read and hashed, whatever is known about it.
    Everything,
}

/// Verifies an image.
///
/// What is wrong with it is in the report; an error says why it could not be looked at: it does not exist, access is
/// denied, a registry cannot be reached. Nothing is stored but indexes of layers.
pub async fn verify(
    gantry: &Gantry,
    request: &VerifyRequest,
    events: Arc<dyn Events>,
    cancel: &CancellationToken,
) -> Result<VerifyReport, Error> {
    let step = Step::begin(events.as_ref(), format!("[verify] {}", request.subject));
    let examine = async {
        let rules = request.rules.compile()?;
        let (content, root) = Content::open(gantry, &request.subject).await?;
        let tree = document::read_tree(&content, root).await?;
        let examination = Examination { gantry, content: &content, depth: request.depth, rules: &rules };
        let mut report = VerifyReport::new(request.subject.to_string(), &tree.root);
        report.checks.extend(tree.checks.iter().cloned());
        let mut images = examination.images(&tree).await?;
        report.checks.extend(platforms::check(&request.platforms, &images));
        report.checks.extend(document::check_subjects(&tree));
        report.checks.extend(examination.attestations(&tree).await?);
        report.images.append(&mut images);
        Ok::<_, Error>(report.concluded())
    };
    let report = tokio::select! {
        report = examine => report,
        () = cancel.cancelled() => Err(Error::new(Class::Cancelled, "stopped while verifying")),
    };
    match &report {
        Ok(report) if report.outcome == Outcome::Fail => {
            step.failed(report.first_failure().unwrap_or_default());
        }
        Ok(_) => step.done(),
        Err(error) => step.failed(error.to_string()),
    }
    report
}
