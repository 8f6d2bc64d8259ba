//! `gantry build --call=…`: questions about a Dockerfile, answered as `docker buildx build --call` answers them.

mod excerpt;
mod table;

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use gantry_release::{
    Answer, BuildRequest, CheckReport, Class, Dockerfile, Error, Gantry, MAX_FINDINGS, Outline,
    OutlineSecret, Question, Requests, Targets, call, more_findings, parse_bool,
};

use self::table::Table;
use crate::args::{Build, Global};
use crate::failure::{self, render_finding, usage};
use crate::signals::Signals;
use crate::{config, exit};

/// So many warnings are shown with their lines. Of those behind, only the place is told: a single line can have thousands.
const MAX_EXCERPTS: usize = 1000;
/// What a Dockerfile is called that is no file.
const DOCKERFILE: &str = "Dockerfile";

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    question: Question,
    format: Format,
    /// Whether the exit code says nothing about what was found.
    ignore_status: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Text,
    Json,
}

/// Reads the value of `--call`; none is asked by `build`.
pub(super) fn parse(text: &str) -> Result<Option<Asked>, Error> {
    let mut method = None;
    let (mut format, mut ignore_status) = (Format::Text, false);
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("format", "json")) => format = Format::Json,
            Some(("format", _)) => format = Format::Text,
            Some(("ignorestatus", value)) => {
                ignore_status = parse_bool(value).ok_or_else(|| {
                    usage(format!("--call: `{value}` is no value for ignorestatus"))
                        .hint("write true or false")
                })?;
            }
            None if method.is_none_or(str::is_empty) => method = Some(field),
            _ => return Err(usage(format!("--call: `{field}` means nothing"))),
        }
    }
    let question = match method.unwrap_or("build") {
        "build" => return Ok(None),
        "" if text.is_empty() => return Ok(None),
        "check" | "lint" => Question::Check,
        "outline" => Question::Outline,
        "targets" => Question::Targets,
        "convertllb" => Question::Graph,
        "subrequests.describe" => Question::Requests,
        other => {
            return Err(usage(format!("--call: there is no method `{other}`")).hint(
                "the methods are build, check, outline, targets, convertllb and subrequests.describe",
            ));
        }
    };
    Ok(Some(Asked { question, format, ignore_status }))
}

/// Asks, and shows the answer.
pub(super) async fn run(
    global: &Global,
    args: &Build,
    request: &BuildRequest,
    asked: Asked,
) -> Result<ExitCode, Error> {
    let gantry = Gantry::open(config::settings(global)?)?;
    let signals = Signals::watch()?;
    let answer = match call(&gantry, request, asked.question, signals.cancel.clone()).await {
        Ok(answer) => answer,
        Err(error) => return signals.received().map_or(Err(error), |signal| Ok(exit::of_signal(signal))),
    };
    let file = path(args, request);
    let out = &mut BufWriter::new(io::stdout().lock());
    show(out, &answer, asked.format, file.as_deref())
        .and_then(|()| out.flush())
        .map_err(|error| Error::new(Class::Internal, format!("cannot write to standard output: {error}")))?;
    if let Answer::Outline(outline) = &answer
        && !args.quiet
    {
        warn(outline, file.as_deref().unwrap_or(DOCKERFILE));
    }
    let Answer::Check(report) = answer else { return Ok(ExitCode::SUCCESS) };
    if let Some(error) = &report.error {
        exit::report(&failure(error, &report, file.as_deref()));
        return Ok(ExitCode::from(exit::FOUND));
    }
    match report.warnings.is_empty() || asked.ignore_status {
        true => Ok(ExitCode::SUCCESS),
        false => Ok(ExitCode::from(exit::FOUND)),
    }
}

/// Writes an answer piece by piece: that of a file with many findings is many times as long as the file.
fn show(out: &mut impl Write, answer: &Answer, format: Format, file: Option<&str>) -> io::Result<()> {
    match (answer, format) {
        (Answer::Check(report), Format::Json) => json(out, &report.to_json()),
        (Answer::Outline(outline), Format::Json) => json(out, &outline.to_json()),
        (Answer::Targets(targets), Format::Json) => json(out, &targets.to_json()),
        (Answer::Graph(graph), _) => json(out, graph),
        (Answer::Requests(requests), Format::Json) => json(out, &requests.to_json()),
        (Answer::Requests(requests), Format::Text) => out.write_all(self::requests(requests).as_bytes()),
        (Answer::Check(report), Format::Text) => check(out, report, file),
        (Answer::Outline(outline), Format::Text) => out.write_all(self::outline(outline).as_bytes()),
        (Answer::Targets(targets), Format::Text) => out.write_all(self::targets(targets).as_bytes()),
    }
}

/// The Dockerfile's path, for people to open it; none if it is no file.
fn path(args: &Build, request: &BuildRequest) -> Option<String> {
    match &request.dockerfile {
        Dockerfile::File(path) => Some(path.display().to_string()),
        Dockerfile::Text(_) => None,
        Dockerfile::InContext => {
            let names = [DOCKERFILE, "dockerfile"];
            let mut paths = names.iter().map(|name| Path::new(&args.context).join(name));
            paths.find(|path| path.exists()).map(|path| path.display().to_string())
        }
    }
}

fn json(out: &mut impl Write, value: &serde_json::Value) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    out.write_all(b"\n")
}

fn check(out: &mut impl Write, report: &CheckReport, file: Option<&str>) -> io::Result<()> {
    match report.warnings.len() {
        0 if report.error.is_some() => {}
        0 => writeln!(out, "Check complete, no warnings found.")?,
        1 => writeln!(out, "Check complete, 1 warning has been found!")?,
        count => writeln!(out, "Check complete, {count} warnings have been found!")?,
    }
    let mut warnings: Vec<_> = report.warnings.iter().collect();
    warnings.sort_by_key(|warning| *warning.lines.start());
    let source = String::from_utf8_lossy(&report.text);
    let source: Vec<&str> = source.split('\n').collect();
    let name = file.unwrap_or(&report.filename);
    for (index, warning) in warnings.into_iter().enumerate() {
        let page = warning.rule.url().map(|url| format!(" - {url}")).unwrap_or_default();
        writeln!(out, "\nWARNING: {}{page}\n{}", warning.rule, warning.message)?;
        match index < MAX_EXCERPTS {
            true => out.write_all(excerpt::show(name, &source, &warning.lines).as_bytes())?,
            false => out.write_all(excerpt::place(name, &warning.lines).as_bytes())?,
        }
    }
    if report.error.is_some() && !report.warnings.is_empty() {
        writeln!(out)?;
    }
    Ok(())
}

/// Why a Dockerfile that was checked cannot be built.
fn failure(error: &gantry_release::DockerfileError, report: &CheckReport, file: Option<&str>) -> Error {
    let excerpt = gantry_release::Excerpt {
        file: file.unwrap_or(&report.filename).to_owned(),
        text: String::from_utf8_lossy(&report.text).into(),
        lines: error.lines.clone(),
    };
    let plain = Error { hints: error.hints.clone(), ..Error::new(Class::Usage, error.message.clone()) };
    if error.has_place() { plain.at(excerpt) } else { plain }
}

fn outline(outline: &Outline) -> String {
    let mut text = String::new();
    if !outline.name.is_empty() || !outline.description.is_empty() {
        let name = if outline.name.is_empty() { "(default)" } else { &outline.name };
        let mut table = Table::new(1);
        table.row(&["TARGET:", name]);
        if !outline.description.is_empty() {
            table.row(&["DESCRIPTION:", &outline.description]);
        }
        text.push_str(&format!("{table}\n"));
    }
    if !outline.arguments.is_empty() {
        let mut table = Table::new(3);
        table.row(&["BUILD ARG", "VALUE", "DESCRIPTION"]);
        for argument in &outline.arguments {
            table.row(&[&argument.name, &argument.value, &argument.description]);
        }
        text.push_str(&format!("{table}\n"));
    }
    for (title, list) in [("SECRET", &outline.secrets), ("SSH", &outline.agents)] {
        text.push_str(&required(title, list));
    }
    text
}

/// Shows what is doubtful, beside the answer.
fn warn(outline: &Outline, file: &str) {
    let text: Arc<str> = String::from_utf8_lossy(&outline.text).into();
    for warning in outline.warnings.iter().take(MAX_FINDINGS) {
        let excerpt = gantry_release::Excerpt {
            file: file.to_owned(),
            text: Arc::clone(&text),
            lines: warning.lines.clone(),
        };
        let colour = console::colors_enabled_stderr();
        let shown = render_finding(warning.rule, &warning.message, &excerpt, colour);
        // Who does not read warnings shall have the answer all the same.
        let _ = io::stderr().write_all(shown.as_bytes());
    }
    if let Some(more) = more_findings(outline.warnings.len()) {
        failure::warn(&format!("{file}: {more}"));
    }
}

fn required(title: &str, list: &[OutlineSecret]) -> String {
    if list.is_empty() {
        return String::new();
    }
    let mut table = Table::new(3);
    table.row(&[title, "REQUIRED"]);
    for secret in list {
        table.row(&[&secret.name, if secret.required { "true" } else { "" }]);
    }
    format!("{table}\n")
}

fn targets(targets: &Targets) -> String {
    let mut table = Table::new(1);
    table.row(&["TARGET", "DESCRIPTION"]);
    for (index, target) in targets.list.iter().enumerate() {
        let name = match (target.name.as_str(), index + 1 == targets.list.len()) {
            ("", true) => "(default)".to_owned(),
            (name, true) => format!("{name} (default)"),
            (name, false) => name.to_owned(),
        };
        table.row(&[&name, &target.description]);
    }
    table.to_string()
}

fn requests(requests: &Requests) -> String {
    let mut table = Table::new(1);
    table.row(&["NAME", "VERSION", "DESCRIPTION"]);
    for request in &requests.list {
        table.row(&[request.name, request.version(), request.description]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods() {
        let asked = |text: &str| parse(text).unwrap().unwrap();
        assert_eq!(parse("build").unwrap(), None);
        assert_eq!(asked("lint"), asked("check"));
        let json = asked("outline,format=json");
        assert_eq!(
            (json.question, json.format, json.ignore_status),
            (Question::Outline, Format::Json, false)
        );
        assert!(
            asked("check,ignorestatus=true").ignore_status && asked("ignorestatus=1,check").ignore_status
        );
        assert_eq!(parse("").unwrap(), None);
        assert_eq!(asked("subrequests.describe").question, Question::Requests);
        for bad in ["chek", "check,targets", "check,fmt=json", "check,ignorestatus=maybe"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
