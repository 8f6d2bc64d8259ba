//! A file in the making, beside the place that it will have. Whatever kills its process, nothing of it stays.
//!
//! It has no name until it is complete (`O_TMPFILE`), so that the kernel removes it with its process. Where something has
//! its name already, it is linked under another one for the moment until it takes that place; the next file for the
//! place removes what a death in that moment has left. Some file systems know only files with names. There it
//! has one from the beginning and is locked (`flock`); who finds such a file without its lock removes it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use gantry_oci::Digest;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat};
use rustix::io::Errno;

/// Before the umask: what a user is given is no secret.
const MODE: u32 = 0o666;
/// What follows the name, before a number. It says whose it is, as it may be removed.
const NUMBERED: &str = ".gantry-part-";
/// The longest name that there is a readable name beside for, on all usual file systems.
const LONGEST_NAME: usize = 235;

/// The file; gone when it is dropped, unless it was persisted.
#[derive(Debug)]
pub(crate) struct PartFile {
    file: File,
    target: PathBuf,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Nameless,
    Named(PathBuf),
}

impl PartFile {
    /// Begins what will be at `target`, which is no link. Blocks.
    pub(crate) fn beside(target: &Path) -> io::Result<Self> {
        // A link that never took its place.
        remove_dead(&numbered(target, 0));
        match Self::nameless(target)? {
            Some(part) => Ok(part),
            None => Self::named(target),
        }
    }

    /// What is written to.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Puts the file at its place, where it replaces what is there. Blocks.
    pub(crate) fn persist(mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.form, Form::Nameless) {
            Form::Named(path) => fs::rename(&path, &self.target).inspect_err(|_| {
                let _ = fs::remove_file(&path);
            }),
            Form::Nameless => self.link(),
        }
    }

    /// `None` if it cannot be without a name here, or could not get one later.
    fn nameless(target: &Path) -> io::Result<Option<Self>> {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = match rustix::fs::open(directory_of(target), flags, Mode::from_raw_mode(MODE)) {
            Ok(file) => File::from(file),
            // The last two are kernels' and file systems' ways to say that they never heard of it.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Where there are no locks nobody takes it for left, either: who asks gets an error.
        let _ = file.try_lock();
        let part = Self { file, target: target.to_owned(), form: Form::Nameless };
        Ok(fs::symlink_metadata(part.descriptor()).is_ok().then_some(part))
    }

    fn named(target: &Path) -> io::Result<Self> {
        let mut numbers = 0..;
        let (file, path) = loop {
            let path = numbered(target, numbers.next().expect("numbers do not end"));
            if let Some(file) = claim(&path, true)? {
                break (file, path);
            }
        };
        // What others left that were killed while several wrote at one time.
        for number in numbers {
            let path = numbered(target, number);
            match claim(&path, false) {
                Ok(Some(_dead)) => fs::remove_file(&path)?,
                Ok(None) => {}
                Err(_) => break,
            }
        }
        file.set_len(0)?;
        Ok(Self { file, target: target.to_owned(), form: Form::Named(path) })
    }

    /// Gives a file without a name that of its place.
    fn link(&self) -> io::Result<()> {
        let link = |path: &Path| linkat(CWD, self.descriptor(), CWD, path, AtFlags::SYMLINK_FOLLOW);
        match link(&self.target) {
            Err(Errno::EXIST) => {}
            result => return Ok(result?),
        }
        // A file that lost its only name could get no other: so what others are about to rename is left alone.
        for number in 0.. {
            let path = numbered(&self.target, number);
            remove_dead(&path);
            match link(&path) {
                Ok(()) => {
                    return fs::rename(&path, &self.target).inspect_err(|_| {
                        let _ = fs::remove_file(&path);
                    });
                }
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        unreachable!("numbers do not end")
    }

    fn descriptor(&self) -> String {
        format!("/proc/self/fd/{}", self.file.as_raw_fd())
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if let Form::Named(path) = &self.form {
            let _ = fs::remove_file(path);
        }
    }
}

/// Removes a file that nobody has locked.
fn remove_dead(path: &Path) {
    if let Ok(Some(_dead)) = claim(path, false) {
        let _ = fs::remove_file(path);
    }
}

/// Opens and locks a file; `None` if somebody else has it. `create` makes it if it is not there.
fn claim(path: &Path, create: bool) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    options.write(true).create(create).truncate(false).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    let file = options.open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // Its owner may have given it its place, or have removed it, before the lock was ours.
    let still_there = fs::symlink_metadata(path).is_ok_and(|found| {
        file.metadata().is_ok_and(|ours| (found.dev(), found.ino()) == (ours.dev(), ours.ino()))
    });
    Ok(still_there.then_some(file))
}

fn numbered(target: &Path, number: u32) -> PathBuf {
    beside(target, &format!("{NUMBERED}{number}"))
}

/// A hidden name beside a file's.
fn beside(target: &Path, suffix: &str) -> PathBuf {
    let name = target.file_name().unwrap_or_default();
    let mut hidden = OsString::from(".");
    match name.len() > LONGEST_NAME {
        true => hidden.push(Digest::of(name.as_bytes()).hex()),
        false => hidden.push(name),
    }
    hidden.push(suffix);
    target.with_file_name(hidden)
}

fn directory_of(target: &Path) -> &Path {
    target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    type Begin = fn(&Path) -> io::Result<PartFile>;

    const FORMS: [(&str, Begin); 2] =
        [("nameless", |target| Ok(PartFile::nameless(target)?.unwrap())), ("named", PartFile::named)];

    fn names(directory: &Path) -> Vec<OsString> {
        let mut names: Vec<_> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    #[test]
    fn it_appears_whole_or_not_at_all() {
        for (form, begin) in FORMS {
            let directory = tempfile::tempdir().unwrap();
            for name in ["file".to_owned(), "x".repeat(255)] {
                let target = directory.path().join(&name);
                drop(begin(&target).unwrap());
                assert_eq!(names(directory.path()).len(), 0, "{form}: nothing is left of what was given up");
                for text in ["one", "two"] {
                    let part = begin(&target).unwrap();
                    part.file().write_all(text.as_bytes()).unwrap();
                    assert!(fs::read_to_string(&target).unwrap_or_default() != text, "{form} {name}");
                    part.persist().unwrap();
                    assert_eq!(fs::read_to_string(&target).unwrap(), text, "{form} {name}");
                }
                assert_eq!(names(directory.path()), [OsString::from(&name)], "{form}");
                fs::remove_file(&target).unwrap();
            }
        }
    }

    #[test]
    fn what_the_killed_left_goes_with_the_next_one() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("file");
        for name in [".file.gantry-part-0", ".file.gantry-part-1"] {
            fs::write(directory.path().join(name), "left").unwrap();
        }
        let living = PartFile::named(&target).unwrap();
        let _other = PartFile::named(&target).unwrap();
        drop(living);
        PartFile::named(&target).unwrap().persist().unwrap();
        assert_eq!(fs::metadata(&target).unwrap().len(), 0, "nothing of what was left is in it");
        PartFile::beside(&target).unwrap().persist().unwrap();
        assert_eq!(names(directory.path()), [".file.gantry-part-1", "file"], "what somebody writes to stays");
    }

    #[test]
    fn several_at_one_place_do_not_disturb_each_other() {
        for (form, begin) in FORMS {
            let directory = tempfile::tempdir().unwrap();
            let target = directory.path().join("file");
            std::thread::scope(|scope| {
                for writer in 0..8 {
                    let target = &target;
                    scope.spawn(move || {
                        for _ in 0..20 {
                            let part = begin(target).unwrap();
                            part.file().write_all(writer.to_string().repeat(9).as_bytes()).unwrap();
                            part.persist().unwrap();
                        }
                    });
                }
            });
            let text = fs::read_to_string(&target).unwrap();
            assert!(text.len() == 9 && text.bytes().all(|byte| byte == text.as_bytes()[0]), "{form}: {text}");
            assert_eq!(names(directory.path()), ["file"], "{form}");
        }
    }
}
