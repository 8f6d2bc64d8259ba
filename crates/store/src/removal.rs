//! Trees removed, however deep they are.
//!
//! The library keeps a directory open for each level that it is down, and a step can make more levels than a process may
//! have files open. Such a tree is made flat first: each directory that is found is moved up to the top.

use std::fs;
use std::io;
use std::path::Path;

/// Removes a directory and everything in it.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => remove_flat(path),
        result => result,
    }
}

fn remove_flat(top: &Path) -> io::Result<()> {
    let mut moved = 0_u64;
    let mut open = vec![top.to_owned()];
    while let Some(directory) = open.pop() {
        // All names first: what is moved to the top must not be met there.
        for entry in fs::read_dir(&directory)?.collect::<io::Result<Vec<_>>>()? {
            if !entry.file_type()?.is_dir() {
                fs::remove_file(entry.path())?;
                continue;
            }
            let place = loop {
                let place = top.join(format!(".removed-{moved}"));
                moved += 1;
                if fs::symlink_metadata(&place).is_err() {
                    break place;
                }
            };
            fs::rename(entry.path(), &place)?;
            open.push(place);
        }
        if directory != top {
            fs::remove_dir(directory)?;
        }
    }
    fs::remove_dir(top)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_and_wide_trees_are_removed() {
        for remove in [remove_tree, remove_flat] {
            let directory = tempfile::tempdir().unwrap();
            let top = directory.path().join("top");
            fs::create_dir_all(top.join("d/".repeat(1500))).unwrap();
            for name in ["a/b/c", "a/d", ".removed-0/.removed-1/x"] {
                fs::create_dir_all(top.join(name)).unwrap();
                fs::write(top.join(name).join("file"), "").unwrap();
            }
            std::os::unix::fs::symlink("/", top.join("link")).unwrap();
            remove(&top).unwrap();
            assert!(!top.exists() && Path::new("/").exists());
            assert_eq!(remove(&top).unwrap_err().kind(), io::ErrorKind::NotFound);
        }
    }
}
