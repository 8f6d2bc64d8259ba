//! The value of `--output`: comma-separated `key=value` fields, with CSV's quotes, as buildx reads it.

use std::io::IsTerminal;
use std::path::PathBuf;

use gantry_oci::Reference;
use gantry_release::{Destination, Error, Output};

use crate::failure::usage;

/// Parses one value.
pub(crate) fn parse(spec: &str) -> Result<Output, Error> {
    let fields = fields(spec)?;
    match fields.as_slice() {
        [path] if path == "-" => return Ok(Output::Tar(Destination::Stdout)),
        [path] if !path.contains('=') => return Ok(Output::Local(PathBuf::from(path))),
        _ => {}
    }
    let mut parsed = Fields::default();
    for field in &fields {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| usage(format!("`{field}` in --output {spec}: a field is key=value")))?;
        parsed.set(key.trim(), value).map_err(|message| usage(format!("--output {spec}: {message}")))?;
    }
    parsed.output().map_err(|message| usage(format!("--output {spec}: {message}")))
}

fn fields(spec: &str) -> Result<Vec<String>, Error> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(spec.as_bytes());
    let record = reader.records().next();
    let record = record.ok_or_else(|| usage("--output is empty"))?;
    let record = record.map_err(|error| usage(format!("--output {spec}: {error}")))?;
    Ok(record.iter().map(str::to_owned).collect())
}

#[derive(Debug, Default)]
struct Fields {
    kind: Option<String>,
    dest: Option<String>,
    names: Vec<Reference>,
    push: bool,
    tar: Option<bool>,
}

impl Fields {
    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "type" => self.kind = Some(value.to_owned()),
            "dest" => self.dest = Some(value.to_owned()),
            "name" => {
                for name in value.split(',').filter(|name| !name.is_empty()) {
                    self.names.push(name.trim().parse().map_err(|error| format!("{error}"))?);
                }
            }
            "push" => self.push = boolean(key, value)?,
            "tar" => self.tar = Some(boolean(key, value)?),
            other => return Err(format!("`{other}` is not a field that gantry knows")),
        }
        Ok(())
    }

    fn output(self) -> Result<Output, String> {
        let kind = self.kind.as_deref().ok_or("it has no type=")?;
        if self.tar.is_some() && kind != "oci" {
            return Err(format!("tar= does not go with type={kind}"));
        }
        match kind {
            "registry" => Ok(Output::Push(self.names)),
            "image" if self.push => Ok(Output::Push(self.names)),
            "image" => Ok(Output::Keep(self.names)),
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
            ("type=image,\"name=r.io/a:1,r.io/b\"", Output::Keep(vec![name("r.io/a:1"), name("r.io/b")])),
            ("type=registry", Output::Push(vec![])),
        ] {
            assert_eq!(parse(spec).unwrap(), output, "{spec}");
        }
    }

    #[test]
    fn refused() {
        for (spec, message) in [
            ("", "empty"),
            ("type=zip", "not a type"),
            ("dest=x,name=a", "no type="),
            ("type=local", "needs dest="),
            ("type=oci,dest=x,push=true", "does not go with"),
            ("type=tar,dest=x,name=a", "does not go with"),
            ("type=tar,dest=x,colour=red", "not a field"),
            ("type=image,push=maybe", "true or false"),
            ("type=image,name=UPPER", "not an image reference"),
        ] {
            let error = parse(spec).unwrap_err().to_string();
            assert!(error.contains(message), "{spec}: {error}");
        }
    }
}
