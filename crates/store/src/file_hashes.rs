//! Remembered hashes of files of build contexts, so that an unchanged context is not read again.
//!
//! A file is taken for unchanged if device, inode, size, mtime and ctime are the same. A hash of a file that changed
//! a moment ago is not remembered: a second change within the clock's granularity would not show.

use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use gantry_oci::Digest;
use rusqlite::{OptionalExtension, params};

use crate::error::During;
use crate::{Store, StoreError};

/// Far above the granularity of any file system's clock.
const TOO_RECENT_NANOS: i128 = 1_000_000_000;

/// What identifies one state of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileIdentity {
    device: u64,
    inode: u64,
    size: u64,
    mtime: i128,
    ctime: i128,
}

impl FileIdentity {
    /// The identity in this metadata.
    pub fn of(metadata: &std::fs::Metadata) -> Self {
        let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            mtime: nanos(metadata.mtime(), metadata.mtime_nsec()),
            ctime: nanos(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

#[cfg(test)]
impl FileIdentity {
    /// An old state of some file.
    pub(crate) fn for_test(inode: u64, size: u64, mtime: i128) -> Self {
        Self { device: 0, inode, size, mtime, ctime: mtime }
    }
}

/// Looks up and collects hashes; what was collected is written in one transaction by [`FileHashes::flush`].
#[derive(Debug)]
pub struct FileHashes<'a> {
    store: &'a Store,
    new: Mutex<Vec<(FileIdentity, Digest)>>,
}

impl Store {
    /// The remembered hashes.
    pub fn file_hashes(&self) -> FileHashes<'_> {
        FileHashes { store: self, new: Mutex::new(Vec::new()) }
    }
}

impl FileHashes<'_> {
    /// The hash of the file's content, if it was hashed in this very state.
    pub fn get(&self, file: &FileIdentity) -> Result<Option<Digest>, StoreError> {
        let database = self.store.database();
        let mut query = database
            .prepare_cached(
                "SELECT digest FROM file_hashes WHERE device = ?1 AND inode = ?2 AND size = ?3 AND mtime = ?4 AND ctime = ?5",
            )
            .during("prepare a query")?;
        let [device, inode, size] = [file.device, file.inode, file.size].map(u64::cast_signed);
        let found: Option<[u8; 32]> = query
            .query_row(params![device, inode, size, stamp(file.mtime), stamp(file.ctime)], |row| row.get(0))
            .optional()
            .during("read a file's hash")?;
        Ok(found.map(Digest::from_bytes))
    }

    /// Notes the hash of a file.
    pub fn put(&self, file: FileIdentity, digest: Digest) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let now = i128::try_from(now).unwrap_or(i128::MAX);
        if now - file.ctime.max(file.mtime) > TOO_RECENT_NANOS {
            self.new.lock().unwrap_or_else(PoisonError::into_inner).push((file, digest));
        }
    }

    /// Writes what was noted.
    pub fn flush(&self) -> Result<(), StoreError> {
        let new = std::mem::take(&mut *self.new.lock().unwrap_or_else(PoisonError::into_inner));
        if new.is_empty() {
            return Ok(());
        }
        let mut database = self.store.database();
        let transaction = database.transaction().during("begin")?;
        for (file, digest) in new {
            let [device, inode, size] = [file.device, file.inode, file.size].map(u64::cast_signed);
            transaction
                .prepare_cached("INSERT OR REPLACE INTO file_hashes VALUES (?1, ?2, ?3, ?4, ?5, ?6)")
                .and_then(|mut insert| {
                    let row =
                        params![device, inode, size, stamp(file.mtime), stamp(file.ctime), digest.as_bytes()];
                    insert.execute(row)
                })
                .during("record a file's hash")?;
        }
        transaction.commit().during("record file hashes")
    }
}

/// Nanoseconds since 1970 fit SQLite's integers until the year 2262; beyond, equal is still equal.
fn stamp(nanos: i128) -> i64 {
    i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX })
}
