//! SQLite itself, called in this thread, with what goes wrong on the way to a database: statements that fail, transactions that a process
//! leaves open, commits whose process ends before it hears of them.
//!
//! SeaORM's mock is the way in: what is behind it here is no mock, but SQLite.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rusqlite::types::ValueRef;
use sea_orm::sea_query::Value;
use sea_orm::{
    ConnectionTrait as _, Database, DatabaseConnection, DatabaseConnectionType, DbBackend, DbErr, ExecResult,
    MockDatabase, MockDatabaseConnection, MockDatabaseTrait, MockExecResult, QueryResult, RuntimeErr, SqlxError,
    Statement, Transaction,
};
use uuid::Uuid;

use super::broker::Broker;
use super::defect::Defect;
use super::process::Life;

/// The file that all processes share.
#[derive(Clone)]
pub struct Store {
    path: PathBuf,
    broker: Arc<Broker>,
}

impl Store {
    pub fn new(path: PathBuf, broker: Arc<Broker>) -> Self {
        template(&path);
        if broker.defect == Some(Defect::NoUniqueIndex) {
            open(&path).execute_batch("DROP INDEX events_client_message").unwrap();
        }
        Self { path, broker }
    }

    /// A connection for the world itself: it never fails.
    pub fn direct(&self) -> rusqlite::Connection {
        open(&self.path)
    }

    /// What a process gets.
    pub fn connect(&self, life: Arc<Life>) -> DatabaseConnection {
        let faulty = Faulty { connection: open(&self.path), in_transaction: false, store: self.clone(), life };
        DatabaseConnectionType::MockDatabaseConnection(Arc::new(MockDatabaseConnection::new(faulty))).into()
    }
}

fn open(path: &Path) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(path).unwrap();
    // Nothing here survives the process, so nothing has to be synced.
    connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF").unwrap();
    connection
}

/// A migrated, empty database: migrating takes longer than most seeds.
fn template(path: &Path) {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    let bytes = BYTES.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("template.db");
        let url = format!("sqlite://{}?mode=rwc", path.display());
        elsewhere(async {
            let db = Database::connect(url).await.unwrap();
            sealpost_migrations::migrate(&db).await.unwrap();
            db.close().await.unwrap();
        });
        std::fs::read(path).unwrap()
    });
    std::fs::write(path, bytes).unwrap();
}

/// On a thread and a clock of its own, so that a simulated world does not notice.
fn elsewhere<T: Send>(work: impl Future<Output = T> + Send) -> T {
    let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
    std::thread::scope(|scope| scope.spawn(run).join().unwrap())
}

/// The driver's own error for what is taken: the workers' first guess is that nothing is, and this tells them otherwise. Nobody but the
/// driver can make one.
fn taken() -> DbErr {
    static ERROR: OnceLock<Arc<SqlxError>> = OnceLock::new();
    let error = ERROR.get_or_init(|| {
        let refused = elsewhere(async {
            let db = Database::connect("sqlite::memory:").await.unwrap();
            let twice = "CREATE TABLE once (id INTEGER, UNIQUE (id)); INSERT INTO once VALUES (1), (1)";
            db.execute_unprepared(twice).await.unwrap_err()
        });
        match refused {
            DbErr::Exec(RuntimeErr::SqlxError(error)) => error,
            other => panic!("another error than a unique violation: {other}"),
        }
    });
    DbErr::Exec(RuntimeErr::SqlxError(Arc::clone(error)))
}

/// One process's connection. Statements are carried out at once; a process that has ended reaches nothing.
struct Faulty {
    connection: rusqlite::Connection,
    in_transaction: bool,
    store: Store,
    life: Arc<Life>,
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

impl Faulty {
    fn reach(&mut self) -> Result<(), DbErr> {
        let broker = &self.store.broker;
        if !self.life.has_ended() && !broker.state().store_is_away() && !broker.happens(broker.nature.store_fails) {
            return Ok(());
        }
        // The database sees the connection end.
        self.end("ROLLBACK");
        Err(DbErr::Conn(RuntimeErr::Internal("simulated: the connection is gone".to_owned())))
    }

    fn end(&mut self, how: &str) {
        if std::mem::take(&mut self.in_transaction) {
            self.connection.execute_batch(how).unwrap();
        }
    }
}

impl MockDatabaseTrait for Faulty {
    fn query(&mut self, _: usize, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.reach()?;
        let rows = rows(&self.connection, &statement).map_err(|error| failed(&error))?;
        // The one way to make rows of this kind.
        MockDatabase::new(DbBackend::Sqlite).append_query_results([rows]).query(0, statement)
    }

    fn execute(&mut self, _: usize, statement: Statement) -> Result<ExecResult, DbErr> {
        self.reach()?;
        let mut prepared = self.connection.prepare_cached(&statement.sql).map_err(|error| failed(&error))?;
        let count =
            prepared.execute(rusqlite::params_from_iter(parameters(&statement))).map_err(|error| failed(&error))?;
        let result = MockExecResult { last_insert_id: 0, rows_affected: count as u64 };
        MockDatabase::new(DbBackend::Sqlite).append_exec_results([result]).execute(0, statement)
    }

    fn begin(&mut self) {
        self.connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        self.in_transaction = true;
    }

    fn commit(&mut self) {
        let (broker, life) = (Arc::clone(&self.store.broker), Arc::clone(&self.life));
        if broker.happens(broker.nature.killed_at_point) {
            life.end();
        }
        let lost = broker.defect == Some(Defect::LostCommit) && broker.chance.permille(10);
        self.end(if life.has_ended() || lost { "ROLLBACK" } else { "COMMIT" });
        if broker.happens(broker.nature.killed_at_point) {
            life.end();
        }
    }

    fn rollback(&mut self) {
        self.end("ROLLBACK");
    }

    fn drain_transaction_log(&mut self) -> Vec<Transaction> {
        Vec::new()
    }

    fn get_database_backend(&self) -> DbBackend {
        DbBackend::Sqlite
    }

    fn ping(&self) -> Result<(), DbErr> {
        Ok(())
    }
}

fn failed(error: &rusqlite::Error) -> DbErr {
    use rusqlite::ffi::{SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE};
    match error.sqlite_error().map(|error| error.extended_code) {
        Some(SQLITE_CONSTRAINT_UNIQUE | SQLITE_CONSTRAINT_PRIMARYKEY) => taken(),
        _ => panic!("the simulated store: {error}"),
    }
}

fn parameters(statement: &Statement) -> Vec<rusqlite::types::Value> {
    let values = statement.values.iter().flat_map(sea_orm::Values::iter);
    values.map(to_sqlite).collect()
}

fn to_sqlite(value: &Value) -> rusqlite::types::Value {
    use rusqlite::types::Value as Sqlite;
    match value {
        Value::Bool(Some(value)) => Sqlite::Integer(i64::from(*value)),
        Value::Int(Some(value)) => Sqlite::Integer(i64::from(*value)),
        Value::BigInt(Some(value)) => Sqlite::Integer(*value),
        Value::Unsigned(Some(value)) => Sqlite::Integer(i64::from(*value)),
        Value::BigUnsigned(Some(value)) => Sqlite::Integer(i64::try_from(*value).unwrap_or(i64::MAX)),
        Value::String(Some(value)) => Sqlite::Text(value.clone()),
        Value::Bytes(Some(value)) => Sqlite::Blob(value.clone()),
        Value::Uuid(Some(value)) => Sqlite::Blob(value.as_bytes().to_vec()),
        Value::Bool(None)
        | Value::Int(None)
        | Value::BigInt(None)
        | Value::Unsigned(None)
        | Value::BigUnsigned(None)
        | Value::String(None)
        | Value::Bytes(None)
        | Value::Uuid(None) => Sqlite::Null,
        other => panic!("the simulated store does not know {other:?}"),
    }
}

/// By name, and before the names in the order of the columns, for those who ask by place.
fn rows(connection: &rusqlite::Connection, statement: &Statement) -> rusqlite::Result<Vec<BTreeMap<String, Value>>> {
    let mut prepared = connection.prepare_cached(&statement.sql)?;
    let columns: Vec<(String, String)> = prepared
        .columns()
        .iter()
        .map(|column| (column.name().to_owned(), column.decl_type().unwrap_or_default().to_lowercase()))
        .collect();
    let mut found = Vec::new();
    let mut rows = prepared.query(rusqlite::params_from_iter(parameters(statement)))?;
    while let Some(row) = rows.next()? {
        let mut values = BTreeMap::new();
        for (index, (name, kind)) in columns.iter().enumerate() {
            let value = from_sqlite(row.get_ref(index)?, kind);
            values.insert(format!("\0{index:02}"), value.clone());
            values.insert(name.clone(), value);
        }
        found.push(values);
    }
    Ok(found)
}

/// Types follow from the declared ones; what has none is a number.
fn from_sqlite(value: ValueRef<'_>, kind: &str) -> Value {
    match value {
        ValueRef::Null if kind.contains("uuid") => Value::Uuid(None),
        ValueRef::Null if kind.contains("text") || kind.contains("varchar") => Value::String(None),
        ValueRef::Null if kind.contains("bool") => Value::Bool(None),
        ValueRef::Null => Value::BigInt(None),
        ValueRef::Integer(number) if kind.contains("bool") => Value::Bool(Some(number != 0)),
        ValueRef::Integer(number) => Value::BigInt(Some(number)),
        ValueRef::Real(number) => Value::Double(Some(number)),
        ValueRef::Text(text) => Value::String(Some(String::from_utf8_lossy(text).into_owned())),
        ValueRef::Blob(bytes) if kind.contains("uuid") => Value::Uuid(Uuid::from_slice(bytes).ok()),
        ValueRef::Blob(bytes) => Value::Bytes(Some(bytes.to_vec())),
    }
}
