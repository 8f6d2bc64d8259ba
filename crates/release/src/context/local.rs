//! Directories of the user's: the Dockerfile in one or beside it, and what an ignore file leaves out of it.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use gantry_llb::pattern::read_ignore_file;

use crate::error::{Class, Error};
use crate::request::Dockerfile;

/// A larger Dockerfile is a mistake.
pub(super) const MAX_DOCKERFILE: u64 = 16 << 20;
/// The names under which a Dockerfile is looked for.
pub(super) const NAMES: [&str; 2] = ["Dockerfile", "dockerfile"];
/// What a Dockerfile without a name is called.
pub(super) const STDIN: &str = "(standard input)";

/// A Dockerfile, and the patterns of the ignore file that belongs to it.
#[derive(Debug)]
pub(super) struct LocalInput {
    pub(super) name: String,
    pub(super) text: Vec<u8>,
    pub(super) exclude: Vec<String>,
}

/// Reads them.
pub(super) fn read(context: &Path, dockerfile: &Dockerfile) -> Result<LocalInput, Error> {
    let (path, text) = match dockerfile {
        Dockerfile::Text(text) => (None, text.clone()),
        Dockerfile::File(path) => {
            let path = as_it_is_spelled(path);
            let text = read_text(&path)?;
            (Some(path), text)
        }
        Dockerfile::InContext => {
            let path = find(context)?;
            let text = read_text(&path)?;
            (Some(path), text)
        }
    };
    let exclude = ignore_patterns(context, path.as_deref())?;
    let name = path.map_or_else(|| STDIN.to_owned(), |path| shown(context, &path));
    Ok(LocalInput { name, text, exclude })
}

/// The real place of a directory: a link to one is as good as the directory, but must not be copied as a link.
pub(super) fn real(directory: &Path) -> Result<PathBuf, Error> {
    let real =
        fs::canonicalize(directory).map_err(|error| Error::io("read the context", directory, &error))?;
    match real.is_dir() {
        true => Ok(real),
        false => {
            let message = format!("the context `{}` is not a directory", directory.display());
            Err(Error::new(Class::Usage, message))
        }
    }
}

/// Dockerfiles in the context are known by their name in it, all others by the path that was given.
fn shown(context: &Path, path: &Path) -> String {
    path.strip_prefix(context).unwrap_or(path).display().to_string()
}

fn find(context: &Path) -> Result<PathBuf, Error> {
    let found = NAMES.iter().map(|name| context.join(name)).find(|path| path.exists());
    found.ok_or_else(|| {
        Error::new(Class::NotFound, format!("there is no `Dockerfile` in `{}`", context.display()))
            .hint("name it with --file if it is somewhere else")
    })
}

/// Reads a Dockerfile of this machine for a context that is not, with its name.
pub(super) fn read_apart(path: &Path) -> Result<(String, Vec<u8>), Error> {
    let path = as_it_is_spelled(path);
    Ok((path.display().to_string(), read_text(&path)?))
}

/// `dockerfile`, where that is all there is of a `Dockerfile`.
fn as_it_is_spelled(path: &Path) -> PathBuf {
    let [upper, lower] = NAMES;
    let other = path.with_file_name(lower);
    match path.file_name().is_some_and(|name| name == upper) && !path.exists() && other.exists() {
        true => other,
        false => path.to_owned(),
    }
}

fn read_text(path: &Path) -> Result<Vec<u8>, Error> {
    let read = fs::File::open(path).and_then(|file| {
        let mut bytes = Vec::new();
        file.take(MAX_DOCKERFILE + 1).read_to_end(&mut bytes).map(|_| bytes)
    });
    let bytes = read.map_err(|error| Error::io("read the Dockerfile", path, &error))?;
    check_size(&bytes, &path.display().to_string())?;
    Ok(bytes)
}

/// Refuses a Dockerfile of which more was read than allowed.
pub(super) fn check_size(bytes: &[u8], name: &str) -> Result<(), Error> {
    if bytes.len() as u64 > MAX_DOCKERFILE {
        let message = format!("`{name}` is larger than {} MiB: it is no Dockerfile", MAX_DOCKERFILE >> 20);
        return Err(Error::new(Class::Usage, message));
    }
    Ok(())
}

/// The patterns of `NAME.dockerignore` beside the Dockerfile, else of `.dockerignore` in the context.
pub(super) fn ignore_patterns(context: &Path, dockerfile: Option<&Path>) -> Result<Vec<String>, Error> {
    let specific = dockerfile.map(|path| {
        let mut name = path.as_os_str().to_owned();
        name.push(".dockerignore");
        PathBuf::from(name)
    });
    for path in specific.into_iter().chain([context.join(".dockerignore")]) {
        let text = match fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => continue,
            Err(error) => return Err(Error::io("read the ignore file", &path, &error)),
        };
        return read_ignore_file(&text)
            .map_err(|error| Error::new(Class::Usage, format!("`{}`: {error}", path.display())));
    }
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specific_ignore_file_wins() {
        let directory = tempfile::tempdir().unwrap();
        let context = directory.path();
        fs::write(context.join("dockerfile"), "FROM scratch\n").unwrap();
        fs::write(context.join("other"), "FROM scratch AS o\n").unwrap();
        fs::write(context.join(".dockerignore"), "a\n").unwrap();
        fs::write(context.join("other.dockerignore"), "b\n").unwrap();
        let input = read(context, &Dockerfile::InContext).unwrap();
        assert_eq!((input.name.as_str(), input.exclude), ("dockerfile", vec!["a".to_owned()]));
        let input = read(context, &Dockerfile::File(context.join("other"))).unwrap();
        assert_eq!(
            (input.text.as_slice(), input.exclude),
            (&b"FROM scratch AS o\n"[..], vec!["b".to_owned()])
        );
        let input = read(context, &Dockerfile::File(context.join("Dockerfile"))).unwrap();
        assert_eq!(input.name, "dockerfile", "however it is spelled");
        let missing = read(context, &Dockerfile::File(context.join("none")));
        assert_eq!(missing.unwrap_err().class, Class::NotFound);
    }
}
