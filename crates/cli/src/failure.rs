//! Errors as people see them: the message, their own line with a marker, the end of a step's output, causes and hints.

use std::io::{IsTerminal, Write};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use gantry_release::{CheckRule, Class, Error, Excerpt};

use crate::progress::redact;

/// Lines shown of an instruction that spans many.
const MAX_EXCERPT_LINES: u32 = 12;

/// An error of this program itself.
pub(crate) fn internal(message: impl Into<String>) -> Error {
    Error::new(Class::Internal, message)
}

/// A wrong flag or value.
pub(crate) fn usage(message: impl Into<String>) -> Error {
    Error::new(Class::Usage, message)
}

/// Writes a doubt that stops nothing to standard error.
pub(crate) fn warn(message: &str) {
    // Nobody is left to tell if standard error is gone.
    let _ = writeln!(std::io::stderr(), "warning: {}", clean(&redact::text(message)));
}

/// Writes the error to standard error.
pub(crate) fn show(error: &Error) {
    let stderr = std::io::stderr();
    let text = render(error, stderr.is_terminal() && console::colors_enabled_stderr());
    // Nobody is left to tell if standard error is gone.
    let _ = stderr.lock().write_all(text.as_bytes());
}

/// Something doubtful in a Dockerfile, with its lines.
pub(crate) fn render_finding(rule: CheckRule, message: &str, excerpt: &Excerpt, colour: bool) -> String {
    let message = format!("{rule}: {message}");
    let mut text = render_title(Level::WARNING, &message, Some(excerpt), colour);
    if let Some(url) = rule.url() {
        text.push_str(&format!("hint: see {url}\n"));
    }
    text
}

/// A message and the lines that it is about.
fn render_title(level: Level<'static>, message: &str, excerpt: Option<&Excerpt>, colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let title = level.primary_title(clean(&redact::text(message)));
    let mut text = match excerpt {
        Some(excerpt) => {
            let span = span(excerpt);
            let source = Snippet::source(clean_source(&excerpt.text))
                .path(excerpt.file.clone())
                .annotation(AnnotationKind::Primary.span(span));
            renderer.render(&[title.element(source)])
        }
        None => renderer.render(&[Group::with_title(title)]),
    };
    text.push('\n');
    text
}

fn render(error: &Error, colour: bool) -> String {
    let mut text = render_title(Level::ERROR, &error.message, error.excerpt.as_ref(), colour);
    for cause in &error.causes {
        text.push_str(&format!("caused by: {}\n", clean(&redact::text(cause))));
    }
    if let Some(tail) = &error.tail {
        text.push_str("\nlast lines of its output:\n");
        for line in tail.lines() {
            text.push_str(&format!("  | {}\n", clean(line).trim_end()));
        }
        text.push('\n');
    }
    for hint in &error.hints {
        text.push_str(&format!("hint: {}\n", clean(&redact::text(hint))));
    }
    text
}

/// The bytes of the excerpt's lines, without the last line's end.
fn span(excerpt: &Excerpt) -> std::ops::Range<usize> {
    let first = *excerpt.lines.start();
    let last = (*excerpt.lines.end()).min(first.saturating_add(MAX_EXCERPT_LINES));
    let text = clean_source(&excerpt.text);
    let mut start = None;
    let mut end = 0;
    let mut offset = 0;
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        if number == first {
            start = Some(offset);
        }
        offset += line.len();
        if number >= first && number <= last {
            end = offset - (line.len() - line.trim_end().len());
        }
    }
    let start = start.unwrap_or(offset);
    start..end.max(start)
}

/// The text as it is safe to show. Line structure stays.
fn clean_source(text: &str) -> String {
    text.replace("\r\n", "\n")
        .chars()
        .map(|c| if c.is_control() && c != '\n' && c != '\t' { ' ' } else { c })
        .collect()
}

/// A message without characters that could steer a terminal: parts of it came from registries and programs.
pub(crate) fn clean(text: &str) -> String {
    let text = console::strip_ansi_codes(text);
    text.chars().map(|c| if c.is_control() && c != '\t' { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpt_tail_and_hints() {
        let text = "FROM scratch\nRUN a \\\n  b\nCOPY x y\n".to_owned();
        let mut error = Error::new(Class::Build, "it \u{1b}[31mfailed\u{1b}[0m").hint("try again");
        error.excerpt = Some(Excerpt { file: "Dockerfile".into(), text, lines: 2..=3 });
        error.tail = Some("one\ntwo\u{7}".into());
        error.causes.push("because".into());
        insta::assert_snapshot!(render(&error, false), @r"
        error: it failed
         --> Dockerfile:2:1
          |
        2 | / RUN a \
        3 | |   b
          | |___^
        caused by: because

        last lines of its output:
          | one
          | two

        hint: try again
        ");
    }
}
