//! What the writer thread does between groups: persisting consumers, deleting old records.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::database::{self, to_sql};
use super::shared::lock;
use super::writer::{PERSIST_AFTER, Writer, millis, now_millis};

/// Old records deleted in one go, so that appends never wait long behind it.
const SWEEP: usize = 2000;

impl Writer {
    pub(super) fn maintain(&mut self, now: Instant) {
        if self.dirty_since.is_some_and(|since| now >= since + PERSIST_AFTER)
            && let Err(error) = self.persist_in_transaction(false)
        {
            tracing::warn!(%error, "the embedded log could not persist its consumers; it tries again");
            self.dirty_since = Some(now);
        }
        if self.sweep_at.is_some_and(|at| now >= at) {
            self.sweep_at = self.sweep().unwrap_or_else(|error| {
                tracing::warn!(%error, "the embedded log could not delete old records; it tries again");
                Some(now + Duration::from_secs(10))
            });
        }
    }

    pub(super) fn persist_in_transaction(&mut self, clean: bool) -> rusqlite::Result<()> {
        self.begin()?;
        let persisted = self.persist();
        let result = persisted.and_then(|names| {
            if clean {
                database::set_meta(&self.connection, "clean", 1)?;
                database::set_meta(&self.connection, "last", self.next - 1)?;
            }
            self.connection.execute_batch("COMMIT").inspect_err(|_| self.mark_dirty(&names))
        });
        if result.is_err() && !self.connection.is_autocommit() {
            self.connection.execute_batch("ROLLBACK")?;
        }
        result
    }

    pub(super) fn mark_dirty(&self, names: &[String]) {
        let consumers = lock(&self.shared.consumers);
        for consumer in names.iter().filter_map(|name| consumers.get(name)) {
            self.shared.mark_dirty(consumer);
        }
    }

    /// Writes the state of the changed consumers; answers with their names.
    pub(super) fn persist(&mut self) -> rusqlite::Result<Vec<String>> {
        self.dirty_since = None;
        let consumers: Vec<_> = lock(&self.shared.consumers).values().cloned().collect();
        let mut names = Vec::new();
        for consumer in consumers {
            if !consumer.dirty.swap(false, Ordering::AcqRel) {
                continue;
            }
            names.push(consumer.name.clone());
            let cursor = lock(&consumer.cursor);
            let (position, pending) = (cursor.position(), cursor.pending_text());
            let (opened_at, restarts) = cursor.suspicion();
            drop(cursor);
            let written = self
                .connection
                .prepare_cached("INSERT OR REPLACE INTO consumer VALUES (?1, ?2, ?3, ?4, ?5)")
                .and_then(|mut s| s.execute((&consumer.name, to_sql(position), pending, to_sql(opened_at), restarts)));
            if let Err(error) = written {
                self.mark_dirty(&names);
                return Err(error);
            }
        }
        Ok(names)
    }

    /// Deletes records past the age limit, a bounded number of them. Answers when to look again.
    fn sweep(&mut self) -> rusqlite::Result<Option<Instant>> {
        let cutoff = now_millis() - millis(self.config.max_age);
        let oldest: Vec<(i64, i64)> = self
            .connection
            .prepare_cached("SELECT position, at FROM record ORDER BY position LIMIT ?1")?
            .query_map([to_sql(SWEEP as u64)], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let old = oldest.iter().take_while(|(_, at)| *at <= cutoff).count();
        if let Some((through, _)) = old.checked_sub(1).and_then(|index| oldest.get(index)).copied() {
            let transaction = self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            transaction.execute("DELETE FROM record WHERE position <= ?1", [through])?;
            // The counter of positions outlives the records.
            database::set_meta(&transaction, "last", self.next - 1)?;
            transaction.commit()?;
            self.heads.clear();
            self.shared.records.fetch_sub(old as u64, Ordering::Relaxed);
            let through = database::from_sql(through);
            self.shared.tail.write().unwrap_or_else(PoisonError::into_inner).forget_through(through);
            let first = oldest.get(old).map_or(0, |(position, _)| database::from_sql(*position));
            let first = if first == 0 { self.first_stored()? } else { first };
            self.shared.first.store(first, Ordering::Relaxed);
        }
        let wait = match oldest.get(old) {
            // All that was looked at is gone: there may be more.
            None if old == SWEEP => 0,
            None => return Ok(None),
            Some((_, at)) => (at - cutoff).max(10),
        };
        Ok(Some(Instant::now() + Duration::from_millis(database::from_sql(wait))))
    }

    fn first_stored(&self) -> rusqlite::Result<u64> {
        let first: Option<i64> = self.connection.query_row("SELECT min(position) FROM record", [], |row| row.get(0))?;
        Ok(first.map_or(0, database::from_sql))
    }
}
