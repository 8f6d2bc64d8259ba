//! Parser directives: `# escape=…`, `# syntax=…`, `# check=…`, at the very top of the file.
//!
//! The first line that is anything else ends them; after it, the same text is a comment. `syntax` and `check` are
//! looked for in the whole file before it is parsed, by [`find`], because they decide how it is parsed and what about
//! it is reported. That search is BuildKit's, which accepts a little more than the parser: a `#!` line before the
//! directives, and, for files of other front ends, `//` comments and a JSON object.

use crate::error::Fault;

/// The directives seen so far.
#[derive(Debug)]
pub(super) struct Directives {
    /// The escape character.
    pub(super) escape: char,
    scan: Scan,
}

impl Default for Directives {
    fn default() -> Self {
        Self { escape: '\\', scan: Scan::new("#") }
    }
}

impl Directives {
    /// Looks at a line, trimmed, of the top. Whether it is a directive.
    pub(super) fn read(&mut self, line: &str) -> Result<bool, Fault> {
        match self.scan.read(line)? {
            Some(("escape", value)) => {
                self.escape = match value {
                    "\\" => '\\',
                    "`" => '`',
                    _ => {
                        return Err(Fault::syntax(format!("`{value}` is not an escape character"))
                            .hint("it can be a backslash or a backtick"));
                    }
                };
                Ok(true)
            }
            found => Ok(found.is_some()),
        }
    }
}

/// A directive that [`find`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its value, all words of it.
    pub(crate) value: String,
    /// Its line.
    pub(crate) line: u32,
}

/// The kinds of file in which a directive is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Dockerfiles.
    Dockerfile,
    /// Whatever a front end may read.
    Any,
}

/// The directive with this name, if the file has it.
pub(crate) fn find(name: &str, text: &str, format: Format) -> Option<Found> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (text, skipped) = match text.split_once('\n') {
        Some((first, rest)) if first.starts_with("#!") => (rest, 1),
        _ if text.starts_with("#!") => ("", 1),
        _ => (text, 0),
    };
    let commented = |comment| find_commented(name, text, comment, skipped);
    match (commented("#"), format) {
        (None, Format::Any) => commented("//").or_else(|| find_member(name, text, skipped)),
        (found, _) => found,
    }
}

fn find_commented(name: &str, text: &str, comment: &'static str, skipped: u32) -> Option<Found> {
    let mut scan = Scan::new(comment);
    for (line, number) in text.lines().zip(skipped + 1..) {
        // A directive that stands there twice is refused when the file is parsed.
        let (key, value) = scan.read(line).ok()??;
        if key == name {
            return Some(Found { value: value.to_owned(), line: number });
        }
    }
    None
}

fn find_member(name: &str, text: &str, skipped: u32) -> Option<Found> {
    let value = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).ok()?;
    let value = value.get(name)?.as_str()?.to_owned();
    Some(Found { value, line: skipped + 1 })
}

/// The value of a directive in a comment that is no parser directive, such as a `check` above an instruction.
pub(crate) fn in_comment<'a>(name: &str, comment: &'a str) -> Option<&'a str> {
    let (key, value) = Scan::new("").read(comment).ok()??;
    (key == name).then_some(value)
}

/// A walk over the directives at the top of a file.
#[derive(Debug)]
struct Scan {
    comment: &'static str,
    seen: Vec<&'static str>,
    over: bool,
}

impl Scan {
    fn new(comment: &'static str) -> Self {
        Self { comment, seen: Vec::new(), over: false }
    }

    /// The name and value of the directive on this line; none once a line was something else.
    fn read<'a>(&mut self, line: &'a str) -> Result<Option<(&'static str, &'a str)>, Fault> {
        let found = if self.over { None } else { self.parse(line) };
        match found {
            Some((key, _)) if self.seen.contains(&key) => {
                let fault = Fault::syntax(format!("only one {key} parser directive can be used"));
                Err(fault.hint(match key {
                    "check" => "write its settings into one, like check=skip=RuleName,OtherRule;error=true",
                    _ => "leave one of them out",
                }))
            }
            Some((key, value)) => {
                self.seen.push(key);
                Ok(Some((key, value)))
            }
            None => {
                self.over = true;
                Ok(None)
            }
        }
    }

    fn parse<'a>(&self, line: &'a str) -> Option<(&'static str, &'a str)> {
        const KNOWN: [&str; 3] = ["syntax", "escape", "check"];
        /// What may stand around a value. Any blank may stand before the name, but only these elsewhere.
        const BLANKS: [char; 5] = ['\t', '\n', '\u{c}', '\r', ' '];
        let (key, value) = line.strip_prefix(self.comment)?.trim_start().split_once('=')?;
        let (key, trimmed) = (key.trim_end_matches(BLANKS), value.trim_matches(BLANKS));
        let key = KNOWN.into_iter().find(|known| known.eq_ignore_ascii_case(key))?;
        // Of a value that is nothing but blanks, the last one is the value.
        let last = value.char_indices().next_back().map(|(at, _)| &value[at..]);
        Some((key, if trimmed.is_empty() { last? } else { trimmed }))
    }
}
