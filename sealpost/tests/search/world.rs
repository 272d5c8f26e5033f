//! A store with conversations whose messages are really sealed.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use sea_orm::sqlx::sqlite::SqliteJournalMode;
use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection,
    EntityTrait as _, IntoActiveModel as _, QueryOrder as _,
};
use sealpost_bus::{Position, Record, Subject};
use sealpost_gateway::SearchConfig;
use sealpost_gateway::search::{Indexer, Rebuild};
use sealpost_schema::entities::{conversation, conversation_key, search_message, search_term};
use sealpost_schema::{
    ClientMessageId, ConversationId, Event, EventBody, EventId, EventRecord, MessageId, Seq, Timestamp, UserId,
    chat_subject,
};
use sealpost_sealing::{Binding, ConversationKey, KeyRing, Suite};
use sealpost_workers::persistence::{Problem, StoreError, store_record};
use secrecy::SecretString;
use tempfile::TempDir;

/// 32 bytes as url-safe base64.
const MASTER_KEY: &str = "c2VhbHBvc3QtdGVzdC1tYXN0ZXIta2V5LTAxMjM0NTY=";
const NOW: i64 = 1_795_253_400_000;
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Makes two tests of each function: one on SQLite, one on Postgres.
macro_rules! on_both_stores {
    ($($name:ident)*) => {
        mod sqlite { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { crate::world::on_sqlite(super::$name).await; })* }
        mod postgres { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { crate::world::on_postgres(super::$name).await; })* }
    };
}
pub(crate) use on_both_stores;

pub async fn on_sqlite<F: Future<Output = ()>>(test: impl FnOnce(World) -> F) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("store.db").display());
    test(World { db: connect(url).await, _folder: Some(Arc::new(folder)) }).await;
}

/// Needs `SEALPOST_TEST_POSTGRES`. Without it the test is left out, but not in CI.
pub async fn on_postgres<F: Future<Output = ()>>(test: impl FnOnce(World) -> F) {
    let Ok(admin_url) = std::env::var("SEALPOST_TEST_POSTGRES") else {
        assert!(std::env::var_os("CI").is_none(), "SEALPOST_TEST_POSTGRES is not set, and CI runs the Postgres tests");
        eprintln!("left out: set SEALPOST_TEST_POSTGRES to the URL of a Postgres server (see tools/postgres)");
        return;
    };
    let name = format!("search_{}", EventId::new().0.simple());
    let admin = Database::connect(ConnectOptions::new(admin_url.clone()).max_connections(1).to_owned()).await.unwrap();
    admin.execute_unprepared(&format!("CREATE DATABASE {name}")).await.unwrap();
    let (server, _) = admin_url.rsplit_once('/').unwrap();
    let db = connect(format!("{server}/{name}")).await;
    let result = AssertUnwindSafe(test(World { db: db.clone(), _folder: None })).catch_unwind().await;
    db.close().await.unwrap();
    admin.execute_unprepared(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

async fn connect(url: String) -> DatabaseConnection {
    let mut options = ConnectOptions::new(url);
    options.max_connections(4).sqlx_logging(false).acquire_timeout(PATIENCE).map_sqlx_sqlite_opts(|sqlite| {
        sqlite.create_if_missing(true).journal_mode(SqliteJournalMode::Wal).busy_timeout(PATIENCE)
    });
    let db = Database::connect(options).await.unwrap();
    sealpost_migrations::migrate(&db).await.unwrap();
    db
}

#[derive(Clone)]
pub struct World {
    pub db: DatabaseConnection,
    /// Of the SQLite file.
    _folder: Option<Arc<TempDir>>,
}

/// Everything that the index holds.
#[derive(Debug, PartialEq, Eq)]
pub struct Index {
    pub terms: Vec<(i64, i64)>,
    pub messages: Vec<search_message::Model>,
}

impl Index {
    /// Whether each row belongs to a message, and the other way round.
    pub fn is_consistent(&self) -> bool {
        let mut rows: Vec<_> = self.messages.iter().flat_map(search_message::Model::rows).collect();
        rows.sort_unstable();
        rows == self.terms
    }
}

/// A conversation, and the events that were made for it.
#[derive(Clone)]
pub struct Talk {
    pub id: ConversationId,
    pub sender: UserId,
    key: Arc<ConversationKey>,
}

pub fn ring() -> KeyRing {
    KeyRing::parse(&[SecretString::from(MASTER_KEY)]).unwrap()
}

/// Without rests.
pub fn quick() -> SearchConfig {
    SearchConfig { messages_per_second: 0, batch: 7, ..SearchConfig::default() }
}

impl World {
    pub fn indexer(&self) -> Indexer {
        Indexer::new(self.db.clone(), ring())
    }

    pub fn rebuild(&self, conversation: Option<ConversationId>) -> Rebuild {
        let _ = self;
        Rebuild { key_ring: ring(), config: quick(), conversation }
    }

    pub async fn talk(&self) -> Talk {
        let (id, sender) = (ConversationId::new(), UserId::new());
        let key = ConversationKey::generate(id.0, 1, Suite::default());
        let row = conversation::Model {
            id: id.0,
            kind: "group".to_owned(),
            dm_key: None,
            sealed_title: None,
            title_event_id: None,
            title_sender_id: None,
            created_by: sender.0,
            created_at: NOW,
            deleted_at: None,
            rights: None,
            history: "all".to_owned(),
            public_name: None,
            open_reading: false,
            disappear_after: None,
            retention_days: None,
        };
        conversation::Entity::insert(row.into_active_model()).exec_without_returning(&self.db).await.unwrap();
        let row = conversation_key::Model {
            conversation_id: id.0,
            generation: 1,
            wrapped: ring().wrap(&key, 0),
            created_at: NOW,
            purpose: conversation_key::LASTING.to_owned(),
            disappear_after: None,
            seals_until: None,
            expires_at: None,
        };
        conversation_key::Entity::insert(row.into_active_model()).exec_without_returning(&self.db).await.unwrap();
        Talk { id, sender, key: Arc::new(key) }
    }

    /// As a persistence worker does. False: its message is not there yet.
    pub async fn store(&self, event: &Event) -> bool {
        match store_record(&self.db, &record(std::slice::from_ref(event))).await {
            Ok(_) => true,
            Err(StoreError::Problem(Problem::BaseMissing { .. })) => false,
            // A worker tries again what passes, such as a deadlock that Postgres has ended.
            Err(StoreError::Database(error)) if error.to_string().contains("deadlock") => false,
            Err(error) => panic!("{error}"),
        }
    }

    pub async fn index(&self) -> Index {
        let terms = search_term::Entity::find()
            .order_by_asc(search_term::Column::Term)
            .order_by_asc(search_term::Column::At)
            .all(&self.db)
            .await
            .unwrap();
        let messages = search_message::Entity::find().order_by_asc(search_message::Column::MessageId).all(&self.db);
        Index { terms: terms.into_iter().map(|row| (row.term, row.at)).collect(), messages: messages.await.unwrap() }
    }

    /// As `DELETE /conversations/{id}` and the persistence worker do it.
    pub async fn delete(&self, talk: &Talk, seq: u64) {
        let mut row =
            conversation::Entity::find_by_id(talk.id.0).one(&self.db).await.unwrap().unwrap().into_active_model();
        row.deleted_at = Set(Some(NOW));
        row.update(&self.db).await.unwrap();
        assert!(self.store(&talk.event(seq, EventBody::ConversationDeleted)).await);
    }
}

impl Talk {
    pub fn event(&self, seq: u64, body: EventBody) -> Event {
        let created_at = Timestamp::from_millis(NOW + i64::try_from(seq).unwrap() * 700);
        Event { id: EventId::new(), conversation_id: self.id, seq: Seq(seq), sender_id: self.sender, created_at, body }
    }

    pub fn post(&self, seq: u64, text: &str) -> Event {
        let client_message_id = ClientMessageId::try_from(format!("m-{seq}")).unwrap();
        let body = EventBody::MessagePosted { client_message_id, sealed: String::new(), links: None, expires_at: None };
        self.sealed(self.event(seq, body), text)
    }

    pub fn edit(&self, of: &Event, seq: u64, text: &str) -> Event {
        let body = EventBody::MessageEdited {
            message_id: MessageId::from(of.id),
            message_seq: of.seq,
            sealed: String::new(),
            mentions: Vec::new(),
            mentions_all: false,
            expires_at: None,
        };
        self.sealed(self.event(seq, body), text)
    }

    pub fn deletion(&self, of: &Event, seq: u64) -> Event {
        self.event(seq, EventBody::MessageDeleted { message_id: MessageId::from(of.id), message_seq: of.seq })
    }

    fn sealed(&self, mut event: Event, text: &str) -> Event {
        let binding = Binding { conversation: self.id.0, message: event.id.0, sender: self.sender.0 };
        event.body.set_content(self.key.seal(&binding, text.as_bytes(), 0).unwrap());
        event
    }

    /// The term of a word, made here as the index makes it.
    pub fn word(&self, word: &str) -> i64 {
        let hash = self.key.hash_key("search").hash(&[b"w", word.as_bytes()].concat());
        i64::from_be_bytes(hash[..8].try_into().unwrap())
    }
}

/// The events as one record of the log.
pub fn record(events: &[Event]) -> Record {
    let subject = Subject::new(chat_subject(events[0].conversation_id)).unwrap();
    let payload = EventRecord::new(0, events.iter().cloned().map(Arc::new).collect()).expect("consecutive").encode();
    Record { position: Position(1), subject, id: EventId::new().to_string(), payload: Bytes::from(payload) }
}

pub async fn eventually(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !check().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("in vain waited until {what}"));
}
