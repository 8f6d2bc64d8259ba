//! Reading extended attributes, and which of them belong to an image.

use std::path::Path;

use rustix::fs::{lgetxattr, llistxattr};
use rustix::io::Errno;

use crate::entry::Xattrs;
use crate::error::LayerError;

/// The kernel's own limit on a list of names and on a value.
const MAX_BYTES: usize = 64 << 10;

/// Whether an attribute belongs to an image.
///
/// File capabilities are what every builder keeps. `user.*` is kept as well: a later step sees it in the snapshot,
/// so it must see it too when the snapshot came from an archive. All else describes the machine: labels, access
/// lists inherited from the store's directory, and above all overlayfs's own attributes, with which a hostile
/// layer could reach below itself.
pub(crate) fn belongs_to_image(name: &[u8]) -> bool {
    name == b"security.capability" || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
}

/// Those of a file's attributes of these names that belong to an image, sorted by name.
pub(crate) fn of_image(path: &Path, names: &[Vec<u8>]) -> Result<Xattrs, LayerError> {
    let mut attributes = Vec::new();
    for name in names.iter().filter(|name| belongs_to_image(name)) {
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
