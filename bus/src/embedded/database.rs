//! The tables of `log.db` and the statements that read them.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row};

use crate::{DeadLetter, LogError, Position, Record, Subject};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS record (
    position INTEGER PRIMARY KEY, subject TEXT NOT NULL, id TEXT NOT NULL, at INTEGER NOT NULL, payload BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS record_subject ON record (subject);
CREATE TABLE IF NOT EXISTS consumer (
    name TEXT PRIMARY KEY, cursor INTEGER NOT NULL, pending TEXT NOT NULL,
    opened_at INTEGER NOT NULL, restarts INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS dead_letter (
    number INTEGER PRIMARY KEY AUTOINCREMENT, consumer TEXT NOT NULL, reason TEXT NOT NULL, attempts INTEGER NOT NULL,
    position INTEGER NOT NULL, subject TEXT NOT NULL, id TEXT NOT NULL, payload BLOB NOT NULL,
    UNIQUE (consumer, position)
) STRICT;
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
";

const RECORD: &str = "SELECT position, subject, id, payload FROM record";
const LETTER: &str = "SELECT number, consumer, reason, attempts, position, subject, id, payload FROM dead_letter";

/// SQLite's integers are signed; positions never come near the edge.
pub(super) fn to_sql(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn from_sql(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

pub(super) fn failed(error: impl std::fmt::Display) -> LogError {
    LogError::Failed(error.to_string())
}

/// Makes a new file readable for its owner only; SQLite gives the files beside it the same mode. Where that cannot be done, opening
/// says what is wrong.
fn keep_private(file: &Path) {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    drop(options.open(file));
}

/// A connection that writes. It waits for another process's short write (the dead-letter command line) instead of failing.
pub(super) fn open_writer(file: &Path) -> rusqlite::Result<Connection> {
    keep_private(file);
    let connection = Connection::open(file)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", 4000)?;
    connection.pragma_update(None, "cache_size", -16_000)?;
    connection.set_prepared_statement_cache_capacity(32);
    connection.execute_batch(SCHEMA)?;
    Ok(connection)
}

pub(super) fn open_reader(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    Ok(connection)
}

fn subject(row: &Row<'_>, column: usize) -> rusqlite::Result<Subject> {
    Subject::new(row.get_ref(column)?.as_str()?)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error.into()))
}

fn record(row: &Row<'_>, from: usize) -> rusqlite::Result<Record> {
    Ok(Record {
        position: Position(from_sql(row.get(from)?)),
        subject: subject(row, from + 1)?,
        id: row.get(from + 2)?,
        payload: Bytes::from(row.get::<_, Vec<u8>>(from + 3)?),
    })
}

fn letter(row: &Row<'_>) -> rusqlite::Result<DeadLetter> {
    Ok(DeadLetter {
        number: from_sql(row.get(0)?),
        consumer: row.get(1)?,
        reason: row.get(2)?,
        attempts: row.get(3)?,
        record: record(row, 4)?,
    })
}

pub(super) fn get(connection: &Connection, position: u64) -> rusqlite::Result<Option<Record>> {
    connection
        .prepare_cached(&format!("{RECORD} WHERE position = ?1"))?
        .query_row([to_sql(position)], |row| record(row, 0))
        .optional()
}

pub(super) fn last(connection: &Connection, subject: &Subject) -> rusqlite::Result<Option<Record>> {
    connection
        .prepare_cached(&format!("{RECORD} WHERE subject = ?1 ORDER BY position DESC LIMIT 1"))?
        .query_row([subject.as_str()], |row| record(row, 0))
        .optional()
}

pub(super) fn next(connection: &Connection, subject: &Subject, from: u64) -> rusqlite::Result<Option<Record>> {
    connection
        .prepare_cached(&format!("{RECORD} WHERE subject = ?1 AND position >= ?2 ORDER BY position LIMIT 1"))?
        .query_row((subject.as_str(), to_sql(from)), |row| record(row, 0))
        .optional()
}

pub(super) fn after(connection: &Connection, after: u64, limit: usize) -> rusqlite::Result<Vec<Record>> {
    connection
        .prepare_cached(&format!("{RECORD} WHERE position > ?1 ORDER BY position LIMIT ?2"))?
        .query_map((to_sql(after), to_sql(limit as u64)), |row| record(row, 0))?
        .collect()
}

/// Position of the newest record on the subject, 0 without one.
pub(super) fn head(connection: &Connection, subject: &Subject) -> rusqlite::Result<u64> {
    let head: Option<i64> = connection
        .prepare_cached("SELECT max(position) FROM record WHERE subject = ?1")?
        .query_row([subject.as_str()], |row| row.get(0))?;
    Ok(head.map_or(0, from_sql))
}

pub(super) fn meta(connection: &Connection, key: &str) -> rusqlite::Result<u64> {
    let value: Option<i64> = connection
        .prepare_cached("SELECT value FROM meta WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()?;
    Ok(value.map_or(0, from_sql))
}

pub(super) fn set_meta(connection: &Connection, key: &str, value: u64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT INTO meta VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value")?
        .execute((key, to_sql(value)))?;
    Ok(())
}

/// Bytes in use in the file.
pub(super) fn used_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map(from_sql);
    Ok((pragma("page_count")?.saturating_sub(pragma("freelist_count")?)) * pragma("page_size")?)
}

pub(super) fn letters(connection: &Connection, after: u64, limit: usize) -> rusqlite::Result<Vec<DeadLetter>> {
    connection
        .prepare_cached(&format!("{LETTER} WHERE number > ?1 ORDER BY number LIMIT ?2"))?
        .query_map((to_sql(after), to_sql(limit as u64)), letter)?
        .collect()
}

pub(super) fn count_letters(connection: &Connection) -> rusqlite::Result<u64> {
    connection.query_row("SELECT count(*) FROM dead_letter", [], |row| row.get(0)).map(from_sql)
}

/// A letter that is there already (the ack after it was lost) is left alone.
pub(super) fn insert_letter(connection: &Connection, letter: &DeadLetter) -> rusqlite::Result<()> {
    let record = &letter.record;
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO dead_letter (consumer, reason, attempts, position, subject, id, payload)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute((
            &letter.consumer,
            &letter.reason,
            letter.attempts,
            to_sql(record.position.0),
            record.subject.as_str(),
            &record.id,
            &record.payload[..],
        ))?;
    Ok(())
}

pub(super) fn remove_letter(connection: &Connection, number: u64) -> rusqlite::Result<bool> {
    let removed = connection.prepare_cached("DELETE FROM dead_letter WHERE number = ?1")?.execute([to_sql(number)])?;
    Ok(removed > 0)
}
