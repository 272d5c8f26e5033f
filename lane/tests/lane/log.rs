//! A log in memory that keeps the duties of `sealpost_bus::EventLog`, and that loses answers, records and its tail when told to.

use std::collections::VecDeque;
use std::sync::Mutex;

use async_trait::async_trait;
use sealpost_bus::{
    Append, AppendError, Appended, Connection, Consumer, ConsumerConfig, ConsumerState, DeadLetters, EventLog,
    LogError, Position, Record, StreamState, Subject,
};
use tokio::sync::watch;

/// What happens to the next append.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Stored, but the answer is lost.
    AnswerLost,
    /// Not stored, and no answer.
    RequestLost,
    /// Surely not stored.
    Unavailable,
    Refused,
}

pub struct FaultyLog {
    records: Mutex<Vec<Record>>,
    faults: Mutex<VecDeque<Fault>>,
    connection: watch::Sender<Connection>,
}

impl FaultyLog {
    pub fn new() -> Self {
        let up = Connection { up: true, epoch: 1 };
        Self { records: Mutex::default(), faults: Mutex::default(), connection: watch::Sender::new(up) }
    }

    pub fn fail_next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.lock().unwrap().extend(faults);
    }

    /// From now on nothing fails.
    pub fn heal(&self) {
        self.faults.lock().unwrap().clear();
    }

    /// Forgets the newest `count` records, as a broker does whose machine lost power, and reconnects.
    pub fn lose_tail(&self, count: usize) {
        let mut records = self.records.lock().unwrap();
        let left = records.len() - count;
        records.truncate(left);
        drop(records);
        self.connection.send_modify(|connection| connection.epoch += 1);
    }

    /// Forgets the newest `count` records without anybody noticing.
    pub fn forget(&self, count: usize) {
        let mut records = self.records.lock().unwrap();
        let left = records.len() - count;
        records.truncate(left);
    }

    /// The age limit takes everything.
    pub fn expire_all(&self) {
        self.records.lock().unwrap().clear();
    }

    pub fn records(&self) -> Vec<Record> {
        self.records.lock().unwrap().clone()
    }

    fn store(&self, append: Append) -> Result<Appended, AppendError> {
        let mut records = self.records.lock().unwrap();
        let last = records.iter().rev().find(|record| record.subject == append.subject);
        let last = last.map(|record| record.position).unwrap_or_default();
        // Before the position is compared, as a broker does it.
        if let Some(known) = records.iter().find(|record| record.id == append.id) {
            return Ok(Appended { position: known.position, duplicate: true });
        }
        if append.expected.is_some_and(|expected| expected != last) {
            return Err(AppendError::Conflict);
        }
        let position = Position(records.last().map_or(1, |record| record.position.0 + 1));
        records.push(Record { position, subject: append.subject, id: append.id, payload: append.payload });
        Ok(Appended { position, duplicate: false })
    }
}

#[async_trait]
impl EventLog for FaultyLog {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        tokio::task::yield_now().await;
        let fault = self.faults.lock().unwrap().pop_front();
        match fault {
            None => self.store(append),
            Some(Fault::AnswerLost) => {
                self.store(append)?;
                Err(AppendError::Unknown("the answer was lost".to_owned()))
            }
            Some(Fault::RequestLost) => Err(AppendError::Unknown("the request was lost".to_owned())),
            Some(Fault::Unavailable) => Err(AppendError::Unavailable("down".to_owned())),
            Some(Fault::Refused) => Err(AppendError::Refused("no".to_owned())),
        }
    }

    async fn last(&self, subject: &Subject) -> Result<Option<Record>, LogError> {
        Ok(self.records.lock().unwrap().iter().rev().find(|record| record.subject == *subject).cloned())
    }

    async fn next(&self, subject: &Subject, from: Position) -> Result<Option<Record>, LogError> {
        let records = self.records.lock().unwrap();
        Ok(records.iter().find(|record| record.subject == *subject && record.position >= from).cloned())
    }

    async fn get(&self, position: Position) -> Result<Option<Record>, LogError> {
        Ok(self.records.lock().unwrap().iter().find(|record| record.position == position).cloned())
    }

    async fn consumer(&self, _: ConsumerConfig) -> Result<Box<dyn Consumer>, LogError> {
        Err(LogError::Failed("this log has no consumers".to_owned()))
    }

    async fn consumer_state(&self, _: &str) -> Result<Option<ConsumerState>, LogError> {
        Ok(None)
    }

    async fn state(&self) -> Result<StreamState, LogError> {
        Ok(StreamState::default())
    }

    fn connection(&self) -> watch::Receiver<Connection> {
        self.connection.subscribe()
    }

    fn dead_letters(&self) -> &dyn DeadLetters {
        unimplemented_dead_letters()
    }
}

/// No test here asks for them; a panic says so if one does.
fn unimplemented_dead_letters() -> &'static dyn DeadLetters {
    panic!("this log has no dead letters")
}
