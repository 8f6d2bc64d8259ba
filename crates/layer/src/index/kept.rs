//! Which files an index keeps whole: the package databases and the name of the distribution.
//!
//! They are what a bill of materials is made of, so that none needs a second pass over the layers.

/// A larger database is not kept: the largest in use, those of full desktops, have a fifth of this.
pub(crate) const MAX_FILE: u64 = 64 << 20;
/// What one layer may keep in all; what comes later is not kept.
pub(crate) const MAX_LAYER: u64 = 128 << 20;

/// Files by their whole paths.
const FILES: [&[u8]; 17] = [
    b"var/lib/dpkg/status",
    b"lib/apk/db/installed",
    b"usr/lib/apk/db/installed",
    b"var/lib/rpm/rpmdb.sqlite",
    b"var/lib/rpm/Packages",
    b"var/lib/rpm/Packages.db",
    b"usr/lib/sysimage/rpm/rpmdb.sqlite",
    b"usr/lib/sysimage/rpm/Packages",
    b"usr/lib/sysimage/rpm/Packages.db",
    b"usr/share/rpm/rpmdb.sqlite",
    b"usr/share/rpm/Packages",
    b"usr/share/rpm/Packages.db",
    b"var/lib/rpm/rpmdb.sqlite-wal",
    b"usr/lib/sysimage/rpm/rpmdb.sqlite-wal",
    b"usr/share/rpm/rpmdb.sqlite-wal",
    b"etc/os-release",
    b"usr/lib/os-release",
];
/// Directories all of whose files are kept: images without a package manager have one file per package here.
const DIRECTORIES: [&[u8]; 1] = [b"var/lib/dpkg/status.d/"];

/// Whether the file at this clean path is kept, given that it has so many bytes.
pub(crate) fn is_kept(path: &[u8], size: u64) -> bool {
    size <= MAX_FILE
        && (FILES.contains(&path) || DIRECTORIES.iter().any(|directory| path.starts_with(directory)))
}
