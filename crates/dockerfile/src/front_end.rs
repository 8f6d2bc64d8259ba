//! What is decided before a file is parsed: whether it is text, whether its language is ours, how strict it is.

use std::borrow::Cow;

use gantry_oci::Reference;

use crate::error::{Error, Fault};
use crate::lint::Settings;
use crate::options::Options;
use crate::parser::directive::{self, Format};
use crate::parser::{Dockerfile, Heredoc};

/// The front-end images whose language this is.
const OWN_FRONT_ENDS: [&str; 2] = ["docker/dockerfile", "docker/dockerfile-upstream"];
/// The name by which an engine knows its own front end.
const BUILT_IN: &str = "dockerfile.v0";

/// A file as text.
pub(crate) struct Text<'a> {
    /// The text; each byte that is no UTF-8 is a replacement character.
    pub(crate) decoded: Cow<'a, str>,
    /// The lines with such bytes.
    undecodable: Vec<u32>,
}

/// Reads a file as text.
///
/// Other encodings than UTF-8 are common in comments and names of authors. BuildKit replaces what it cannot read
/// wherever it would expand variables, and so do we.
pub(crate) fn read_text(text: &[u8]) -> Result<Text<'_>, Error> {
    if text.is_empty() {
        return Err(Fault::syntax("the Dockerfile cannot be empty").at(&(1..=1)));
    }
    if let Ok(text) = std::str::from_utf8(text) {
        return Ok(Text { decoded: Cow::Borrowed(text), undecodable: Vec::new() });
    }
    let mut decoded = String::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        decoded.push_str(chunk.valid());
        decoded.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    let lines = text.split(|byte| *byte == b'\n').zip(1..);
    let bad = lines.filter_map(|(line, number)| std::str::from_utf8(line).is_err().then_some(number));
    Ok(Text { decoded: Cow::Owned(decoded), undecodable: bad.collect() })
}

impl Text<'_> {
    /// Refuses instructions that cannot be done with replacement characters: those whose bytes are taken as they are.
    pub(crate) fn check_bytes(&self, file: &Dockerfile) -> Result<(), Error> {
        for node in file.nodes.iter().filter(|_| !self.undecodable.is_empty()) {
            let replaced = |text: &str| text.contains(char::REPLACEMENT_CHARACTER);
            let is_run = node.keyword.eq_ignore_ascii_case("run");
            let exact = |heredoc: &Heredoc| (is_run || !heredoc.expand) && replaced(&heredoc.content);
            let affected = (is_run && replaced(&node.original)) || node.heredocs.iter().any(exact);
            let after = self.undecodable.partition_point(|line| line < node.lines.start());
            let bad = self.undecodable.get(after).filter(|line| affected && node.lines.contains(line));
            if let Some(line) = bad {
                return Err(Fault::syntax(format!("this {} is not UTF-8 text", node.keyword.to_uppercase()))
                    .hint(format!("save the file in UTF-8: line {line} is in another encoding"))
                    .at(&node.lines));
            }
        }
        Ok(())
    }
}

/// Refuses files that are written for another front end.
pub(crate) fn check_syntax(text: &str, options: &Options) -> Result<(), Error> {
    let given = options.build_args.get("BUILDKIT_SYNTAX").map(|syntax| (syntax.trim().to_owned(), 1));
    let written = || directive::find("syntax", text, Format::Any).map(|found| (found.value, found.line));
    let Some((syntax, line)) = given.or_else(written) else { return Ok(()) };
    let image = syntax.split(' ').next().unwrap_or_default();
    let name = image.parse::<Reference>().map(|reference| reference.name()).unwrap_or_default();
    if image == BUILT_IN || OWN_FRONT_ENDS.iter().any(|own| name == format!("docker.io/{own}")) {
        return Ok(());
    }
    Err(Fault::unsupported(format!(
        "the front end `{image}` cannot be run: only the Dockerfile language is built in"
    ))
    .hint("remove the syntax directive, or name docker/dockerfile:1")
    .at(&(line..=line)))
}

/// The settings of the build checks: those of the build argument, or else of the file.
pub(crate) fn check_settings(text: &str, options: &Options) -> Result<Settings, Error> {
    if let Some(given) = options.build_args.get("BUILDKIT_DOCKERFILE_CHECK") {
        let settings = Settings::parse_all(given);
        return settings
            .map_err(|fault| fault.context("build argument BUILDKIT_DOCKERFILE_CHECK").at(&(1..=1)));
    }
    match directive::find("check", text, Format::Dockerfile) {
        Some(found) => Settings::parse(&found.value).map_err(|fault| fault.at(&(found.line..=found.line))),
        None => Ok(Settings::default()),
    }
}
