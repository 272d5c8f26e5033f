//! The writer thread: takes what is queued, commits it as one group, then answers.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;

use super::config::EmbeddedConfig;
use super::database::{self, to_sql};
use super::duplicates::Duplicates;
use super::shared::{Command, Shared};
use crate::{Append, AppendError, Appended, LogError, Position, Record, Subject, failpoint};

/// Consumer state is persisted this long after its first change at the latest …
pub(super) const PERSIST_AFTER: Duration = Duration::from_secs(1);
/// … and rides along with a commit that happens anyway once it is this old.
const RIDE_ALONG_AFTER: Duration = Duration::from_millis(250);
/// Subjects whose last position is remembered.
const HEADS: usize = 65_536;

#[expect(
    clippy::disallowed_methods,
    reason = "this crate knows no Clock; age is the only use, and this the only place"
)]
pub(super) fn now_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 2)
}

/// Why a group was not committed, and whether that is certain.
enum Failure {
    RolledBack(String),
    Unknown(String),
}

/// An answer that waits for the commit.
enum Answer {
    Append(oneshot::Sender<Result<Appended, AppendError>>, Result<Appended, AppendError>),
    Done(oneshot::Sender<Result<bool, LogError>>, bool),
}

pub(super) struct Writer {
    pub(super) connection: Connection,
    commands: Receiver<Command>,
    pub(super) shared: Arc<Shared>,
    pub(super) config: EmbeddedConfig,
    /// The position the next record gets.
    pub(super) next: u64,
    pub(super) heads: HashMap<Subject, u64>,
    duplicates: Duplicates,
    pub(super) dirty_since: Option<Instant>,
    /// Somebody waits for the consumers' state to be written.
    persist_now: bool,
    pub(super) sweep_at: Option<Instant>,
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        commands: Receiver<Command>,
        shared: Arc<Shared>,
        config: EmbeddedConfig,
        next: u64,
        duplicates: Duplicates,
    ) -> Self {
        let heads = HashMap::new();
        let sweep_at = Some(Instant::now());
        Self {
            connection,
            commands,
            shared,
            config,
            next,
            heads,
            duplicates,
            dirty_since: None,
            persist_now: false,
            sweep_at,
        }
    }

    pub(super) fn run(mut self) {
        let mut group = Vec::with_capacity(self.config.max_batch);
        let mut closing = false;
        while !closing {
            closing = self.fill(&mut group);
            self.shared.permits.add_permits(group.len());
            if !group.is_empty() {
                self.commit(&mut group);
            }
            self.maintain(Instant::now());
        }
        if let Err(error) = self.persist_in_transaction(true) {
            tracing::error!(%error, "the embedded log could not persist its consumers; what they acked lately comes again");
        }
    }

    /// Waits for a command or a deadline, then takes what else is there. True: close after this group.
    fn fill(&mut self, group: &mut Vec<Command>) -> bool {
        let persist_at = self.dirty_since.map(|since| since + PERSIST_AFTER);
        let deadline = [persist_at, self.sweep_at].into_iter().flatten().min();
        let mut received = match deadline {
            None => self.commands.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => self.commands.recv_timeout(at.saturating_duration_since(Instant::now())),
        };
        loop {
            match received {
                Ok(Command::Nudge) => self.dirty_since = self.dirty_since.or_else(|| Some(Instant::now())),
                Ok(Command::Close) | Err(RecvTimeoutError::Disconnected) => return true,
                Err(RecvTimeoutError::Timeout) => return false,
                Ok(command) => group.push(command),
            }
            if group.len() >= self.config.max_batch {
                return false;
            }
            received = match self.commands.try_recv() {
                Ok(command) => Ok(command),
                Err(_) => return false,
            };
        }
    }

    fn commit(&mut self, group: &mut Vec<Command>) {
        let mut answers = Vec::with_capacity(group.len());
        let mut records = Vec::with_capacity(group.len());
        let mut result = Ok(());
        let mut commands = group.drain(..);
        for command in commands.by_ref() {
            result = self.stage(command, &mut answers, &mut records);
            if result.is_err() {
                break;
            }
        }
        // Only after a failure is something left; it shares the group's fate.
        for command in commands {
            match command {
                Command::Append(_, reply) => answers.push(Answer::Append(reply, Err(AppendError::Conflict))),
                Command::InsertLetter(_, reply) | Command::RemoveLetter(_, reply) | Command::Persist(reply) => {
                    answers.push(Answer::Done(reply, false));
                }
                Command::Nudge | Command::Close => {}
            }
        }
        failpoint("log-before-commit");
        let result = match result {
            Ok(()) => self.finish(),
            Err(error) => Err(self.roll_back(&error, true)),
        };
        failpoint("log-committed");
        match result {
            Ok(()) => self.publish(records),
            Err(_) => self.forget(&records),
        }
        answer(answers, result.err().as_ref());
    }

    /// Does one command inside the transaction, which begins with the first write.
    fn stage(
        &mut self,
        command: Command,
        answers: &mut Vec<Answer>,
        records: &mut Vec<Record>,
    ) -> rusqlite::Result<()> {
        match command {
            Command::Append(append, reply) => {
                // The place is taken first, so that the reply is not lost when the append fails.
                answers.push(Answer::Append(reply, Err(AppendError::Conflict)));
                let outcome = self.append(append, records)?;
                if let Some(Answer::Append(_, answer)) = answers.last_mut() {
                    *answer = outcome;
                }
            }
            Command::InsertLetter(letter, reply) => {
                answers.push(Answer::Done(reply, true));
                self.begin()?;
                database::insert_letter(&self.connection, &letter)?;
            }
            Command::RemoveLetter(number, reply) => {
                answers.push(Answer::Done(reply, false));
                self.begin()?;
                let removed = database::remove_letter(&self.connection, number)?;
                if let Some(Answer::Done(_, answer)) = answers.last_mut() {
                    *answer = removed;
                }
            }
            Command::Persist(reply) => {
                answers.push(Answer::Done(reply, true));
                self.begin()?;
                self.persist_now = true;
            }
            Command::Nudge | Command::Close => {}
        }
        Ok(())
    }

    fn append(&mut self, append: Append, records: &mut Vec<Record>) -> rusqlite::Result<Result<Appended, AppendError>> {
        let now = now_millis();
        if let Some(expected) = append.expected {
            let head = match self.heads.get(&append.subject) {
                Some(head) => *head,
                None => database::head(&self.connection, &append.subject)?,
            };
            if head != expected.0 {
                self.remember_head(append.subject, head);
                return Ok(Err(AppendError::Conflict));
            }
        } else if let Some(position) = self.duplicates.find(&append.id, now) {
            return Ok(Ok(Appended { position: Position(position), duplicate: true }));
        }
        self.begin()?;
        let position = self.next;
        self.connection.prepare_cached("INSERT INTO record VALUES (?1, ?2, ?3, ?4, ?5)")?.execute((
            to_sql(position),
            append.subject.as_str(),
            &append.id,
            now,
            &append.payload[..],
        ))?;
        self.next += 1;
        self.duplicates.insert(&append.id, position, now);
        self.remember_head(append.subject.clone(), position);
        let Append { subject, id, payload, .. } = append;
        records.push(Record { position: Position(position), subject, id, payload });
        Ok(Ok(Appended { position: Position(position), duplicate: false }))
    }

    fn remember_head(&mut self, subject: Subject, head: u64) {
        if self.heads.len() >= HEADS && !self.heads.contains_key(&subject) {
            self.heads.clear();
        }
        self.heads.insert(subject, head);
    }

    pub(super) fn begin(&self) -> rusqlite::Result<()> {
        if self.connection.is_autocommit() {
            self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Failure> {
        let due = self.dirty_since.is_some_and(|since| since.elapsed() >= RIDE_ALONG_AFTER);
        let ride_along = std::mem::take(&mut self.persist_now) || due;
        if self.connection.is_autocommit() {
            return Ok(());
        }
        let persisted = if ride_along { self.persist() } else { Ok(Vec::new()) };
        let persisted = persisted.map_err(|error| self.roll_back(&error, true))?;
        let committed = self.connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
        if let Err(error) = committed {
            self.mark_dirty(&persisted);
            // Busy and full are found before the commit record is whole. After any other error it may be on the disk.
            let certain = matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DiskFull));
            return Err(self.roll_back(&error, certain));
        }
        Ok(())
    }

    fn roll_back(&self, error: &rusqlite::Error, certain: bool) -> Failure {
        tracing::error!(%error, "the embedded log could not commit");
        let rolled_back = self.connection.is_autocommit() || self.connection.execute_batch("ROLLBACK").is_ok();
        if certain && rolled_back {
            Failure::RolledBack(error.to_string())
        } else {
            Failure::Unknown(error.to_string())
        }
    }

    /// After the commit: everybody may see the records.
    fn publish(&mut self, records: Vec<Record>) {
        let Some(last) = records.last().map(|record| record.position.0) else { return };
        self.shared.records.fetch_add(records.len() as u64, Ordering::Relaxed);
        let first = records[0].position.0;
        let _ = self.shared.first.compare_exchange(0, first, Ordering::Relaxed, Ordering::Relaxed);
        let mut tail = self.shared.tail.write().unwrap_or_else(PoisonError::into_inner);
        for record in records {
            tail.push(record);
        }
        drop(tail);
        self.shared.committed.send_replace(last);
        if self.sweep_at.is_none() {
            self.sweep_at = Some(Instant::now() + self.config.max_age);
        }
    }

    /// After a failed commit. The positions are not used again, since the records may come back after a crash.
    fn forget(&mut self, records: &[Record]) {
        self.heads.clear();
        for record in records {
            self.duplicates.remove(&record.id);
        }
    }
}

/// A caller that went away does not want its answer.
fn answer(answers: Vec<Answer>, failure: Option<&Failure>) {
    for answer in answers {
        match (answer, failure) {
            (Answer::Append(reply, outcome), None) => drop(reply.send(outcome)),
            (Answer::Append(reply, _), Some(Failure::RolledBack(error))) => {
                drop(reply.send(Err(AppendError::Unavailable(error.clone()))));
            }
            (Answer::Append(reply, _), Some(Failure::Unknown(error))) => {
                drop(reply.send(Err(AppendError::Unknown(error.clone()))));
            }
            (Answer::Done(reply, outcome), None) => drop(reply.send(Ok(outcome))),
            (Answer::Done(reply, _), Some(Failure::RolledBack(error) | Failure::Unknown(error))) => {
                drop(reply.send(Err(LogError::Failed(error.clone()))));
            }
        }
    }
}
