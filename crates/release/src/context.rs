//! The user's files: the Dockerfile and what the context leaves out.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use gantry_llb::pattern::read_ignore_file;

use crate::error::{Class, Error};
use crate::request::{BuildRequest, Dockerfile};

/// A larger Dockerfile is a mistake.
const MAX_DOCKERFILE: u64 = 16 << 20;

/// What a build starts from.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    /// The Dockerfile's name for messages: as the user gave it.
    pub(crate) name: String,
    /// Its text.
    pub(crate) text: String,
    /// The context's directory.
    pub(crate) context: PathBuf,
    /// The patterns of its ignore file.
    pub(crate) exclude: Vec<String>,
}

/// Reads the Dockerfile and the ignore file that belongs to it.
pub(crate) fn read(request: &BuildRequest) -> Result<Input, Error> {
    let context = &request.context;
    // A link to a directory is as good as the directory, but must not be copied as a link.
    let real = fs::canonicalize(context).map_err(|error| Error::io("read the context", context, &error))?;
    if !real.is_dir() {
        return Err(Error::new(
            Class::Usage,
            format!("the context `{}` is not a directory", context.display()),
        ));
    }
    let (path, text) = match &request.dockerfile {
        Dockerfile::Text(text) => (None, text.clone()),
        Dockerfile::File(path) => (Some(path.clone()), read_text(path)?),
        Dockerfile::InContext => {
            let path = find(context)?;
            let text = read_text(&path)?;
            (Some(path), text)
        }
    };
    let exclude = ignore_patterns(context, path.as_deref())?;
    let name = path.map_or_else(|| "(standard input)".to_owned(), |path| shown(context, &path));
    Ok(Input { name, text, context: real, exclude })
}

/// Dockerfiles in the context are known by their name in it, all others by the path that was given.
fn shown(context: &Path, path: &Path) -> String {
    path.strip_prefix(context).unwrap_or(path).display().to_string()
}

fn find(context: &Path) -> Result<PathBuf, Error> {
    let names = ["Dockerfile", "dockerfile"];
    let found = names.iter().map(|name| context.join(name)).find(|path| path.exists());
    found.ok_or_else(|| {
        Error::new(Class::NotFound, format!("there is no `Dockerfile` in `{}`", context.display()))
            .hint("name it with --file if it is somewhere else")
    })
}

fn read_text(path: &Path) -> Result<String, Error> {
    let read = fs::File::open(path).and_then(|file| {
        let mut bytes = Vec::new();
        file.take(MAX_DOCKERFILE + 1).read_to_end(&mut bytes).map(|_| bytes)
    });
    let bytes = read.map_err(|error| Error::io("read the Dockerfile", path, &error))?;
    if bytes.len() as u64 > MAX_DOCKERFILE {
        let message =
            format!("`{}` is larger than {} MiB: it is no Dockerfile", path.display(), MAX_DOCKERFILE >> 20);
        return Err(Error::new(Class::Usage, message));
    }
    String::from_utf8(bytes)
        .map_err(|_| Error::new(Class::Usage, format!("`{}` is not text in UTF-8", path.display())))
}

/// The patterns of `NAME.dockerignore` beside the Dockerfile, else of `.dockerignore` in the context.
fn ignore_patterns(context: &Path, dockerfile: Option<&Path>) -> Result<Vec<String>, Error> {
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
    use crate::request::CacheUse;

    #[test]
    fn the_specific_ignore_file_wins() {
        let directory = tempfile::tempdir().unwrap();
        let context = directory.path();
        fs::write(context.join("dockerfile"), "FROM scratch\n").unwrap();
        fs::write(context.join("other"), "FROM scratch AS o\n").unwrap();
        fs::write(context.join(".dockerignore"), "a\n").unwrap();
        fs::write(context.join("other.dockerignore"), "b\n").unwrap();
        let mut request = BuildRequest {
            context: context.to_owned(),
            dockerfile: Dockerfile::InContext,
            target: None,
            platforms: Vec::new(),
            build_args: Default::default(),
            labels: Default::default(),
            tags: Vec::new(),
            outputs: Vec::new(),
            annotations: Vec::new(),
            terms: Default::default(),
            attestations: Default::default(),
            cache: CacheUse::Use,
            pull: false,
            verify: Default::default(),
        };
        let input = read(&request).unwrap();
        assert_eq!((input.name.as_str(), input.exclude), ("dockerfile", vec!["a".to_owned()]));
        request.dockerfile = Dockerfile::File(context.join("other"));
        let input = read(&request).unwrap();
        assert_eq!((input.text.as_str(), input.exclude), ("FROM scratch AS o\n", vec!["b".to_owned()]));
        request.dockerfile = Dockerfile::File(context.join("none"));
        assert_eq!(read(&request).unwrap_err().class, Class::NotFound);
    }
}
