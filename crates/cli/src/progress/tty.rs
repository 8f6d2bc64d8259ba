//! Lines that change: what runs now, in lanes by platform, each with the end of its output.
//!
//! A thread redraws a few times a second whatever the state is then, so that a step that prints ten thousand lines
//! costs no more than one that prints one. What is over leaves one line; the drawing keeps to the window's size.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use console::{Term, style, truncate_str};
use gantry_llb::{Outcome, ProgressEvent};
use gantry_oci::Digest;
use gantry_release::Event;

use super::steps::{Step, Steps};
use super::{Moment, View};
use crate::failure::{self, clean};

/// Smooth enough for a clock with tenths of seconds.
const FRAME: Duration = Duration::from_millis(100);
/// Lines of output shown below a running step.
const TAIL: usize = 4;
/// The lane of steps that work for no platform in particular.
const SHARED: &str = "all platforms";

/// Draws on the terminal.
pub(super) struct Tty {
    state: Arc<Mutex<State>>,
    stop: Option<(Sender<()>, JoinHandle<()>)>,
}

#[derive(Default)]
struct State {
    steps: Steps,
    tails: HashMap<usize, VecDeque<String>>,
    /// Lines for above the drawing, which stay.
    settled: Vec<String>,
    /// Lines for below it, when it is over: what is doubtful about the Dockerfile.
    findings: Vec<String>,
    drawn: usize,
}

impl Tty {
    /// Starts the thread that draws.
    pub(super) fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let (sender, receiver) = channel();
        let shared = Arc::clone(&state);
        let start = Instant::now();
        let thread = std::thread::spawn(move || {
            let term = Term::stderr();
            loop {
                let stopped = !matches!(receiver.recv_timeout(FRAME), Err(RecvTimeoutError::Timeout));
                let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
                state.draw(&term, start.elapsed(), stopped);
                if stopped {
                    return;
                }
            }
        });
        Self { state, stop: Some((sender, thread)) }
    }
}

impl View for Tty {
    fn event(&mut self, event: &Event, now: Moment) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Progress(event) => state.progress(event, now.elapsed),
            Event::Warning { message, hints } => {
                state.settled.push(format!("{} {}", style("warning:").yellow(), clean(message)));
                state.settled.extend(hints.iter().map(|hint| format!("hint: {}", clean(hint))));
            }
            Event::Finding { rule, message, excerpt } => {
                let colour = console::colors_enabled_stderr();
                let shown = failure::render_finding(*rule, message, excerpt, colour);
                state.findings.extend(shown.lines().map(str::to_owned));
            }
            Event::Built { digest } => state.settled.push(format!("built {digest}")),
            Event::Tagged { reference, digest } => {
                state.settled.push(format!("tagged {reference} as {digest}"));
            }
            _ => {}
        }
    }

    fn finish(&mut self, _: bool, _: Moment) {
        if let Some((sender, thread)) = self.stop.take() {
            drop(sender);
            // It ends with its next frame, whatever it drew.
            let _ = thread.join();
        }
    }
}

impl State {
    fn progress(&mut self, event: &ProgressEvent, now: Duration) {
        match event {
            ProgressEvent::Started { vertex, name, platform } => {
                self.steps.start(*vertex, name, platform.as_deref(), now);
            }
            ProgressEvent::Log { vertex, data, .. } => self.log(vertex, data),
            ProgressEvent::Ended { vertex, outcome } => {
                if let Some(step) = self.steps.get_mut(vertex).filter(|step| step.ended.is_none()) {
                    step.ended = Some((outcome.clone(), now));
                    let line = ended_line(step, outcome, now);
                    self.tails.remove(&step.number);
                    self.settled.push(line);
                }
            }
        }
    }

    fn log(&mut self, vertex: &Digest, data: &[u8]) {
        let Some(step) = self.steps.get_mut(vertex) else { return };
        let tail = self.tails.entry(step.number).or_default();
        for line in step.lines(data) {
            if tail.len() == TAIL {
                tail.pop_front();
            }
            tail.push_back(line);
        }
    }

    /// Replaces the drawing. The last one leaves nothing but the settled lines.
    fn draw(&mut self, term: &Term, now: Duration, last: bool) {
        let (height, width) = term.size();
        let (height, width) = (usize::from(height).max(4), usize::from(width).max(20));
        // Nobody is left to tell if the terminal is gone.
        let _ = term.clear_last_lines(self.drawn);
        if last {
            self.settled.append(&mut self.findings);
        }
        for line in self.settled.drain(..) {
            let _ = term.write_line(&truncate_str(&line, width, "…"));
        }
        let frame = if last { Vec::new() } else { self.frame(now, height - 1) };
        self.drawn = frame.len();
        for line in frame {
            let _ = term.write_line(&truncate_str(&line, width, "…"));
        }
        let _ = term.flush();
    }

    /// The lines of the drawing: at most `height`.
    fn frame(&self, now: Duration, height: usize) -> Vec<String> {
        let ended = self.steps.all().iter().filter(|step| step.ended.is_some()).count();
        let total = self.steps.all().len();
        let mut lines = vec![format!("[+] {:.1}s ({ended}/{total})", now.as_secs_f64())];
        let mut lanes: BTreeMap<&str, Vec<&Step>> = BTreeMap::new();
        for step in self.steps.all().iter().filter(|step| step.ended.is_none()) {
            lanes.entry(step.platform.as_deref().unwrap_or(SHARED)).or_default().push(step);
        }
        for (platform, steps) in lanes {
            lines.push(style(platform).bold().to_string());
            for step in steps {
                let seconds = now.saturating_sub(step.started).as_secs_f64();
                lines.push(format!("  {} {:>6.1}s {}", style("=>").cyan(), seconds, step.name));
                let tail = self.tails.get(&step.number).into_iter().flatten();
                lines.extend(tail.map(|line| style(format!("       │ {line}")).dim().to_string()));
            }
        }
        lines.truncate(height);
        lines
    }
}

fn ended_line(step: &Step, outcome: &Outcome, now: Duration) -> String {
    let seconds = now.saturating_sub(step.started).as_secs_f64();
    let (mark, note) = match outcome {
        Outcome::Cached => (style("=>").blue(), "cached".to_owned()),
        Outcome::Done => (style("=>").green(), format!("{seconds:.1}s")),
        Outcome::Failed(_) => (style("=>").red(), "failed".to_owned()),
        Outcome::Cancelled => (style("=>").yellow(), "stopped".to_owned()),
    };
    format!("{mark} {note:>7} {}", step.name)
}

#[cfg(test)]
mod tests {
    use gantry_llb::LogStream;

    use super::*;

    #[test]
    fn lanes_by_platform_within_the_window() {
        let mut state = State::default();
        for (name, platform) in [("[linux/arm64 1/2] RUN a", Some("linux/arm64")), ("load context", None)] {
            let platform = platform.map(str::to_owned);
            let event = ProgressEvent::Started { vertex: Digest::of(name), name: name.into(), platform };
            state.progress(&event, Duration::from_secs(1));
        }
        let vertex = Digest::of("[linux/arm64 1/2] RUN a");
        let data = (0..9).map(|number| format!("line {number}\n")).collect::<String>().into_bytes();
        state.progress(
            &ProgressEvent::Log { vertex, stream: LogStream::Stdout, data },
            Duration::from_secs(2),
        );
        let plain = |lines: Vec<String>| -> Vec<String> {
            lines.iter().map(|line| console::strip_ansi_codes(line).into_owned()).collect()
        };
        let frame = plain(state.frame(Duration::from_secs(3), 20));
        let expected = [
            "[+] 3.0s (0/2)",
            "all platforms",
            "  =>    2.0s load context",
            "linux/arm64",
            "  =>    2.0s [linux/arm64 1/2] RUN a",
            "       │ line 5",
            "       │ line 6",
            "       │ line 7",
            "       │ line 8",
        ];
        assert_eq!(frame, expected);
        assert_eq!(state.frame(Duration::from_secs(3), 3).len(), 3);
        state.progress(&ProgressEvent::Ended { vertex, outcome: Outcome::Done }, Duration::from_secs(4));
        assert_eq!(plain(std::mem::take(&mut state.settled)), ["=>    3.0s [linux/arm64 1/2] RUN a"]);
        assert_eq!(state.frame(Duration::from_secs(4), 20).len(), 3);
    }
}
