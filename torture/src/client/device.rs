//! One signed-in device: a WebSocket, an outbox, and now and then something over REST.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sealpost_testing::User;
use serde_json::{Value, json};
use tokio::task::{JoinHandle, JoinSet};
use uuid::Uuid;

use super::operations::{Rest, change};
use super::outbox::Outbox;
use super::socket::{Opened, SILENCE, Socket, open};
use super::{Shared, frames};
use crate::history::{Body, Call, Number, OpId, What};

/// Messages without an answer at one time.
const WINDOW: usize = 12;
/// Copies of one message sent at once.
const COPIES: usize = 8;
/// Messages that a device changes are among its last so many.
const TARGETS: usize = 40;
const EMOJIS: [&str; 3] = ["👍", "🎉", ":anchor:"];

pub struct Device {
    shared: Arc<Shared>,
    number: Number,
    user: Number,
    random: fastrand::Rng,
    session: Option<User>,
    /// The last seq seen, by the conversation's id.
    cursor: BTreeMap<String, u64>,
    /// Which events these were, as far as they were seen.
    last_events: BTreeMap<String, String>,
    outbox: Outbox,
    /// One request at a time, so that a device's reads have an order.
    request: Option<JoinHandle<Done>>,
    repeats: JoinSet<()>,
    /// Own messages, to be edited and deleted.
    own: VecDeque<Target>,
    /// Messages of anybody, to react to.
    seen: VecDeque<Target>,
    /// Changes of messages sent over the socket, by the name of their frame.
    changes: HashMap<String, OpId>,
    next_change: u64,
    conversations: Vec<Number>,
    guest_is_in: bool,
    failures: u32,
}

/// A message that can be changed.
#[derive(Clone, Copy)]
struct Target {
    conversation: Number,
    seq: u64,
    id: Uuid,
}

/// What a request leaves to do.
enum Done {
    Nothing,
    SignedOut,
    Churned,
}

enum End {
    Lost(Option<u16>),
    /// The device itself goes away for a moment.
    Left,
    Stopped,
}

impl Device {
    pub fn new(shared: Arc<Shared>, number: Number, user: Number) -> Self {
        shared.recorder.note(What::Device { device: number, user });
        Self {
            number,
            user,
            random: fastrand::Rng::with_seed(shared.seed.wrapping_mul(1_000_003).wrapping_add(u64::from(number))),
            session: None,
            cursor: BTreeMap::new(),
            last_events: BTreeMap::new(),
            outbox: Outbox::new(Arc::clone(&shared), number),
            request: None,
            repeats: JoinSet::new(),
            own: VecDeque::new(),
            seen: VecDeque::new(),
            changes: HashMap::new(),
            next_change: 0,
            conversations: shared.directory.of(user),
            guest_is_in: true,
            failures: 0,
            shared,
        }
    }

    /// Works until the run stops.
    pub async fn run(mut self) {
        while !self.shared.stop.load(Ordering::Relaxed) {
            let Some((mut socket, connection)) = self.connect().await else {
                // Growing delays with a random share, as clients are told to.
                let limit = 50 << self.failures.min(5);
                self.failures += 1;
                tokio::time::sleep(Duration::from_millis(self.random.u64(limit / 2..=limit))).await;
                continue;
            };
            self.failures = 0;
            let end = self.drive(&mut socket, connection).await.unwrap_or_else(End::Lost);
            let code = if let End::Lost(code) = end { code } else { None };
            for (_, op) in self.changes.drain() {
                self.shared.recorder.note(What::Info { op, reason: "the connection ended".to_owned() });
            }
            self.shared.recorder.note(What::Closed { device: self.number, connection, code });
            if code == Some(4401) {
                self.session = None;
            }
        }
        self.outbox.give_up();
        self.repeats.shutdown().await;
    }

    /// A connection that has said `ready` and was told where to resume.
    async fn connect(&mut self) -> Option<(Box<Socket>, Number)> {
        let gateway = self.random.usize(0..2);
        let base = self.shared.gateway(gateway);
        if self.session.is_none() {
            self.session = self.shared.directory.sign_in(self.user, &base).await;
        }
        let token = self.session.as_ref()?.access_token.clone();
        let mut socket = match open(&base, &token, SILENCE).await {
            Opened::Socket(socket) => socket,
            Opened::Unauthenticated => {
                self.session = None;
                return None;
            }
            Opened::NoAnswer => return None,
        };
        let ready = socket.next().await;
        match ready {
            Ok(frame) if frame["type"] == "ready" => {}
            Err(Some(4401)) => {
                self.session = None;
                return None;
            }
            _ => return None,
        }
        let connection = self.shared.next_connection.fetch_add(1, Ordering::Relaxed);
        let gateway = Number::try_from(gateway).unwrap_or_default();
        self.shared.recorder.note(What::Open { device: self.number, connection, gateway });
        let resume = json!({ "type": "resume", "cursor": self.cursor, "last_events": self.last_events });
        // If this fails, the first thing that `drive` reads says so.
        let _ = socket.send(&resume).await;
        Some((socket, connection))
    }

    async fn drive(&mut self, socket: &mut Socket, connection: Number) -> Result<End, Option<u16>> {
        loop {
            let frame = socket.next().await?;
            self.take(connection, &frame);
            if frame["type"] == "resumed" {
                break;
            }
        }
        self.outbox.restart();
        let mut tick = tokio::time::interval(self.shared.between);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                frame = socket.next() => self.take(connection, &frame?),
                done = finished(&mut self.request) => {
                    self.request = None;
                    if matches!(done, Done::SignedOut) {
                        return Ok(self.await_the_end(socket, connection).await);
                    }
                    if matches!(done, Done::Churned) {
                        self.guest_is_in = !self.guest_is_in;
                    }
                }
                _ = tick.tick() => {
                    if self.shared.stop.load(Ordering::Relaxed) {
                        return Ok(End::Stopped);
                    }
                    while self.repeats.try_join_next().is_some() {}
                    for frame in self.outbox.due() {
                        socket.send(&frame).await?;
                    }
                    if !self.shared.drain.load(Ordering::Relaxed) && self.act(socket, connection).await? {
                        return Ok(End::Left);
                    }
                }
            }
        }
    }

    /// The session has ended; the server closes this. What comes until then is written down.
    async fn await_the_end(&mut self, socket: &mut Socket, connection: Number) -> End {
        let end = tokio::time::timeout(Duration::from_secs(20), async {
            loop {
                match socket.next().await {
                    Ok(frame) => self.take(connection, &frame),
                    Err(code) => return code,
                }
            }
        });
        let code = end.await.unwrap_or(None);
        self.session = None;
        End::Lost(code)
    }

    fn take(&mut self, connection: Number, frame: &Value) {
        match frame["type"].as_str().unwrap_or_default() {
            "message_ack" | "stored" => return self.outbox.acknowledged(frame),
            "error" if frame["client_operation_id"].is_string() => return self.change_ended(frame),
            "error" => return self.outbox.refused(frame),
            "change_ack" => return self.change_ended(frame),
            _ => {}
        }
        let directory = &self.shared.directory;
        let device = self.number;
        let conversation = frame["conversation_id"].as_str().and_then(|id| directory.conversation_number(id));
        if let Some(event) = frames::event(directory, frame) {
            let id = directory.conversations[event.conversation as usize].id.clone();
            let cursor = self.cursor.entry(id.clone()).or_default();
            if event.seq >= *cursor {
                *cursor = event.seq;
                self.last_events.extend(frames::id(frame).map(|event| (id, event)));
            }
            if let Body::Message { id, sender, .. } = event.body {
                let target = Target { conversation: event.conversation, seq: event.seq, id };
                remember(&mut self.seen, target);
                if sender == self.user {
                    remember(&mut self.own, target);
                }
            }
            self.shared.recorder.note(What::Received { device, connection, event });
        } else if let Some(conversation) = conversation {
            self.take_other(connection, conversation, frame);
        }
    }

    /// Frames about a conversation that are no events of it.
    fn take_other(&mut self, connection: Number, conversation: Number, frame: &Value) {
        let (directory, recorder, device) = (&self.shared.directory, &self.shared.recorder, self.number);
        let id = directory.conversations[conversation as usize].id.clone();
        match frame["type"].as_str().unwrap_or_default() {
            "gap" => {
                let (Some(from), Some(to)) = (frame["from_seq"].as_u64(), frame["to_seq"].as_u64()) else { return };
                self.last_events.remove(&id);
                self.cursor.insert(id, to);
                recorder.note(What::Skipped { device, connection, conversation, from, to });
            }
            "rewound" => {
                let Some(after) = frame["after_seq"].as_u64() else { return };
                self.last_events.remove(&id);
                self.cursor.insert(id, after);
                let stays = |target: &Target| target.conversation != conversation || target.seq <= after;
                self.own.retain(stays);
                self.seen.retain(stays);
                recorder.note(What::Rewound { device, connection, conversation, after });
            }
            "receipt" => {
                if let Some(mark) = frames::mark(directory, frame) {
                    recorder.note(What::Told { device, connection, conversation, mark });
                }
            }
            _ => {}
        }
    }

    /// `change_ack`, or an `error` about a change.
    fn change_ended(&mut self, frame: &Value) {
        let Some(op) = frame["client_operation_id"].as_str().and_then(|name| self.changes.remove(name)) else { return };
        let what = if let Some(answer) = change(frame) {
            What::Ok { op, answer }
        } else {
            let kind = frame["problem"]["type"].as_str().unwrap_or_default();
            let reason = kind.rsplit(':').next().unwrap_or_default().to_owned();
            let certain = frame["problem"]["status"].as_u64().is_some_and(|status| (400..500).contains(&status));
            if certain { What::Fail { op, reason } } else { What::Info { op, reason } }
        };
        self.shared.recorder.note(what);
    }

    /// The next thing that this person does. True: the device goes away.
    async fn act(&mut self, socket: &mut Socket, connection: Number) -> Result<bool, Option<u16>> {
        let duplicates = self.shared.duplicates.load(Ordering::Relaxed);
        match self.random.u32(0..1000) {
            0..720 if self.outbox.len() < WINDOW => {
                let conversation = self.any_conversation();
                let length = if self.random.u32(0..50) == 0 { 4000 } else { self.random.usize(0..200) };
                let frame = self.outbox.add(conversation, length);
                if duplicates || self.random.u32(0..100) == 0 {
                    self.send_copies();
                }
                socket.send(&frame).await?;
            }
            720..800 => self.page(),
            800..820 => self.repeat_old(),
            820..835 => self.delete(socket).await?,
            835..875 => self.edit(socket).await?,
            875..915 => self.react(socket).await?,
            915..945 => self.mark(socket, connection).await?,
            945..955 => self.read(),
            955..970 => self.receipts(),
            970..980 => return Ok(true),
            980..990 => self.churn(),
            990..992 => self.sign_out(),
            _ => {}
        }
        Ok(false)
    }

    fn rest(&mut self) -> Option<Rest> {
        let session = self.session.clone()?;
        let gateway = self.random.usize(0..2);
        Some(Rest { shared: Arc::clone(&self.shared), device: self.number, session, gateway })
    }

    /// For one more request, if none is on its way.
    fn free_rest(&mut self) -> Option<Rest> {
        if self.request.is_some() { None } else { self.rest() }
    }

    fn any_conversation(&mut self) -> Number {
        self.conversations[self.random.usize(..self.conversations.len())]
    }

    fn page(&mut self) {
        if self.request.is_some() {
            return;
        }
        let conversation = self.any_conversation();
        let seen = self.cursor.get(&self.shared.directory.conversations[conversation as usize].id).copied();
        let after = self.random.bool().then(|| self.random.u64(0..=seen.unwrap_or(0)));
        let Some(rest) = self.rest() else { return };
        self.request = Some(tokio::spawn(async move {
            rest.history(conversation, after).await;
            Done::Nothing
        }));
    }

    /// Deletes one of the last own messages, over the socket or over REST.
    async fn delete(&mut self, socket: &mut Socket) -> Result<(), Option<u16>> {
        if self.own.is_empty() {
            return Ok(());
        }
        let index = self.random.usize(..self.own.len());
        let Target { conversation, seq, id } = self.own[index];
        if self.random.bool() {
            self.own.remove(index);
            self.next_change += 1;
            let call = Call::Delete { conversation, seq, message: id };
            let frame = json!({ "type": "message_delete", "message_id": id });
            return self.change(socket, conversation, call, frame).await;
        }
        if let Some(rest) = self.free_rest() {
            self.own.remove(index);
            self.request = Some(tokio::spawn(async move {
                rest.delete(conversation, seq, id).await;
                Done::Nothing
            }));
        }
        Ok(())
    }

    /// A new text for one of the last own messages, over the socket or over REST.
    async fn edit(&mut self, socket: &mut Socket) -> Result<(), Option<u16>> {
        if self.own.is_empty() {
            return Ok(());
        }
        let Target { conversation, id, .. } = self.own[self.random.usize(..self.own.len())];
        self.next_change += 1;
        let text = format!("{} edit {} of device {}", self.shared.canary(), self.next_change, self.number);
        if self.random.bool() {
            let call = Call::Edit { conversation, message: id, text: text.clone() };
            let frame = json!({ "type": "message_edit", "message_id": id, "text": text });
            return self.change(socket, conversation, call, frame).await;
        }
        if let Some(rest) = self.free_rest() {
            self.request = Some(tokio::spawn(async move {
                rest.edit(conversation, id, text).await;
                Done::Nothing
            }));
        }
        Ok(())
    }

    /// Adds a reaction to somebody's message, or takes it away.
    async fn react(&mut self, socket: &mut Socket) -> Result<(), Option<u16>> {
        if self.seen.is_empty() {
            return Ok(());
        }
        let Target { conversation, id, .. } = self.seen[self.random.usize(..self.seen.len())];
        self.next_change += 1;
        let (emoji, added) = (EMOJIS[self.random.usize(..EMOJIS.len())], self.random.u32(0..3) > 0);
        if self.random.bool() {
            let call = Call::React { conversation, message: id, emoji: emoji.to_owned(), added };
            let frame = json!({ "type": "reaction", "message_id": id, "emoji": emoji, "remove": !added });
            return self.change(socket, conversation, call, frame).await;
        }
        if let Some(rest) = self.free_rest() {
            self.request = Some(tokio::spawn(async move {
                rest.react(conversation, id, emoji, added).await;
                Done::Nothing
            }));
        }
        Ok(())
    }

    /// A change of a message over the socket.
    async fn change(
        &mut self,
        socket: &mut Socket,
        conversation: Number,
        call: Call,
        mut frame: Value,
    ) -> Result<(), Option<u16>> {
        let name = format!("o{}-{}", self.number, self.next_change);
        frame["conversation_id"] = json!(self.shared.directory.conversations[conversation as usize].id);
        frame["client_operation_id"] = json!(name);
        let op = self.shared.recorder.invoke(self.number, call);
        self.changes.insert(name, op);
        socket.send(&frame).await
    }

    /// Says over the socket that everything was read that is here, or that it came.
    async fn mark(&mut self, socket: &mut Socket, connection: Number) -> Result<(), Option<u16>> {
        let (conversation, read) = (self.any_conversation(), self.random.bool());
        let id = &self.shared.directory.conversations[conversation as usize].id;
        let Some(&seq) = self.cursor.get(id) else { return Ok(()) };
        let kind = if read { "message_read" } else { "message_delivered" };
        let frame = json!({ "type": kind, "conversation_id": id, "seq": seq });
        self.shared.recorder.note(What::Marked { device: self.number, connection, conversation, read, seq });
        socket.send(&frame).await
    }

    fn read(&mut self) {
        let conversation = self.any_conversation();
        let seen = self.cursor.get(&self.shared.directory.conversations[conversation as usize].id).copied();
        if let (Some(seq), Some(rest)) = (seen, self.free_rest()) {
            self.request = Some(tokio::spawn(async move {
                rest.read(conversation, seq).await;
                Done::Nothing
            }));
        }
    }

    fn receipts(&mut self) {
        let conversation = self.any_conversation();
        if let Some(rest) = self.free_rest() {
            self.request = Some(tokio::spawn(async move {
                rest.receipts(conversation).await;
                Done::Nothing
            }));
        }
    }

    /// Only the first device of the owner brings the guest in and out.
    fn churn(&mut self) {
        if self.number != 0 || self.request.is_some() {
            return;
        }
        let add = !self.guest_is_in;
        let Some(rest) = self.rest() else { return };
        self.request =
            Some(tokio::spawn(async move { if rest.churn(add).await { Done::Churned } else { Done::Nothing } }));
    }

    fn sign_out(&mut self) {
        // The first device stays, so that the guest does not stay away for long.
        if self.number == 0 || self.request.is_some() {
            return;
        }
        let Some(rest) = self.rest() else { return };
        self.request =
            Some(tokio::spawn(async move { if rest.sign_out().await { Done::SignedOut } else { Done::Nothing } }));
    }

    /// The message that was just made, many times at once through all gateways.
    fn send_copies(&mut self) {
        for copy in 0..COPIES {
            let Some(mut rest) = self.rest() else { return };
            rest.gateway = copy;
            let Some(pending) = self.outbox.newest() else { return };
            pending.again();
            let (op, conversation) = (pending.op, pending.conversation);
            let (name, text) = (pending.name.clone(), pending.text.clone());
            self.repeats.spawn(rest.repeat(op, conversation, name, text));
        }
    }

    /// A message that was stored a while ago, again.
    fn repeat_old(&mut self) {
        let index = self.random.usize(0..1000);
        let Some((op, conversation, name, text)) = self.outbox.stored_before(index).cloned() else { return };
        if self.repeats.len() < 32
            && let Some(rest) = self.rest()
        {
            self.repeats.spawn(rest.repeat(op, conversation, name, text));
        }
    }
}

/// Only the last ones: what is being talked about.
fn remember(targets: &mut VecDeque<Target>, target: Target) {
    if targets.len() == TARGETS {
        targets.pop_front();
    }
    targets.push_back(target);
}

async fn finished(request: &mut Option<JoinHandle<Done>>) -> Done {
    match request {
        Some(request) => request.await.unwrap_or(Done::Nothing),
        None => std::future::pending().await,
    }
}
