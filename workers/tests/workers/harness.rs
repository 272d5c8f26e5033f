//! A real database and a real log for each test.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ConnectOptions, ConnectionTrait, Database, DatabaseConnection,
    EntityTrait, QueryOrder,
};
use sealpost_bus::embedded::{EmbeddedBus, EmbeddedConfig, EmbeddedLive};
use sealpost_bus::{Append, DeadLetter, EventLog, Live, LiveItem, LiveSubscription, Subject};
use sealpost_schema::entities::{conversation, event, participant};
use sealpost_schema::{
    ClientMessageId, ConversationId, Event, EventBody, EventId, EventRecord, MessageId, Seq, StoredNotice, Timestamp,
    UserId, chat_subject,
};
use sealpost_workers::persistence::{self, PersistenceConfig};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const PATIENCE: Duration = Duration::from_secs(30);

/// Makes two tests of each function: one on SQLite, one on Postgres.
macro_rules! on_both_stores {
    ($($name:ident)*) => {
        mod sqlite { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { crate::harness::on_sqlite(super::$name).await; })* }
        mod postgres { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { crate::harness::on_postgres(super::$name).await; })* }
    };
}
pub(crate) use on_both_stores;

pub async fn on_sqlite<F: Future<Output = ()>>(test: impl FnOnce(World) -> F) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("store.db").display());
    let world = World::new(connect(url).await, folder);
    test(world).await;
}

/// Needs `SEALPOST_TEST_POSTGRES`, the URL of a server where databases may be made. Without it the test is left out, but not in CI.
pub async fn on_postgres<F: Future<Output = ()>>(test: impl FnOnce(World) -> F) {
    let Ok(admin_url) = std::env::var("SEALPOST_TEST_POSTGRES") else {
        assert!(std::env::var_os("CI").is_none(), "SEALPOST_TEST_POSTGRES is not set, and CI runs the Postgres tests");
        eprintln!("left out: set SEALPOST_TEST_POSTGRES to the URL of a Postgres server (see tools/postgres)");
        return;
    };
    let name = format!("workers_{}", EventId::new().0.simple());
    let admin = Database::connect(ConnectOptions::new(admin_url.clone()).max_connections(1).to_owned()).await.unwrap();
    admin.execute_unprepared(&format!("CREATE DATABASE {name}")).await.unwrap();
    let (server, _) = admin_url.rsplit_once('/').unwrap();
    let db = connect(format!("{server}/{name}")).await;
    let world = World::new(db.clone(), tempfile::tempdir().unwrap());
    let result = AssertUnwindSafe(test(world)).catch_unwind().await;
    db.close().await.unwrap();
    admin.execute_unprepared(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

async fn connect(url: String) -> DatabaseConnection {
    let mut options = ConnectOptions::new(url);
    options.max_connections(4).sqlx_logging(false).acquire_timeout(Duration::from_secs(10)).map_sqlx_sqlite_opts(
        |sqlite| {
            sqlite
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Normal)
                .busy_timeout(Duration::from_secs(5))
        },
    );
    let db = Database::connect(options).await.unwrap();
    sealpost_migrations::migrate(&db).await.unwrap();
    db
}

pub struct World {
    pub db: DatabaseConnection,
    pub log: Log,
    /// Of the SQLite file.
    _folder: TempDir,
}

impl World {
    fn new(db: DatabaseConnection, folder: TempDir) -> Self {
        Self { db, log: Log::new(), _folder: folder }
    }

    /// All stored events, by conversation and seq.
    pub async fn table(&self) -> Vec<event::Model> {
        event::Entity::find()
            .order_by_asc(event::Column::ConversationId)
            .order_by_asc(event::Column::Seq)
            .all(&self.db)
            .await
            .unwrap()
    }

    pub async fn row(&self, event: &Event) -> Option<event::Model> {
        let key = (event.conversation_id.0, event.seq.to_db());
        event::Entity::find_by_id(key).one(&self.db).await.unwrap()
    }

    pub fn persistence(&self) -> Running {
        self.persistence_on(&self.log, quick())
    }

    pub fn persistence_on(&self, log: &Log, config: PersistenceConfig) -> Running {
        let (bus, live): (Arc<dyn EventLog>, Arc<dyn Live>) = (Arc::new(log.bus.clone()), log.live.clone());
        Running::new(|stop| persistence::run(bus, live, self.db.clone(), config, stop))
    }
}

/// Puts records back for a moment only, and gives up soon.
pub fn quick() -> PersistenceConfig {
    PersistenceConfig { put_back_ms: 20, put_back_max_ms: 50, max_attempts: 100, ..PersistenceConfig::default() }
}

/// A worker. Dropping it stops it without waiting.
pub struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    pub fn new<F: Future<Output = ()> + Send + 'static>(worker: impl FnOnce(CancellationToken) -> F) -> Self {
        let stop = CancellationToken::new();
        Self { task: tokio::spawn(worker(stop.clone())), stop }
    }

    pub async fn stop(mut self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, &mut self.task).await.expect("the worker stops").unwrap();
    }
}

impl Running {
    /// As a process that is gone: it gives nothing back.
    pub async fn kill(mut self) {
        self.task.abort();
        assert!((&mut self.task).await.unwrap_err().is_cancelled());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub struct Log {
    pub bus: EmbeddedBus,
    pub live: Arc<EmbeddedLive>,
    _folder: TempDir,
}

impl Log {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bus = EmbeddedBus::open(EmbeddedConfig::new(folder.path())).unwrap();
        Self { bus, live: Arc::new(EmbeddedLive::new(10_000)), _folder: folder }
    }

    /// Appends the events as one record to their conversation's subject.
    pub async fn append(&self, events: &[Event]) {
        let record = EventRecord::new(0, events.iter().cloned().map(Arc::new).collect()).expect("consecutive events");
        self.append_raw(&chat_subject(events[0].conversation_id), record.encode()).await;
    }

    pub async fn append_raw(&self, subject: &str, payload: impl Into<Bytes>) {
        let (subject, id) = (Subject::new(subject).unwrap(), EventId::new().to_string());
        self.bus.append(Append { subject, id, expected: None, payload: payload.into() }).await.unwrap();
    }

    pub async fn subscribe(&self, pattern: &str) -> LiveSubscription {
        self.live.subscribe(Subject::pattern(pattern).unwrap()).await.unwrap()
    }

    /// Waits until everything was handed out and acked.
    pub async fn drained(&self, consumer: &str) {
        eventually("the consumer has nothing left", async || {
            // Before a worker has opened it, there is no consumer.
            let state = self.bus.consumer_state(consumer).await.unwrap();
            state.is_some_and(|state| state.pending == 0 && state.ack_pending == 0)
        })
        .await;
    }

    pub async fn dead_letters(&self) -> Vec<DeadLetter> {
        self.bus.dead_letters().list(0, 100).await.unwrap()
    }
}

pub async fn eventually(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !check().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("in vain waited until {what}"));
}

/// The payload of the next live message.
pub async fn next_live(subscription: &mut LiveSubscription) -> Bytes {
    match tokio::time::timeout(PATIENCE, subscription.recv()).await.expect("a live message").unwrap() {
        LiveItem::Message(message) => message.payload,
        LiveItem::Lost => panic!("live messages were lost"),
    }
}

/// Notices until `enough` of them came together.
pub async fn notices(subscription: &mut LiveSubscription, enough: impl Fn(&StoredNotice) -> bool) -> StoredNotice {
    let mut all = StoredNotice::default();
    while !enough(&all) {
        let notice: StoredNotice = serde_json::from_slice(&next_live(subscription).await).unwrap();
        all.stored.extend(notice.stored);
        all.voided.extend(notice.voided);
    }
    all
}

/// How many events the ranges cover.
pub fn covered(notice: &StoredNotice) -> u64 {
    notice.stored.iter().map(|range| range.last.0 - range.first.0 + 1).sum()
}

pub fn event(conversation_id: ConversationId, seq: u64, body: EventBody) -> Event {
    let (id, sender_id) = (EventId::new(), UserId(conversation_id.0));
    Event { id, conversation_id, seq: Seq(seq), sender_id, created_at: Timestamp::from_millis(1_795_253_400_000), body }
}

pub fn message(conversation: ConversationId, seq: u64) -> Event {
    message_named(conversation, seq, &format!("m-{seq}"))
}

pub fn message_named(conversation: ConversationId, seq: u64, name: &str) -> Event {
    let client_message_id = ClientMessageId::try_from(name.to_owned()).unwrap();
    event(
        conversation,
        seq,
        EventBody::MessagePosted {
            client_message_id,
            sealed: format!("sealed {conversation} {seq}"),
            links: None,
            expires_at: None,
        },
    )
}

pub fn deletion(seq: u64, of: &Event) -> Event {
    let body = EventBody::MessageDeleted { message_id: MessageId::from(of.id), message_seq: of.seq };
    event(of.conversation_id, seq, body)
}

/// A group with its owner.
pub async fn make_conversation(world: &World) -> (ConversationId, UserId) {
    let (id, owner) = (ConversationId::new(), UserId::new());
    let row = conversation::ActiveModel {
        id: Set(id.0),
        kind: Set("group".to_owned()),
        dm_key: Set(None),
        sealed_title: Set(None),
        title_event_id: Set(None),
        title_sender_id: Set(None),
        created_by: Set(owner.0),
        created_at: Set(0),
        deleted_at: Set(None),
        ..Default::default()
    };
    row.insert(&world.db).await.unwrap();
    let row = participant::ActiveModel {
        conversation_id: Set(id.0),
        user_id: Set(owner.0),
        role: Set("owner".to_owned()),
        added_at: Set(0),
        read_seq: Set(0),
        delivered_seq: Set(0),
        ..Default::default()
    };
    row.insert(&world.db).await.unwrap();
    (id, owner)
}
