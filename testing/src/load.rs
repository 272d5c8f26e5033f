//! A sender under load that behaves as a good client does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::api::problem;
use crate::socket::{Incoming, Socket};
use crate::user::{User, unique};
use crate::view::View;
use crate::wait::{PATIENCE, eventually, within};

/// Messages without an answer at one time.
const WINDOW: usize = 8;
/// A client does not hammer a server that is away.
const PAUSE: Duration = Duration::from_millis(50);

/// Sends until it is told to stop, re-sends what has no answer, reconnects and resumes.
pub struct Load {
    task: JoinHandle<Sent>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    acked: AtomicU64,
    seen: AtomicU64,
    troubles: AtomicU64,
}

/// What a sender was told and saw.
pub struct Sent {
    pub user_id: String,
    /// Client message id to message id and seq.
    pub acks: BTreeMap<String, (String, u64)>,
    /// Of these the server said that nothing was taken; they were not sent again.
    pub refused: BTreeSet<String>,
    /// Acknowledged as accepted, and not yet said to be stored.
    pub unstored: BTreeSet<String>,
    /// Acks that said `"stored": false`.
    pub acks_before_stored: u64,
    /// Answers that said that the outcome is unknown.
    pub unknown: u64,
    pub reconnects: u64,
    pub socket: Socket,
}

impl Load {
    /// At most `most` messages; with `at_least_between` between two of them.
    pub fn start(user: &User, conversation: &str, most: usize, between: Duration) -> Self {
        let shared = Arc::new(Shared::default());
        let sender = Sender {
            name: unique("m"),
            user: user.clone(),
            conversation: conversation.to_owned(),
            most,
            between,
            next: 0,
            waiting: BTreeMap::new(),
            again: Vec::new(),
            shared: Arc::clone(&shared),
        };
        Self { task: tokio::spawn(sender.run()), shared }
    }

    /// Messages acknowledged so far.
    pub fn acked(&self) -> u64 {
        self.shared.acked.load(Ordering::Relaxed)
    }

    /// Returns when `more` messages have been acknowledged since this was called.
    pub async fn progress(&self, more: u64) {
        let goal = self.acked() + more;
        eventually("more acknowledged messages", async || {
            assert!(!self.task.is_finished() || self.acked() >= goal, "the sender has ended: its limit is too low");
            (self.acked() >= goal).then_some(())
        })
        .await;
    }

    /// Returns when others' and own messages have been seen live `more` times since this was called.
    pub async fn sees(&self, more: u64) {
        let goal = self.shared.seen.load(Ordering::Relaxed) + more;
        eventually("more live messages", async || (self.shared.seen.load(Ordering::Relaxed) >= goal).then_some(()))
            .await;
    }

    /// Lost connections and refusals so far.
    pub fn troubles(&self) -> u64 {
        self.shared.troubles.load(Ordering::Relaxed)
    }

    /// Sends nothing new, and ends when everything has its answer and is stored.
    pub async fn finish(self) -> Sent {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.complete().await
    }

    /// Ends when all messages have been sent and have their answer.
    pub async fn complete(self) -> Sent {
        match within("a sender to have all its answers", self.task).await {
            Ok(sent) => sent,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

impl Sent {
    /// For the output of a test: what its faults did to the sender.
    pub fn print(&self) {
        eprintln!(
            "{} acknowledged ({} before they were stored), {} refused, {} times unknown, {} reconnects",
            self.acks.len(),
            self.acks_before_stored,
            self.refused.len(),
            self.unknown,
            self.reconnects
        );
    }
}

struct Sender {
    name: String,
    user: User,
    conversation: String,
    most: usize,
    between: Duration,
    next: usize,
    /// Sent and without an answer; the number of times it was sent.
    waiting: BTreeMap<String, u32>,
    /// To be sent again after a pause.
    again: Vec<String>,
    shared: Arc<Shared>,
}

impl Sender {
    async fn run(mut self) -> Sent {
        let mut sent = Sent {
            user_id: self.user.id.clone(),
            acks: BTreeMap::new(),
            refused: BTreeSet::new(),
            unstored: BTreeSet::new(),
            acks_before_stored: 0,
            unknown: 0,
            reconnects: 0,
            socket: self.user.socket().await,
        };
        while !self.drive(&mut sent).await {
            self.shared.troubles.fetch_add(1, Ordering::Relaxed);
            sent.reconnects += 1;
            let view = std::mem::take(&mut sent.socket.view);
            sent.socket = self.reconnect(view).await;
            // `stored` frames belong to the connection that sent; after it the history tells.
            sent.unstored.clear();
            self.again = self.waiting.keys().cloned().collect();
        }
        sent
    }

    async fn reconnect(&self, view: View) -> Socket {
        let start = Instant::now();
        loop {
            match self.user.connect().view(view.clone()).resume().await {
                Ok(socket) => return socket,
                Err(refused) => assert!(start.elapsed() < PATIENCE, "no connection any more: {refused:?}"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// True: done. False: the connection is gone.
    async fn drive(&mut self, sent: &mut Sent) -> bool {
        let mut tick = tokio::time::interval(PAUSE);
        let mut turn = tokio::time::interval(self.between.max(Duration::from_micros(100)));
        turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let stop = self.shared.stop.load(Ordering::Relaxed) || self.next >= self.most;
            if stop && self.waiting.is_empty() && sent.unstored.is_empty() {
                return true;
            }
            let may_send = !stop && self.waiting.len() < WINDOW;
            tokio::select! {
                incoming = sent.socket.next() => match incoming {
                    Incoming::Closed(_) => return false,
                    Incoming::Frame(frame) => self.take(&frame, sent),
                },
                _ = turn.tick(), if may_send => {
                    let name = format!("{}-{}", self.name, self.next);
                    self.next += 1;
                    if !self.send(&name, &mut sent.socket).await {
                        return false;
                    }
                }
                _ = tick.tick() => for name in std::mem::take(&mut self.again) {
                    if self.waiting.contains_key(&name) && !self.send(&name, &mut sent.socket).await {
                        return false;
                    }
                },
            }
        }
    }

    async fn send(&mut self, name: &str, socket: &mut Socket) -> bool {
        let times = self.waiting.entry(name.to_owned()).or_default();
        *times += 1;
        let frame = json!({
            "type": "message", "conversation_id": self.conversation, "client_message_id": name,
            "text": format!("text of {name}"), "retry": *times > 1,
        });
        socket.try_send(&frame).await
    }

    fn take(&mut self, frame: &Value, sent: &mut Sent) {
        let name = || frame["client_message_id"].as_str().unwrap_or_default().to_owned();
        match frame["type"].as_str().unwrap_or_default() {
            "message" => _ = self.shared.seen.fetch_add(1, Ordering::Relaxed),
            "message_ack" => self.take_ack(name(), frame, sent),
            "stored" => _ = sent.unstored.remove(&name()),
            "error" => self.take_error(name(), frame, sent),
            _ => {}
        }
    }

    fn take_ack(&mut self, name: String, frame: &Value, sent: &mut Sent) {
        let answer = (frame["message_id"].as_str().unwrap().to_owned(), frame["seq"].as_u64().unwrap());
        if frame["stored"] == false {
            sent.acks_before_stored += 1;
            // A repeat's answer is not followed by a `stored` frame.
            if frame["duplicate"] == false {
                sent.unstored.insert(name.clone());
            }
        }
        if self.waiting.remove(&name).is_some() {
            self.shared.acked.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(before) = sent.acks.insert(name, answer.clone()) {
            assert_eq!(before, answer, "one message was acknowledged in two ways: {frame}");
        }
    }

    fn take_error(&mut self, name: String, frame: &Value, sent: &mut Sent) {
        self.shared.troubles.fetch_add(1, Ordering::Relaxed);
        let kind = frame["problem"]["type"].as_str().unwrap_or_default().to_owned();
        assert!(!sent.acks.contains_key(&name), "acknowledged and refused: {frame}");
        if kind == problem("outcome-unknown") {
            sent.unknown += 1;
            self.again.push(name);
        } else if kind == problem("unavailable") && self.waiting.get(&name) == Some(&1) {
            // Sent once, and nothing was taken: it must never show up.
            self.waiting.remove(&name);
            sent.refused.insert(name);
        } else if kind == problem("unavailable") {
            self.again.push(name);
        } else {
            panic!("refused: {frame}");
        }
    }
}
