//! Databases that rpm and Berkeley DB wrote, one written here as rpm's ndb is, and bytes that nobody wrote.

use proptest::prelude::*;

use super::*;

const SQLITE_FILE: &[u8] = include_bytes!("../../../fixtures/rpmdb.sqlite");
const BDB_FILE: &[u8] = include_bytes!("../../../fixtures/Packages");

/// What a log begins with.
const LOG: usize = 0x377f_0683;

fn read(format: &str, database: &[u8], log: &[u8]) -> Result<Vec<Package>, String> {
    let (_, headers) = FORMATS.iter().find(|(name, _)| *name == format).unwrap();
    headers(database.to_vec(), log.to_vec()).and_then(|headers| packages(&headers, format))
}

/// A database of these headers as rpm's ndb lays it out, with a free slot between packages.
fn ndb_of(headers: &[Vec<u8>]) -> Vec<u8> {
    let number = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
    let mut file = Vec::new();
    for part in [*b"RpmP", number(0), number(7), number(1), number(9), [0; 4], [0; 4], [0; 4]] {
        file.extend(part);
    }
    while file.len() < 4096 {
        file.extend(b"Slot\0\0\0\0\0\0\0\0\0\0\0\0");
    }
    for (index, header) in headers.iter().enumerate() {
        let slot = 32 + 32 * index;
        let block = file.len() / 16;
        for part in [*b"BlbS", number(index + 1), number(0), number(header.len())] {
            file.extend(part);
        }
        file.extend(header);
        file.extend([0; 12]);
        file.resize(file.len().next_multiple_of(16), 0);
        let slot_fields = [number(index + 1), number(block), number(file.len() / 16 - block)].concat();
        file[slot + 4..slot + 16].copy_from_slice(&slot_fields);
    }
    file
}

fn headers() -> Vec<Vec<u8>> {
    sqlite::headers(SQLITE_FILE.to_vec(), Vec::new()).unwrap()
}

#[test]
fn every_format_has_the_same_packages() {
    let ndb = ndb_of(&headers());
    for (format, file) in [(SQLITE, SQLITE_FILE), ("Packages.db", &ndb), ("Packages", BDB_FILE)] {
        let mut found = read(format, file, &[]).unwrap();
        found.sort();
        let [server, libs] = found.as_slice() else { panic!("{format}: {found:?}") };
        assert_eq!((server.name.as_str(), libs.name.as_str()), ("hello-server", "hello-server-libs"));
        assert_eq!((server.version.as_str(), server.epoch), ("1.4-3.el9", Some(2)));
        assert_eq!((server.licence.as_str(), libs.licence.as_str()), ("MIT", "GPLv2+ and ASL 2.0"));
        assert_eq!((server.architecture.as_str(), server.supplier.as_str()), ("noarch", "Example Project"));
        assert_eq!(server.homepage, "https://example.org/hello");
        assert_eq!(libs.source, Some(Source { name: "hello-server".into(), version: "1.4-3.el9".into() }));
    }
}

#[test]
fn what_is_only_in_the_log_counts() {
    // The log of one transaction that puts all pages into an empty database, as SQLite writes it.
    let page_size = 4096;
    let pages = SQLITE_FILE.len() / page_size;
    let number = |number: usize| u32::try_from(number).unwrap().to_be_bytes();
    let mut log =
        [number(LOG), number(3_007_000), number(page_size), number(0), *b"salt", *b"SALT", [0; 4], [0; 4]]
            .concat();
    for (index, page) in SQLITE_FILE.chunks(page_size).enumerate() {
        let committed = if index + 1 == pages { pages } else { 0 };
        log.extend([number(index + 1), number(committed), *b"salt", *b"SALT", [0; 4], [0; 4]].concat());
        log.extend(page);
    }
    let mut empty = SQLITE_FILE[..page_size].to_vec();
    empty[100..].fill(0);
    assert!(read(SQLITE, &empty, &[]).is_err(), "without its log, it has no table");
    assert_eq!(read(SQLITE, &empty, &log).unwrap().len(), 2);
    let mut stale = log.clone();
    stale[32 + 8] ^= 1;
    assert!(read(SQLITE, &empty, &stale).is_err(), "frames of an earlier log do not count");
    let cut = &log[..log.len() - 1];
    assert!(read(SQLITE, &empty, cut).is_err(), "a transaction without its end does not count");
    assert_eq!(read(SQLITE, SQLITE_FILE, &[0; 100]).unwrap().len(), 2);
}

#[test]
fn a_hostile_schema_ends() {
    for schema in [
        "CREATE VIEW Packages AS WITH RECURSIVE n(blob, hnum) AS (SELECT x'00', 1 UNION ALL SELECT blob, hnum + 1 FROM n) SELECT * FROM n",
        "CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB AS (zeroblob(900000000))); INSERT INTO Packages (hnum) VALUES (1)",
        "CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB AS (zeroblob(8000))); INSERT INTO Packages (hnum) VALUES (1), (2), (3)",
    ] {
        let mut connection = rusqlite::Connection::open_in_memory().unwrap();
        connection.execute_batch(schema).unwrap();
        let file = connection.serialize(rusqlite::MAIN_DB).unwrap().to_vec();
        assert!(read(SQLITE, &file, &[]).is_err(), "{schema}");
    }
}

#[test]
fn blocks_that_are_used_twice() {
    let mut file = ndb_of(&[vec![0; 20_000], vec![0; 20_000], vec![0; 20_000]]);
    let first = file[32..48].to_vec();
    for slot in file[32..4096].chunks_exact_mut(16) {
        slot.copy_from_slice(&first);
    }
    assert!(ndb::headers(&file).unwrap_err().contains("twice"));
}

#[test]
fn keys_are_no_packages() {
    let name = b"hello-server\0";
    let place = |header: &Vec<u8>| header.windows(name.len()).position(|window| window == name);
    let (mut header, at) =
        headers().into_iter().find_map(|header| place(&header).map(|at| (header, at))).unwrap();
    header[at..at + 11].copy_from_slice(b"gpg-pubkey\0");
    assert_eq!(packages(&[header], "x").unwrap(), []);
}

#[test]
fn sources() {
    let source = |name: &str, version: &str| Some(Source { name: name.into(), version: version.into() });
    assert_eq!(source_of("a-b-1.0-2.el9.src.rpm"), source("a-b", "1.0-2.el9"));
    assert_eq!(source_of("a-1-2.nosrc.rpm"), source("a", "1-2"));
    for none in ["", "(none)", "a.src.rpm", "a-1.src.rpm"] {
        assert_eq!(source_of(none), None, "{none}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_bytes_are_too_much(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        for (_, headers) in FORMATS {
            let _ = headers(bytes.clone(), bytes.clone());
        }
        let _ = packages(&[bytes], "x");
    }

    #[test]
    fn no_damage_is_too_much(damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40)) {
        let ndb = ndb_of(&headers());
        for (format, file) in [(SQLITE, SQLITE_FILE), ("Packages.db", &ndb), ("Packages", BDB_FILE)] {
            let mut file = file.to_vec();
            for (index, byte) in &damage {
                let at = index.index(file.len());
                file[at] = *byte;
            }
            let _ = read(format, &file, &file);
            let _ = read(format, &file[..damage[0].0.index(file.len())], &[]);
        }
    }
}
