//! Opening a folder: the lock, the tables, and the state that a former process left.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::{Arc, mpsc};

use rusqlite::Connection;

use super::config::EmbeddedConfig;
use super::cursor::{Cursor, Suspicion, parse_pending};
use super::database::{self, failed, from_sql, to_sql};
use super::duplicates::Duplicates;
use super::shared::{Shared, SharedConsumer, lock};
use super::tail::Tail;
use super::writer::{Writer, millis, now_millis};
use crate::LogError;

/// Held until the folder is free again.
#[derive(Debug)]
pub(super) struct FolderLock(#[expect(dead_code, reason = "held for its lock")] File);

impl FolderLock {
    pub(super) fn take(folder: &Path) -> Result<Self, LogError> {
        let path = folder.join("log.lock");
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(LogError::Failed(format!(
                "another process has the event log in {} open; the embedded log is for one process",
                folder.display()
            ))),
            Err(TryLockError::Error(error)) => Err(LogError::Failed(format!("{}: {error}", path.display()))),
        }
    }
}

pub(super) fn open(config: EmbeddedConfig) -> Result<(Arc<Shared>, Writer), LogError> {
    let file = config.path.join("log.db");
    prepare(config, &file).map_err(|error| LogError::Failed(format!("{}: {error}", file.display())))
}

fn prepare(config: EmbeddedConfig, file: &Path) -> rusqlite::Result<(Arc<Shared>, Writer)> {
    let connection = database::open_writer(file)?;
    let (first, newest, records) = connection.query_row(
        "SELECT min(position), max(position), (SELECT count(*) FROM record) FROM record",
        [],
        |row| {
            let number = |column| row.get::<_, Option<i64>>(column).map(|value| value.map_or(0, from_sql));
            Ok((number(0)?, number(1)?, number(2)?))
        },
    )?;
    let last = newest.max(database::meta(&connection, "last")?);
    let (sender, receiver) = mpsc::channel();
    let tail = Tail::new(last, config.tail_records, config.tail_bytes);
    let shared = Arc::new(Shared::new(tail, last, first, records, config.queue, sender));
    restore_consumers(&connection, &shared, last)?;
    let duplicates = recent_ids(&connection, &config)?;
    let writer = Writer::new(connection, receiver, shared.clone(), config, last + 1, duplicates);
    Ok((shared, writer))
}

fn recent_ids(connection: &Connection, config: &EmbeddedConfig) -> rusqlite::Result<Duplicates> {
    let window = millis(config.duplicate_window);
    let mut duplicates = Duplicates::new(window, config.duplicate_capacity);
    let since = now_millis() - window;
    let mut statement = connection.prepare("SELECT id, position, at FROM record ORDER BY position DESC LIMIT ?1")?;
    let rows = statement.query_map([to_sql(config.duplicate_capacity as u64)], |row| {
        Ok((row.get::<_, String>(0)?, from_sql(row.get(1)?), row.get::<_, i64>(2)?))
    })?;
    let mut recent = Vec::new();
    for row in rows {
        let (id, position, at) = row?;
        if at <= since {
            break;
        }
        recent.push((id, position, at));
    }
    for (id, position, at) in recent.into_iter().rev() {
        duplicates.insert(&id, position, at);
    }
    Ok(duplicates)
}

fn restore_consumers(connection: &Connection, shared: &Shared, last: u64) -> rusqlite::Result<()> {
    let clean = database::meta(connection, "clean")? == 1;
    let rows: Vec<(String, u64, String, u64, u32)> = connection
        .prepare("SELECT name, cursor, pending, opened_at, restarts FROM consumer")?
        .query_map([], |row| Ok((row.get(0)?, from_sql(row.get(1)?), row.get(2)?, from_sql(row.get(3)?), row.get(4)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut consumers = lock(&shared.consumers);
    for (name, cursor, pending, opened_at, restarts) in rows {
        let mut unacked = Vec::new();
        for (position, attempts) in parse_pending(&pending) {
            if let Some(record) = database::get(connection, position)? {
                unacked.push((record, attempts));
            }
        }
        let floor = unacked.first().map_or(cursor + 1, |(record, _)| record.position.0);
        let restarts = if !clean && floor == opened_at { restarts + 1 } else { 0 };
        let suspicion = Suspicion { opened_at: floor, restarts, through: last, handed_out: 0 };
        let cursor = Cursor::restored(cursor, unacked, suspicion);
        connection.execute(
            "UPDATE consumer SET opened_at = ?2, restarts = ?3 WHERE name = ?1",
            (&name, to_sql(floor), restarts),
        )?;
        consumers.insert(name.clone(), Arc::new(SharedConsumer::new(name, cursor)));
    }
    database::set_meta(connection, "clean", 0)
}
