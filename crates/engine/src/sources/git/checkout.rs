//! The work tree: made from what was fetched, and then put into the form in which it is kept.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use gantry_llb::GitSource;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use super::command::{Git, GitFailure};
use super::reference::Resolved;
use crate::error::{At, Fault, GitCause};

const GIT_DIRECTORY: &str = ".git";
/// What is in every repository, and empty without the machine's templates. Programs expect to be able to write there.
const ALWAYS_THERE: [&str; 2] = ["hooks", "info"];

/// A repository here, and the files of one of its commits.
pub(super) struct WorkTree<'a> {
    pub(super) git: &'a Git<'a>,
    /// The repository elsewhere, without a password.
    pub(super) shown: &'a str,
    /// What git keeps for itself.
    pub(super) directory: &'a Path,
    /// The files.
    pub(super) files: &'a Path,
}

impl WorkTree<'_> {
    /// Makes the repository, with the one elsewhere as its origin: submodules may be named relative to that, and it is
    /// noted in what git keeps of them.
    pub(super) async fn init(&self, resolved: &Resolved) -> Result<(), Fault> {
        let failed = |failure: GitFailure| failure.during("make a copy of", self.shown);
        let format = if resolved.object.len() == 64 { "sha256" } else { "sha1" };
        let init = ["init", "--quiet", &format!("--object-format={format}")];
        self.run(&init).await.map_err(failed)?;
        for name in ALWAYS_THERE {
            let path = self.directory.join(name);
            fs::create_dir_all(&path).at("create", &path)?;
        }
        self.run(&["remote", "add", "origin", self.shown]).await.map_err(failed)?;
        Ok(())
    }

    /// Runs git on it.
    pub(super) async fn run(&self, arguments: &[&str]) -> Result<String, GitFailure> {
        let option = |name: &str, path: &Path| {
            let mut option = std::ffi::OsString::from(name);
            option.push(path);
            option
        };
        let places = [option("--git-dir=", self.directory), option("--work-tree=", self.files)];
        self.git.run(self.files, places.into_iter().chain(arguments.iter().map(Into::into))).await
    }

    /// Gives the object the names that it has here, whatever they were before.
    pub(super) async fn name(&self, resolved: &Resolved) -> Result<(), GitFailure> {
        for name in &resolved.local_names {
            // Only commits can be branches.
            let peel = if name.starts_with("refs/heads/") { "^{commit}" } else { "" };
            self.run(&["update-ref", "--no-deref", name, &format!("{}{peel}", resolved.object)]).await?;
        }
        Ok(())
    }

    /// Whether the object has arrived.
    pub(super) async fn has(&self, object: &str) -> bool {
        self.run(&["cat-file", "-e", &format!("{object}^{{commit}}")]).await.is_ok()
    }

    /// Checks out the commit and its submodules. Returns the commit's time.
    pub(super) async fn fill(&self, source: &GitSource, object: &str) -> Result<i64, Fault> {
        let failed = |failure: GitFailure| failure.during("check out", self.shown);
        let commit = format!("{object}^{{commit}}");
        self.run(&["checkout", "--quiet", "--force", "--detach", &commit]).await.map_err(failed)?;
        if !source.skip_submodules && fs::symlink_metadata(self.files.join(".gitmodules")).is_ok() {
            let update = ["submodule", "update", "--init", "--recursive", "--depth=1"];
            self.run(&update)
                .await
                .map_err(|failure| failure.during("fetch the submodules of", self.shown))?;
        }
        let time = self.run(&["show", "--no-patch", "--format=%ct", &commit]).await.map_err(failed)?;
        time.trim().parse().map_err(|_| Fault::Git {
            action: "read the commit's time in",
            remote: self.shown.to_owned(),
            reason: format!("`{}` is not a number", time.trim()),
            tail: String::new(),
            cause: GitCause::Other,
        })
    }

    /// Removes from `.git` what says when and how it was made.
    pub(super) async fn tidy(&self) -> Result<(), Fault> {
        let failed = |failure: GitFailure| failure.during("tidy up the copy of", self.shown);
        self.run(&["reflog", "expire", "--all", "--expire=now"]).await.map_err(failed)?;
        for name in ["FETCH_HEAD", "ORIG_HEAD"] {
            // It need not be there.
            let _ = fs::remove_file(self.directory.join(name));
        }
        Ok(())
    }
}

/// What is left to do when git is done.
pub(super) struct Finish {
    /// Where the files are.
    pub(super) files: PathBuf,
    /// Where they go: the same place, unless only a directory of them is wanted.
    pub(super) target: PathBuf,
    /// That directory; empty for all.
    pub(super) subdir: String,
    /// The repository, for messages.
    pub(super) shown: String,
    /// Whether `.git` stays.
    pub(super) keep: bool,
    /// The time that all files get, in seconds since 1970.
    pub(super) time: Option<i64>,
}

impl Finish {
    pub(super) fn run(&self) -> Result<(), Fault> {
        if !self.subdir.is_empty() {
            self.move_up()?;
        }
        self.settle(&self.target)?;
        match self.time {
            Some(time) => set_times(&self.target, time),
            None => Ok(()),
        }
    }

    /// Makes the wanted directory's content the whole. Links on the way are not followed: they are the repository's, and
    /// could lead anywhere.
    fn move_up(&self) -> Result<(), Fault> {
        let mut directory = self.files.clone();
        for part in self.subdir.split('/') {
            directory.push(part);
            let is_directory = fs::symlink_metadata(&directory).is_ok_and(|metadata| metadata.is_dir());
            if !is_directory || part == GIT_DIRECTORY {
                return Err(Fault::NotInRepository {
                    remote: self.shown.clone(),
                    kind: "directory",
                    name: self.subdir.clone(),
                });
            }
        }
        for entry in fs::read_dir(&directory).at("read", &directory)? {
            let entry = entry.at("read", &directory)?;
            let target = self.target.join(entry.file_name());
            fs::rename(entry.path(), &target).at("rename a file to", &target)?;
        }
        Ok(())
    }

    /// Gives files the modes that git knows, whatever this process's umask is, and removes the links by which submodules
    /// find what git keeps of them.
    fn settle(&self, directory: &Path) -> Result<(), Fault> {
        for entry in fs::read_dir(directory).at("read", directory)? {
            let path = entry.at("read", directory)?.path();
            let metadata = fs::symlink_metadata(&path).at("examine", &path)?;
            if !self.keep && path.file_name().is_some_and(|name| name == GIT_DIRECTORY) && metadata.is_file()
            {
                fs::remove_file(&path).at("remove", &path)?;
                continue;
            }
            if metadata.is_symlink() {
                continue;
            }
            let owner = metadata.mode() & 0o700;
            let mode = owner | (owner & 0o500) >> 3 | (owner & 0o500) >> 6;
            if metadata.mode() & 0o7777 != mode {
                fs::set_permissions(&path, Permissions::from_mode(mode)).at("set the mode of", &path)?;
            }
            if metadata.is_dir() {
                self.settle(&path)?;
            }
        }
        Ok(())
    }
}

/// Sets the time of everything, children before their directories.
fn set_times(path: &Path, seconds: i64) -> Result<(), Fault> {
    let metadata = fs::symlink_metadata(path).at("examine", path)?;
    if metadata.is_dir() {
        for entry in fs::read_dir(path).at("read", path)? {
            set_times(&entry.at("read", path)?.path(), seconds)?;
        }
    }
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).at("set the time of", path)
}
