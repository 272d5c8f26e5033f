//! The store: SQLite in a file, or Postgres that may be away.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use sea_orm::sqlx::Connection as _;
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
    // SQLite ends a transaction by itself when the disk is full, and the driver's own end of it fails then: it counts one too many for ever.
    // What it takes for a transaction on such a connection is none, or is left open and shows what was there before.
    options.map_sqlx_sqlite_before_acquire(|connection, _| {
        Box::pin(std::future::ready(Ok(!connection.is_in_transaction())))
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

#[cfg(test)]
mod tests {
    use super::*;
    use sea_orm::{ConnectionTrait as _, TransactionTrait as _};

    /// As on a full disk: SQLite has ended the transaction, and the driver does not know it.
    #[tokio::test]
    async fn a_connection_whose_transaction_ended_by_itself_is_not_used_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.db");
        std::fs::File::create(&path).unwrap();
        let db = sqlite(path.clone(), 1).await.unwrap();
        let other = sqlite(path, 1).await.unwrap();
        db.execute_unprepared("CREATE TABLE t (n INTEGER)").await.unwrap();
        let transaction = db.begin().await.unwrap();
        transaction.execute_unprepared("INSERT INTO t VALUES (1)").await.unwrap();
        transaction.execute_unprepared("ROLLBACK").await.unwrap();
        drop(transaction);
        let rows = async |db: &DatabaseConnection| {
            let sql = sea_orm::Statement::from_string(sea_orm::DbBackend::Sqlite, "SELECT count(*) FROM t");
            let row = db.query_one_raw(sql).await.unwrap().unwrap();
            row.try_get_by_index::<i64>(0).unwrap()
        };
        // What is read and given up leaves nothing open.
        let transaction = db.begin().await.unwrap();
        transaction.execute_unprepared("SELECT count(*) FROM t").await.unwrap();
        transaction.rollback().await.unwrap();
        other.execute_unprepared("INSERT INTO t VALUES (2)").await.unwrap();
        assert_eq!(rows(&db).await, 1, "it reads what was there before");
        let transaction = db.begin().await.unwrap();
        transaction.execute_unprepared("INSERT INTO t VALUES (3)").await.unwrap();
        transaction.commit().await.unwrap();
        assert_eq!(rows(&other).await, 2, "what was committed is there for others");
    }
}
