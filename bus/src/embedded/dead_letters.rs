//! The dead letters, of this process's log or of another's.

use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use rusqlite::Connection;

use super::bus::EmbeddedBus;
use super::database::{self, failed, open_writer};
use super::shared::{Command, lock};
use crate::{DeadLetter, DeadLetters, LogError};

#[async_trait]
impl DeadLetters for EmbeddedBus {
    async fn list(&self, after: u64, limit: usize) -> Result<Vec<DeadLetter>, LogError> {
        self.inner.is_open()?;
        self.inner.readers.run(move |connection| database::letters(connection, after, limit)).await
    }

    async fn find(&self, number: u64) -> Result<Option<DeadLetter>, LogError> {
        self.inner.is_open()?;
        self.inner.readers.run(move |connection| find(connection, number)).await
    }

    async fn remove(&self, number: u64) -> Result<bool, LogError> {
        self.inner.write(|reply| Command::RemoveLetter(number, reply)).await
    }

    async fn count(&self) -> Result<u64, LogError> {
        self.inner.is_open()?;
        self.inner.readers.run(database::count_letters).await
    }
}

fn find(connection: &Connection, number: u64) -> rusqlite::Result<Option<DeadLetter>> {
    let Some(before) = number.checked_sub(1) else { return Ok(None) };
    let letter = database::letters(connection, before, 1)?.pop();
    Ok(letter.filter(|letter| letter.number == number))
}

/// The dead letters of a folder whose log another process may have open (the command line next to the server).
#[derive(Clone, Debug)]
pub struct EmbeddedDeadLetters {
    connection: Arc<Mutex<Connection>>,
}

impl EmbeddedDeadLetters {
    /// `path`: the log's folder. Fails if there is no log.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, LogError> {
        let file = path.as_ref().join("log.db");
        if !file.is_file() {
            return Err(LogError::Failed(format!("there is no event log at {}", file.display())));
        }
        let connection = open_writer(&file).map_err(failed)?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)) })
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, LogError> {
        let connection = self.connection.clone();
        tokio::task::spawn_blocking(move || work(&lock(&connection))).await.map_err(failed)?.map_err(failed)
    }
}

#[async_trait]
impl DeadLetters for EmbeddedDeadLetters {
    async fn list(&self, after: u64, limit: usize) -> Result<Vec<DeadLetter>, LogError> {
        self.run(move |connection| database::letters(connection, after, limit)).await
    }

    async fn find(&self, number: u64) -> Result<Option<DeadLetter>, LogError> {
        self.run(move |connection| find(connection, number)).await
    }

    async fn remove(&self, number: u64) -> Result<bool, LogError> {
        self.run(move |connection| database::remove_letter(connection, number)).await
    }

    async fn count(&self) -> Result<u64, LogError> {
        self.run(database::count_letters).await
    }
}
