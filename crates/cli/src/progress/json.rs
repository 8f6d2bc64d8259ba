//! One JSON object per line, in the shape of BuildKit's `SolveStatus` (`docker buildx build --progress rawjson`).

use std::collections::HashMap;
use std::io::Write;

use base64::prelude::{BASE64_STANDARD, Engine};
use gantry_llb::{LogStream, Outcome, ProgressEvent};
use gantry_oci::Digest;
use gantry_release::{CheckRule, Event, Excerpt};
use serde_json::{Value, json};

use super::{Moment, View};

/// Writes objects.
pub(super) struct Json {
    out: Box<dyn Write + Send>,
    /// Name and start of each vertex: later objects repeat them.
    started: HashMap<Digest, (String, String)>,
}

impl Json {
    pub(super) fn new(out: Box<dyn Write + Send>) -> Self {
        Self { out, started: HashMap::new() }
    }

    fn object(&mut self, event: &ProgressEvent, now: Moment) -> Value {
        let clock = now.clock.to_string();
        match event {
            ProgressEvent::Started { vertex, name, .. } => {
                self.started.insert(*vertex, (name.clone(), clock.clone()));
                json!({ "vertexes": [{ "digest": vertex, "name": name, "started": clock }] })
            }
            ProgressEvent::Ended { vertex, outcome } => {
                let (name, started) = self.started.get(vertex).cloned().unzip();
                let mut object =
                    json!({ "digest": vertex, "name": name.unwrap_or_default(), "completed": clock });
                if let Some(started) = started {
                    object["started"] = json!(started);
                }
                match outcome {
                    Outcome::Cached => object["cached"] = json!(true),
                    Outcome::Failed(message) => object["error"] = json!(message),
                    Outcome::Cancelled => object["error"] = json!("canceled"),
                    Outcome::Done => {}
                }
                json!({ "vertexes": [object] })
            }
            ProgressEvent::Log { vertex, stream, data } => {
                let stream = match stream {
                    LogStream::Stdout => 1,
                    LogStream::Stderr => 2,
                };
                let data = BASE64_STANDARD.encode(data);
                json!({ "logs": [{ "vertex": vertex, "stream": stream, "data": data, "timestamp": clock }] })
            }
        }
    }
}

/// The event as one of BuildKit's warnings, if it is such a thing.
pub(super) fn warning(event: &Event) -> Option<Value> {
    match event {
        Event::Warning { message, hints } => {
            let detail: Vec<String> = hints.iter().map(|hint| BASE64_STANDARD.encode(hint)).collect();
            Some(json!({ "level": 1, "short": BASE64_STANDARD.encode(message), "detail": detail }))
        }
        Event::Finding { rule, message, excerpt } => Some(finding(*rule, message, excerpt)),
        _ => None,
    }
}

/// What a build check found, with the lines that it is about.
fn finding(rule: CheckRule, message: &str, excerpt: &Excerpt) -> Value {
    let short = format!("{rule}: {message} (line {})", excerpt.lines.start());
    let range = |line: u32| json!({ "start": { "line": line }, "end": { "line": line } });
    let mut finding = json!({
        "level": 1,
        "short": BASE64_STANDARD.encode(short),
        "detail": [BASE64_STANDARD.encode(rule.description())],
        "sourceInfo": {
            "filename": excerpt.file,
            "data": BASE64_STANDARD.encode(&excerpt.text),
            "language": "Dockerfile",
        },
        "range": excerpt.lines.clone().map(range).collect::<Vec<_>>(),
    });
    if let Some(url) = rule.url() {
        finding["url"] = json!(url);
    }
    finding
}

impl View for Json {
    fn event(&mut self, event: &Event, now: Moment) {
        let object = match event {
            Event::Progress(event) => self.object(event, now),
            Event::Warning { .. } | Event::Finding { .. } => json!({ "warnings": [warning(event)] }),
            Event::Built { digest } => json!({ "gantry.built": digest }),
            Event::Tagged { reference, digest } => {
                json!({ "gantry.tagged": { "reference": reference.to_string(), "digest": digest } })
            }
            _ => return,
        };
        // A reader that went away is no reason to stop building.
        let _ = writeln!(self.out, "{object}");
    }

    fn finish(&mut self, _: bool, _: Moment) {
        let _ = self.out.flush();
    }
}
