//! Places in files as BuildKit's results have them in JSON: `{"ranges":[{"start":{"line":4},"end":{"line":4}}]}`.
//!
//! There is one range for each line, and texts are base64: that is how protobuf messages look in Go's JSON.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::error::Lines;

/// Lines.
pub(crate) fn location(lines: &Lines) -> Value {
    let range = |line: u32| json!({ "start": { "line": line }, "end": { "line": line } });
    json!({ "ranges": lines.clone().map(range).collect::<Vec<_>>() })
}

/// The bytes of a file.
pub(crate) fn data(text: &[u8]) -> Value {
    json!(BASE64_STANDARD.encode(text))
}
