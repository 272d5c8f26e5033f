//! A store, a log, and as many processes with lanes as a test needs.

use std::collections::HashMap;
use std::sync::Arc;

use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ConnectOptions, Database, DatabaseConnection, EntityTrait,
    IntoActiveModel as _,
};
use sealpost_lane::{Appended, Draft, LaneConfig, LaneError, Lanes, Progress, Rule, Waiter};
use sealpost_schema::entities::{conversation, event, outbox, participant};
use sealpost_schema::{
    ClientMessageId, Clock, ConversationId, Event, EventBody, EventId, EventRecord, MessageId, Role, Seq, StoredNotice,
    StoredRange, UserId,
};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::log::FaultyLog;

pub struct World {
    pub log: Arc<FaultyLog>,
    pub db: DatabaseConnection,
    pub conversation: ConversationId,
    pub ada: UserId,
    pub bob: UserId,
    _folder: TempDir,
}

impl World {
    /// A group in which Ada owns and Bob reads.
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}?mode=rwc", folder.path().join("store.db").display());
        let db = Database::connect(ConnectOptions::new(url)).await.unwrap();
        sealpost_migrations::migrate(&db).await.unwrap();
        let world = Self {
            log: Arc::new(FaultyLog::new()),
            db,
            conversation: ConversationId::new(),
            ada: UserId::new(),
            bob: UserId::new(),
            _folder: folder,
        };
        let row = conversation::ActiveModel {
            id: Set(world.conversation.0),
            kind: Set("group".to_owned()),
            dm_key: Set(None),
            sealed_title: Set(None),
            title_event_id: Set(None),
            title_sender_id: Set(None),
            created_by: Set(world.ada.0),
            created_at: Set(1),
            deleted_at: Set(None),
            ..Default::default()
        };
        conversation::Entity::insert(row).exec_without_returning(&world.db).await.unwrap();
        for (user, role) in [(world.ada, Role::Owner), (world.bob, Role::Reader)] {
            let row = participant::ActiveModel {
                conversation_id: Set(world.conversation.0),
                user_id: Set(user.0),
                role: Set(role.as_str().to_owned()),
                added_at: Set(1),
                read_seq: Set(0),
                ..Default::default()
            };
            participant::Entity::insert(row).exec_without_returning(&world.db).await.unwrap();
        }
        world
    }

    /// Another process.
    pub fn lanes(&self) -> Lanes {
        self.lanes_with(LaneConfig::default())
    }

    pub fn lanes_with(&self, config: LaneConfig) -> Lanes {
        self.lanes_until(config, CancellationToken::new())
    }

    /// Another process, which ends.
    pub fn lanes_until(&self, config: LaneConfig, stop: CancellationToken) -> Lanes {
        let (log, db) = (self.log.clone(), self.db.clone());
        Lanes::new(log, db, config, Clock::default(), None, TaskTracker::new(), stop)
    }

    /// Decides a change, as a gateway does: a transaction that leaves a row in the outbox. `time` in milliseconds.
    pub async fn decide(&self, time: i64, body: EventBody) -> Draft {
        let row = outbox::Model {
            id: EventId::new().0,
            conversation_id: self.conversation.0,
            sender_id: self.ada.0,
            body: serde_json::to_string(&body).unwrap(),
            created_at: time,
        };
        match body {
            EventBody::ParticipantAdded { user_id, role } => {
                let row = participant::ActiveModel {
                    conversation_id: Set(self.conversation.0),
                    user_id: Set(user_id.0),
                    role: Set(role.as_str().to_owned()),
                    added_at: Set(time),
                    read_seq: Set(0),
                    ..Default::default()
                };
                participant::Entity::insert(row).exec_without_returning(&self.db).await.unwrap();
            }
            EventBody::ParticipantRemoved { user_id } => {
                let key = (self.conversation.0, user_id.0);
                participant::Entity::delete_by_id(key).exec(&self.db).await.unwrap();
            }
            _ => {}
        }
        outbox::Entity::insert(row.clone().into_active_model()).exec_without_returning(&self.db).await.unwrap();
        Draft::decided(&row).unwrap()
    }

    pub fn draft(&self, name: &str) -> Draft {
        Draft {
            id: EventId::new(),
            sender_id: self.ada,
            created_at: Clock::default().now(),
            body: EventBody::MessagePosted {
                client_message_id: ClientMessageId::try_from(name.to_owned()).unwrap(),
                sealed: format!("sealed {name}"),
                links: None,
                expires_at: None,
            },
            rule: Rule::Post,
            retry: false,
        }
    }

    /// What changes the message `of`.
    pub fn change(&self, of: &Event, rule: Rule, body: impl FnOnce(MessageId) -> EventBody) -> Draft {
        Draft { rule, body: body(of.id.into()), ..self.draft("change") }
    }

    pub async fn send(&self, lanes: &Lanes, name: &str) -> Result<Appended, LaneError> {
        lanes.append(self.conversation, self.draft(name)).await
    }

    /// Submits and gives all progress.
    pub async fn follow(&self, lanes: &Lanes, draft: Draft) -> mpsc::Receiver<Progress> {
        let (sender, receiver) = mpsc::channel(16);
        let waiter: Waiter = Box::new(move |progress| sender.try_send(progress).unwrap());
        lanes.submit(self.conversation, draft, waiter).await.unwrap();
        receiver
    }

    /// Writes the conversation's rights as a control change does.
    pub async fn set_rights(&self, rights: &str) {
        let row = conversation::ActiveModel {
            id: Set(self.conversation.0),
            rights: Set(Some(rights.to_owned())),
            ..Default::default()
        };
        row.update(&self.db).await.unwrap();
    }

    /// What the log holds, by seq. Panics where a number is given to two events.
    pub fn logged(&self) -> Vec<Arc<Event>> {
        let mut events: HashMap<Seq, Arc<Event>> = HashMap::new();
        for record in self.log.records() {
            for event in EventRecord::decode(&record.payload).unwrap().events {
                if let Some(other) = events.insert(event.seq, Arc::clone(&event)) {
                    assert_eq!(other.id, event.id, "seq {} was given away twice", event.seq);
                }
            }
        }
        let mut events: Vec<_> = events.into_values().collect();
        events.sort_by_key(|event| event.seq);
        events
    }

    /// Whether the log has this event under this number.
    pub fn log_has(&self, id: EventId, seq: Seq) -> bool {
        let events =
            self.log.records().into_iter().flat_map(|record| EventRecord::decode(&record.payload).unwrap().events);
        events.into_iter().any(|event| event.id == id && event.seq == seq)
    }

    /// The log's events are 1, 2, 3 … and carry these names.
    pub fn assert_log(&self, names: &[&str]) {
        let logged = self.logged();
        let seqs: Vec<_> = logged.iter().map(|event| event.seq.0).collect();
        assert_eq!(seqs, (1..=names.len() as u64).collect::<Vec<_>>());
        let found: Vec<_> = logged.iter().map(|event| name_of(event)).collect();
        assert_eq!(found, names);
    }

    pub fn range(&self, first: u64, last: u64, ids: impl IntoIterator<Item = EventId>) -> StoredRange {
        let (conversation_id, ids) = (self.conversation, StoredRange::fingerprint(ids));
        StoredRange { conversation_id, first: Seq(first), last: Seq(last), ids }
    }

    /// Does what the persistence worker does, and tells the lanes.
    pub async fn persist(&self, lanes: &Lanes, events: &[Arc<Event>]) {
        let rows: Vec<event::ActiveModel> =
            events.iter().map(|event| event::Model::of(event).unwrap().into_active_model()).collect();
        event::Entity::insert_many(rows).exec_without_returning(&self.db).await.unwrap();
        let stored = events.iter().map(|event| self.range(event.seq.0, event.seq.0, [event.id])).collect();
        lanes.stored(&StoredNotice { stored, voided: Vec::new() });
    }
}

pub fn name_of(event: &Event) -> String {
    match &event.body {
        EventBody::MessagePosted { client_message_id, .. } => client_message_id.to_string(),
        other => other.kind().to_owned(),
    }
}
