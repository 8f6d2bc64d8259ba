//! What the user sees while a command runs. All of it goes to standard error; standard output is for results.

mod json;
mod plain;
pub(crate) mod redact;
mod steps;
mod tty;

use std::env;
use std::io::IsTerminal;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Instant;

use clap::ValueEnum;
use gantry_release::{Error, Event, Events};
use serde_json::Value;

use crate::args::ProgressMode;
use crate::failure::usage;

/// Names a mode for all commands of an environment.
const ENVIRONMENT: &str = "BUILDKIT_PROGRESS";

/// A way of showing events. Times are given, so that tests can make them up.
trait View: Send {
    /// Shows an event.
    fn event(&mut self, event: &Event, now: Moment);
    /// Shows that it is over.
    fn finish(&mut self, success: bool, now: Moment);
}

/// A time: since the command began, and of the day.
#[derive(Debug, Clone, Copy)]
struct Moment {
    elapsed: std::time::Duration,
    clock: jiff::Timestamp,
}

/// Shows events in the mode that was asked for.
pub(crate) struct Display {
    start: Instant,
    view: Mutex<Box<dyn View>>,
    /// Each once, in the order in which they came.
    warnings: Mutex<Vec<Value>>,
}

/// The mode to show progress in, given `--quiet` and `--progress`. As with buildx, asking for another mode than that of
/// `--quiet` is an error, but not if it is only the environment's.
pub(crate) fn mode(quiet: bool, asked: ProgressMode) -> Result<ProgressMode, Error> {
    let environment = || env::var(ENVIRONMENT).ok().and_then(|name| ProgressMode::from_str(&name, true).ok());
    match asked {
        _ if !quiet => Ok(asked),
        ProgressMode::Auto | ProgressMode::Quiet | ProgressMode::None => Ok(ProgressMode::Quiet),
        _ if environment() == Some(asked) => Ok(ProgressMode::Quiet),
        _ => {
            let name = asked.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
            Err(usage(format!("--quiet and --progress={name} ask for two things"))
                .hint("leave one of them out"))
        }
    }
}

/// Starts showing.
pub(crate) fn start(mode: ProgressMode) -> Display {
    let stderr = std::io::stderr;
    let view: Box<dyn View> = match mode {
        ProgressMode::Quiet | ProgressMode::None => Box::new(Silent),
        ProgressMode::Rawjson => Box::new(json::Json::new(Box::new(stderr()))),
        ProgressMode::Tty => Box::new(tty::Tty::start()),
        ProgressMode::Auto if stderr().is_terminal() => Box::new(tty::Tty::start()),
        ProgressMode::Auto | ProgressMode::Plain => Box::new(plain::Plain::new(Box::new(stderr()))),
    };
    Display { start: Instant::now(), view: Mutex::new(view), warnings: Mutex::default() }
}

impl Display {
    /// Ends the display.
    pub(crate) fn finish(&self, success: bool) {
        let now = self.now();
        self.view.lock().unwrap_or_else(PoisonError::into_inner).finish(success, now);
    }

    /// What was doubtful until now, in the shape of BuildKit's warnings.
    pub(crate) fn warnings(&self) -> Vec<Value> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn now(&self) -> Moment {
        Moment { elapsed: self.start.elapsed(), clock: jiff::Timestamp::now() }
    }
}

impl Events for Display {
    fn event(&self, event: Event) {
        let (now, event) = (self.now(), redact::event(event));
        if let Some(warning) = json::warning(&event) {
            let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
            // Several platforms find the same.
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
        self.view.lock().unwrap_or_else(PoisonError::into_inner).event(&event, now);
    }
}

/// Shows nothing.
struct Silent;

impl View for Silent {
    fn event(&mut self, _: &Event, _: Moment) {}
    fn finish(&mut self, _: bool, _: Moment) {}
}
