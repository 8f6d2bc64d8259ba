//! Today's database, `rpmdb.sqlite`: a table `Packages` with a header per row.
//!
//! The file comes from an image, so it is opened in memory, read-only, and SQLite is stopped after a bounded amount of
//! work, whatever views and expressions its schema may have. rpm uses a write-ahead log; what is in it and not yet in the
//! database is put in first, as SQLite itself would on opening it.

use std::io::Cursor;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, MAIN_DB};

use super::MAX_HEADERS;
use super::bytes::{Order, slice, u16_at, u32_at};

const MAGIC: &[u8] = b"SQLite format 3\0";
/// Where the file says how it is written to: 2 means with a log, 1 without.
const JOURNAL_VERSIONS: std::ops::Range<usize> = 18..20;
/// SQLite asks whether to go on each time it has done this many of its steps.
const STEPS: i32 = 1_000_000;
/// How often it may: reading a row takes some tens of steps, and long rows some thousands.
const MAX_ROUNDS: u32 = 1_000;

const LOG_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// Without its last bit, which says in which order checksums are.
const LOG_MAGIC: usize = 0x377f_0682;

/// The headers of all packages.
pub(super) fn headers(mut database: Vec<u8>, log: Vec<u8>) -> Result<Vec<Vec<u8>>, String> {
    if !database.starts_with(MAGIC) || database.len() < 100 {
        return Err("it is no SQLite database".to_owned());
    }
    replay(&mut database, &log);
    database[JOURNAL_VERSIONS].fill(1);
    let headers = read(&database).map_err(|error| error.to_string())?;
    headers.ok_or_else(|| "it is damaged: its rows are larger than itself".to_owned())
}

/// `None` if the rows have more bytes than the file.
fn read(database: &[u8]) -> rusqlite::Result<Option<Vec<Vec<u8>>>> {
    let mut connection = Connection::open_in_memory()?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    // No value is longer than the file that it is in.
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, i32::try_from(database.len()).unwrap_or(i32::MAX))?;
    let mut rounds = 0;
    connection.progress_handler(
        STEPS,
        Some(move || {
            rounds += 1;
            rounds > MAX_ROUNDS
        }),
    )?;
    connection.deserialize_read_exact(MAIN_DB, Cursor::new(database), database.len(), true)?;
    let mut statement = connection.prepare("SELECT blob FROM Packages ORDER BY hnum LIMIT ?1")?;
    let limit = i64::try_from(MAX_HEADERS).unwrap_or(i64::MAX);
    let mut rows = statement.query([limit])?;
    let mut headers = Vec::new();
    let mut budget = database.len();
    while let Some(row) = rows.next()? {
        let header: Vec<u8> = row.get(0)?;
        let Some(rest) = budget.checked_sub(header.len()) else { return Ok(None) };
        budget = rest;
        headers.push(header);
    }
    Ok(Some(headers))
}

/// Copies the pages of complete transactions out of the log. A log that is none, or of an earlier round, changes nothing.
fn replay(database: &mut Vec<u8>, log: &[u8]) {
    let page_size = u32_at(log, 8, Order::Big).filter(|size| size.is_power_of_two() && *size >= 512);
    let is_log = u32_at(log, 0, Order::Big).is_some_and(|magic| magic & !1 == LOG_MAGIC);
    let Some(page_size) = page_size.filter(|size| is_log && *size == page_size_of(database)) else { return };
    let salt = slice(log, 16, 8);
    // A log can only add the pages that it has.
    let limit = database.len() + log.len();
    let mut transaction = Vec::new();
    for frame in log.get(LOG_HEADER..).unwrap_or_default().chunks_exact(FRAME_HEADER + page_size) {
        let (header, page) = frame.split_at(FRAME_HEADER);
        if slice(header, 8, 8) != salt {
            break;
        }
        transaction.push((u32_at(header, 0, Order::Big).unwrap_or_default(), page));
        // The last frame of a transaction tells how many pages the database has after it.
        let pages = u32_at(header, 4, Order::Big).unwrap_or_default();
        if pages > 0 {
            database.resize(pages.saturating_mul(page_size).min(limit), 0);
            transaction.drain(..).for_each(|(number, page)| put_page(database, number, page));
        }
    }
}

/// Pages are numbered from 1.
fn put_page(database: &mut [u8], number: usize, page: &[u8]) {
    let start = number.checked_sub(1).and_then(|index| index.checked_mul(page.len()));
    let end = start.and_then(|start| start.checked_add(page.len()));
    if let (Some(start), Some(end)) = (start, end)
        && let Some(old) = database.get_mut(start..end)
    {
        old.copy_from_slice(page);
    }
}

fn page_size_of(database: &[u8]) -> usize {
    match u16_at(database, 16, Order::Big) {
        Some(1) => 65_536,
        size => size.unwrap_or_default(),
    }
}
