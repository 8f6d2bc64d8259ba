//! The pattern languages that LLB attributes and ignore files speak.
//!
//! There are two. [`Matcher`] is that of `.dockerignore` and of exclude and include lists: the rules of
//! `moby/patternmatcher`, where `**` crosses directories, the last match wins and a match of a directory counts for
//! everything below it. [`Glob`] is Go's `path.Match`, which COPY uses for wildcards in its sources. Both are
//! compiled to a small automaton whose running time is the product of the two lengths, or, where ignore files speak
//! the language of Go's regular expressions, to one of those. Few words can make a large expression, so all that a list has
//! share one limit: a hostile list is refused before it takes seconds or gigabytes.

mod expression;
mod program;
mod room;

use program::{Flavour, Program};
use room::Room;

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` is not a valid pattern: {reason}")]
pub struct PatternError {
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: &'static str,
    /// The line of the ignore file that it stands on, 1-based, if it came from one.
    pub line: Option<usize>,
}

/// Reads the text of an ignore file into patterns for [`Matcher::new`].
///
/// A comment has its `#` in the first column. Patterns are trimmed, cleaned as paths and made relative. The error of
/// a pattern that [`Matcher::new`] would refuse names its line.
pub fn read_ignore_file(text: &str) -> Result<Vec<String>, PatternError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut patterns = Vec::new();
    let mut room = Room::default();
    for (index, line) in text.lines().enumerate() {
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        let pattern = normal_pattern(line.trim());
        Rule::new(&pattern, &mut room).map_err(|error| PatternError { line: Some(index + 1), ..error })?;
        patterns.push(pattern);
    }
    Ok(patterns)
}

fn normal_pattern(line: &str) -> String {
    let (mark, path) = match line.strip_prefix('!') {
        Some(path) => ("!", path.trim()),
        None => ("", line),
    };
    if path.is_empty() {
        return mark.to_owned();
    }
    let path = clean(path);
    let relative = path.strip_prefix('/').filter(|rest| !rest.is_empty()).unwrap_or(&path);
    format!("{mark}{relative}")
}

/// Go's `path.Clean`: no empty and `.` components, `..` resolved in the text.
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut cleaned = String::with_capacity(path.len() + 1);
    if rooted {
        cleaned.push('/');
    }
    // The root, or the `..` at the beginning, which no further `..` takes back.
    let mut kept = cleaned.len();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if cleaned.len() > kept => cleaned.truncate(cleaned.rfind('/').unwrap_or(0).max(kept)),
            ".." if rooted => {}
            part => {
                if !matches!(cleaned.as_str(), "" | "/") {
                    cleaned.push('/');
                }
                cleaned.push_str(part);
                if part == ".." {
                    kept = cleaned.len();
                }
            }
        }
    }
    if cleaned.is_empty() { ".".to_owned() } else { cleaned }
}

/// A list of patterns, compiled.
#[derive(Debug, Clone, Default)]
pub struct Matcher {
    rules: Vec<Rule>,
}

/// Which rules of a list are known to match a directory. The default: nothing is known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known(Vec<bool>);

impl Matcher {
    /// Compiles patterns; empty ones are skipped.
    pub fn new(patterns: &[impl AsRef<str>]) -> Result<Self, PatternError> {
        let mut room = Room::default();
        let patterns = patterns.iter().map(|pattern| pattern.as_ref().trim());
        let rules = patterns
            .filter(|pattern| !pattern.is_empty())
            .map(|pattern| Rule::new(&clean(pattern), &mut room));
        Ok(Self { rules: rules.collect::<Result<_, _>>()? })
    }

    /// Whether the list selects this path: relative, cleaned, with `/` between its parts.
    ///
    /// A pattern that matches a parent directory matches the path; the last pattern that matches decides.
    pub fn excludes(&self, path: &str) -> bool {
        let mut excluded = false;
        for rule in &self.rules {
            // A rule that could not change the answer need not be tried.
            if rule.reincludes == excluded && rule.program.matches_or_parent(path) {
                excluded = !rule.reincludes;
            }
        }
        excluded
    }

    /// As [`Matcher::excludes`] for a walk from the top: `parent` is what this said of the directory that the path is in,
    /// or nothing known.
    ///
    /// Not quite the same answer. Of a directory only those rules are tried that could change the answer for itself,
    /// and a rule that was not tried there counts below it for what it matches by itself: with `a/b` and `!a`, the
    /// second never gets to say anything of `a`, and so nothing of `a/b`. Builders walk, so this is what they do.
    pub fn excludes_in(&self, path: &str, parent: &Known) -> (bool, Known) {
        let mut excluded = false;
        let mut matched = vec![false; self.rules.len()];
        for (index, rule) in self.rules.iter().enumerate() {
            let above = parent.0.get(index).copied();
            if above != Some(true) && rule.reincludes != excluded {
                continue;
            }
            matched[index] = match above {
                Some(true) => true,
                Some(false) => rule.program.matches(path),
                None => rule.program.matches_or_parent(path),
            };
            if matched[index] {
                excluded = !rule.reincludes;
            }
        }
        (excluded, Known(matched))
    }

    /// Whether some pattern begins with `!`.
    pub fn reincludes(&self) -> bool {
        self.rules.iter().any(|rule| rule.reincludes)
    }

    /// Whether some pattern without `!` may match a path below this directory.
    pub fn may_select_below(&self, directory: &str) -> bool {
        self.rules.iter().any(|rule| !rule.reincludes && rule.program.may_match_below(directory))
    }

    /// Whether some `!` pattern may match a path below this directory, so that a walk has to enter it although it
    /// is excluded.
    pub fn may_reinclude_below(&self, directory: &str) -> bool {
        self.rules.iter().any(|rule| rule.reincludes && rule.program.may_match_below(directory))
    }
}

/// One pattern.
#[derive(Debug, Clone)]
struct Rule {
    /// It begins with `!`.
    reincludes: bool,
    program: Program,
}

impl Rule {
    fn new(pattern: &str, room: &mut Room) -> Result<Self, PatternError> {
        let (reincludes, path) = match pattern.strip_prefix('!') {
            Some(path) => (true, path),
            None => (false, pattern),
        };
        if path.is_empty() {
            let reason = "nothing follows the `!`";
            return Err(PatternError { pattern: pattern.to_owned(), reason, line: None });
        }
        let error = |reason| PatternError { pattern: path.to_owned(), reason, line: None };
        // What comes in there first need not be right for this language, but for the other one.
        program::check_beginning(path).map_err(error)?;
        let program = Program::compile(path, Flavour::IgnoreFile, room).map_err(error)?;
        Ok(Self { reincludes, program })
    }
}

/// One pattern of Go's `path.Match`, compiled.
#[derive(Debug, Clone)]
pub struct Glob(Program);

impl Glob {
    /// Compiles a pattern.
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        let program = Program::compile(pattern, Flavour::Go, &mut Room::default());
        program.map(Self).map_err(|reason| PatternError { pattern: pattern.to_owned(), reason, line: None })
    }

    /// Whether the pattern matches the whole of `name`; `*` and `?` do not match a `/`.
    pub fn matches(&self, name: &str) -> bool {
        self.0.matches(name)
    }
}

/// Whether the text has a wildcard that no backslash protects.
pub fn has_wildcard(text: &str) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'*' | b'?' | b'[' => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests;
