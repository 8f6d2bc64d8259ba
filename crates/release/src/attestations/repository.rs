//! The repository that the context belongs to: its address and the revision that is checked out.
//!
//! Read from git's own files, so no program is run on a directory that may be anybody's. As with buildx, changes that are
//! not committed are not looked for.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A larger file of these is not git's; a list of packed references can be long.
const MAX_FILE: u64 = 32 << 20;
/// References that lead to references: git follows five.
const MAX_LINKS: usize = 5;

/// `source` and `revision`, as far as they are known. Empty outside of repositories.
pub(super) fn describe(context: &Path) -> BTreeMap<String, String> {
    let Some(repository) = context.ancestors().find_map(Repository::at) else { return BTreeMap::new() };
    let known = [("source", repository.remote()), ("revision", repository.revision())];
    known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

struct Repository {
    /// What belongs to this work tree: `HEAD`.
    own: PathBuf,
    /// What it shares with others: references and configuration.
    common: PathBuf,
}

impl Repository {
    fn at(directory: &Path) -> Option<Self> {
        let git = directory.join(".git");
        let own = match git.is_dir() {
            true => git,
            // A work tree or a submodule: a file that says where the directory is.
            false => directory.join(read(&git)?.strip_prefix("gitdir:")?.trim()),
        };
        let common = read(&own.join("commondir")).map_or_else(|| own.clone(), |path| own.join(path.trim()));
        Some(Self { own, common })
    }

    /// The commit that is checked out.
    fn revision(&self) -> Option<String> {
        let mut value = read(&self.own.join("HEAD"))?;
        for _ in 0..MAX_LINKS {
            let Some(name) = value.trim().strip_prefix("ref:").map(|name| name.trim().to_owned()) else {
                let commit = value.trim();
                let is_commit =
                    matches!(commit.len(), 40 | 64) && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
                return is_commit.then(|| commit.to_owned());
            };
            value = self.reference(&name)?;
        }
        None
    }

    fn reference(&self, name: &str) -> Option<String> {
        // The name is joined to a path.
        if !name.starts_with("refs/") || name.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return None;
        }
        let loose = read(&self.own.join(name)).or_else(|| read(&self.common.join(name)));
        loose.or_else(|| {
            let packed = read(&self.common.join("packed-refs"))?;
            let mut entries = packed.lines().filter_map(|line| line.split_once(' '));
            entries.find(|(_, packed_name)| *packed_name == name).map(|(commit, _)| commit.to_owned())
        })
    }

    /// The address of `origin`, or of the first remote there is. Credentials are taken out where it is written.
    fn remote(&self) -> Option<String> {
        let config = read(&self.common.join("config"))?;
        let mut section = "";
        let mut found = None;
        for line in config.lines().map(str::trim) {
            if line.starts_with('[') {
                section = line;
            } else if section.starts_with("[remote ")
                && let Some((name, value)) = line.split_once('=')
                && name.trim().eq_ignore_ascii_case("url")
            {
                let url = value.trim().trim_matches('"').to_owned();
                if section == "[remote \"origin\"]" {
                    return Some(url);
                }
                found.get_or_insert(url);
            }
        }
        found
    }
}

fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    let file = fs::File::open(path).ok().filter(|file| file.metadata().is_ok_and(|file| file.is_file()))?;
    file.take(MAX_FILE).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789012345678901234567890123456789";

    fn write(root: &Path, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    fn described(files: &[(&str, &str)], context: &str) -> Vec<(String, String)> {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), files);
        fs::create_dir_all(directory.path().join(context)).unwrap();
        describe(&directory.path().join(context)).into_iter().collect()
    }

    #[test]
    fn repositories() {
        let both = |source: &str| {
            vec![("revision".to_owned(), COMMIT.to_owned()), ("source".to_owned(), source.to_owned())]
        };
        let config = "[core]\n\turl = no\n[remote \"fork\"]\n\turl = f\n[remote \"origin\"]\n\tfetch = x\n\turl = https://h/x.git\n";
        let packed = format!("# pack-refs with: peeled\n{COMMIT} refs/heads/main\n^{COMMIT}\n");
        let head = (".git/HEAD", "ref: refs/heads/main\n");
        for (files, expected) in [
            (&[head, (".git/refs/heads/main", COMMIT), (".git/config", config)][..], both("https://h/x.git")),
            (&[head, (".git/packed-refs", &packed), (".git/config", config)], both("https://h/x.git")),
            (&[(".git/HEAD", COMMIT), (".git/config", "[remote \"fork\"]\nurl=\"f\"\n")], both("f")),
            (&[head, (".git/config", "")], vec![]),
            (&[(".git/HEAD", "ref: refs/../../secret"), (".git/config", "")], vec![]),
            (
                &[
                    ("deep/.git", "gitdir: ../main/worktrees/deep\n"),
                    ("main/worktrees/deep/HEAD", "ref: refs/heads/main"),
                    ("main/worktrees/deep/commondir", "../..\n"),
                    ("main/refs/heads/main", COMMIT),
                    ("main/config", config),
                ],
                both("https://h/x.git"),
            ),
        ] {
            assert_eq!(described(files, "deep/er"), expected, "{files:?}");
        }
    }
}
