//! Blobs: immutable content named by its digest.
//!
//! A blob is hashed while it is written, synced, and renamed to its name: one that is there is whole and right.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use gantry_oci::{BlobSink, BlobSource, Digest, Hasher};

use crate::error::At;
use crate::{Store, StoreError};

/// Few, large writes: layers are hundreds of megabytes.
const WRITE_BUFFER: usize = 256 << 10;

impl Store {
    /// Where the blob with this digest is, or would be.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root().join("blobs/sha256").join(digest.hex())
    }

    /// Whether the blob is here.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        self.blob_path(digest).is_file()
    }

    /// Opens a blob for reading.
    pub fn open_blob(&self, digest: &Digest) -> Result<File, StoreError> {
        let path = self.blob_path(digest);
        File::open(&path).at("open blob", &path)
    }

    /// The whole of a small blob: a manifest or a config.
    pub fn read_blob(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        let path = self.blob_path(digest);
        fs::read(&path).at("read blob", &path)
    }

    /// A source for uploads.
    pub fn blob_source(&self, digest: &Digest) -> Result<StoredBlob, StoreError> {
        let path = self.blob_path(digest);
        let size = fs::metadata(&path).at("examine blob", &path)?.len();
        Ok(StoredBlob { path, digest: *digest, size })
    }

    /// Starts a new blob.
    pub fn blob_writer(&self) -> Result<BlobWriter<'_>, StoreError> {
        let path = self.session().next_path();
        let file = File::create_new(&path).at("create", &path)?;
        let writer = BufWriter::with_capacity(WRITE_BUFFER, file);
        Ok(BlobWriter { store: self, path, writer, hasher: Hasher::new(), size: 0 })
    }

    /// Stores a small blob.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        if self.has_blob(&digest) {
            return Ok(digest);
        }
        let mut writer = self.blob_writer()?;
        let path = writer.path.clone();
        writer.write_all(bytes).at("write", &path)?;
        writer.commit()
    }
}

/// A blob being written. Dropped without commit, it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter<'a> {
    store: &'a Store,
    path: PathBuf,
    writer: BufWriter<File>,
    hasher: Hasher,
    size: u64,
}

impl BlobWriter<'_> {
    /// Makes the blob visible under the digest that its bytes have.
    pub fn commit(self) -> Result<Digest, StoreError> {
        let digest = self.hasher.clone().finish();
        self.publish(digest)
    }

    /// Makes the blob visible if it has this digest and size, and is an error otherwise.
    pub fn commit_expected(self, expected: Digest, expected_size: u64) -> Result<(), StoreError> {
        let (actual, size) = (self.hasher.clone().finish(), self.size);
        if (actual, size) != (expected, expected_size) {
            return Err(StoreError::Mismatch { expected, expected_size, actual, size });
        }
        self.publish(actual).map(|_| ())
    }

    fn publish(mut self, digest: Digest) -> Result<Digest, StoreError> {
        self.writer.flush().at("write", &self.path)?;
        self.writer.get_ref().sync_data().at("sync", &self.path)?;
        let target = self.store.blob_path(&digest);
        fs::rename(&self.path, &target).at("rename a blob to", &target)?;
        Ok(digest)
    }
}

impl Write for BlobWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.writer.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl BlobSink for BlobWriter<'_> {
    fn start_again(&mut self) -> io::Result<()> {
        self.writer.seek(SeekFrom::Start(0))?;
        self.writer.get_ref().set_len(0)?;
        (self.hasher, self.size) = (Hasher::new(), 0);
        Ok(())
    }
}

impl Drop for BlobWriter<'_> {
    fn drop(&mut self) {
        // After a commit there is nothing of this name any more.
        let _ = fs::remove_file(&self.path);
    }
}

/// A stored blob as a source of an upload.
#[derive(Debug, Clone)]
pub struct StoredBlob {
    path: PathBuf,
    digest: Digest,
    size: u64,
}

impl BlobSource for StoredBlob {
    fn digest(&self) -> Digest {
        self.digest
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(file))
    }
}
