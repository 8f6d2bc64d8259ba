//! The value of `--output`: comma-separated `key=value` fields, with CSV's quotes, as buildx reads it.

use std::io::IsTerminal;
use std::path::PathBuf;

use gantry_oci::Reference;
use gantry_release::{Annotation, Destination, Error, FileTimes, Naming, Output};

use crate::annotation_spec;
use crate::failure::usage;
use crate::terms;

/// What the outputs say of the times of files. All images of a build are one image, so they have to agree.
pub(crate) fn file_times(specs: &[String]) -> Result<FileTimes, Error> {
    const KEY: &str = "rewrite-timestamp=";
    let mut wishes = Vec::new();
    for spec in specs {
        let fields = fields(spec)?;
        let wish = fields.iter().find_map(|field| field.trim().strip_prefix(KEY));
        let is_image =
            fields.iter().any(|field| field.starts_with("type=") && !IS_FILES.contains(&field.as_str()));
        if is_image {
            wishes.push(
                wish.map(|value| boolean("rewrite-timestamp", value))
                    .transpose()
                    .map_err(usage)?
                    .unwrap_or(false),
            );
        }
    }
    match wishes.as_slice() {
        wishes if wishes.windows(2).any(|pair| pair[0] != pair[1]) => {
            Err(usage("rewrite-timestamp= is the same for all image outputs of one build"))
        }
        [true, ..] => Ok(FileTimes::UntilEpoch),
        _ => Ok(FileTimes::Kept),
    }
}

/// The types that are no images.
const IS_FILES: [&str; 2] = ["type=local", "type=tar"];

/// A parsed value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Spec {
    pub(crate) output: Output,
    /// `annotation…=` fields.
    pub(crate) annotations: Vec<Annotation>,
}

/// Parses one value.
pub(crate) fn parse(spec: &str) -> Result<Spec, Error> {
    let fields = fields(spec)?;
    let plain = |output| Ok(Spec { output, annotations: Vec::new() });
    match fields.as_slice() {
        [path] if path == "-" => return plain(Output::Tar(Destination::Stdout)),
        [path] if !path.contains('=') => return plain(Output::Local(PathBuf::from(path))),
        _ => {}
    }
    let mut parsed = Fields::default();
    for field in &fields {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| usage(format!("`{field}` in --output {spec}: a field is key=value")))?;
        parsed.set(key.trim(), value).map_err(|message| usage(format!("--output {spec}: {message}")))?;
    }
    parsed.spec().map_err(|message| usage(format!("--output {spec}: {message}")))
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

#[derive(Debug, Default)]
struct Fields {
    kind: Option<String>,
    dest: Option<String>,
    names: Vec<Reference>,
    push: bool,
    by_digest: bool,
    canonical: bool,
    /// A name that has a tag of its own.
    tagged: Option<String>,
    tar: Option<bool>,
    annotations: Vec<Annotation>,
    times: FileTimes,
}

impl Fields {
    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "type" => self.kind = Some(value.to_owned()),
            "dest" => self.dest = Some(value.to_owned()),
            "name" => {
                for name in value.split(',').filter(|name| !name.is_empty()) {
                    let name = name.trim();
                    self.names.push(terms::name(name)?);
                    let last = name.rsplit('/').next().unwrap_or_default();
                    if last.contains(':') {
                        self.tagged = Some(name.to_owned());
                    }
                }
            }
            "push" => self.push = boolean(key, value)?,
            "push-by-digest" => self.by_digest = boolean(key, value)?,
            "name-canonical" => self.canonical = boolean(key, value)?,
            "tar" => self.tar = Some(boolean(key, value)?),
            // See [`file_times`].
            "rewrite-timestamp" if boolean(key, value)? => self.times = FileTimes::UntilEpoch,
            "rewrite-timestamp" => {}
            other if let Some(annotation) = annotation_spec::parse_field(other, value) => {
                self.annotations.push(annotation?);
            }
            other => return Err(format!("`{other}` is not a field that gantry knows")),
        }
        Ok(())
    }

    fn spec(mut self) -> Result<Spec, String> {
        let annotations = std::mem::take(&mut self.annotations);
        let is_files = matches!(self.kind.as_deref(), Some("tar" | "local"));
        if is_files && !annotations.is_empty() {
            return Err("annotations do not go with files".to_owned());
        }
        Ok(Spec { output: self.output()?, annotations })
    }

    fn output(self) -> Result<Output, String> {
        let kind = self.kind.as_deref().ok_or("it has no type=")?;
        if self.tar.is_some() && kind != "oci" {
            return Err(format!("tar= does not go with type={kind}"));
        }
        if self.times == FileTimes::UntilEpoch && matches!(kind, "tar" | "local") {
            return Err(format!("rewrite-timestamp= does not go with type={kind}"));
        }
        if (self.by_digest || self.canonical) && !matches!(kind, "image" | "registry") {
            return Err(format!("push-by-digest= and name-canonical= do not go with type={kind}"));
        }
        let pushes = kind == "registry" || (kind == "image" && self.push);
        if let Some(name) = self.tagged.as_ref().filter(|_| self.by_digest) {
            return Err(format!("`{name}` has a tag, and a push by digest writes none"));
        }
        match kind {
            "registry" | "image" if pushes && self.by_digest => Ok(Output::PushByDigest(self.names)),
            "registry" | "image" if pushes => Ok(Output::Push(self.names)),
            "image" if self.by_digest => Err("push-by-digest= does not go without push=true".to_owned()),
            "image" => {
                let naming = if self.canonical { Naming::WithDigest } else { Naming::AsGiven };
                Ok(Output::Keep(self.names, naming))
            }
            _ if self.push => Err(format!("push= does not go with type={kind}")),
            "tar" | "local" if !self.names.is_empty() => Err(format!("name= does not go with type={kind}")),
            "oci" if self.tar == Some(false) => Ok(Output::OciDirectory(self.path()?, self.names)),
            "oci" => Ok(Output::OciArchive(self.destination()?, self.names)),
            "docker" => Ok(Output::DockerArchive(self.destination()?, self.names)),
            "tar" => Ok(Output::Tar(self.destination()?)),
            "local" => Ok(Output::Local(self.path()?)),
            other => {
                Err(format!("`{other}` is not a type: there are oci, docker, tar, local, image and registry"))
            }
        }
    }

    fn path(&self) -> Result<PathBuf, String> {
        match self.dest.as_deref() {
            None | Some("" | "-") => Err("it needs dest= with a directory".to_owned()),
            Some(path) => Ok(PathBuf::from(path)),
        }
    }

    fn destination(&self) -> Result<Destination, String> {
        match self.dest.as_deref() {
            None | Some("" | "-") if std::io::stdout().is_terminal() => {
                Err("an archive is not for a terminal: give dest= or redirect standard output".to_owned())
            }
            None | Some("" | "-") => Ok(Destination::Stdout),
            Some(path) => Ok(Destination::File(PathBuf::from(path))),
        }
    }
}

fn boolean(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(format!("{key}= is true or false, not `{value}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted() {
        let file = |name: &str| Destination::File(PathBuf::from(name));
        let name = |text: &str| text.parse::<Reference>().unwrap();
        for (spec, output) in [
            ("type=oci,dest=x.tar", Output::OciArchive(file("x.tar"), vec![])),
            ("type=oci,dest=x,tar=false", Output::OciDirectory("x".into(), vec![])),
            ("type=docker,\"dest=a,b.tar\"", Output::DockerArchive(file("a,b.tar"), vec![])),
            ("type=tar,dest=x", Output::Tar(file("x"))),
            ("type=oci,dest=x,name=r.io/a:1", Output::OciArchive(file("x"), vec![name("r.io/a:1")])),
            ("out", Output::Local("out".into())),
            ("type=image,name=r.io/a:1,push=true", Output::Push(vec![name("r.io/a:1")])),
            (
                "type=image,\"name=r.io/a:1,r.io/b\"",
                Output::Keep(vec![name("r.io/a:1"), name("r.io/b")], Naming::AsGiven),
            ),
            (
                "type=image,name=r.io/a:1\\,r.io/b,name-canonical=true",
                Output::Keep(vec![name("r.io/a:1"), name("r.io/b")], Naming::WithDigest),
            ),
            (
                "type=image,push-by-digest=true,name-canonical=true,push=true,name=r.io:5000/a",
                Output::PushByDigest(vec![name("r.io:5000/a")]),
            ),
            ("type=registry", Output::Push(vec![])),
        ] {
            let parsed = parse(spec).unwrap();
            assert_eq!((parsed.output, parsed.annotations), (output, vec![]), "{spec}");
        }
        let annotated = parse("type=oci,dest=x,annotation.a=b,annotation-index.c=d,e").unwrap_err();
        assert!(annotated.to_string().contains("a field is key=value"), "{annotated}");
        let annotated = parse("type=oci,dest=x,annotation.a=b,\"annotation-index.c=d,e\"").unwrap();
        let values: Vec<_> = annotated.annotations.iter().map(|one| one.value.as_str()).collect();
        assert_eq!(values, ["b", "d,e"]);
    }

    #[test]
    fn times_of_files() {
        let times =
            |specs: &[&str]| file_times(&specs.iter().map(|spec| (*spec).to_owned()).collect::<Vec<_>>());
        assert_eq!(times(&[]).unwrap(), FileTimes::Kept);
        assert_eq!(times(&["type=oci,dest=x,rewrite-timestamp=true"]).unwrap(), FileTimes::UntilEpoch);
        assert_eq!(times(&["type=image,rewrite-timestamp=false"]).unwrap(), FileTimes::Kept);
        assert!(times(&["type=image,rewrite-timestamp=maybe"]).is_err());
        let (with, without) = ("type=image,rewrite-timestamp=true", "type=oci,dest=x");
        assert!(times(&[with, without]).is_err() && times(&[with, "type=local,dest=y"]).is_ok());
    }

    #[test]
    fn refused() {
        let digest = gantry_oci::Digest::of("x");
        for (spec, message) in [
            ("", "empty"),
            ("type=zip", "not a type"),
            ("dest=x,name=a", "no type="),
            ("type=local", "needs dest="),
            ("type=oci,dest=x,push=true", "does not go with"),
            ("type=tar,dest=x,name=a", "does not go with"),
            ("type=tar,dest=x,colour=red", "not a field"),
            ("type=image,push=maybe", "true or false"),
            ("type=image,push-by-digest=true,name=r.io/a", "without push=true"),
            ("type=registry,push-by-digest=true,name=r.io/a:1", "has a tag"),
            ("type=oci,dest=x,push-by-digest=true", "do not go with"),
            ("type=local,dest=x,annotation.a=b", "do not go with files"),
            ("type=image,annotation-config.a=b", "not a type of annotation"),
            ("type=image,name=UPPER", "not an image reference"),
            ("type=tar,dest=x,rewrite-timestamp=true", "does not go with"),
            (&format!("type=registry,name=r.io/a:1@{digest}"), "has a digest"),
            (&format!("type=registry,name=r.io/a@{digest}"), "has a digest"),
        ] {
            let error = parse(spec).unwrap_err().to_string();
            assert!(error.contains(message), "{spec}: {error}");
        }
    }
}
