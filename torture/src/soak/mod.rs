//! A soak: many clients that come and go for minutes, without faults of the servers. Each builds its view of every conversation from frames
//! alone, and from pages where the protocol says so; in the end each view must be what the history shows, at every gateway.

mod client;
mod end;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use sealpost_testing::{Form, Running, Settings, Stack, User};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use client::Client;

/// Participants of one conversation, about.
const IN_A_ROOM: u32 = 20;
/// Signed up at once: each costs a hash of a password.
const AT_ONCE: usize = 8;

/// For all clients to have an answer to what they sent last. Generous: it only ends runs that have failed.
const DRAIN: Duration = Duration::from_mins(5);

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Soak {
    pub form: Form,
    /// Each is another user, in two conversations.
    pub clients: u32,
    pub duration: Duration,
    pub seed: u64,
}

/// What the clients are told to do.
#[derive(Clone, Debug)]
pub enum Phase {
    Work,
    /// No new operations; what was sent is sent again until it is answered.
    Drain,
    /// Read up to these numbers, by conversation, and return.
    Finish(Arc<BTreeMap<String, u64>>),
}

pub struct Shared {
    pub stack: Arc<Running>,
    pub phase: watch::Receiver<Phase>,
    pub drained: AtomicU32,
    pub counts: Counts,
}

/// What the clients did and got.
#[derive(Debug, Default)]
pub struct Counts {
    pub connections: AtomicU64,
    pub left: AtomicU64,
    pub sent: AtomicU64,
    pub changes: AtomicU64,
    pub marks: AtomicU64,
    pub events: AtomicU64,
    pub gaps: AtomicU64,
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    pub soak: Soak,
    pub counts: Counts,
    /// In all histories together.
    pub messages: usize,
    /// Views that were compared with a history: one for each client, conversation and gateway.
    pub compared: usize,
    /// What was not as it should be; empty if all views are the histories.
    pub wrong: Vec<String>,
}

/// Runs it. Panics where a client gets what no server may send: a hole, a double, a change of what is deleted.
pub async fn soak(soak: Soak) -> Report {
    let stack = Arc::new(Stack::start(soak.form, settings()).await);
    let users = sign_up(&stack, soak.clients).await;
    let (rooms, of_client) = make_rooms(&users).await;
    stack.settle().await;
    let (tell, phase) = watch::channel(Phase::Work);
    let shared = Arc::new(Shared { stack, phase, drained: AtomicU32::new(0), counts: Counts::default() });
    let mut random = fastrand::Rng::with_seed(soak.seed);
    let mut clients = JoinSet::new();
    for (user, rooms) in users.iter().zip(of_client) {
        clients.spawn(Client::new(Arc::clone(&shared), user.clone(), rooms, random.fork()).run());
    }
    tokio::select! {
        () = tokio::time::sleep(soak.duration) => {}
        Some(ended) = clients.join_next() => drop(unwrapped(ended)),
    }
    let _ = tell.send(Phase::Drain);
    let start = Instant::now();
    while shared.drained.load(Ordering::Relaxed) < soak.clients {
        if let Some(ended) = clients.try_join_next() {
            drop(unwrapped(ended));
        }
        let drained = shared.drained.load(Ordering::Relaxed);
        assert!(start.elapsed() < DRAIN, "only {drained} of {} clients have an answer to everything", soak.clients);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    shared.stack.settle().await;
    let heads = end::heads(&rooms).await;
    let _ = tell.send(Phase::Finish(Arc::new(heads)));
    let mut done = Vec::new();
    while let Some(ended) = clients.join_next().await {
        done.push(unwrapped(ended));
    }
    let (messages, compared, wrong) = end::compare(&shared.stack, &rooms, &done).await;
    drop(done);
    let counts = Arc::into_inner(shared).map(|shared| shared.counts).unwrap_or_default();
    Report { soak, counts, messages, compared, wrong }
}

fn unwrapped(ended: Result<Client, tokio::task::JoinError>) -> Client {
    ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// So little is sent at a resume that there are gaps, too.
fn settings() -> Settings {
    Settings::default()
        .set("SEALPOST__GATEWAY__HEARTBEAT_SECONDS", 5)
        .set("SEALPOST__GATEWAY__MAX_RESUME_EVENTS", 60)
        .set("SEALPOST__AUTH__ACCESS_TOKEN_SECONDS", 7200)
}

async fn sign_up(stack: &Stack, count: u32) -> Vec<User> {
    let mut users = Vec::new();
    let numbers: Vec<usize> = (0..count as usize).collect();
    for some in numbers.chunks(AT_ONCE) {
        users.extend(join_all(some.iter().map(|number| User::sign_up(stack, number % 2, "soak"))).await);
    }
    users
}

/// A conversation: its id and somebody who reads it.
pub struct Room {
    pub id: String,
    pub owner: User,
}

/// Each client is in two rooms: one with those of its number, and another one.
async fn make_rooms(users: &[User]) -> (Vec<Room>, Vec<Vec<String>>) {
    let count = (users.len() * 2 / IN_A_ROOM as usize).max(2);
    let of = |number: usize| {
        let first = number % count;
        [first, (first + 1 + (number / count) % (count - 1)) % count]
    };
    let mut rooms = Vec::new();
    for room in 0..count {
        let members: Vec<&User> =
            (0..users.len()).filter(|number| of(*number).contains(&room)).map(|n| &users[n]).collect();
        let id = members[0].group(&members[1..]).await;
        let rights = json!({ "rights": { "pin": "member" } });
        members[0].request("PATCH", &format!("/api/conversations/{id}"), rights).await.ok(200);
        rooms.push(Room { id, owner: members[0].clone() });
    }
    let of_client = (0..users.len()).map(|number| of(number).map(|room| rooms[room].id.clone()).to_vec()).collect();
    (rooms, of_client)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Soak { form, clients, duration, seed } = self.soak;
        let count = |value: &AtomicU64| value.load(Ordering::Relaxed);
        let Counts { connections, left, sent, changes, marks, events, gaps } = &self.counts;
        writeln!(f, "{form:?} stack, {clients} clients, {} s, seed {seed}", duration.as_secs())?;
        writeln!(
            f,
            "  {} messages sent, {} changes, {} marks; {} messages in the histories",
            count(sent),
            count(changes),
            count(marks),
            self.messages
        )?;
        writeln!(
            f,
            "  {} connections, {} left without a word, {} events received, {} gaps",
            count(connections),
            count(left),
            count(events),
            count(gaps)
        )?;
        write!(f, "  {} views compared, {} wrong", self.compared, self.wrong.len())?;
        self.wrong.iter().take(20).try_for_each(|wrong| write!(f, "\n  {wrong}"))
    }
}
