//! What is decided before a file is parsed: whether it is text, whether its language is ours, how strict it is.

use std::borrow::Cow;

use gantry_oci::Reference;

use crate::error::{Error, Fault};
use crate::lint::Settings;
use crate::options::Options;
use crate::parser::directive::{self, Format};

/// The front-end images whose language this is.
const OWN_FRONT_ENDS: [&str; 2] = ["docker/dockerfile", "docker/dockerfile-upstream"];
/// The name by which an engine knows its own front end.
const BUILT_IN: &str = "dockerfile.v0";

/// The file as text. In comments other encodings than UTF-8 do no harm.
pub(crate) fn read_text(text: &[u8]) -> Result<Cow<'_, str>, Error> {
    if text.is_empty() {
        return Err(Fault::syntax("the Dockerfile cannot be empty").at(&(1..=1)));
    }
    let decoded = String::from_utf8_lossy(text);
    if let Cow::Owned(_) = &decoded {
        for (line, number) in text.split(|byte| *byte == b'\n').zip(1..) {
            if std::str::from_utf8(line).is_err() && !line.trim_ascii_start().starts_with(b"#") {
                return Err(Fault::syntax("the Dockerfile is not UTF-8 text").at(&(number..=number)));
            }
        }
    }
    Ok(decoded)
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
