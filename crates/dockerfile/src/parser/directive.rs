//! Parser directives: `# escape=…`, `# syntax=…`, `# check=…`, at the very top of the file.
//!
//! The first line that is anything else ends them; after it, the same text is a comment.

use crate::error::Fault;

/// The directives seen so far.
#[derive(Debug)]
pub(super) struct Directives {
    /// The escape character.
    pub(super) escape: char,
    /// The front end's image and the line that names it.
    pub(super) syntax: Option<(String, u32)>,
    seen: Vec<String>,
    over: bool,
}

impl Default for Directives {
    fn default() -> Self {
        Self { escape: '\\', syntax: None, seen: Vec::new(), over: false }
    }
}

impl Directives {
    /// Looks at a line, trimmed, of the top.
    pub(super) fn read(&mut self, line: &str, number: u32) -> Result<(), Fault> {
        if self.over {
            return Ok(());
        }
        let Some((key, value)) = key_and_value(line) else {
            self.over = true;
            return Ok(());
        };
        if self.seen.contains(&key) {
            return Err(Fault::syntax(format!("the directive `{key}` may be used only once")));
        }
        match key.as_str() {
            "escape" => {
                self.escape = match value {
                    "\\" => '\\',
                    "`" => '`',
                    _ => {
                        return Err(Fault::syntax(format!("`{value}` is not an escape character"))
                            .hint("it can be a backslash or a backtick"));
                    }
                }
            }
            "syntax" => self.syntax = Some((value.to_owned(), number)),
            // Settings of the build checks, which say nothing about the build.
            "check" => {}
            _ => {
                self.over = true;
                return Ok(());
            }
        }
        self.seen.push(key);
        Ok(())
    }
}

fn key_and_value(line: &str) -> Option<(String, &str)> {
    let (key, value) = line.strip_prefix('#')?.trim_start().split_once('=')?;
    let (key, value) = (key.trim_end(), value.trim());
    let letters =
        key.starts_with(|c: char| c.is_ascii_alphabetic()) && key.bytes().all(|b| b.is_ascii_alphanumeric());
    (letters && !value.is_empty()).then(|| (key.to_ascii_lowercase(), value))
}
