//! Finding the package databases of a tree and reading them.
//!
//! The databases are where the package managers have them; an image may have several, as one has after a `COPY` of a
//! whole root. The same database found under two names, because one directory is a link to another, counts once.

use std::collections::BTreeSet;
use std::io;

use super::distro::Distro;
use super::package::Package;
use super::{apk, dpkg, rpm};

/// The largest database that is read. Those of full desktop systems have some tens of MiB.
const MAX_DATABASE: u64 = 256 << 20;
/// The largest os-release that is read.
const MAX_OS_RELEASE: u64 = 64 << 10;
/// More packages than this no distribution has.
const MAX_PACKAGES: usize = 200_000;

const OS_RELEASE: [&str; 2] = ["etc/os-release", "usr/lib/os-release"];
const DPKG: &str = "var/lib/dpkg/status";
/// One file per package; beside each, a list of checksums.
const DPKG_DIRECTORY: &str = "var/lib/dpkg/status.d";
const CHECKSUMS: &str = ".md5sums";
const APK: [&str; 2] = ["lib/apk/db/installed", "usr/lib/apk/db/installed"];
const RPM: [&str; 3] = ["usr/lib/sysimage/rpm", "var/lib/rpm", "usr/share/rpm"];

/// The files of an image's final tree. Paths are relative to its root.
pub trait Tree {
    /// The bytes of a regular file, links followed inside the tree; `None` if there is none. A file of more than
    /// `limit` bytes is an error.
    fn read(&self, path: &str, limit: u64) -> io::Result<Option<Vec<u8>>>;

    /// The names in a directory, in any order; none if there is no such directory.
    fn names(&self, directory: &str) -> io::Result<Vec<String>>;
}

/// What is installed in a tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// The distribution.
    pub distro: Distro,
    /// The packages, sorted.
    pub packages: Vec<Package>,
}

/// Why a bill of materials cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScanError {
    /// A file of the tree cannot be read.
    #[error("cannot read `/{path}` of the image")]
    Read {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A database is damaged, or hostile.
    #[error("the package database `/{path}` cannot be read: {reason}")]
    Database {
        /// The database.
        path: String,
        /// Why.
        reason: String,
    },
    /// More packages than anybody has.
    #[error("the image claims to have more than {MAX_PACKAGES} packages")]
    TooMany,
}

/// Whether a scan may read this file: what an index of a layer has to keep the contents of.
pub fn is_kept(path: &str) -> bool {
    let path = path.trim_start_matches('/');
    let in_directory = |directory: &str| path.strip_prefix(directory).and_then(|rest| rest.strip_prefix('/'));
    OS_RELEASE.contains(&path)
        || path == DPKG
        || APK.contains(&path)
        || in_directory(DPKG_DIRECTORY).is_some_and(|name| !name.contains('/'))
        || RPM.iter().any(|directory| in_directory(directory).is_some_and(rpm::is_database))
}

/// Reads all package databases of a tree.
pub fn scan(tree: &dyn Tree) -> Result<Inventory, ScanError> {
    let mut packages = BTreeSet::new();
    packages.extend(dpkg_packages(tree)?);
    packages.extend(apk_packages(tree)?);
    packages.extend(rpm_packages(tree)?);
    if packages.len() > MAX_PACKAGES {
        return Err(ScanError::TooMany);
    }
    let mut seen = BTreeSet::new();
    let mut packages: Vec<Package> = packages.into_iter().collect();
    packages.retain(|package| seen.insert(package.identity()));
    Ok(Inventory { distro: distro(tree), packages })
}

/// One that cannot be read names no distribution: it is a link to anywhere in some images, and only a name.
fn distro(tree: &dyn Tree) -> Distro {
    let found = OS_RELEASE.iter().find_map(|path| tree.read(path, MAX_OS_RELEASE).ok().flatten());
    found.map(|bytes| Distro::parse(&String::from_utf8_lossy(&bytes))).unwrap_or_default()
}

fn dpkg_packages(tree: &dyn Tree) -> Result<Vec<Package>, ScanError> {
    let mut files = vec![DPKG.to_owned()];
    let mut names = tree.names(DPKG_DIRECTORY).map_err(|source| unreadable(DPKG_DIRECTORY, source))?;
    names.retain(|name| !name.ends_with(CHECKSUMS));
    names.sort();
    files.extend(names.into_iter().map(|name| format!("{DPKG_DIRECTORY}/{name}")));
    let mut packages = Vec::new();
    for path in files {
        if let Some(bytes) = read(tree, &path, MAX_DATABASE)? {
            packages.extend(dpkg::parse(&String::from_utf8_lossy(&bytes), &path));
        }
        if packages.len() > MAX_PACKAGES {
            return Err(ScanError::TooMany);
        }
    }
    Ok(packages)
}

fn apk_packages(tree: &dyn Tree) -> Result<Vec<Package>, ScanError> {
    for path in APK {
        if let Some(bytes) = read(tree, path, MAX_DATABASE)? {
            return Ok(apk::parse(&String::from_utf8_lossy(&bytes), path));
        }
    }
    Ok(Vec::new())
}

/// The first directory with a database counts: the others are links to it, or what an upgrade left behind.
fn rpm_packages(tree: &dyn Tree) -> Result<Vec<Package>, ScanError> {
    for directory in RPM {
        for (name, read_packages) in rpm::FORMATS {
            let path = format!("{directory}/{name}");
            let Some(bytes) = read(tree, &path, MAX_DATABASE)?.filter(|bytes| !bytes.is_empty()) else {
                continue;
            };
            let log = match *name {
                rpm::SQLITE => read(tree, &format!("{directory}/{}", rpm::SQLITE_LOG), MAX_DATABASE)?,
                _ => None,
            };
            let headers = read_packages(bytes, log.unwrap_or_default());
            let packages = headers.and_then(|headers| rpm::packages(&headers, &path));
            return packages.map_err(|reason| ScanError::Database { path, reason });
        }
    }
    Ok(Vec::new())
}

fn read(tree: &dyn Tree, path: &str, limit: u64) -> Result<Option<Vec<u8>>, ScanError> {
    tree.read(path, limit).map_err(|source| unreadable(path, source))
}

fn unreadable(path: &str, source: io::Error) -> ScanError {
    ScanError::Read { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
