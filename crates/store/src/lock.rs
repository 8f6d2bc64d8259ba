//! Advisory locks between processes: one for each result being made.
//!
//! They are `flock`s on files of `locks/`, so the kernel releases them when their holder dies, however it dies. The
//! holder removes the file; whoever waited for it then sees that its file is no longer the one of that name and
//! starts over. Locks are also exclusive between threads of one process, because each opens the file anew.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::error::At;
use crate::{Store, StoreError};

/// A held lock; released when dropped.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    file: File,
}

impl Store {
    /// Waits for the lock of this name and takes it. Blocks the thread.
    ///
    /// Names are digests or layer ids. A thread that holds a lock may wait for another only if no holder of that one
    /// can wait for the first: steps lock their own result while none of its inputs' locks is held.
    pub fn lock(&self, name: &str) -> Result<Lock, StoreError> {
        wait_for_lock(&self.root().join("locks").join(name))
    }

    /// Takes the lock of this name if nobody holds it.
    pub fn try_lock(&self, name: &str) -> Result<Option<Lock>, StoreError> {
        self.attempt(name, FlockOperation::NonBlockingLockExclusive)
    }

    /// Takes the lock of this name together with others who take it so, if nobody holds it alone.
    pub fn try_share_lock(&self, name: &str) -> Result<Option<Lock>, StoreError> {
        self.attempt(name, FlockOperation::NonBlockingLockShared)
    }

    fn attempt(&self, name: &str, operation: FlockOperation) -> Result<Option<Lock>, StoreError> {
        let path = self.root().join("locks").join(name);
        loop {
            match lock_file(&path, operation)? {
                Attempt::Locked(file) => return Ok(Some(Lock { path, file })),
                Attempt::Held => return Ok(None),
                Attempt::Gone => {}
            }
        }
    }
}

/// Removes the files of locks that nobody holds: their holders died.
pub(crate) fn sweep(directory: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(directory).at("read", directory)? {
        let path = entry.at("read", directory)?.path();
        if let Attempt::Locked(file) = lock_file(&path, FlockOperation::NonBlockingLockExclusive)? {
            drop(Lock { path, file });
        }
    }
    Ok(())
}

pub(crate) fn wait_for_lock(path: &Path) -> Result<Lock, StoreError> {
    loop {
        if let Attempt::Locked(file) = lock_file(path, FlockOperation::LockExclusive)? {
            return Ok(Lock { path: path.to_owned(), file });
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While we alone hold it the file of this name is ours; of those who share it the last one removes it. Failure
        // to remove it costs an empty file, no more.
        if flock(&self.file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// What came of locking a file.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// It is ours.
    Locked(File),
    /// Somebody has it. Only of an operation that does not block.
    Held,
    /// It was removed meanwhile, or a signal came: the next attempt may have it.
    Gone,
}

/// Opens and locks a lock file.
pub(crate) fn lock_file(path: &Path, operation: FlockOperation) -> Result<Attempt, StoreError> {
    let file = (OpenOptions::new().create(true).truncate(false).write(true).open(path))
        .at("open lock file", path)?;
    lock_open_file(file, path, operation)
}

fn lock_open_file(file: File, path: &Path, operation: FlockOperation) -> Result<Attempt, StoreError> {
    match flock(&file, operation) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(Attempt::Held),
        Err(rustix::io::Errno::INTR) => return Ok(Attempt::Gone),
        Err(errno) => return Err(errno.into()).at("lock", path),
    }
    let ours = file.metadata().at("examine lock file", path)?;
    let Ok(current) = fs::metadata(path) else { return Ok(Attempt::Gone) };
    match (ours.dev(), ours.ino()) == (current.dev(), current.ino()) {
        true => Ok(Attempt::Locked(file)),
        false => Ok(Attempt::Gone),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_removed_is_not_taken_for_held() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let shared = FlockOperation::NonBlockingLockShared;
        // Between the opening and the locking, the last holder goes.
        let open = File::create(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(matches!(lock_open_file(open, &path, shared), Ok(Attempt::Gone)));
        let open = File::create(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let _other = File::create(&path).unwrap();
        assert!(matches!(lock_open_file(open, &path, shared), Ok(Attempt::Gone)), "the name is another's");
        let held = lock_file(&path, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert!(matches!(held, Attempt::Locked(_)));
        assert!(matches!(lock_file(&path, shared), Ok(Attempt::Held)));
    }
}
