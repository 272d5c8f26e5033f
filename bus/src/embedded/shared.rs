//! What the handles and the writer thread both hold.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, mpsc};

use tokio::sync::{Semaphore, oneshot, watch};

use super::cursor::Cursor;
use super::tail::Tail;
use crate::{Append, AppendError, Appended, DeadLetter, LogError};

/// A panic while a lock is held leaves plain data, never a half-done invariant across two fields that matters.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One piece of work for the writer thread.
pub(super) enum Command {
    Append(Append, oneshot::Sender<Result<Appended, AppendError>>),
    InsertLetter(Box<DeadLetter>, oneshot::Sender<Result<bool, LogError>>),
    RemoveLetter(u64, oneshot::Sender<Result<bool, LogError>>),
    /// Write the consumers' state with this group.
    Persist(oneshot::Sender<Result<bool, LogError>>),
    /// A consumer's state changed and wants to be persisted soon. Holds no permit.
    Nudge,
    /// Commit what came before, persist, end. Holds no permit.
    Close,
}

/// A consumer name's state, shared by all its holders.
#[derive(Debug)]
pub(super) struct SharedConsumer {
    pub(super) name: String,
    pub(super) cursor: Mutex<Cursor>,
    /// Rises when a waiting holder should look again.
    pub(super) changed: watch::Sender<u64>,
    pub(super) dirty: AtomicBool,
}

impl SharedConsumer {
    pub(super) fn new(name: String, cursor: Cursor) -> Self {
        Self { name, cursor: Mutex::new(cursor), changed: watch::Sender::new(0), dirty: AtomicBool::new(false) }
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) tail: RwLock<Tail>,
    pub(super) consumers: Mutex<HashMap<String, Arc<SharedConsumer>>>,
    /// Position of the newest committed record.
    pub(super) committed: watch::Sender<u64>,
    pub(super) first: AtomicU64,
    pub(super) records: AtomicU64,
    /// Bounds the command channel: the writer gives permits back as it takes commands out.
    pub(super) permits: Semaphore,
    commands: mpsc::Sender<Command>,
}

impl Shared {
    pub(super) fn new(
        tail: Tail,
        last: u64,
        first: u64,
        records: u64,
        queue: usize,
        commands: mpsc::Sender<Command>,
    ) -> Self {
        Self {
            tail: RwLock::new(tail),
            consumers: Mutex::default(),
            committed: watch::Sender::new(last),
            first: AtomicU64::new(first),
            records: AtomicU64::new(records),
            permits: Semaphore::new(queue.max(1)),
            commands,
        }
    }

    /// Hands a command to the writer, waiting for room. False: the log is closed. Cancel-safe.
    pub(super) async fn send(&self, command: Command) -> bool {
        let Ok(permit) = self.permits.acquire().await else { return false };
        permit.forget();
        self.commands.send(command).is_ok()
    }

    /// Without waiting for room; for [`Command::Nudge`] and [`Command::Close`] only.
    pub(super) fn signal(&self, command: Command) {
        // The writer is gone only after a close, and then there is nothing to do.
        let _ = self.commands.send(command);
    }

    /// Notes that the consumer has something to persist. One signal per consumer and persisting at most.
    pub(super) fn mark_dirty(&self, consumer: &SharedConsumer) {
        if !consumer.dirty.swap(true, Ordering::AcqRel) {
            self.signal(Command::Nudge);
        }
    }

    pub(super) fn tail(&self) -> std::sync::RwLockReadGuard<'_, Tail> {
        self.tail.read().unwrap_or_else(PoisonError::into_inner)
    }
}
