//! The value of `--output`: comma-separated `key=value` fields, with CSV's quotes, as buildx reads it.
//!
//! The keys are those of BuildKit's exporters. It passes over keys that it does not know; here they are errors, as a
//! misspelt key is otherwise found out by whoever pulls the image.

mod attributes;
mod compression;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use gantry_release::{Annotation, Destination, Error, FilesForm, ImageForm, Output};

use crate::failure::usage;
use attributes::Attributes;

/// A parsed value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Spec {
    pub(crate) output: Output,
    /// How the image is to be written; none if the output is not an image.
    pub(crate) form: Option<ImageForm>,
    /// `annotation…=` fields.
    pub(crate) annotations: Vec<Annotation>,
    /// `oci-artifact=`: whether attestations are artifacts with a subject.
    pub(crate) artifacts: Option<bool>,
}

/// Which of the outputs that are images are pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// Those that say so.
    AsSaid,
    /// All (`--push`), as if each of `type=image` said `push=true`: that is how buildx has it.
    All,
}

/// Parses the values of all flags. Empty ones say nothing.
pub(crate) fn parse_all(specs: &[String], pushed: Pushed) -> Result<Vec<Spec>, Error> {
    specs.iter().filter(|spec| !spec.is_empty()).map(|spec| parse(spec, pushed)).collect()
}

/// Whether a name says a tag itself.
pub(crate) fn has_tag(name: &str) -> bool {
    name.rsplit('/').next().is_some_and(|last| last.contains(':'))
}

/// How the image of a build is to be written. All images of a build are one image, so its outputs have to agree.
pub(crate) fn common_form(specs: &[Spec]) -> Result<ImageForm, Error> {
    let mut forms = specs.iter().filter_map(|spec| spec.form);
    let first = forms.next().unwrap_or_default();
    match forms.all(|form| form == first) {
        true => Ok(first),
        false => Err(usage(
            "all image outputs of one build are the same image, but what they say of it differs",
        )
        .hint(
            "give each the same rewrite-timestamp=, source-date-epoch=, compression=, compression-level=, \
             force-compression= and oci-mediatypes=",
        )),
    }
}

/// Parses one value.
fn parse(spec: &str, pushed: Pushed) -> Result<Spec, Error> {
    let fields = fields(spec)?;
    let plain = |output| Ok(Spec { output, form: None, annotations: Vec::new(), artifacts: None });
    if let [field] = fields.as_slice()
        && field == spec
        && !spec.starts_with("type=")
    {
        return plain(match spec {
            "-" => Output::Tar(Destination::Stdout, FilesForm::default()),
            path => Output::Local(PathBuf::from(path), FilesForm::default()),
        });
    }
    let refuse = |message: String| usage(format!("--output {spec}: {message}"));
    let mut attributes = Attributes::default();
    for field in &fields {
        let (key, value) =
            field.split_once('=').ok_or_else(|| refuse(format!("in `{field}`, a field is key=value")))?;
        attributes.set(&key.trim().to_lowercase(), value).map_err(refuse)?;
    }
    attributes.spec(pushed).map_err(refuse)
}

fn fields(spec: &str) -> Result<Vec<String>, Error> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(spec.as_bytes());
    let record = reader.records().next();
    let record = record.ok_or_else(|| usage("--output is empty"))?;
    let record = record.map_err(|error| usage(format!("--output {spec}: {error}")))?;
    let mut fields: Vec<String> = Vec::new();
    for field in &record {
        // `name=a\\,b` is one field, as `"name=a,b"` is.
        match fields.last_mut().filter(|last| last.ends_with('\\')) {
            Some(last) => {
                last.pop();
                last.push(',');
                last.push_str(field);
            }
            None => fields.push(field.to_owned()),
        }
    }
    Ok(fields)
}
