//! Places in files as BuildKit's results have them in JSON: `{"ranges":[{"start":{"line":4},"end":{"line":4}}]}`.
//!
//! There is one range for each line, and texts are base64: that is how protobuf messages look in Go's JSON.

use std::collections::BTreeSet;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::error::{Error, Lines};

/// How many ranges a result has. An instruction of thousands of lines can have something to tell of for each of them, and
/// thousands of lines with each. No real file comes near.
const MAX_RANGES: usize = 200_000;

/// Writes the places of one result.
pub(crate) struct Locations {
    left: usize,
}

impl Locations {
    /// For a result that has none yet.
    pub(crate) fn new() -> Self {
        Self { left: MAX_RANGES }
    }

    /// Lines, each a range. If there were too many of them, all are one.
    pub(crate) fn of(&mut self, lines: &Lines) -> Value {
        let count = lines.clone().count();
        let (start, end) = (lines.start(), lines.end());
        match self.left.checked_sub(count) {
            Some(left) => {
                self.left = left;
                json!({ "ranges": lines.clone().map(range).collect::<Vec<_>>() })
            }
            None => json!({ "ranges": [{ "start": { "line": start }, "end": { "line": end } }] }),
        }
    }
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
