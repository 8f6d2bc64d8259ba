//! Paths inside an image: text with slashes, whatever this program runs on.

pub(crate) use gantry_llb::pattern::clean;

/// The path below a directory, cleaned; a `/` in front of it means nothing.
pub(crate) fn join(directory: &str, path: &str) -> String {
    clean(&format!("{directory}/{path}"))
}

/// An absolute path as it is, a relative one below the directory.
pub(crate) fn absolute(directory: &str, path: &str) -> String {
    match (path.starts_with('/'), path) {
        (true, path) => path.to_owned(),
        (false, "") => absolute("/", directory),
        (false, path) => join(&format!("/{directory}"), path),
    }
}

/// The last part of a path, without slashes after it; `/` and the empty path have none.
pub(crate) fn base(path: &str) -> Option<&str> {
    path.trim_end_matches('/').rsplit('/').next().filter(|name| !name.is_empty())
}

/// A cleaned absolute destination in which a slash, or `/.`, at the end still says that a directory is meant.
pub(crate) fn destination(directory: &str, path: &str) -> String {
    let path = if matches!(path, "" | ".") { "./" } else { path };
    let mut absolute = clean(&absolute(directory, path));
    if path.ends_with('/') && absolute != "/" {
        absolute.push('/');
    } else if path.ends_with("/.") {
        absolute.push_str(if absolute == "/" { "." } else { "/." });
    }
    absolute
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
            assert_eq!(destination(directory, path), wanted, "{path} in {directory}");
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
        ] {
            assert_eq!(absolute(directory, path), wanted, "{path} in {directory}");
        }
    }
}
