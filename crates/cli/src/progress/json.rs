//! One JSON object per line, in the shape of BuildKit's `SolveStatus` (`docker buildx build --progress rawjson`).

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write;

use base64::prelude::{BASE64_STANDARD, Engine};
use gantry_llb::{LogStream, Outcome, ProgressEvent};
use gantry_oci::Digest;
use gantry_release::{CheckRule, Event, Excerpt};
use serde_json::{Value, json};

use super::{Moment, View};

/// BuildKit repeats the whole Dockerfile with each warning. Of one that is larger than so many bytes, which no person wrote,
/// only the lines around what the warning is about have text; the empty ones before them keep the numbers of lines true.
const LARGEST_SOURCE: usize = 64 << 10;
/// Enough for any reader's view of the place.
const LINES_AROUND: u32 = 10;

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
            "data": BASE64_STANDARD.encode(source(excerpt).as_bytes()),
            "language": "Dockerfile",
        },
        "range": excerpt.lines.clone().map(range).collect::<Vec<_>>(),
    });
    if let Some(url) = rule.url() {
        finding["url"] = json!(url);
    }
    finding
}

/// The text of the file, or of the part of it that counts.
fn source(excerpt: &Excerpt) -> Cow<'_, str> {
    if excerpt.text.len() <= LARGEST_SOURCE {
        return Cow::Borrowed(&excerpt.text);
    }
    let first = excerpt.lines.start().saturating_sub(LINES_AROUND);
    let last = excerpt.lines.end().saturating_add(LINES_AROUND);
    let lines = (1..=last).zip(excerpt.text.split_inclusive('\n'));
    lines.map(|(number, line)| if number < first { "\n" } else { line }).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_whole_or_have_the_same_numbers_of_lines() {
        let excerpt = |count: usize, line: u32| Excerpt {
            file: "Dockerfile".to_owned(),
            text: (1..=count).map(|number| format!("LABEL a{number} b\n")).collect::<String>().into(),
            lines: line..=line,
        };
        let small = excerpt(20, 3);
        assert_eq!(source(&small), &*small.text);
        let large = excerpt(8000, 5000);
        let shown = source(&large);
        assert_eq!(shown.lines().nth(4999), Some("LABEL a5000 b"));
        assert_eq!((shown.lines().nth(4000), shown.lines().count()), (Some(""), 5010));
        assert!(shown.len() < 6000);
    }
}
