//! Files for the user that appear complete or not at all.
//!
//! A destination that is there and is no file (a pipe, a terminal, `/dev/null`) is written to as it is, and a link is
//! followed: neither is ours to replace.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::error::{Class, Error};
use crate::part_file::PartFile;

/// Few, large writes.
const WRITE_BUFFER: usize = 256 << 10;

/// Writes a file.
pub fn write_file(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match fs::metadata(&real) {
        Ok(metadata) if !metadata.is_file() => buffered(&OpenOptions::new().write(true).open(&real)?, write),
        _ => {
            let part = PartFile::beside(&real)?;
            buffered(part.file(), write)?;
            part.persist()
        }
    }
}

/// Finds out whether a file could be written there, before an hour has gone into what is to be written.
pub fn check_writable(path: &Path) -> Result<(), Error> {
    let refuse =
        |reason: &str| Err(Error::new(Class::Usage, format!("cannot write `{}`: {reason}", path.display())));
    if path.is_dir() {
        return refuse("it is a directory");
    }
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() && !parent.is_dir() => {
            refuse("its directory does not exist")
        }
        _ => Ok(()),
    }
}

fn buffered(file: &File, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(WRITE_BUFFER, file);
    write(&mut out)?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) -> io::Result<()> {
        write_file(path, |out| out.write_all(text.as_bytes()))
    }

    #[test]
    fn files_are_replaced_links_followed_and_devices_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        write(&path("file"), "one").unwrap();
        write(&path("file"), "two").unwrap();
        std::os::unix::fs::symlink("file", path("link")).unwrap();
        write(&path("link"), "three").unwrap();
        assert_eq!(fs::read_to_string(path("file")).unwrap(), "three");
        assert!(path("link").is_symlink());
        std::os::unix::fs::symlink("/dev/null", path("null")).unwrap();
        write(&path("null"), "lost").unwrap();
        assert!(path("null").is_symlink() && !Path::new("/dev/null").is_file());
        assert!(write_file(&path("broken"), |_| Err(io::Error::other("no"))).is_err());
        assert!(write(directory.path(), "x").is_err());
        let mut names: Vec<_> =
            fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["file", "link", "null"], "nothing is left of what failed");
    }

    #[test]
    fn bad_destinations_are_found_early() {
        let directory = tempfile::tempdir().unwrap();
        for (name, good) in [("new", true), ("none/new", false), ("", false)] {
            assert_eq!(check_writable(&directory.path().join(name)).is_ok(), good, "{name}");
        }
        assert!(check_writable(Path::new("in-the-working-directory")).is_ok());
    }
}
