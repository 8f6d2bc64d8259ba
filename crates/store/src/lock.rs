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
        let path = self.root().join("locks").join(name);
        let file = lock_file(&path, FlockOperation::NonBlockingLockExclusive)?;
        Ok(file.map(|file| Lock { path, file }))
    }

    /// Takes the lock of this name together with others who take it so, if nobody holds it alone.
    pub fn try_share_lock(&self, name: &str) -> Result<Option<Lock>, StoreError> {
        let path = self.root().join("locks").join(name);
        let file = lock_file(&path, FlockOperation::NonBlockingLockShared)?;
        Ok(file.map(|file| Lock { path, file }))
    }
}

/// Removes the files of locks that nobody holds: their holders died.
pub(crate) fn sweep(directory: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(directory).at("read", directory)? {
        let path = entry.at("read", directory)?.path();
        if let Some(file) = lock_file(&path, FlockOperation::NonBlockingLockExclusive)? {
            drop(Lock { path, file });
        }
    }
    Ok(())
}

pub(crate) fn wait_for_lock(path: &Path) -> Result<Lock, StoreError> {
    loop {
        if let Some(file) = lock_file(path, FlockOperation::LockExclusive)? {
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

/// Opens and locks a lock file. `None` if it was removed meanwhile, or, for a non-blocking operation, is held.
pub(crate) fn lock_file(path: &Path, operation: FlockOperation) -> Result<Option<File>, StoreError> {
    let file = (OpenOptions::new().create(true).truncate(false).write(true).open(path))
        .at("open lock file", path)?;
    match flock(&file, operation) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
        Err(rustix::io::Errno::INTR) => return Ok(None),
        Err(errno) => return Err(errno.into()).at("lock", path),
    }
    let ours = file.metadata().at("examine lock file", path)?;
    let Ok(current) = fs::metadata(path) else { return Ok(None) };
    Ok(((ours.dev(), ours.ino()) == (current.dev(), current.ino())).then_some(file))
}
