//! One client of a soak.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sealpost_testing::{State, User};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Phase, Shared};
use crate::client::{Opened, Socket, open};

/// Messages without an answer at one time.
const WINDOW: usize = 6;
/// Four heartbeats of the server, as it is set up here.
const SILENCE: Duration = Duration::from_secs(20);
/// In the end: what has no answer for so long is sent again.
const AGAIN: Duration = Duration::from_secs(3);
/// Own messages that are changed: the last ones.
const OWN: usize = 30;
const EMOJIS: [&str; 4] = ["👍", "❤️", "🎉", ":ship:"];

pub struct Client {
    shared: Arc<Shared>,
    pub user: User,
    random: fastrand::Rng,
    rooms: Vec<String>,
    /// The last seq of each room.
    cursor: BTreeMap<String, u64>,
    pub states: BTreeMap<String, State>,
    /// By name: room and text. Sent again, under the same name, until it is stored.
    outbox: BTreeMap<String, (String, String)>,
    /// What the server has acknowledged as stored: room, id, seq, text at first.
    pub stored: Vec<(String, String, u64)>,
    /// Own messages and those of others, seen lately: room and id.
    own: Vec<(String, String)>,
    others: Vec<(String, String)>,
    /// The highest read mark that was said, by room.
    pub read: BTreeMap<String, u64>,
    /// What frames have said of others' read marks, by room and user.
    pub told: BTreeMap<(String, String), u64>,
    names: u64,
    is_drained: bool,
}

/// Why a connection is over.
enum End {
    Lost,
    /// The client goes away for so long.
    Left(Duration),
    Finished,
}

impl Client {
    pub fn new(shared: Arc<Shared>, user: User, rooms: Vec<String>, random: fastrand::Rng) -> Self {
        Self {
            shared,
            user,
            random,
            rooms,
            cursor: BTreeMap::new(),
            states: BTreeMap::new(),
            outbox: BTreeMap::new(),
            stored: Vec::new(),
            own: Vec::new(),
            others: Vec::new(),
            read: BTreeMap::new(),
            told: BTreeMap::new(),
            names: 0,
            is_drained: false,
        }
    }

    /// Until the soak is over and all is seen.
    pub async fn run(mut self) -> Self {
        loop {
            let gateway = self.random.usize(..2);
            let Opened::Socket(mut socket) =
                open(&self.shared.stack.url(gateway), &self.user.access_token, SILENCE).await
            else {
                tokio::time::sleep(Duration::from_millis(self.random.u64(100..1000))).await;
                continue;
            };
            count(&self.shared.counts.connections);
            match self.drive(&mut socket).await.unwrap_or(End::Lost) {
                End::Finished => return self,
                End::Lost => {}
                End::Left(away) => {
                    count(&self.shared.counts.left);
                    drop(socket);
                    let mut phase = self.shared.phase.clone();
                    tokio::select! {
                        () = tokio::time::sleep(away) => {}
                        _ = phase.wait_for(|phase| !matches!(phase, Phase::Work)) => {}
                    }
                }
            }
        }
    }

    async fn drive(&mut self, socket: &mut Socket) -> Result<End, Option<u16>> {
        let ready = socket.next().await?;
        if ready["type"] != "ready" {
            return Ok(End::Lost);
        }
        socket.send(&json!({ "type": "resume", "cursor": self.cursor })).await?;
        while self.take(socket.next().await?).await != "resumed" {}
        self.send_again(socket).await?;
        // What was said last may have been lost with the connection before.
        for (room, seq) in &self.read {
            socket.send(&json!({ "type": "message_read", "conversation_id": room, "seq": seq })).await?;
        }
        let mut operations = self.random.u32(2..20);
        let mut next = self.pause();
        let mut phase = self.shared.phase.clone();
        loop {
            let now = phase.borrow_and_update().clone();
            match now {
                Phase::Work if operations == 0 => return Ok(End::Left(self.away())),
                Phase::Work => {}
                Phase::Drain => self.drain(socket).await?,
                Phase::Finish(heads) => {
                    while self.rooms.iter().any(|room| self.cursor.get(room).copied() < heads.get(room).copied()) {
                        self.take(socket.next().await?).await;
                    }
                    return Ok(End::Finished);
                }
            }
            tokio::select! {
                frame = socket.next() => drop(self.take(frame?).await),
                () = tokio::time::sleep_until(next), if matches!(*phase.borrow(), Phase::Work) => {
                    operations -= 1;
                    next = self.pause();
                    self.act(socket).await?;
                }
                _ = phase.changed() => {}
            }
        }
    }

    /// When the next thing is done.
    fn pause(&mut self) -> Instant {
        Instant::now() + Duration::from_millis(self.random.u64(200..3000))
    }

    async fn send_again(&self, socket: &mut Socket) -> Result<(), Option<u16>> {
        for (name, (room, text)) in &self.outbox {
            socket.send(&message(room, name, text, true)).await?;
        }
        Ok(())
    }

    /// Waits for all answers.
    async fn drain(&mut self, socket: &mut Socket) -> Result<(), Option<u16>> {
        while !self.outbox.is_empty() {
            match tokio::time::timeout(AGAIN, socket.next()).await {
                Ok(frame) => drop(self.take(frame?).await),
                Err(_) => self.send_again(socket).await?,
            }
        }
        // When this is answered the marks before it are noted.
        socket.send(&json!({ "type": "ping", "id": 1 })).await?;
        while self.take(socket.next().await?).await != "pong" {}
        if !std::mem::replace(&mut self.is_drained, true) {
            self.shared.drained.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Most are back at once; some are away for so long that there is a gap.
    fn away(&mut self) -> Duration {
        match self.random.u32(0..20) {
            0 => Duration::from_millis(self.random.u64(10_000..30_000)),
            1..8 => Duration::ZERO,
            _ => Duration::from_millis(self.random.u64(100..3000)),
        }
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("s-{}", self.names)
    }

    async fn act(&mut self, socket: &mut Socket) -> Result<(), Option<u16>> {
        let room = self.rooms[self.random.usize(..self.rooms.len())].clone();
        let change = match self.random.u32(0..100) {
            0..50 => return self.send(socket, room).await,
            50..65 => self.mark(&room, "message_read"),
            65..68 => self.mark(&room, "message_delivered"),
            68..83 => {
                let text = format!("edited {}", self.random.u32(..));
                some(&self.own, &mut self.random).map(|(room, id)| {
                    json!({ "type": "message_edit", "conversation_id": room, "message_id": id, "text": text })
                })
            }
            83..87 => (!self.own.is_empty()).then(|| {
                let (room, id) = self.own.swap_remove(self.random.usize(..self.own.len()));
                json!({ "type": "message_delete", "conversation_id": room, "message_id": id })
            }),
            87..97 => {
                let (emoji, remove) = (EMOJIS[self.random.usize(..EMOJIS.len())], self.random.u32(0..3) == 0);
                some(&self.others, &mut self.random).map(|(room, id)| {
                    json!({ "type": "reaction", "conversation_id": room, "message_id": id, "emoji": emoji, "remove": remove })
                })
            }
            _ => {
                let remove = self.random.bool();
                some(&self.others, &mut self.random).map(|(room, id)| {
                    json!({ "type": "message_pin", "conversation_id": room, "message_id": id, "remove": remove })
                })
            }
        };
        let Some(mut change) = change else { return Ok(()) };
        if change.get("message_id").is_some() {
            change["client_operation_id"] = json!(self.name());
            count(&self.shared.counts.changes);
        } else {
            count(&self.shared.counts.marks);
        }
        socket.send(&change).await
    }

    async fn send(&mut self, socket: &mut Socket, room: String) -> Result<(), Option<u16>> {
        if self.outbox.len() >= WINDOW {
            return Ok(());
        }
        let name = self.name();
        let text = format!("{name} {}", "x".repeat(self.random.usize(0..80)));
        let frame = message(&room, &name, &text, false);
        self.outbox.insert(name, (room, text));
        count(&self.shared.counts.sent);
        socket.send(&frame).await
    }

    fn mark(&mut self, room: &str, kind: &str) -> Option<Value> {
        let seen = self.cursor.get(room).copied()?;
        let seq = self.random.u64(1..=seen);
        if kind == "message_read" {
            let known = self.read.entry(room.to_owned()).or_default();
            *known = (*known).max(seq);
        }
        Some(json!({ "type": kind, "conversation_id": room, "seq": seq }))
    }

    /// Takes a frame in; its type.
    async fn take(&mut self, frame: Value) -> String {
        let kind = frame["type"].as_str().unwrap_or_default().to_owned();
        let room = frame["conversation_id"].as_str().unwrap_or_default().to_owned();
        match kind.as_str() {
            "message_ack" | "stored" => self.on_answer(&frame),
            "error" => self.on_error(&frame),
            "gap" => self.on_gap(&room, &frame).await,
            "receipt" => {
                let user = frame["user_id"].as_str().unwrap_or_default().to_owned();
                let told = self.told.entry((room, user)).or_default();
                *told = (*told).max(frame["read_seq"].as_u64().unwrap_or(0));
            }
            "snapshot" | "change_ack" | "ready" | "resumed" | "pong" | "announcement" => {}
            _ if frame["seq"].is_u64() => self.on_event(room, &frame),
            _ => {}
        }
        kind
    }

    fn on_event(&mut self, room: String, event: &Value) {
        count(&self.shared.counts.events);
        let cursor = self.cursor.entry(room.clone()).or_default();
        let seq = event["seq"].as_u64().unwrap_or_default();
        assert_eq!(seq, *cursor + 1, "{} has {cursor} and gets {event}", self.user.id);
        *cursor = seq;
        if event["type"] == "message" && event["text"].is_string() {
            let id = event["message_id"].as_str().unwrap_or_default().to_owned();
            let list = if event["sender_id"] == self.user.id { &mut self.own } else { &mut self.others };
            list.push((room.clone(), id));
            if list.len() > OWN {
                list.remove(0);
            }
        }
        self.states.entry(room).or_default().event(event);
    }

    /// Everything that was known of this conversation may have changed: the pages are read, and the events go on behind the gap.
    async fn on_gap(&mut self, room: &str, gap: &Value) {
        count(&self.shared.counts.gaps);
        let cursor = self.cursor.entry(room.to_owned()).or_default();
        assert_eq!(gap["from_seq"], *cursor + 1, "{} has {cursor} and gets {gap}", self.user.id);
        *cursor = gap["to_seq"].as_u64().unwrap();
        let mut state = State::default();
        self.user.at(&self.shared.stack, self.random.usize(..2)).read_into(room, &mut state, 0).await;
        self.states.insert(room.to_owned(), state);
    }

    fn on_answer(&mut self, frame: &Value) {
        let is_stored = frame["type"] == "stored" || frame["stored"] == true;
        let name = frame["client_message_id"].as_str().unwrap_or_default();
        if is_stored && let Some((room, _)) = self.outbox.remove(name) {
            let id = frame["message_id"].as_str().unwrap_or_default().to_owned();
            self.stored.push((room, id, frame["seq"].as_u64().unwrap_or_default()));
        }
    }

    /// Nothing breaks here, so there are few that may come.
    fn on_error(&mut self, frame: &Value) {
        let kind = frame["problem"]["type"].as_str().unwrap_or_default().rsplit(':').next().unwrap_or_default();
        let known = match frame["client_operation_id"].as_str() {
            // Others delete meanwhile, and pin.
            Some(_) => ["message-deleted", "too-many-pins", "unavailable", "outcome-unknown"].contains(&kind),
            // It is in the outbox, and sent again after the next reconnect.
            None => ["unavailable", "outcome-unknown"].contains(&kind),
        };
        assert!(known, "{} gets {frame}", self.user.id);
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn some(list: &[(String, String)], random: &mut fastrand::Rng) -> Option<(String, String)> {
    (!list.is_empty()).then(|| list[random.usize(..list.len())].clone())
}

fn message(room: &str, name: &str, text: &str, retry: bool) -> Value {
    json!({ "type": "message", "conversation_id": room, "client_message_id": name, "text": text, "retry": retry })
}
