//! `gantry publish`

mod list;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use gantry_release::{
    Class, Error, Gantry, PublishRequest, VerifyPolicy, check_writable, forget, publish, results, unfinished,
};

use super::build::verify_mode;
use crate::args::{Format, Global, Publish};
use crate::signals::Signals;
use crate::{config, exit, metadata, progress, terms};

/// Runs the command.
pub(crate) async fn run(global: &Global, args: &Publish) -> Result<ExitCode, Error> {
    let Some(result) = &args.result else {
        let gantry = Gantry::open(config::settings(global)?)?;
        let (results, unfinished) = (results(&gantry)?, unfinished(&gantry)?);
        print(&match args.format {
            Format::Text => list::table(&results, &unfinished),
            Format::Json => list::document(&results, &unfinished),
        })?;
        return Ok(ExitCode::SUCCESS);
    };
    if args.forget {
        forget(&Gantry::open(config::settings(global)?)?, result)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mode = progress::mode(args.quiet, args.progress)?;
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
    let display = Arc::new(progress::start(mode));
    let published = publish(&gantry, request, Arc::clone(&display) as _, signals.cancel.clone()).await;
    display.finish(published.is_ok());
    match (published, signals.received()) {
        (Ok(report), _) => {
            metadata::record(args.metadata_file.as_deref(), args.iidfile.as_deref(), &report, &[])?;
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

fn print(text: &str) -> Result<(), Error> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| Error::new(Class::Internal, format!("cannot write to standard output: {error}")))
}
