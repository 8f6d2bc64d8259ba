//! How overlayfs and layer archives mark what was deleted.
//!
//! In a directory that overlayfs mounts, a deleted name is a character device 0:0 and a directory that hides what
//! is below it carries an attribute. In an archive both are empty files with reserved names, as the OCI image
//! specification defines them (layer.md, "Whiteouts").

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crate::error::LayerError;
use crate::xattr;

/// What the name of every whiteout starts with.
pub(crate) const WHITEOUT_PREFIX: &[u8] = b".wh.";
/// What names that are reserved for the machinery of AUFS start with.
pub(crate) const META_PREFIX: &[u8] = b".wh..wh.";
/// The marker in a directory that hides everything below it.
pub(crate) const OPAQUE_MARKER: &[u8] = b".wh..wh..opq";

/// The namespace in which overlayfs keeps its own attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OverlayXattrs {
    /// `trusted.overlay.*`: mounts made with full privileges.
    #[default]
    Trusted,
    /// `user.overlay.*`: mounts with `userxattr`, all that a user namespace may have.
    User,
}

impl OverlayXattrs {
    /// The attribute of an opaque directory; its value is `y`.
    pub(crate) fn opaque(self) -> &'static str {
        match self {
            Self::Trusted => "trusted.overlay.opaque",
            Self::User => "user.overlay.opaque",
        }
    }
}

/// What overlayfs says about a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Merging {
    /// It merges with the directories of this name below.
    Merges,
    /// It hides them.
    Opaque,
    /// Its content is elsewhere: it was renamed, which an archive cannot express.
    Redirected,
}

/// How the directory at `path`, which has attributes of these names, merges with those below it.
pub(crate) fn merging(path: &Path, names: &[Vec<u8>]) -> Result<Merging, LayerError> {
    let has = |name: &str| names.iter().any(|found| found == name.as_bytes());
    if has("trusted.overlay.redirect") || has("user.overlay.redirect") {
        return Ok(Merging::Redirected);
    }
    for attribute in [OverlayXattrs::Trusted.opaque(), OverlayXattrs::User.opaque()] {
        if has(attribute) && xattr::value(path, attribute.as_bytes())? == b"y" {
            return Ok(Merging::Opaque);
        }
    }
    Ok(Merging::Merges)
}

/// Whether a file with attributes of these names has its metadata here and its content below.
pub(crate) fn lacks_content(names: &[Vec<u8>]) -> bool {
    names.iter().any(|name| matches!(&**name, b"trusted.overlay.metacopy" | b"user.overlay.metacopy"))
}

/// Whether overlayfs takes this file for "deleted here".
pub(crate) fn is_whiteout(metadata: &Metadata) -> bool {
    metadata.file_type().is_char_device() && metadata.rdev() == 0
}

/// What a name of an archive marks.
pub(crate) enum Marker<'a> {
    /// The file of this name is deleted.
    Whiteout(&'a [u8]),
    /// Nothing of its directory is seen from below.
    Opaque,
    /// A file of AUFS's own.
    Reserved,
}

impl<'a> Marker<'a> {
    /// What a file of this name marks, if it is no file of the image's.
    pub(crate) fn of(name: &'a [u8]) -> Option<Self> {
        if name == OPAQUE_MARKER {
            return Some(Self::Opaque);
        }
        if name.starts_with(META_PREFIX) {
            return Some(Self::Reserved);
        }
        name.strip_prefix(WHITEOUT_PREFIX).map(Self::Whiteout)
    }
}
