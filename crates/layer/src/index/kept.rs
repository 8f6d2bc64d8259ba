//! Which files an index keeps whole: the package databases and the name of the distribution.
//!
//! They are what a bill of materials is made of, so that none needs a second pass over the layers.

use gantry_oci::Digest;

/// A larger database is not kept, nor would a bill of materials read it: the largest in use, those of full desktops, have
/// some tens of MiB.
pub(crate) const MAX_FILE: u64 = 256 << 20;
/// What one layer may keep in all; what comes later is not kept. Some layers have the same database in two places.
pub(crate) const MAX_LAYER: u64 = 2 * MAX_FILE;

/// Hexadecimal digits that tell versions apart.
const VERSION_LENGTH: usize = 8;

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

/// Tells the lists and limits of one version of gantry from those of another.
pub(crate) fn version() -> String {
    let limits = [MAX_FILE.to_le_bytes(), MAX_LAYER.to_le_bytes()].concat();
    let lists = [FILES.join(&b'\n'), DIRECTORIES.join(&b'\n'), limits].concat();
    let mut version = Digest::of(&lists).hex();
    version.truncate(VERSION_LENGTH);
    version
}

/// Whether the file at this clean path is kept, given that it has so many bytes.
pub(crate) fn is_kept(path: &[u8], size: u64) -> bool {
    size <= MAX_FILE
        && (FILES.contains(&path) || DIRECTORIES.iter().any(|directory| path.starts_with(directory)))
}
