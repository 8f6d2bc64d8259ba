//! Places in files as BuildKit's results have them in JSON: `{"ranges":[{"start":{"line":4},"end":{"line":4}}]}`.
//!
//! There is one range for each line, and texts are base64: that is how protobuf messages look in Go's JSON.

use std::collections::BTreeSet;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::error::{Error, Lines};

/// Lines.
pub(crate) fn location(lines: &Lines) -> Value {
    json!({ "ranges": lines.clone().map(range).collect::<Vec<_>>() })
}

/// All lines that have part in an error.
pub(crate) fn locations(error: &Error) -> Value {
    let lines: BTreeSet<u32> = error.others.iter().cloned().chain([error.lines.clone()]).flatten().collect();
    json!({ "ranges": lines.into_iter().map(range).collect::<Vec<_>>() })
}

fn range(line: u32) -> Value {
    json!({ "start": { "line": line }, "end": { "line": line } })
}

/// The bytes of a file.
pub(crate) fn data(text: &[u8]) -> Value {
    json!(BASE64_STANDARD.encode(text))
}
