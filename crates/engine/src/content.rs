//! The content part of cache keys: what a selection of files *is*, apart from when it was touched.
//!
//! Per entry: path in the selection, type, mode, owner, link target, device number, extended attributes, bytes. No
//! mtime and no place: touching or moving a file changes nothing, making it executable does. Owners of a build
//! context do not count, because they are not copied.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use gantry_llb::key::KeyWriter;
use gantry_oci::{Digest, Hasher};
use gantry_store::{FileHashes, FileIdentity};
use rustix::buffer::spare_capacity;
use rustix::io::Errno;

use crate::error::{At, Fault};
use crate::select::{Entry, Item, Ownership};

/// Bytes read at a time.
const READ_BUFFER: usize = 128 << 10;
/// Below this many files to hash, threads cost more than they bring.
const FILES_PER_THREAD: usize = 32;

/// The digest of what was selected. `remembered` spares reading files that did not change.
pub(crate) fn digest(
    items: &[Item],
    ownership: Ownership,
    remembered: Option<&FileHashes<'_>>,
) -> Result<Digest, Fault> {
    let files: Vec<&Entry> =
        items.iter().flat_map(|item| &item.entries).filter(|entry| entry.metadata.is_file()).collect();
    let hashes = hash_files(&files, remembered)?;
    let mut hashes = hashes.into_iter();
    let mut key = KeyWriter::new("gantry content 1");
    for item in items {
        key.part(item.name.as_bytes()).number(item.entries.len() as u64);
        let mut links = HashMap::new();
        for (position, entry) in item.entries.iter().enumerate() {
            write_header(&mut key, entry, ownership)?;
            let metadata = &entry.metadata;
            if metadata.is_file() {
                key.part(hashes.next().expect("there is a hash for each file").as_bytes());
                // Two names of one file stay two names of one file.
                let first = *links.entry((metadata.dev(), metadata.ino())).or_insert(position);
                key.number(first as u64);
            } else if metadata.is_symlink() {
                key.part(fs::read_link(&entry.path).reading(&entry.path)?.as_os_str().as_bytes());
            } else if metadata.file_type().is_char_device() || metadata.file_type().is_block_device() {
                key.number(metadata.rdev());
            }
        }
    }
    Ok(key.finish())
}

fn write_header(key: &mut KeyWriter, entry: &Entry, ownership: Ownership) -> Result<(), Fault> {
    let metadata = &entry.metadata;
    key.part(entry.relative.as_os_str().as_bytes()).number(u64::from(metadata.mode()));
    if ownership == Ownership::Kept {
        key.number(u64::from(metadata.uid())).number(u64::from(metadata.gid()));
    }
    let attributes = extended_attributes(&entry.path)?;
    key.number(attributes.len() as u64);
    for (name, value) in attributes {
        key.part(name).part(value);
    }
    Ok(())
}

/// Extended attributes: names and values.
type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

/// The extended attributes that a copy carries over, sorted by name.
pub(crate) fn extended_attributes(path: &Path) -> Result<Attributes, Fault> {
    let size = match rustix::fs::llistxattr_query(path) {
        Ok(size) => size,
        Err(Errno::OPNOTSUPP) => 0,
        Err(errno) => return Err(errno).reading(path),
    };
    if size == 0 {
        return Ok(Vec::new());
    }
    let mut names = Vec::with_capacity(size);
    rustix::fs::llistxattr(path, spare_capacity(&mut names)).reading(path)?;
    let mut attributes = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty() && is_copied(name)) {
        let size = rustix::fs::lgetxattr_query(path, name).reading(path)?;
        let mut value = Vec::with_capacity(size);
        if size > 0 {
            rustix::fs::lgetxattr(path, name, spare_capacity(&mut value)).reading(path)?;
        }
        attributes.push((name.to_vec(), value));
    }
    attributes.sort();
    Ok(attributes)
}

/// Labels and access lists are the host's business; overlay's own attributes are how layers are stored.
fn is_copied(name: &[u8]) -> bool {
    let system = name.starts_with(b"system.") || name.starts_with(b"trusted.overlay.");
    let security = name.starts_with(b"security.") && name != b"security.capability";
    !system && !security
}

fn hash_files(files: &[&Entry], remembered: Option<&FileHashes<'_>>) -> Result<Vec<Digest>, Fault> {
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = available.min(files.len() / FILES_PER_THREAD).max(1);
    let results: Vec<Mutex<Option<Digest>>> = files.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    let work = || -> Result<(), Fault> {
        let mut buffer = vec![0; READ_BUFFER];
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(entry) = files.get(index) else { return Ok(()) };
            let digest = hash_file(entry, remembered, &mut buffer)?;
            *results[index].lock().expect("no thread panics while it stores a digest") = Some(digest);
        }
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut outcome = work();
        for other in others {
            outcome = outcome.and(other.join().expect("hashing does not panic"));
        }
        outcome
    })?;
    let digest = |cell: Mutex<Option<Digest>>| cell.into_inner().ok().flatten();
    Ok(results.into_iter().map(|cell| digest(cell).expect("every file was hashed")).collect())
}

fn hash_file(entry: &Entry, remembered: Option<&FileHashes<'_>>, buffer: &mut [u8]) -> Result<Digest, Fault> {
    let identity = FileIdentity::of(&entry.metadata);
    if let Some(digest) = remembered.map(|hashes| hashes.get(&identity)).transpose()?.flatten() {
        return Ok(digest);
    }
    // What is added to a file meanwhile is not waited for; that it changed is found when it is copied.
    let mut file = entry.open()?.take(entry.metadata.size());
    let mut hasher = Hasher::new();
    loop {
        let read = file.read(buffer).reading(&entry.path)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
    }
    let digest = hasher.finish();
    if let Some(hashes) = remembered {
        hashes.put(identity, digest);
    }
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::PermissionsExt;

    use gantry_llb::pb::FileActionCopy;

    use super::*;
    use crate::select::{SourceRoot, select};

    fn digest_of(root: &Path) -> Digest {
        let source = SourceRoot { path: root, filter: None, ownership: Ownership::Root };
        let copy = FileActionCopy { src: "/d".into(), ..FileActionCopy::default() };
        digest(&select(&source, &copy).unwrap(), Ownership::Root, None).unwrap()
    }

    #[test]
    fn what_changes_the_digest() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir(root.join("d")).unwrap();
        for index in 0..200 {
            fs::write(root.join(format!("d/f{index}")), format!("{index}")).unwrap();
        }
        let first = digest_of(root);
        File::options()
            .write(true)
            .open(root.join("d/f7"))
            .unwrap()
            .set_modified(std::time::UNIX_EPOCH)
            .unwrap();
        assert_eq!(first, digest_of(root), "an mtime does not count");
        fs::set_permissions(root.join("d/f7"), fs::Permissions::from_mode(0o755)).unwrap();
        let executable = digest_of(root);
        assert_ne!(first, executable, "a mode does");
        fs::rename(root.join("d/f7"), root.join("d/g7")).unwrap();
        let renamed = digest_of(root);
        assert_ne!(executable, renamed, "a name does");
        fs::remove_file(root.join("d/f8")).unwrap();
        fs::hard_link(root.join("d/g7"), root.join("d/f8")).unwrap();
        let linked = digest_of(root);
        fs::remove_file(root.join("d/f8")).unwrap();
        fs::copy(root.join("d/g7"), root.join("d/f8")).unwrap();
        assert_ne!(linked, digest_of(root), "two files are not one file with two names");
    }
}
