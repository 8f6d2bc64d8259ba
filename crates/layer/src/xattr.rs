//! Reading extended attributes, and which of them belong to an image.

use std::path::Path;

use rustix::fs::{lgetxattr, llistxattr};
use rustix::io::Errno;

use crate::entry::Xattrs;
use crate::error::LayerError;

/// The kernel's own limit on a list of names and on a value.
const MAX_BYTES: usize = 64 << 10;

/// The attribute that holds a file's capabilities.
const CAPABILITY: &[u8] = b"security.capability";

/// Whether an attribute of an archive is set on the file that is made of it.
///
/// All but capabilities and `user.*` describes a machine: labels, access lists, and above all overlayfs's own
/// attributes, with which a hostile layer could reach below itself.
pub(crate) fn is_taken(name: &[u8]) -> bool {
    name == CAPABILITY || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
}

/// Those of a file's attributes of these names that an archive gets, sorted by name: the capabilities, which are what
/// the reference builder writes. `user.*` stays with the snapshot.
pub(crate) fn archived(path: &Path, names: &[Vec<u8>]) -> Result<Xattrs, LayerError> {
    of_names(path, names, |name| name == CAPABILITY)
}

/// Those that a directory takes over from the same directory of a layer below.
pub(crate) fn taken(path: &Path, names: &[Vec<u8>]) -> Result<Xattrs, LayerError> {
    of_names(path, names, is_taken)
}

fn of_names(path: &Path, names: &[Vec<u8>], wanted: impl Fn(&[u8]) -> bool) -> Result<Xattrs, LayerError> {
    let mut attributes = Vec::new();
    for name in names.iter().filter(|name| wanted(name)) {
        attributes.push((name.clone(), value(path, name)?));
    }
    attributes.sort();
    Ok(attributes)
}

/// The names of all attributes of a file; none where the file system has none. Links are not followed.
pub(crate) fn names(path: &Path) -> Result<Vec<Vec<u8>>, LayerError> {
    // Nearly every file has none, so the first call is for a short list and does not allocate.
    let mut short = [0_u8; 512];
    match llistxattr(path, &mut short[..]) {
        Ok(length) => return Ok(split(&short[..length])),
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Err(Errno::RANGE) => {}
        Err(error) => return Err(LayerError::path("list the attributes of", path, error)),
    }
    let mut list = vec![0; MAX_BYTES];
    let length = llistxattr(path, &mut list[..])
        .map_err(|error| LayerError::path("list the attributes of", path, error))?;
    Ok(split(&list[..length]))
}

fn split(list: &[u8]) -> Vec<Vec<u8>> {
    list.split(|&byte| byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect()
}

/// The value of one attribute.
pub(crate) fn value(path: &Path, name: &[u8]) -> Result<Vec<u8>, LayerError> {
    let mut value = vec![0; MAX_BYTES];
    let length = lgetxattr(path, name, &mut value[..])
        .map_err(|error| LayerError::path("read an attribute of", path, error))?;
    value.truncate(length);
    Ok(value)
}
