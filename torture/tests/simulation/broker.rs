//! A broker in memory that keeps the duties of [`EventLog`] as far as a real one does: it may lose answers, be slow, be away, and forget
//! what it had not synced.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use sealpost_bus::{
    Append, AppendError, Appended, Connection, Consumer, ConsumerConfig, ConsumerState, DeadLetter, DeadLetters,
    EventLog, LogError, Position, Record, StreamState, Subject,
};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::chance::Chance;
use super::consumer::{Cursor, SimulatedConsumer};
use super::defect::Defect;
use super::nature::Nature;
use super::process::Life;

/// How long a process waits for the answer to an append.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(1);

pub struct Broker {
    pub chance: Chance,
    pub nature: Nature,
    pub defect: Option<Defect>,
    state: Mutex<State>,
    pub changed: Notify,
    /// One for each that looks: those who share a channel are woken in an order that no seed decides.
    connections: Mutex<(Connection, Vec<watch::Sender<Connection>>)>,
}

#[derive(Default)]
pub struct State {
    pub records: BTreeMap<u64, Record>,
    pub by_subject: BTreeMap<String, Vec<u64>>,
    pub ids: BTreeMap<String, u64>,
    pub consumers: BTreeMap<String, Cursor>,
    pub letters: Vec<DeadLetter>,
    /// What survives a power cut: records up to here, and consumers as they were then.
    synced: u64,
    synced_consumers: BTreeMap<String, Cursor>,
    away_until: Option<Instant>,
    pub store_away_until: Option<Instant>,
    /// From now on the world is kind.
    pub kind: bool,
}

impl Broker {
    pub fn new(chance: Chance, nature: Nature, defect: Option<Defect>) -> Self {
        let connections = Mutex::new((Connection { up: true, epoch: 1 }, Vec::new()));
        Self { chance, nature, defect, state: Mutex::default(), changed: Notify::new(), connections }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn happens(&self, often: u32) -> bool {
        !self.state().kind && self.chance.permille(often)
    }

    /// Writes to disk what there is.
    pub fn sync(&self) {
        let mut state = self.state();
        state.synced = state.records.keys().next_back().copied().unwrap_or(0);
        state.synced_consumers = state.consumers.clone();
    }

    /// Nothing is answered for a while; connections end, and come back.
    pub fn go_away(&self, span: Duration, forget: bool) {
        let back = Instant::now() + span;
        let mut state = self.state();
        state.away_until = Some(back);
        if forget {
            state.forget();
        }
        drop(state);
        self.tell(|connection| connection.up = false);
    }

    pub fn come_back(&self) {
        self.state().away_until = None;
        self.tell(|connection| *connection = Connection { up: true, epoch: connection.epoch + 1 });
        self.changed.notify_waiters();
    }

    fn tell(&self, change: impl FnOnce(&mut Connection)) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let (connection, senders) = &mut *connections;
        change(connection);
        senders.retain(|sender| sender.send(*connection).is_ok());
    }

    pub fn is_away(&self) -> bool {
        self.state().away_until.is_some_and(|until| until > Instant::now())
    }

    /// The network's and the broker's own time.
    pub async fn delay(&self) {
        let some = if self.chance.permille(20) { 300 } else { 4 };
        sleep(self.chance.millis(some)).await;
    }

    fn store(&self, append: Append) -> Result<Appended, AppendError> {
        let mut state = self.state();
        let last = state.by_subject.get(append.subject.as_str()).and_then(|list| list.last()).copied();
        let compares = self.defect != Some(Defect::NoCompare);
        if compares && append.expected.is_some_and(|expected| expected.0 != last.unwrap_or(0)) {
            return Err(AppendError::Conflict);
        }
        if append.expected.is_none()
            && let Some(&position) = state.ids.get(&append.id)
        {
            return Ok(Appended { position: Position(position), duplicate: true });
        }
        let position = state.records.keys().next_back().copied().unwrap_or(0) + 1;
        state.ids.insert(append.id.clone(), position);
        state.by_subject.entry(append.subject.as_str().to_owned()).or_default().push(position);
        let record =
            Record { position: Position(position), subject: append.subject, id: append.id, payload: append.payload };
        state.records.insert(position, record);
        drop(state);
        self.changed.notify_waiters();
        Ok(Appended { position: Position(position), duplicate: false })
    }
}

impl State {
    pub fn store_is_away(&self) -> bool {
        !self.kind && self.store_away_until.is_some_and(|until| until > Instant::now())
    }

    fn forget(&mut self) {
        let synced = self.synced;
        self.records.retain(|position, _| *position <= synced);
        self.ids.retain(|_, position| *position <= synced);
        for list in self.by_subject.values_mut() {
            list.retain(|position| *position <= synced);
        }
        for (name, cursor) in &mut self.consumers {
            *cursor = self.synced_consumers.get(name).cloned().unwrap_or_default();
            cursor.restart();
        }
    }
}

/// One process's way to the broker.
#[derive(Clone)]
pub struct Log {
    pub broker: Arc<Broker>,
    pub life: Arc<Life>,
}

impl Log {
    /// The way there and back; an error if nobody answers.
    async fn reach(&self) -> Result<(), LogError> {
        self.life.alive().await;
        self.broker.delay().await;
        self.life.alive().await;
        if self.broker.is_away() {
            sleep(self.broker.chance.millis(200)).await;
            return Err(LogError::Unavailable("simulated: away".to_owned()));
        }
        if self.broker.happens(self.broker.nature.request_lost / 4) {
            sleep(PUBLISH_TIMEOUT).await;
            return Err(LogError::Unavailable("simulated: no answer".to_owned()));
        }
        Ok(())
    }

    fn find(&self, choose: impl FnOnce(&State) -> Option<u64>) -> Option<Record> {
        let state = self.broker.state();
        choose(&state).and_then(|position| state.records.get(&position).cloned())
    }
}

#[async_trait]
impl EventLog for Log {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        self.life.alive().await;
        let (broker, nature) = (&self.broker, self.broker.nature);
        let unknown = || match broker.defect {
            Some(Defect::SilenceIsRefusal) => AppendError::Unavailable("simulated: no answer".to_owned()),
            _ => AppendError::Unknown("simulated: no answer".to_owned()),
        };
        if broker.is_away() {
            if broker.chance.permille(500) {
                return Err(AppendError::Unavailable("simulated: away".to_owned()));
            }
            sleep(PUBLISH_TIMEOUT).await;
            return Err(unknown());
        }
        broker.delay().await;
        self.life.alive().await;
        if broker.happens(nature.late) {
            let (late, copy) = (Arc::clone(broker), append.clone());
            tokio::spawn(async move {
                sleep(PUBLISH_TIMEOUT + late.chance.millis(1500)).await;
                if !late.is_away() {
                    let _ = late.store(copy);
                }
            });
            sleep(PUBLISH_TIMEOUT).await;
            return Err(unknown());
        }
        if broker.is_away() || broker.happens(nature.request_lost) {
            sleep(PUBLISH_TIMEOUT).await;
            return Err(unknown());
        }
        let answer = broker.store(append);
        if answer.is_ok() && broker.happens(nature.killed_at_point) {
            self.life.end();
        }
        if answer.is_ok() && broker.happens(nature.answer_lost) {
            sleep(PUBLISH_TIMEOUT).await;
            return Err(unknown());
        }
        broker.delay().await;
        self.life.alive().await;
        answer
    }

    async fn last(&self, subject: &Subject) -> Result<Option<Record>, LogError> {
        self.reach().await?;
        Ok(self.find(|state| state.by_subject.get(subject.as_str())?.last().copied()))
    }

    async fn next(&self, subject: &Subject, from: Position) -> Result<Option<Record>, LogError> {
        self.reach().await?;
        Ok(self.find(|state| state.by_subject.get(subject.as_str())?.iter().copied().find(|at| *at >= from.0)))
    }

    async fn get(&self, position: Position) -> Result<Option<Record>, LogError> {
        self.reach().await?;
        Ok(self.find(|_| Some(position.0)))
    }

    async fn consumer(&self, config: ConsumerConfig) -> Result<Box<dyn Consumer>, LogError> {
        self.reach().await?;
        self.broker.state().consumers.entry(config.name.clone()).or_default();
        Ok(Box::new(SimulatedConsumer { log: self.clone(), config }))
    }

    async fn consumer_state(&self, name: &str) -> Result<Option<ConsumerState>, LogError> {
        self.reach().await?;
        let state = self.broker.state();
        Ok(state.consumers.get(name).map(|cursor| cursor.state(&state.records)))
    }

    async fn state(&self) -> Result<StreamState, LogError> {
        self.reach().await?;
        let state = self.broker.state();
        let place = |position: Option<&u64>| Position(position.copied().unwrap_or(0));
        let bytes = state.records.values().map(|record| record.payload.len() as u64).sum();
        Ok(StreamState {
            records: state.records.len() as u64,
            bytes,
            first: place(state.records.keys().next()),
            last: place(state.records.keys().next_back()),
        })
    }

    fn connection(&self) -> watch::Receiver<Connection> {
        let mut connections = self.broker.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let (sender, receiver) = watch::channel(connections.0);
        connections.1.push(sender);
        receiver
    }

    fn dead_letters(&self) -> &dyn DeadLetters {
        self
    }
}

#[async_trait]
impl DeadLetters for Log {
    async fn list(&self, after: u64, limit: usize) -> Result<Vec<DeadLetter>, LogError> {
        self.reach().await?;
        let state = self.broker.state();
        Ok(state.letters.iter().filter(|letter| letter.number > after).take(limit).cloned().collect())
    }

    async fn find(&self, number: u64) -> Result<Option<DeadLetter>, LogError> {
        self.reach().await?;
        Ok(self.broker.state().letters.iter().find(|letter| letter.number == number).cloned())
    }

    async fn remove(&self, number: u64) -> Result<bool, LogError> {
        self.reach().await?;
        let mut state = self.broker.state();
        let before = state.letters.len();
        state.letters.retain(|letter| letter.number != number);
        Ok(state.letters.len() < before)
    }

    async fn count(&self) -> Result<u64, LogError> {
        self.reach().await?;
        Ok(self.broker.state().letters.len() as u64)
    }
}

/// Waits until there may be something new, or until then.
pub async fn changed(broker: &Broker, until: Option<Instant>) {
    let timer = async {
        match until {
            Some(until) => sleep_until(until).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = broker.changed.notified() => {}
        () = timer => {}
    }
}
