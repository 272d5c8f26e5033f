//! The store: SQLite in a file, or Postgres that may be away.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use sea_orm::{ConnectOptions, Database, DatabaseConnection, DbErr};
use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;

use super::missing::Missing;
use crate::config::{Config, redact_url};

/// For requests. SQLite has one writer at a time; more connections only wait for each other.
pub(crate) const SQLITE_CONNECTIONS: u32 = 4;
/// For a worker: always the same connection, whose cache stays good from batch to batch.
pub(crate) const SQLITE_WRITER: u32 = 1;
/// Bytes of the database that a connection keeps in memory, as SQLite wants it: kibibytes, negative.
const SQLITE_CACHE: &str = "-32768";
/// Bytes of a page of a new file. Each message touches a page of its own in the index of client message ids; small pages make that
/// cheap. Measured in batches of 250 rows of 420 characters: 5.3 kB written a row against 6.8 with pages of 4,096, and 9 % more rows/s.
const SQLITE_PAGE: &str = "2048";
/// Pages in the write-ahead log (16 MiB) before they are moved into the file. The default of 1,000 moved the same pages again and again:
/// twice the bytes.
const SQLITE_CHECKPOINT: &str = "8000";
/// A connection that nobody has used for so long is asked whether it still works before it is used. Asking always costs a round trip with
/// every query.
const TESTED_AFTER: Duration = Duration::from_secs(1);
const TOPIC: &str = "database";

/// Opens the file, which must exist. Everything that is committed survives a power failure.
pub(crate) async fn sqlite(path: PathBuf, connections: u32) -> anyhow::Result<DatabaseConnection> {
    // The name is set below, since not every path is good in a URL.
    let mut options = ConnectOptions::new("sqlite:");
    options.max_connections(connections).test_before_acquire(false).sqlx_logging(false).map_sqlx_sqlite_opts({
        let path = path.clone();
        move |options| {
            options
                .filename(&path)
                .pragma("page_size", SQLITE_PAGE)
                .pragma("journal_mode", "WAL")
                .pragma("wal_autocheckpoint", SQLITE_CHECKPOINT)
                .pragma("synchronous", "FULL")
                .pragma("cache_size", SQLITE_CACHE)
                .foreign_keys(true)
                .busy_timeout(Duration::from_secs(5))
        }
    });
    Database::connect(options).await.with_context(|| format!("{} cannot be opened", path.display()))
}

/// Answers at once: connections are made when somebody needs one.
pub(crate) async fn postgres(config: &Config) -> anyhow::Result<DatabaseConnection> {
    let url = config.database_url.as_ref().context("database_url is not set")?;
    let mut options = ConnectOptions::new(url.expose_secret());
    options
        .connect_lazy(true)
        .test_before_acquire_if_idle_for(TESTED_AFTER)
        .max_connections(config.database.max_connections)
        .acquire_timeout(Duration::from_secs(config.database.acquire_timeout_seconds))
        .idle_timeout(Duration::from_secs(config.database.idle_timeout_seconds))
        .sqlx_logging(false);
    // The URL stays out of the message, whatever the driver thinks of it.
    Database::connect(options).await.map_err(|_| anyhow::anyhow!("database_url cannot be used: check its parts"))
}

/// What the database has to do before it is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Answer.
    Reached,
    /// Have everything that this program's migrations make.
    Migrated,
}

/// Waits with growing delays until the database has what is needed. Meanwhile `missing` and the log say what it lacks.
/// `false`: told to stop.
pub(crate) async fn wait(
    need: Need,
    db: &DatabaseConnection,
    config: &Config,
    missing: &Missing,
    stop: &CancellationToken,
) -> bool {
    let url = config.database_url.as_ref().map(|url| redact_url(url.expose_secret())).unwrap_or_default();
    let mut delay = Duration::from_millis(100);
    let mut waited = false;
    missing.set(TOPIC, "the database was not reached yet");
    loop {
        let sentence = match stop.run_until_cancelled(lacking(need, db)).await {
            None => return false,
            Some(Ok(None)) => break,
            Some(Ok(Some(sentence))) => sentence,
            Some(Err(error)) => format!("the database at {url} does not answer: {error}"),
        };
        tracing::warn!("{sentence}; trying again in {delay:?}");
        missing.set(TOPIC, sentence);
        waited = true;
        if stop.run_until_cancelled(tokio::time::sleep(delay)).await.is_none() {
            return false;
        }
        delay = (delay * 2).min(Duration::from_secs(5));
    }
    missing.clear(TOPIC);
    if waited {
        tracing::info!("the database is ready");
    }
    true
}

async fn lacking(need: Need, db: &DatabaseConnection) -> Result<Option<String>, DbErr> {
    db.ping().await?;
    if need == Need::Reached {
        return Ok(None);
    }
    let pending = sealpost_migrations::pending(db).await?;
    let sentence = || format!("the database lacks migrations ({}): run `sealpost migrate`", pending.join(", "));
    Ok((!pending.is_empty()).then(sentence))
}
