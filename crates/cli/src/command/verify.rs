//! `gantry verify`

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use gantry_oci::Platform;
use gantry_release::{
    Check, Class, Depth, Error, ImageReport, Outcome, Subject, VerifyReport, VerifyRequest, verify,
};
use serde_json::json;

use super::build::platform;
use crate::args::{Format, Global, ProgressMode, Verify};
use crate::failure::{self, clean};
use crate::signals::Signals;
use crate::{config, exit, progress};

/// Runs the command: all images one after the other, and the result of all of them.
pub(crate) async fn run(global: &Global, args: &Verify) -> Result<ExitCode, Error> {
    let platforms: Vec<Platform> =
        args.platform.iter().map(|text| platform(text)).collect::<Result<_, _>>()?;
    let depth = match (args.deep, args.no_bytes) {
        (true, _) => Depth::Everything,
        (false, true) => Depth::Documents,
        (false, false) => Depth::Programs,
    };
    let rules = config::verify_rules(global)?;
    let gantry = gantry_release::Gantry::open(config::settings(global)?)?;
    let signals = Signals::watch()?;
    // For people who wait; scripts read the result.
    let mode = if std::io::stderr().is_terminal() { ProgressMode::Auto } else { ProgressMode::Quiet };
    let display = Arc::new(progress::start(mode));
    let (mut reports, mut errors) = (Vec::new(), Vec::new());
    for text in &args.images {
        let verified = async {
            let subject = Subject::find(&gantry, text)?;
            let request =
                VerifyRequest { subject, platforms: platforms.clone(), depth, rules: rules.clone() };
            verify(&gantry, &request, Arc::clone(&display) as _, &signals.cancel).await
        };
        match (verified.await, signals.received()) {
            (Ok(report), _) => {
                errors.extend(finding(&report));
                reports.push(report);
            }
            (Err(_), Some(signal)) => return Ok(exit::of_signal(signal)),
            (Err(error), None) => errors.push(error),
        }
    }
    display.finish(errors.is_empty());
    show(args.format, &reports)?;
    // The first one gives the exit code; the others are shown as well.
    let mut errors = errors.into_iter();
    let Some(first) = errors.next() else { return Ok(ExitCode::SUCCESS) };
    errors.for_each(|error| failure::show(&error));
    Err(first)
}

/// What a report says is wrong.
fn finding(report: &VerifyReport) -> Option<Error> {
    let found = report.first_failure()?;
    Some(Error::new(Class::Verification, format!("{} is not what it says it is: {found}", report.subject)))
}

fn show(format: Format, reports: &[VerifyReport]) -> Result<(), Error> {
    let text = match format {
        Format::Json => {
            let document = json!({ "reports": reports });
            let mut text = serde_json::to_string_pretty(&document).expect("a report is plain data");
            text.push('\n');
            text
        }
        Format::Text => reports.iter().map(table).collect::<Vec<_>>().join("\n"),
    };
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| Error::new(Class::Internal, format!("cannot write to standard output: {error}")))
}

/// The report as people read it. What it quotes came from images, so nothing of it may steer a terminal.
fn table(report: &VerifyReport) -> String {
    let mut text = format!("{}\n  {} {}\n", clean(&report.subject), clean(&report.media_type), report.digest);
    report.checks.iter().for_each(|check| row(&mut text, check));
    for ImageReport { platform, manifest, checks, .. } in &report.images {
        let platform = platform.as_ref().map_or_else(|| "unknown platform".to_owned(), ToString::to_string);
        let _ = writeln!(text, "\n  {platform} {manifest}");
        checks.iter().for_each(|check| row(&mut text, check));
    }
    let _ = writeln!(text, "\n  {}", word(report.outcome));
    text
}

fn row(text: &mut String, check: &Check) {
    let _ = writeln!(
        text,
        "    {:<4}  {:<13} {}",
        word(check.outcome),
        check.name.as_str(),
        clean(&check.detail)
    );
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => "ok",
        Outcome::Warn => "warn",
        Outcome::Fail => "FAIL",
        Outcome::Skip => "-",
    }
}
