//! `gantry publish`

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use gantry_release::{
    Class, Error, Gantry, ImageResult, PublicationState, PublishRequest, UnfinishedPublication, VerifyPolicy,
    check_writable, forget, publish, results, unfinished,
};

use super::build::verify_mode;
use crate::args::{Global, ProgressMode, Publish};
use crate::signals::Signals;
use crate::{config, exit, metadata, progress, terms};

/// Digits of a digest that the list shows: those that docker shows.
const SHOWN_DIGITS: usize = 12;

/// Runs the command.
pub(crate) async fn run(global: &Global, args: &Publish) -> Result<ExitCode, Error> {
    let Some(result) = &args.result else {
        let gantry = Gantry::open(config::settings(global)?)?;
        return list(&results(&gantry)?, &unfinished(&gantry)?);
    };
    if args.forget {
        forget(&Gantry::open(config::settings(global)?)?, result)?;
        return Ok(ExitCode::SUCCESS);
    }
    let request = PublishRequest {
        result: result.clone(),
        tags: args.tag.iter().map(|text| terms::tag(text)).collect::<Result<_, _>>()?,
        terms: terms::terms(&args.terms)?,
        verify: VerifyPolicy { mode: verify_mode(args.verify), rules: config::verify_rules(global)? },
    };
    for path in args.metadata_file.iter().chain(&args.iidfile) {
        check_writable(path)?;
    }
    let gantry = Gantry::open(config::settings(global)?)?;
    let signals = Signals::watch()?;
    let mode = if args.quiet { ProgressMode::Quiet } else { args.progress };
    let display = Arc::new(progress::start(mode));
    let published = publish(&gantry, request, Arc::clone(&display) as _, signals.cancel.clone()).await;
    display.finish(published.is_ok());
    match (published, signals.received()) {
        (Ok(report), _) => {
            metadata::record(args.metadata_file.as_deref(), args.iidfile.as_deref(), &report)?;
            if args.quiet {
                print(&format!("{}\n", report.root.digest))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        // Whatever broke then broke because it was stopped.
        (Err(_), Some(signal)) => Ok(exit::of_signal(signal)),
        (Err(error), None) => Err(error),
    }
}

/// Shows results as a table, and what did not end below it.
fn list(results: &[ImageResult], unfinished: &[UnfinishedPublication]) -> Result<ExitCode, Error> {
    let heads = ["RESULT", "BUILT", "PLATFORMS", "NAMES"].map(str::to_owned);
    let rows: Vec<[String; 4]> = std::iter::once(heads).chain(results.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    let mut text = String::new();
    for [result, built, platforms, names] in &rows {
        let line =
            format!("{result:<0$}  {built:<1$}  {platforms:<2$}  {names}", widths[0], widths[1], widths[2]);
        text.push_str(line.trim_end());
        text.push('\n');
    }
    for publication in unfinished {
        text.push_str(&line_about(publication));
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn line_about(unfinished: &UnfinishedPublication) -> String {
    let began = jiff::Timestamp::from_second(unfinished.started).unwrap_or_default();
    let state = match unfinished.state {
        PublicationState::Uploading => "was not yet verified".to_owned(),
        PublicationState::Proven => {
            format!("was verified, and had {} of {} tags", unfinished.tagged.len(), unfinished.names.len())
        }
    };
    let digits = &unfinished.root.hex()[..SHOWN_DIGITS];
    format!("not ended: {digits} as {}, begun {began}: it {state}\n", unfinished.names.join(", "))
}

fn row(result: &ImageResult) -> [String; 4] {
    let names = result.names.iter().map(|name| match name.published {
        Some(_) => format!("{} (published)", name.name),
        None => name.name.clone(),
    });
    let image = &result.image;
    let built = jiff::Timestamp::from_second(result.created).unwrap_or_default();
    [
        image.root.digest.hex()[..SHOWN_DIGITS].to_owned(),
        built.to_string(),
        image.platforms.join(","),
        names.collect::<Vec<_>>().join(", "),
    ]
}

fn print(text: &str) -> Result<(), Error> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| Error::new(Class::Internal, format!("cannot write to standard output: {error}")))
}
