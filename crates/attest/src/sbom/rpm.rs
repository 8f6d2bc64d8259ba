//! rpm's database: package headers, in one of three kinds of file.
//!
//! `rpmdb.sqlite` is today's, `Packages.db` (ndb) is SUSE's, `Packages` (a Berkeley DB hash) is what all had before. Each
//! reader gives the headers as bytes; `header` reads them.

mod bdb;
mod bytes;
mod header;
mod ndb;
mod sqlite;

use super::package::{Ecosystem, Package, Source};
use header::{Header, Tag};

/// The name of the SQLite database.
pub(super) const SQLITE: &str = "rpmdb.sqlite";
/// What was written to it last, if it was not closed in order.
pub(super) const SQLITE_LOG: &str = "rpmdb.sqlite-wal";

/// Reads all headers of a database; the second file is its log, if it has one.
type ReadHeaders = fn(Vec<u8>, Vec<u8>) -> Result<Vec<Vec<u8>>, String>;

/// The kinds of database by the names of their files.
pub(super) const FORMATS: &[(&str, ReadHeaders)] = &[
    (SQLITE, sqlite::headers),
    ("Packages.db", |database, _| ndb::headers(&database)),
    ("Packages", |database, _| bdb::headers(&database)),
];

/// More headers than this no database has.
const MAX_HEADERS: usize = 100_000;

/// What rpm calls the keys that packages are signed with: they are in its database, but are no packages.
const KEY: &str = "gpg-pubkey";

/// Whether a file of this name is part of a database.
pub(super) fn is_database(name: &str) -> bool {
    name == SQLITE_LOG || FORMATS.iter().any(|(known, _)| *known == name)
}

/// The packages that headers describe.
pub(super) fn packages(headers: &[Vec<u8>], database: &str) -> Result<Vec<Package>, String> {
    let mut packages = Vec::new();
    for bytes in headers {
        let header = Header::parse(bytes)?;
        packages.extend(package(&header, database).filter(|package| package.name != KEY));
    }
    Ok(packages)
}

fn package(header: &Header<'_>, database: &str) -> Option<Package> {
    let text = |tag| header.text(tag).unwrap_or_default();
    let (name, version, release) = (text(Tag::Name), text(Tag::Version), text(Tag::Release));
    if name.is_empty() || version.is_empty() {
        return None;
    }
    Some(Package {
        version: evr(&version, &release),
        architecture: text(Tag::Arch),
        epoch: header.number(Tag::Epoch),
        source: source_of(&text(Tag::SourceRpm)),
        licence: text(Tag::License),
        supplier: text(Tag::Vendor),
        homepage: text(Tag::Url),
        name,
        ..Package::new(Ecosystem::Rpm, database)
    })
}

fn evr(version: &str, release: &str) -> String {
    match release {
        "" => version.to_owned(),
        release => format!("{version}-{release}"),
    }
}

/// `name-version-release.src.rpm`.
fn source_of(file: &str) -> Option<Source> {
    let stem = file.strip_suffix(".src.rpm").or_else(|| file.strip_suffix(".nosrc.rpm"))?;
    let (rest, release) = stem.rsplit_once('-')?;
    let (name, version) = rest.rsplit_once('-')?;
    Some(Source { name: name.to_owned(), version: evr(version, release) })
}

#[cfg(test)]
mod tests;
