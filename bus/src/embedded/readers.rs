//! A few read-only connections, used on blocking threads.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::database::{failed, open_reader};
use crate::LogError;

#[derive(Debug)]
pub(super) struct Readers {
    file: PathBuf,
    /// One permit a connection.
    permits: Semaphore,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    pub(super) fn new(file: PathBuf, limit: usize) -> Self {
        Self { file, permits: Semaphore::new(limit.max(1)), idle: Arc::default() }
    }

    /// Runs `read` on a connection that sees everything committed before this call.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, LogError> {
        let _permit = self.permits.acquire().await.map_err(failed)?;
        let idle = self.idle.clone();
        let reused = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let file = self.file.clone();
        let work = move || {
            let connection = match reused {
                Some(connection) => connection,
                None => open_reader(&file)?,
            };
            let value = read(&connection)?;
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            Ok::<T, rusqlite::Error>(value)
        };
        tokio::task::spawn_blocking(work).await.map_err(failed)?.map_err(failed)
    }
}
