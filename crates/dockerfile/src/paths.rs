//! Paths inside an image: text with slashes, whatever this program runs on.

/// Go's `path.Clean`: no empty and `.` parts, `..` resolved in the text.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

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
