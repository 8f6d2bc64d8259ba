//! Errors as people see them: the message, their own line with a marker, the end of a step's output, causes and hints.

use std::borrow::Cow;
use std::io::{IsTerminal, Write};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use gantry_release::{CheckRule, Class, Error, Excerpt};

use crate::progress::redact;

/// Characters shown of a line of a file: some rows of a terminal. A line may have 64 KiB, and a warning for each of its words.
const MAX_LINE: usize = 400;
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
            let lines = shown_lines(excerpt);
            let whole = 0..lines.len();
            let source = Snippet::source(lines)
                .path(excerpt.file.clone())
                .line_start(*excerpt.lines.start() as usize)
                .annotation(AnnotationKind::Primary.span(whole));
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

/// The excerpt's lines, as many as are shown, without the last line's end. The others would be read for nothing, once for each
/// of what may be many messages.
fn shown_lines(excerpt: &Excerpt) -> String {
    let first = *excerpt.lines.start();
    let last = (*excerpt.lines.end()).min(first.saturating_add(MAX_EXCERPT_LINES));
    let before = first.saturating_sub(1) as usize;
    let count = (last as usize).saturating_sub(before);
    let lines: Vec<_> = excerpt.text.lines().skip(before).take(count).map(cut).collect();
    clean_source(lines.join("\n").trim_end())
}

/// A line of a file, at most as long as lines are shown; one that was cut ends with `…`.
pub(crate) fn cut(line: &str) -> Cow<'_, str> {
    match line.char_indices().nth(MAX_LINE) {
        Some((end, _)) => format!("{}…", &line[..end]).into(),
        None => line.into(),
    }
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
        let text = "FROM scratch\nRUN a \\\n  b\nCOPY x y\n".into();
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
    #[test]
    fn a_finding_far_down_in_a_file() {
        let text = "LABEL a b\r\n".repeat(5000).into();
        let excerpt = Excerpt { file: "Dockerfile".into(), text, lines: 4321..=4321 };
        assert_eq!(shown_lines(&excerpt), "LABEL a b");
        let shown = render_title(Level::WARNING, "it is old", Some(&excerpt), false);
        assert!(shown.contains("Dockerfile:4321:1") && shown.contains("4321 | LABEL a b\n"), "{shown}");
        let long = Excerpt {
            text: format!("RUN {}\nRUN b\n", "a".repeat(60_000)).into(),
            lines: 1..=2,
            ..excerpt.clone()
        };
        assert_eq!(shown_lines(&long), format!("RUN {}…\nRUN b", "a".repeat(MAX_LINE - 4)));
        let beyond = Excerpt { lines: 9999..=9999, ..excerpt };
        assert_eq!(shown_lines(&beyond), "");
        assert!(render_title(Level::WARNING, "it is old", Some(&beyond), false).contains("it is old"));
    }
}
