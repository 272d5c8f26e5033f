//! One signed-in device: a WebSocket, an outbox, and now and then something over REST.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sealpost_testing::User;
use serde_json::{Value, json};
use tokio::task::{JoinHandle, JoinSet};

use super::operations::Rest;
use super::outbox::Outbox;
use super::socket::{Opened, SILENCE, Socket, open};
use super::{Shared, frames};
use crate::history::{Body, Number, What};

/// Messages without an answer at one time.
const WINDOW: usize = 12;
/// Copies of one message sent at once.
const COPIES: usize = 8;

pub struct Device {
    shared: Arc<Shared>,
    number: Number,
    user: Number,
    random: fastrand::Rng,
    session: Option<User>,
    /// The last seq seen, by the conversation's id.
    cursor: BTreeMap<String, u64>,
    outbox: Outbox,
    /// One request at a time, so that a device's reads have an order.
    request: Option<JoinHandle<Done>>,
    repeats: JoinSet<()>,
    /// Own messages that may be deleted: conversation, seq, id.
    own: Vec<(Number, u64, String)>,
    conversations: Vec<Number>,
    guest_is_in: bool,
    failures: u32,
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
            outbox: Outbox::new(Arc::clone(&shared), number),
            request: None,
            repeats: JoinSet::new(),
            own: Vec::new(),
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
        let resume = json!({ "type": "resume", "cursor": self.cursor });
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
                    if !self.shared.drain.load(Ordering::Relaxed) && self.act(socket).await? {
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
            "error" => return self.outbox.refused(frame),
            _ => {}
        }
        let directory = &self.shared.directory;
        let device = self.number;
        if let Some(event) = frames::event(directory, frame) {
            let id = directory.conversations[event.conversation as usize].id.clone();
            let cursor = self.cursor.entry(id).or_default();
            *cursor = (*cursor).max(event.seq);
            if let Body::Message { id, sender, .. } = &event.body
                && *sender == self.user
            {
                self.own.push((event.conversation, event.seq, id.to_string()));
            }
            self.shared.recorder.note(What::Received { device, connection, event });
        } else if frame["type"] == "gap"
            && let Some(id) = frame["conversation_id"].as_str()
            && let (Some(from), Some(to)) = (frame["from_seq"].as_u64(), frame["to_seq"].as_u64())
            && let Some(conversation) = directory.conversation_number(id)
        {
            self.cursor.insert(id.to_owned(), to);
            self.shared.recorder.note(What::Skipped { device, connection, conversation, from, to });
        }
    }

    /// The next thing that this person does. True: the device goes away.
    async fn act(&mut self, socket: &mut Socket) -> Result<bool, Option<u16>> {
        let duplicates = self.shared.duplicates.load(Ordering::Relaxed);
        match self.random.u32(0..1000) {
            0..850 if self.outbox.len() < WINDOW => {
                let conversation = self.conversations[self.random.usize(..self.conversations.len())];
                let length = if self.random.u32(0..50) == 0 { 4000 } else { self.random.usize(0..200) };
                let frame = self.outbox.add(conversation, length);
                if duplicates || self.random.u32(0..100) == 0 {
                    self.send_copies();
                }
                socket.send(&frame).await?;
            }
            850..940 => self.page(),
            940..960 => self.repeat_old(),
            960..975 => self.delete(),
            975..985 => return Ok(true),
            985..995 => self.churn(),
            995..997 => self.sign_out(),
            _ => {}
        }
        Ok(false)
    }

    fn rest(&mut self) -> Option<Rest> {
        let session = self.session.clone()?;
        let gateway = self.random.usize(0..2);
        Some(Rest { shared: Arc::clone(&self.shared), device: self.number, session, gateway })
    }

    fn page(&mut self) {
        if self.request.is_some() {
            return;
        }
        let conversation = self.conversations[self.random.usize(..self.conversations.len())];
        let seen = self.cursor.get(&self.shared.directory.conversations[conversation as usize].id).copied();
        let after = self.random.bool().then(|| self.random.u64(0..=seen.unwrap_or(0)));
        let Some(rest) = self.rest() else { return };
        self.request = Some(tokio::spawn(async move {
            rest.history(conversation, after).await;
            Done::Nothing
        }));
    }

    fn delete(&mut self) {
        if self.request.is_some() || self.own.is_empty() {
            return;
        }
        let (conversation, seq, id) = self.own.swap_remove(self.random.usize(..self.own.len()));
        let Some(rest) = self.rest() else { return };
        self.request = Some(tokio::spawn(async move {
            rest.delete(conversation, seq, id).await;
            Done::Nothing
        }));
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

async fn finished(request: &mut Option<JoinHandle<Done>>) -> Done {
    match request {
        Some(request) => request.await.unwrap_or(Done::Nothing),
        None => std::future::pending().await,
    }
}
