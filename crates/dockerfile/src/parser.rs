//! Text to lines of instructions: continuations, comments, directives, flags, JSON forms, heredocs.
//!
//! A [`Node`] is one instruction before anybody asked what it means. The rules are BuildKit's, with their corners:
//! comments and empty lines inside a continuation are skipped, a directive counts only at the very top, JSON that is
//! none is read as plain words.

pub(crate) mod directive;
mod heredoc;
mod list;
mod shape;
mod words;

pub(crate) use heredoc::Heredoc;
pub(crate) use list::json_list;
pub(crate) use words::{KeyValue, blank_separated, key_values, quoted_words, split_kind};

use directive::Directives;
use shape::Shape;

use crate::error::{Error, Fault, Lines};

/// A whole file.
#[derive(Debug)]
pub(crate) struct Dockerfile {
    /// Its instructions, in order.
    pub(crate) nodes: Vec<Node>,
    /// The character that escapes and continues: a backslash, or a backtick by directive.
    pub(crate) escape: char,
    /// The lines that end instructions which have empty lines inside.
    pub(crate) empty_continuations: Vec<u32>,
}

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// Its name as it was written.
    pub(crate) keyword: String,
    /// The words before the arguments that start with `--`.
    pub(crate) flags: Vec<String>,
    /// Everything after them.
    pub(crate) arguments: Arguments,
    /// The whole instruction, continuations joined.
    pub(crate) original: String,
    /// Its heredocs.
    pub(crate) heredocs: Vec<Heredoc>,
    /// The comments above it, without their `#`, since the instruction before or the last empty comment.
    pub(crate) comments: Vec<String>,
    /// Where it stands, heredocs included.
    pub(crate) lines: Lines,
}

/// What follows the flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Arguments {
    /// A JSON list of strings, where the instruction takes one.
    Json(Vec<String>),
    /// Any other text, trimmed.
    Text(String),
}

/// The instructions that take heredocs.
const HEREDOC_KEYWORDS: [&str; 3] = ["add", "copy", "run"];

/// BuildKit reads lines into a buffer of 64 KiB, and refuses what does not fit.
const MAX_LINE: usize = (64 << 10) - 1;

/// Reads a Dockerfile.
pub(crate) fn parse(text: &str) -> Result<Dockerfile, Error> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader =
        Reader { lines: text.split_inclusive('\n').collect(), next: 0, empty_continuations: Vec::new() };
    reader.refuse_long_lines()?;
    let mut directives = Directives::default();
    let mut comments = Vec::new();
    let mut nodes = Vec::new();
    while let Some(line) = reader.next_line() {
        let written = line.trim_end_matches(['\r', '\n']);
        let line = written.trim_start();
        let is_directive =
            directives.read(line).map_err(|fault| fault.at(&(reader.line()..=reader.line())))?;
        if line.starts_with('#') {
            match comment(written) {
                "" => comments.clear(),
                comment if !is_directive => comments.push(comment.to_owned()),
                _ => {}
            }
        } else if !line.is_empty() {
            let mut node = reader.instruction(line, directives.escape)?;
            node.comments = std::mem::take(&mut comments);
            nodes.push(node);
        }
    }
    if nodes.is_empty() {
        let last = reader.line().max(1);
        let fault =
            Fault::syntax("the file has no instructions").hint("begin with FROM image, or FROM scratch");
        return Err(fault.at(&(last..=last)));
    }
    Ok(Dockerfile { nodes, escape: directives.escape, empty_continuations: reader.empty_continuations })
}

/// The text of a comment. One that is indented keeps its `#`, so that it neither describes nor configures anything.
fn comment(line: &str) -> &str {
    let mut chars = line.chars();
    chars.next();
    chars.as_str().trim()
}

/// Reads the one instruction of a trigger. Its lines count from 1.
pub(crate) fn parse_one(text: &str) -> Result<Node, Fault> {
    let relocate = |error: Error| Fault::syntax(error.message);
    let mut nodes = parse(text).map_err(relocate)?.nodes;
    match (nodes.pop(), nodes.is_empty()) {
        (Some(node), true) => Ok(node),
        _ => Err(Fault::syntax("a trigger is a single instruction")),
    }
}

struct Reader<'a> {
    lines: Vec<&'a str>,
    next: usize,
    empty_continuations: Vec<u32>,
}

impl<'a> Reader<'a> {
    /// The next line with its end, if there is one.
    fn next_line(&mut self) -> Option<&'a str> {
        let line = self.lines.get(self.next)?;
        self.next += 1;
        Some(line)
    }

    /// The number of the line that was read last.
    fn line(&self) -> u32 {
        u32::try_from(self.next).unwrap_or(u32::MAX)
    }

    fn refuse_long_lines(&self) -> Result<(), Error> {
        let long = self.lines.iter().position(|line| line.trim_end_matches('\n').len() > MAX_LINE);
        let Some(index) = long else { return Ok(()) };
        let line = u32::try_from(index + 1).unwrap_or(u32::MAX);
        Err(Fault::syntax(format!("the line is longer than {MAX_LINE} bytes"))
            .hint("continue it on further lines, or copy the text from a file")
            .at(&(line..=line)))
    }

    /// Reads the instruction that starts with this line to its end.
    fn instruction(&mut self, first: &str, escape: char) -> Result<Node, Error> {
        let start = self.line();
        let original = self.joined(first, escape);
        let place = |reader: &Self| start..=reader.line();
        let mut node = Node::read(&original, escape).map_err(|fault| fault.at(&place(self)))?;
        if node.takes_heredocs(escape) && original.contains("<<") {
            let heredocs = heredoc::openings(&original).map_err(|fault| fault.at(&place(self)))?;
            for mut heredoc in heredocs {
                let content = self.heredoc_content(&heredoc).ok_or_else(|| {
                    let message = format!("the heredoc `{}` is not terminated", heredoc.name);
                    Fault::syntax(message)
                        .hint(format!("end it with a line that is just `{}`", heredoc.name))
                        .at(&place(self))
                })?;
                heredoc.content = content.into();
                node.heredocs.push(heredoc);
            }
        }
        node.lines = place(self);
        Ok(node)
    }

    /// The line with all that continue it.
    fn joined(&mut self, first: &str, escape: char) -> String {
        let Some(first) = continued(first, escape) else { return first.to_owned() };
        let mut joined = first.to_owned();
        let mut empty = false;
        while let Some(line) = self.next_line() {
            let line = line.trim_end_matches(['\r', '\n']);
            let content = line.trim_start();
            if content.starts_with('#') {
                continue;
            }
            if content.is_empty() {
                empty = true;
                continue;
            }
            match continued(line, escape) {
                Some(part) => joined.push_str(part),
                None => {
                    joined.push_str(line);
                    break;
                }
            }
        }
        if empty {
            self.empty_continuations.push(self.line());
        }
        joined
    }

    /// The lines up to the one that ends the heredoc; none if no line does.
    fn heredoc_content(&mut self, heredoc: &Heredoc) -> Option<String> {
        let mut content = String::new();
        while let Some(line) = self.next_line() {
            let end = line.trim_end_matches(['\r', '\n']);
            let end = if heredoc.chomp { end.trim_start_matches('\t') } else { end };
            if end == heredoc.name {
                return Some(content);
            }
            content.push_str(line);
        }
        None
    }
}

/// The line without its continuation mark, if it has one: an escape character that no other one precedes, at the
/// end but for blanks.
fn continued(line: &str, escape: char) -> Option<&str> {
    let body = line.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    (!body.ends_with(escape)).then_some(body)
}

impl Node {
    /// Reads a joined line.
    fn read(line: &str, escape: char) -> Result<Self, Fault> {
        let (keyword, flags, rest) = words::split_instruction(line, escape);
        let json = match Shape::of(&keyword) {
            Shape::Json => json_list(&rest)?,
            shape => shape.check(&rest, escape).map(|()| None)?,
        };
        Ok(Self {
            keyword,
            flags,
            arguments: json.map_or(Arguments::Text(rest), Arguments::Json),
            original: line.to_owned(),
            heredocs: Vec::new(),
            comments: Vec::new(),
            lines: 1..=1,
        })
    }

    /// Whether heredocs may be attached: to a plain-text RUN, COPY or ADD, or to one that is a trigger.
    fn takes_heredocs(&self, escape: char) -> bool {
        let direct = |node: &Self| {
            HEREDOC_KEYWORDS.contains(&node.keyword.to_ascii_lowercase().as_str())
                && matches!(node.arguments, Arguments::Text(_))
        };
        match &self.arguments {
            Arguments::Text(trigger) if self.keyword.eq_ignore_ascii_case("onbuild") => {
                Self::read(trigger, escape).is_ok_and(|node| direct(&node))
            }
            _ => direct(self),
        }
    }
}

#[cfg(test)]
mod tests;
