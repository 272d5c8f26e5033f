//! The world of one seed: processes that come and go, a broker that comes and goes, people who work, and a last look at everything.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sealpost_bus::{EventLog, Live as _, LiveItem, Subject};
use sealpost_lane::{LaneConfig, Lanes};
use sealpost_schema::{Clock, Event, EventBody, StoredNotice, Timestamp};
use sealpost_workers::outbox::{self, OutboxConfig};
use sealpost_workers::persistence::{self, PersistenceConfig};
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::broker::{Broker, Log};
use super::chance::Chance;
use super::clients::{self, Gateway};
use super::defect::Defect;
use super::live::{SimulatedLive, Wires};
use super::nature::Nature;
use super::process::Life;
use super::store::Store;
use sealpost_torture::history::{Body, Call, Entry, Number, OpId, Seen, Settled, What};

pub const GUEST: Number = 1;
const USERS: usize = 4;
/// How long a kind world may take to finish everything.
const LIMIT: Duration = Duration::from_mins(3);

pub struct World {
    pub chance: Chance,
    pub clock: Clock,
    pub broker: Arc<Broker>,
    pub store: Store,
    pub direct: Mutex<rusqlite::Connection>,
    pub users: Vec<Uuid>,
    pub conversations: Vec<Uuid>,
    members: Vec<Vec<Number>>,
    gateways: Mutex<Vec<Gateway>>,
    wires: Arc<Wires>,
    started: Instant,
    history: Mutex<(Vec<Entry>, OpId)>,
    /// Processes that run, to be killed at any time.
    lives: Mutex<HashMap<usize, Arc<Life>>>,
    _folder: TempDir,
}

/// Gateways, persistence workers, and the outbox worker.
const PROCESSES: usize = 5;
const GATEWAYS: usize = 2;

pub async fn run(seed: u64, defect: Option<Defect>) -> (Vec<Entry>, Duration) {
    let world = Arc::new(World::new(seed, defect));
    // The thread's own generator, which delays of workers come from. Names of folders came from it, too.
    fastrand::seed(seed);
    let mut processes = JoinSet::new();
    for number in 0..PROCESSES {
        let first = world.start(number);
        processes.spawn(keep_running(Arc::clone(&world), number, first));
    }
    let mut people = JoinSet::new();
    let messages = 6 + world.chance.below(14);
    for user in 0..USERS {
        people.spawn(clients::sender(Arc::clone(&world), Number::try_from(user).unwrap(), messages));
    }
    people.spawn(clients::owner(Arc::clone(&world), 4));
    let faults = tokio::spawn(disturb(Arc::clone(&world)));
    // In a kind world everybody comes to an end; until then it is unkind for a while.
    sleep(Duration::from_secs(6) + world.chance.millis(10_000)).await;
    faults.abort();
    world.broker.come_back();
    world.broker.state().kind = true;
    let done = timeout(LIMIT, async { while people.join_next().await.is_some() {} }).await;
    let settled = world.settle(done.is_ok()).await;
    world.note(What::Settled(settled));
    world.read_back();
    for life in world.lives().values() {
        life.end();
    }
    processes.shutdown().await;
    let took = world.started.elapsed();
    (std::mem::take(&mut world.history.lock().unwrap().0), took)
}

impl World {
    fn new(seed: u64, defect: Option<Defect>) -> Self {
        let chance = Chance::new(seed);
        let mut nature = Nature::draw(&chance);
        if defect == Some(Defect::SilenceIsRefusal) {
            // It shows when an answer is lost at the end of a sender's patience.
            (nature.request_lost, nature.answer_lost) = (400, 400);
        }
        let broker = Arc::new(Broker::new(chance.clone(), nature, defect));
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("store.db"), Arc::clone(&broker));
        let started = Instant::now();
        let clock = Clock::of(move || {
            Timestamp::from_millis(1_795_000_000_000 + i64::try_from(started.elapsed().as_millis()).unwrap_or(0))
        });
        let ids = |count: usize| (0..count).map(|_| chance.id(Duration::ZERO)).collect::<Vec<_>>();
        let members = vec![vec![0, 1, 2, 3], vec![0, 2, 3], vec![0, 1, 2]];
        let world = Self {
            clock,
            users: ids(USERS),
            conversations: ids(members.len()),
            members,
            gateways: Mutex::default(),
            wires: Arc::default(),
            started,
            history: Mutex::default(),
            lives: Mutex::default(),
            direct: Mutex::new(store.direct()),
            store,
            broker,
            chance,
            _folder: folder,
        };
        world.populate();
        world
    }

    fn populate(&self) {
        let direct = self.direct.lock().unwrap();
        for (number, id) in (0..).zip(&self.users) {
            self.note(What::User { user: number, id: *id });
            self.note(What::Device { device: number, user: number });
        }
        for ((number, id), members) in (0..).zip(&self.conversations).zip(&self.members) {
            self.note(What::Conversation { conversation: number, id: *id, members: members.clone() });
            let row = "INSERT INTO conversations (id, kind, created_by, created_at) VALUES (?1, 'group', ?2, 1)";
            direct.execute(row, (id.as_bytes(), self.users[0].as_bytes())).unwrap();
            for &member in members {
                let role = if member == 0 { "owner" } else { "member" };
                let row = "INSERT INTO participants (conversation_id, user_id, role, added_at, read_seq) VALUES (?1, ?2, ?3, 1, 0)";
                direct.execute(row, (id.as_bytes(), self.users[member as usize].as_bytes(), role)).unwrap();
            }
        }
    }

    pub fn note(&self, what: What) {
        let at = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.history.lock().unwrap().0.push(Entry { at, what });
    }

    pub fn invoke(&self, device: Number, call: Call) -> OpId {
        let op = {
            let mut history = self.history.lock().unwrap();
            history.1 += 1;
            history.1
        };
        self.note(What::Invoke { op, device, call });
        op
    }

    pub fn id(&self) -> Uuid {
        self.chance.id(self.started.elapsed())
    }

    pub fn gateway(&self) -> Gateway {
        self.gateways.lock().unwrap()[self.chance.below(GATEWAYS)].clone()
    }

    pub fn conversation_of(&self, user: Number) -> Number {
        let own: Vec<usize> = (0..self.members.len()).filter(|at| self.members[*at].contains(&user)).collect();
        Number::try_from(own[self.chance.below(own.len())]).unwrap()
    }

    fn lives(&self) -> std::sync::MutexGuard<'_, HashMap<usize, Arc<Life>>> {
        self.lives.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a process; its life.
    fn start(self: &Arc<Self>, number: usize) -> Arc<Life> {
        let life = Life::new();
        let log = Arc::new(Log { broker: Arc::clone(&self.broker), life: Arc::clone(&life) });
        let live = Arc::new(SimulatedLive {
            wires: Arc::clone(&self.wires),
            broker: Arc::clone(&self.broker),
            life: Arc::clone(&life),
        });
        let db = self.store.connect(Arc::clone(&life));
        let stop = life.stop.clone();
        match number {
            0..GATEWAYS => {
                let lanes = self.lanes(log, db, &life);
                let gateway = Gateway { lanes: lanes.clone(), life: Arc::clone(&life) };
                let mut gateways = self.gateways.lock().unwrap();
                if gateways.len() <= number {
                    gateways.push(gateway);
                } else {
                    gateways[number] = gateway;
                }
                drop(gateways);
                tokio::spawn(hear(lanes, live, Arc::clone(&life)));
            }
            2 | 3 => {
                let config = PersistenceConfig { ack_wait_ms: 2000, retry_max_ms: 500, ..PersistenceConfig::default() };
                tokio::spawn(persistence::run(log, live, db, config, stop));
            }
            _ => {
                let config =
                    OutboxConfig { grace_ms: 800, interval_ms: 400, retry_max_ms: 500, ..OutboxConfig::default() };
                let lanes = self.lanes(log, db.clone(), &life);
                tokio::spawn(hear(lanes.clone(), live, Arc::clone(&life)));
                tokio::spawn(outbox::run(lanes, db, config, self.clock.clone(), Arc::new(Notify::new()), stop));
            }
        }
        self.lives().insert(number, Arc::clone(&life));
        life
    }

    fn lanes(&self, log: Arc<Log>, db: sea_orm::DatabaseConnection, life: &Arc<Life>) -> Lanes {
        // Small, so that what is beyond memory is met.
        let config = LaneConfig {
            max_known: match self.broker.defect {
                // The index has to do it.
                Some(Defect::NoUniqueIndex) => 2,
                _ => self.broker.nature.max_known(),
            },
            max_record_events: 4,
            send_timeout_ms: 3000,
            ack_timeout_ms: 700,
            idle_ms: 1500,
            ..LaneConfig::default()
        };
        let log: Arc<dyn EventLog> = log;
        Lanes::new(log, db, config, self.clock.clone(), None, TaskTracker::new(), life.stop.clone())
    }

    /// Waits until nothing is left to do.
    async fn settle(&self, people_done: bool) -> Settled {
        let start = Instant::now();
        loop {
            let now = self.left();
            if people_done && now.pending == 0 && now.outbox == 0 {
                let after_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
                return Settled { after_ms: Some(after_ms), ..now };
            }
            if !people_done || start.elapsed() > LIMIT {
                return now;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    fn left(&self) -> Settled {
        let state = self.broker.state();
        let consumer = state.consumers.get(persistence::CONSUMER).map(|cursor| cursor.state(&state.records));
        let pending = consumer.map_or(0, |consumer| consumer.pending + consumer.ack_pending);
        let clashes = state.letters.iter().filter(|letter| letter.reason.starts_with("seq clash")).count() as u64;
        let dead_letters = state.letters.len() as u64;
        drop(state);
        let direct = self.direct.lock().unwrap();
        let outbox: i64 = direct.query_row("SELECT count(*) FROM outbox", [], |row| row.get(0)).unwrap();
        let outbox = u64::try_from(outbox).unwrap();
        Settled { after_ms: None, pending, outbox, dead_letters, expected_dead_letters: 0, clashes }
    }

    /// What the store has is what everybody will read for ever.
    fn read_back(&self) {
        let direct = self.direct.lock().unwrap();
        for (conversation, id) in (0..).zip(&self.conversations) {
            let rows = "SELECT seq, id, sender_id, client_message_id, sealed, kind, data FROM events WHERE conversation_id = ?1 ORDER BY seq";
            let mut prepared = direct.prepare(rows).unwrap();
            let events = prepared
                .query_map([id.as_bytes()], |row| {
                    let seq: i64 = row.get(0)?;
                    let (event, sender): (Uuid, Uuid) =
                        (uuid(row.get_ref(1)?.as_blob()?), uuid(row.get_ref(2)?.as_blob()?));
                    let (name, text): (Option<String>, Option<String>) = (row.get(3)?, row.get(4)?);
                    let (kind, data): (String, Option<String>) = (row.get(5)?, row.get(6)?);
                    let body = match (kind.as_str(), name) {
                        ("message_posted", Some(name)) => {
                            Body::Message { id: event, sender: self.number(sender), name, text }
                        }
                        _ => self.body(&serde_json::from_str(data.as_deref().unwrap_or("")).unwrap()),
                    };
                    Ok(Seen { conversation, seq: u64::try_from(seq).unwrap(), body })
                })
                .unwrap()
                .map(Result::unwrap)
                .collect();
            self.note(What::Final { gateway: 0, user: 0, conversation, events });
        }
    }

    fn number(&self, user: Uuid) -> Number {
        let at = self.users.iter().position(|other| *other == user);
        at.map_or(Number::MAX, |at| Number::try_from(at).unwrap_or(Number::MAX))
    }

    fn body(&self, body: &EventBody) -> Body {
        match body {
            EventBody::ParticipantAdded { user_id, .. } => Body::Added { user: self.number(user_id.0) },
            EventBody::ParticipantRemoved { user_id } => Body::Removed { user: self.number(user_id.0) },
            EventBody::Void { .. } => Body::Void,
            _ => Body::Other,
        }
    }
}

fn uuid(bytes: &[u8]) -> Uuid {
    Uuid::from_slice(bytes).unwrap()
}

/// An event as a client sees it.
pub fn seen(world: &World, conversation: Number, event: &Event) -> Seen {
    let body = match &event.body {
        EventBody::MessagePosted { client_message_id, sealed, .. } => Body::Message {
            id: event.id.0,
            sender: world.number(event.sender_id.0),
            name: client_message_id.to_string(),
            text: Some(sealed.clone()),
        },
        other => world.body(other),
    };
    Seen { conversation, seq: event.seq.0, body }
}

/// Starts a process again whenever it has ended.
async fn keep_running(world: Arc<World>, number: usize, mut life: Arc<Life>) {
    loop {
        life.until_ended().await;
        world.note(What::FaultStart { fault: "F1".to_owned(), target: number.to_string(), forgets: false });
        sleep(world.chance.millis(1500)).await;
        life = world.start(number);
        world.note(What::FaultStop { fault: "F1".to_owned(), target: number.to_string() });
    }
}

/// Kills, outages, and power cuts.
async fn disturb(world: Arc<World>) {
    loop {
        sleep(Duration::from_millis(300) + world.chance.millis(2500)).await;
        match world.chance.below(6) {
            0 | 1 => {
                let number = world.chance.below(PROCESSES);
                let life = world.lives().get(&number).cloned();
                if let Some(life) = life {
                    life.end();
                }
            }
            2 => world.broker.sync(),
            3 => outage(&world, false).await,
            5 => {
                let away = Instant::now() + world.chance.millis(2000);
                world.broker.state().store_away_until = Some(away);
            }
            4 if world.broker.nature.forgets => outage(&world, true).await,
            _ => {}
        }
    }
}

async fn outage(world: &World, forget: bool) {
    let target = "broker".to_owned();
    world.note(What::FaultStart { fault: "F4".to_owned(), target: target.clone(), forgets: forget });
    let span = world.chance.millis(2500);
    world.broker.go_away(span, forget);
    sleep(span).await;
    world.broker.come_back();
    world.note(What::FaultStop { fault: "F4".to_owned(), target });
}

/// What a gateway does with notices.
async fn hear(lanes: Lanes, live: Arc<SimulatedLive>, life: Arc<Life>) {
    let Ok(mut notices) = live.subscribe(Subject::pattern(StoredNotice::SUBJECT).unwrap()).await else { return };
    loop {
        let item = tokio::select! {
            biased;
            () = life.until_ended() => return,
            item = notices.recv() => item,
        };
        match item {
            Some(LiveItem::Lost) => lanes.ask_store(),
            Some(LiveItem::Message(message)) => lanes.stored(&serde_json::from_slice(&message.payload).unwrap()),
            None => return,
        }
    }
}
