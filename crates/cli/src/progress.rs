//! What the user sees while a command runs. All of it goes to standard error; standard output is for results.

mod json;
mod plain;
pub(crate) mod redact;
mod steps;
mod tty;

use std::io::IsTerminal;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Instant;

use gantry_release::{Event, Events};

use crate::args::ProgressMode;

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
    Display { start: Instant::now(), view: Mutex::new(view) }
}

impl Display {
    /// Ends the display.
    pub(crate) fn finish(&self, success: bool) {
        let now = self.now();
        self.view.lock().unwrap_or_else(PoisonError::into_inner).finish(success, now);
    }

    fn now(&self) -> Moment {
        Moment { elapsed: self.start.elapsed(), clock: jiff::Timestamp::now() }
    }
}

impl Events for Display {
    fn event(&self, event: Event) {
        let (now, event) = (self.now(), redact::event(event));
        self.view.lock().unwrap_or_else(PoisonError::into_inner).event(&event, now);
    }
}

/// Shows nothing.
struct Silent;

impl View for Silent {
    fn event(&mut self, _: &Event, _: Moment) {}
    fn finish(&mut self, _: bool, _: Moment) {}
}
