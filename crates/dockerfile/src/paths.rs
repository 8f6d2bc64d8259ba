//! Paths inside an image: text with slashes, whatever this program runs on.
//!
//! Where the image is one for Windows, backslashes separate, too, and a path may begin with the system's drive. What is
//! worked with has slashes and no drive; only the config of such an image has backslashes.

use std::borrow::Cow;

pub(crate) use gantry_llb::pattern::clean;

use crate::error::Fault;

/// The one drive that an image has.
const SYSTEM_DRIVE: &str = "c";

/// Whose paths they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Those of Linux and its like.
    Unix,
    /// Those of Windows.
    Windows,
}

impl Style {
    /// The style of an operating system, by Go's name for it.
    pub(crate) fn of(os: &str) -> Self {
        if os == "windows" { Self::Windows } else { Self::Unix }
    }

    /// With slashes.
    pub(crate) fn slashes(self, path: &str) -> Cow<'_, str> {
        match self {
            Self::Unix => path.into(),
            Self::Windows => path.replace('\\', "/").into(),
        }
    }

    /// With the separators that the config of an image has.
    pub(crate) fn native(self, path: &str) -> String {
        match self {
            Self::Unix => path.to_owned(),
            Self::Windows => path.replace('/', "\\"),
        }
    }

    /// Whether a path does not depend on the working directory. One that cannot be is not absolute either.
    pub(crate) fn is_absolute(self, path: &str) -> bool {
        self.without_drive(path, Slash::Drop).is_ok_and(|path| path.starts_with('/'))
    }

    /// An absolute path as it is, a relative one below the directory; an empty one is the directory.
    pub(crate) fn absolute(self, directory: &str, path: &str) -> Result<String, Fault> {
        self.joined(directory, path, Slash::Drop)
    }

    /// A cleaned absolute destination in which a slash, or `/.`, at the end still says that a directory is meant.
    pub(crate) fn destination(self, directory: &str, path: &str) -> Result<String, Fault> {
        let path = self.without_drive(path, Slash::Keep)?;
        let path = if matches!(&*path, "" | ".") { "./" } else { &path };
        let absolute = self.joined(if path.starts_with('/') { "/" } else { directory }, path, Slash::Keep)?;
        Ok(with_mark(clean(&absolute), &absolute))
    }

    fn joined(self, directory: &str, path: &str, slash: Slash) -> Result<String, Fault> {
        let written = self.slashes(path);
        let directory = self.without_drive(if directory.is_empty() { "/" } else { directory }, slash)?;
        let directory =
            if directory.starts_with('/') { directory } else { clean(&format!("/{directory}")).into() };
        let path = if written.is_empty() { directory.clone() } else { self.without_drive(&written, slash)? };
        let absolute = if path.starts_with('/') { path.into_owned() } else { join(&directory, &path) };
        Ok(match slash {
            Slash::Keep => with_mark(absolute, &written),
            Slash::Drop => absolute,
        })
    }

    /// The path on the system's drive, with slashes. One of Windows is cleaned, as BuildKit has it.
    pub(crate) fn without_drive(self, path: &str, slash: Slash) -> Result<Cow<'_, str>, Fault> {
        if self == Self::Unix {
            return Ok(path.into());
        }
        let path = self.slashes(path);
        if path.len() == 2 && path.ends_with(':') {
            return Err(Fault::semantics(format!("no relative path specified in `{path}`")));
        }
        if path.starts_with("//") {
            return Err(Fault::semantics(format!("`{path}`: UNC paths are not supported")));
        }
        let rest = match path.split_once(':') {
            None => &path,
            Some((drive, rest)) if drive.eq_ignore_ascii_case(SYSTEM_DRIVE) => rest,
            Some(_) => {
                return Err(Fault::semantics(format!("the path `{path}` is not on the system drive (C:)")));
            }
        };
        let cleaned = clean(rest);
        let marked = slash == Slash::Keep && cleaned.len() > 1 && rest.ends_with('/');
        Ok(if marked { cleaned + "/" } else { cleaned }.into())
    }
}

/// What becomes of a slash at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slash {
    /// It says that a directory is meant.
    Keep,
    /// It means nothing.
    Drop,
}

/// Gives a path the slash, or the `/.`, that it was written with.
fn with_mark(mut path: String, written: &str) -> String {
    if written.ends_with('/') && !path.ends_with('/') {
        path.push('/');
    } else if written.ends_with("/.") {
        path.push_str(if path == "/" { "." } else { "/." });
    }
    path
}

/// The path below a directory, cleaned; a `/` in front of it means nothing.
pub(crate) fn join(directory: &str, path: &str) -> String {
    clean(&format!("{directory}/{path}"))
}

/// The last part of a path, without slashes after it; `/` and the empty path have none.
pub(crate) fn base(path: &str) -> Option<&str> {
    path.trim_end_matches('/').rsplit('/').next().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations() {
        for (directory, path, wanted) in [
            ("/", "a", "/a"),
            ("/w", "x/y", "/w/x/y"),
            ("/w", ".", "/w/"),
            ("/w", "", "/w/"),
            ("/w", "./", "/w/"),
            ("/w", "d/", "/w/d/"),
            ("/w", "/abs//x/../y/", "/abs/y/"),
            ("/w", "/", "/"),
            ("/w", "..", "/"),
            ("/w", "d/.", "/w/d/."),
            ("/", "/.", "/."),
        ] {
            assert_eq!(Style::Unix.destination(directory, path).unwrap(), wanted, "{path} in {directory}");
        }
    }

    #[test]
    fn work_directories() {
        for (directory, path, wanted) in [
            ("/a", "b/c", "/a/b/c"),
            ("/a/b/c", "../d", "/a/b/d"),
            ("", "x", "/x"),
            ("/a", "/b/", "/b/"),
            ("/a", "", "/a"),
            ("rel", "", "/rel"),
        ] {
            assert_eq!(Style::Unix.absolute(directory, path).unwrap(), wanted, "{path} in {directory}");
        }
    }

    #[test]
    fn paths_of_windows() {
        for (directory, path, wanted) in [
            ("/", "c:\\a\\..\\b\\", "/b/"),
            ("C:\\app", "x\\y", "/app/x/y"),
            ("\\app", "c:x", "/app/x"),
            ("/app", ".", "/app/"),
            ("/", "\\a\\.", "/a"),
        ] {
            assert_eq!(Style::Windows.destination(directory, path).unwrap(), wanted, "{path} in {directory}");
        }
        for (directory, path, wanted) in
            [("\\", "C:\\app", "/app"), ("\\app", "sub", "/app/sub"), ("C:\\app", "C:\\app", "/app")]
        {
            assert_eq!(Style::Windows.absolute(directory, path).unwrap(), wanted, "{path} in {directory}");
        }
        for bad in ["D:\\x", "C:", "\\\\server\\share", "//server"] {
            assert!(Style::Windows.destination("/", bad).is_err(), "{bad}");
        }
        assert!(Style::Windows.is_absolute("c:\\x") && !Style::Windows.is_absolute("c:x"));
        assert_eq!(Style::Windows.native("/a/b"), "\\a\\b");
    }
}
