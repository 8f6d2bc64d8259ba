//! `--secret id=ID[,src=PATH][,env=NAME][,type=file|env]`

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use gantry_release::{Class, Error, SecretSource, StepSecret};

use super::fields;
use crate::failure::usage;

/// Parses one value. With neither a file nor a variable, the id is a variable's name if there is one, else a file's.
pub(super) fn parse(
    text: &str,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<(String, SecretSource), Error> {
    let (mut kind, mut id, mut path, mut name) = (None, None, None, None);
    for field in fields("--secret", text)? {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| usage(format!("--secret {text}: a field is key=value, not `{field}`")))?;
        let value = value.to_owned();
        match key.to_ascii_lowercase().as_str() {
            "type" if matches!(value.as_str(), "file" | "env") => kind = Some(value),
            "type" => return Err(usage(format!("--secret {text}: the type is file or env, not `{value}`"))),
            "id" => id = Some(value),
            "src" | "source" => path = Some(value),
            "env" => name = Some(value),
            _ => return Err(usage(format!("--secret {text}: `{key}` is not id, src, env or type"))),
        }
    }
    let id = id.filter(|id| !id.is_empty()).ok_or_else(|| usage(format!("--secret {text} has no id")))?;
    if kind.as_deref() == Some("env") && name.is_none() {
        name = path.take();
    }
    let of_variable = |value: OsString| SecretSource::Value(StepSecret::new(value.into_vec()));
    let source = match (name, path) {
        // As with buildx, a variable that is not set is an empty secret.
        (Some(name), _) => of_variable(variable(&name).unwrap_or_default()),
        (None, Some(path)) => file(&id, path.into())?,
        (None, None) => match variable(&id).filter(|_| kind.as_deref() != Some("file")) {
            Some(value) => of_variable(value),
            None => file(&id, PathBuf::from(&id))?,
        },
    };
    Ok((id, source))
}

fn file(id: &str, path: PathBuf) -> Result<SecretSource, Error> {
    let refuse = |class, reason: String| {
        Err(Error::new(class, format!("--secret {id}: cannot use `{}`: {reason}", path.display())))
    };
    match Path::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => refuse(Class::Usage, "it is a directory".to_owned()),
        Ok(_) => Ok(SecretSource::File(path)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            refuse(Class::NotFound, "there is no such file".to_owned())
        }
        Err(error) => refuse(Class::Denied, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammar() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, "x").unwrap();
        let path = path.to_str().unwrap();
        let variable = |name: &str| (name == "TOKEN").then(|| OsString::from("hunter2"));
        let value = |text: &str| SecretSource::Value(StepSecret::new(text));
        let file = SecretSource::File(path.into());
        for (text, id, source) in [
            (format!("id=a,src={path}"), "a", file.clone()),
            (format!("id=a,source={path},type=file"), "a", file.clone()),
            (format!("type=file,ID=a,\"src={path}\""), "a", file),
            ("id=a,env=TOKEN".to_owned(), "a", value("hunter2")),
            ("id=a,type=env,src=TOKEN".to_owned(), "a", value("hunter2")),
            ("id=TOKEN".to_owned(), "TOKEN", value("hunter2")),
            ("id=a,env=NONE".to_owned(), "a", value("")),
        ] {
            assert_eq!(parse(&text, variable).unwrap(), (id.to_owned(), source), "{text}");
        }
        for (text, reason) in [
            ("", "empty"),
            ("a", "key=value"),
            ("src=x", "has no id"),
            ("id=a,type=vault", "file or env"),
            ("id=a,colour=red", "`colour`"),
            ("id=a,src=/none/at/all", "no such file"),
            ("id=a,src=/", "a directory"),
            ("id=a", "`a`"),
        ] {
            let error = parse(text, variable).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
