//! Lines that stay: the form of BuildKit's plain progress, `#7 0.31 text`, for logs of CI systems.

use std::io::Write;

use gantry_llb::{Outcome, ProgressEvent};
use gantry_release::Event;

use super::steps::Steps;
use super::{Moment, View};
use crate::failure::{self, clean};

/// Writes lines.
pub(super) struct Plain {
    out: Box<dyn Write + Send>,
    steps: Steps,
    /// What is doubtful about the Dockerfile: it is shown when all is over, and not lost among the steps.
    findings: Vec<String>,
}

impl Plain {
    pub(super) fn new(out: Box<dyn Write + Send>) -> Self {
        Self { out, steps: Steps::default(), findings: Vec::new() }
    }

    fn line(&mut self, text: &str) {
        // A reader that went away is no reason to stop building.
        let _ = writeln!(self.out, "{text}");
    }

    fn progress(&mut self, event: &ProgressEvent, now: Moment) {
        let mut lines = Vec::new();
        match event {
            ProgressEvent::Started { vertex, name, platform } => {
                let known = self.steps.all().len();
                let step = self.steps.start(*vertex, name, platform.as_deref(), now.elapsed);
                if step.number > known {
                    lines.push(format!("#{} {}", step.number, step.name));
                }
            }
            ProgressEvent::Log { vertex, data, .. } => {
                let Some(step) = self.steps.get_mut(vertex) else { return };
                let seconds = (now.elapsed - step.started.min(now.elapsed)).as_secs_f64();
                let number = step.number;
                lines.extend(
                    step.lines(data).into_iter().map(|line| format!("#{number} {seconds:.3} {line}")),
                );
            }
            ProgressEvent::Ended { vertex, outcome } => {
                let Some(step) = self.steps.get_mut(vertex) else { return };
                if step.ended.is_some() {
                    return;
                }
                step.ended = Some((outcome.clone(), now.elapsed));
                let seconds = (now.elapsed - step.started.min(now.elapsed)).as_secs_f64();
                let number = step.number;
                lines.extend(step.rest().map(|line| format!("#{number} {seconds:.3} {line}")));
                lines.push(match outcome {
                    Outcome::Cached => format!("#{number} CACHED"),
                    Outcome::Done => format!("#{number} DONE {seconds:.1}s"),
                    Outcome::Failed(message) => format!("#{number} ERROR: {}", clean(message)),
                    Outcome::Cancelled => format!("#{number} CANCELED"),
                });
            }
        }
        lines.iter().for_each(|line| self.line(line));
    }
}

impl View for Plain {
    fn event(&mut self, event: &Event, now: Moment) {
        match event {
            Event::Progress(event) => self.progress(event, now),
            Event::Warning { message, hints } => {
                self.line(&format!("warning: {}", clean(message)));
                hints.iter().for_each(|hint| self.line(&format!("hint: {}", clean(hint))));
            }
            Event::Finding { rule, message, excerpt } => {
                self.findings.push(failure::render_finding(*rule, message, excerpt, false));
            }
            Event::Built { digest } => self.line(&format!("built {digest}")),
            Event::Tagged { reference, digest } => self.line(&format!("tagged {reference} as {digest}")),
            _ => {}
        }
    }

    fn finish(&mut self, _: bool, _: Moment) {
        let findings = std::mem::take(&mut self.findings);
        findings.iter().flat_map(|finding| finding.lines()).for_each(|line| self.line(line));
        let _ = self.out.flush();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use gantry_llb::LogStream;
    use gantry_oci::Digest;

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_build() {
        let out = Shared::default();
        let mut plain = Plain::new(Box::new(out.clone()));
        let (a, b) = (Digest::of("a"), Digest::of("b"));
        let started =
            |vertex, name: &str| ProgressEvent::Started { vertex, name: name.into(), platform: None };
        let log = |data: &str| ProgressEvent::Log { vertex: a, stream: LogStream::Stdout, data: data.into() };
        let ended = |vertex, outcome| ProgressEvent::Ended { vertex, outcome };
        let events = [
            started(a, "[1/2] RUN make"),
            log("one\ntw"),
            started(b, "[2/2] COPY . ."),
            log("o\n10%\r50%\r100%\r\n\u{1b}[31mred\u{1b}[0m\u{7}"),
            ended(b, Outcome::Cached),
            ended(a, Outcome::Failed("it failed".into())),
            ended(a, Outcome::Failed("twice".into())),
        ];
        for (tick, event) in (0..).zip(events) {
            let now =
                Moment { elapsed: Duration::from_millis(tick * 100), clock: jiff::Timestamp::UNIX_EPOCH };
            plain.event(&Event::Progress(event), now);
        }
        let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
        insta::assert_snapshot!(text, @r"
        #1 [1/2] RUN make
        #1 0.100 one
        #2 [2/2] COPY . .
        #1 0.300 two
        #1 0.300 100%
        #2 CACHED
        #1 0.500 red
        #1 ERROR: it failed
        ");
    }
}
