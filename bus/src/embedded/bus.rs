//! The handle: [`EventLog`] over the writer thread, the memory tail and the readers.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use async_trait::async_trait;
use tokio::sync::{oneshot, watch};

use super::config::EmbeddedConfig;
use super::consumer::EmbeddedConsumer;
use super::cursor::Cursor;
use super::database::{self, failed};
use super::open::{FolderLock, open};
use super::readers::Readers;
use super::shared::{Command, Shared, SharedConsumer, lock};
use crate::{
    Append, AppendError, Appended, Connection, Consumer, ConsumerConfig, ConsumerState, DeadLetters, EventLog,
    LogError, Position, Record, StreamState, Subject,
};

/// The embedded event log. Cloning is cheap; the folder is free again after [`EmbeddedBus::close`], or when the last
/// clone (and the last consumer) is dropped.
#[derive(Clone, Debug)]
pub struct EmbeddedBus {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) shared: Arc<Shared>,
    pub(super) readers: Readers,
    connection: watch::Sender<Connection>,
    max_record_bytes: usize,
    /// The writer's thread and the folder's lock, until the log is closed.
    running: Mutex<Option<(JoinHandle<()>, FolderLock)>>,
}

impl EmbeddedBus {
    /// Opens or creates the log. Blocks for the time of reading the last two minutes' ids.
    pub fn open(config: EmbeddedConfig) -> Result<Self, LogError> {
        std::fs::create_dir_all(&config.path)
            .map_err(|error| LogError::Failed(format!("{}: {error}", config.path.display())))?;
        let folder = FolderLock::take(&config.path)?;
        let readers = Readers::new(config.path.join("log.db"), config.readers);
        let max_record_bytes = config.max_record_bytes;
        let (shared, writer) = open(config)?;
        let thread =
            std::thread::Builder::new().name("event-log".into()).spawn(move || writer.run()).map_err(failed)?;
        let connection = watch::Sender::new(Connection { up: true, epoch: 1 });
        let running = Mutex::new(Some((thread, folder)));
        let inner = Inner { shared, readers, connection, max_record_bytes, running };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Commits what is queued, persists the consumers and frees the folder. Later calls are answered with `Unavailable`.
    pub async fn close(&self) {
        let inner = self.inner.clone();
        // A join that cannot be awaited means that the runtime is ending, and then dropping joins.
        let _ = tokio::task::spawn_blocking(move || inner.stop()).await;
    }
}

impl Inner {
    fn stop(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((thread, folder)) = running else { return };
        self.connection.send_modify(|connection| connection.up = false);
        self.shared.permits.close();
        self.shared.signal(Command::Close);
        if thread.join().is_err() {
            tracing::error!("the embedded log's writer had panicked");
        }
        drop(folder);
    }

    pub(super) fn connection(&self) -> watch::Receiver<Connection> {
        self.connection.subscribe()
    }

    pub(super) fn is_open(&self) -> Result<(), LogError> {
        if self.shared.permits.is_closed() { Err(LogError::Unavailable("the log is closed".into())) } else { Ok(()) }
    }

    pub(super) async fn write(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<bool, LogError>>) -> Command,
    ) -> Result<bool, LogError> {
        let (reply, answer) = oneshot::channel();
        if !self.shared.send(command(reply)).await {
            return Err(LogError::Unavailable("the log is closed".into()));
        }
        answer.await.map_err(|_| LogError::Failed("the log was closed meanwhile".into()))?
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop();
    }
}

#[async_trait]
impl EventLog for EmbeddedBus {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        if append.payload.len() > self.inner.max_record_bytes {
            let (size, limit) = (append.payload.len(), self.inner.max_record_bytes);
            return Err(AppendError::Refused(format!("{size} bytes are more than the limit of {limit}")));
        }
        let (reply, answer) = oneshot::channel();
        if !self.inner.shared.send(Command::Append(append, reply)).await {
            return Err(AppendError::Unavailable("the log is closed".into()));
        }
        answer.await.map_err(|_| AppendError::Unknown("the log was closed meanwhile".into()))?
    }

    async fn last(&self, subject: &Subject) -> Result<Option<Record>, LogError> {
        self.inner.is_open()?;
        if let Some(record) = self.inner.shared.tail().last(subject) {
            return Ok(Some(record));
        }
        let subject = subject.clone();
        self.inner.readers.run(move |connection| database::last(connection, &subject)).await
    }

    async fn next(&self, subject: &Subject, from: Position) -> Result<Option<Record>, LogError> {
        self.inner.is_open()?;
        if let Ok(found) = self.inner.shared.tail().next(subject, from.0) {
            return Ok(found);
        }
        let subject = subject.clone();
        self.inner.readers.run(move |connection| database::next(connection, &subject, from.0)).await
    }

    async fn get(&self, position: Position) -> Result<Option<Record>, LogError> {
        self.inner.is_open()?;
        if let Ok(found) = self.inner.shared.tail().get(position.0) {
            return Ok(found);
        }
        self.inner.readers.run(move |connection| database::get(connection, position.0)).await
    }

    async fn consumer(&self, config: ConsumerConfig) -> Result<Box<dyn Consumer>, LogError> {
        self.inner.is_open()?;
        let mut is_new = false;
        let shared = lock(&self.inner.shared.consumers)
            .entry(config.name.clone())
            .or_insert_with(|| {
                is_new = true;
                Arc::new(SharedConsumer::new(config.name.clone(), Cursor::new()))
            })
            .clone();
        lock(&shared.cursor).configure(&config);
        if is_new {
            // From the first hand-out on, a crash must find the name: it counts restarts without progress.
            self.inner.shared.mark_dirty(&shared);
            self.inner.write(Command::Persist).await?;
        }
        shared.changed.send_modify(|count| *count += 1);
        Ok(Box::new(EmbeddedConsumer::new(self.inner.clone(), shared)))
    }

    async fn consumer_state(&self, name: &str) -> Result<Option<ConsumerState>, LogError> {
        self.inner.is_open()?;
        let Some(consumer) = lock(&self.inner.shared.consumers).get(name).cloned() else { return Ok(None) };
        let first = self.inner.shared.first.load(Ordering::Relaxed);
        let last = *self.inner.shared.committed.borrow();
        let state = lock(&consumer.cursor).state(first, last);
        Ok(Some(state))
    }

    /// `bytes` are those in use in the file, indexes and dead letters included.
    async fn state(&self) -> Result<StreamState, LogError> {
        self.inner.is_open()?;
        let bytes = self.inner.readers.run(database::used_bytes).await?;
        let records = self.inner.shared.records.load(Ordering::Relaxed);
        let first = Position(self.inner.shared.first.load(Ordering::Relaxed));
        let last = if records == 0 { Position(0) } else { Position(*self.inner.shared.committed.borrow()) };
        Ok(StreamState { records, bytes, first, last })
    }

    fn connection(&self) -> watch::Receiver<Connection> {
        self.inner.connection.subscribe()
    }

    fn dead_letters(&self) -> &dyn DeadLetters {
        self
    }
}
