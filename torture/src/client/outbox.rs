//! Messages that are not known to be stored. Each is sent again, under its name, until it is, or until the server says for certain that
//! it was not taken.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Shared;
use crate::directory::uuid;
use crate::history::{Answer, Call, Number, OpId, What};

/// Without any answer, or accepted and not stored, for so long: it is sent again.
const PATIENCE: Duration = Duration::from_secs(4);
/// After an answer that asks to try again.
const PAUSE: Duration = Duration::from_millis(200);

pub struct Outbox {
    shared: Arc<Shared>,
    device: Number,
    next: u64,
    /// By the order in which they were first sent.
    waiting: BTreeMap<u64, Pending>,
    /// The last ones that are stored, to be repeated now and then: operation, conversation, name, text.
    done: Vec<(OpId, Number, String, String)>,
}

pub struct Pending {
    pub op: OpId,
    pub conversation: Number,
    pub name: String,
    pub text: String,
    attempts: u32,
    again_at: Instant,
}

impl Outbox {
    pub fn new(shared: Arc<Shared>, device: Number) -> Self {
        Self { shared, device, next: 0, waiting: BTreeMap::new(), done: Vec::new() }
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// A new message; its frame.
    pub fn add(&mut self, conversation: Number, length: usize) -> Value {
        self.next += 1;
        let name = format!("d{}-{}", self.device, self.next);
        let text = format!("{} {name} {}", self.shared.canary(), "x".repeat(length));
        let call = Call::Send { conversation, name: name.clone(), text: text.clone() };
        let op = self.shared.recorder.invoke(self.device, call);
        let pending = Pending { op, conversation, name, text, attempts: 1, again_at: Instant::now() + PATIENCE };
        let frame = self.frame(&pending);
        self.waiting.insert(self.next, pending);
        self.shared.waiting.fetch_add(1, Ordering::Relaxed);
        frame
    }

    /// The newest message, for those who send it many times at once.
    pub fn newest(&mut self) -> Option<&mut Pending> {
        self.waiting.values_mut().next_back()
    }

    pub fn stored_before(&self, index: usize) -> Option<&(OpId, Number, String, String)> {
        (!self.done.is_empty()).then(|| &self.done[index % self.done.len()])
    }

    /// The connection is new: everything has to be sent again.
    pub fn restart(&mut self) {
        let now = Instant::now();
        self.waiting.values_mut().for_each(|pending| pending.again_at = now);
    }

    /// Frames of what is due again, in order.
    pub fn due(&mut self) -> Vec<Value> {
        let now = Instant::now();
        let mut frames = Vec::new();
        let mut waiting = std::mem::take(&mut self.waiting);
        for pending in waiting.values_mut().filter(|pending| pending.again_at <= now) {
            pending.attempts += 1;
            pending.again_at = now + PATIENCE;
            self.shared.recorder.note(What::Again { op: pending.op });
            frames.push(self.frame(pending));
        }
        self.waiting = waiting;
        frames
    }

    fn frame(&self, pending: &Pending) -> Value {
        let conversation = &self.shared.directory.conversations[pending.conversation as usize].id;
        json!({
            "type": "message", "conversation_id": conversation, "client_message_id": pending.name,
            "text": pending.text, "retry": pending.attempts > 1,
        })
    }

    fn key_of(&self, frame: &Value) -> Option<u64> {
        let name = frame["client_message_id"].as_str()?;
        let number = name.rsplit_once('-')?.1.parse().ok()?;
        self.waiting.contains_key(&number).then_some(number)
    }

    /// `message_ack` or `stored`.
    pub fn acknowledged(&mut self, frame: &Value) {
        let Some(key) = self.key_of(frame) else { return };
        let stored = frame["type"] == "stored" || frame["stored"] == true;
        let (Some(id), Some(seq)) = (frame["message_id"].as_str(), frame["seq"].as_u64()) else { return };
        let answer = Answer::Sent { message_id: uuid(id), seq, stored };
        let op = self.waiting[&key].op;
        self.shared.recorder.note(What::Ok { op, answer });
        if stored && let Some(pending) = self.remove(key) {
            if self.done.len() >= 200 {
                self.done.remove(0);
            }
            self.done.push((pending.op, pending.conversation, pending.name, pending.text));
        }
    }

    pub fn refused(&mut self, frame: &Value) {
        let Some(key) = self.key_of(frame) else { return };
        let kind = frame["problem"]["type"].as_str().unwrap_or_default();
        let reason = kind.rsplit(':').next().unwrap_or_default().to_owned();
        let Some(pending) = self.waiting.get_mut(&key) else { return };
        let once = pending.attempts == 1;
        let passing =
            ["outcome-unknown", "unavailable", "internal", "too-many", "rate-limited"].contains(&reason.as_str());
        if passing && !(once && reason == "unavailable") {
            // What it says does not hold for the attempts before.
            pending.again_at = Instant::now() + PAUSE;
            return;
        }
        let Some(pending) = self.remove(key) else { return };
        let op = pending.op;
        // Only the first attempt's refusal is certain: an earlier one may have got through.
        let what = if once { What::Fail { op, reason } } else { What::Info { op, reason } };
        self.shared.recorder.note(what);
    }

    fn remove(&mut self, key: u64) -> Option<Pending> {
        let pending = self.waiting.remove(&key)?;
        self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
        Some(pending)
    }

    /// At the end of a run nobody knows what became of the rest.
    pub fn give_up(&mut self) {
        while let Some((&key, _)) = self.waiting.first_key_value() {
            if let Some(pending) = self.remove(key) {
                let reason = "no answer by the end of the run".to_owned();
                self.shared.recorder.note(What::Info { op: pending.op, reason });
            }
        }
    }
}

impl Pending {
    /// Others send it, too.
    pub fn again(&mut self) {
        self.attempts += 1;
    }
}
