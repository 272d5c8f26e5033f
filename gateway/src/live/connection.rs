//! One connection, as the rest of the process sees it: a bounded queue of frames and a way to close it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use axum::extract::ws::Utf8Bytes;
use sealpost_schema::{CloseCode, ConversationId, Presence, Seq, ServerFrame, SessionId, UserId};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::room::Room;
use crate::auth::{Grant, Scope};
use crate::problem::ApiResult;

/// Conversations left by one connection, as far as it remembers where.
const MAX_LEFT: usize = 10_000;

/// Shared by the connection's own task, the rooms and the lanes.
pub struct Connection {
    pub user_id: UserId,
    pub session_id: SessionId,
    /// Of an API token: what it may do.
    pub grant: Option<Arc<Grant>>,
    frames: mpsc::Sender<Utf8Bytes>,
    queued_bytes: AtomicUsize,
    max_queued_bytes: usize,
    /// Messages sent by this client that have no answer yet.
    in_flight: AtomicUsize,
    max_in_flight: usize,
    close: OnceLock<CloseCode>,
    /// Rings when the connection must close, or may be read again.
    pub wake: Notify,
    /// Rings when frames were taken out of the queue.
    drained: Notify,
    rooms: Mutex<HashMap<ConversationId, Arc<Room>>>,
    /// Of conversations that it left: the last event that it has.
    left: Mutex<HashMap<ConversationId, Seq>>,
    /// What it says of its user.
    presence: Mutex<Presence>,
    /// The conversations that it watches.
    watched: Mutex<Vec<ConversationId>>,
    /// In all its rooms; what it joins later comes one by one.
    started: CancellationToken,
}

impl Connection {
    pub fn new(
        user_id: UserId,
        session_id: SessionId,
        grant: Option<Arc<Grant>>,
        frames: mpsc::Sender<Utf8Bytes>,
        max_queued_bytes: usize,
        max_in_flight: usize,
    ) -> Self {
        Self {
            user_id,
            session_id,
            grant,
            frames,
            queued_bytes: AtomicUsize::new(0),
            max_queued_bytes,
            in_flight: AtomicUsize::new(0),
            max_in_flight,
            close: OnceLock::new(),
            wake: Notify::new(),
            drained: Notify::new(),
            rooms: Mutex::default(),
            left: Mutex::default(),
            presence: Mutex::new(Presence::Online),
            watched: Mutex::default(),
            started: CancellationToken::new(),
        }
    }

    /// Whether a frame of this scope may be about this conversation. Who has a session may all that their role allows.
    pub fn check(&self, scope: Scope, conversation: ConversationId) -> ApiResult<()> {
        self.grant.as_ref().map_or(Ok(()), |grant| grant.check(scope, conversation))
    }

    /// Whether it may see this conversation, if its user does.
    pub fn reaches(&self, conversation: ConversationId) -> bool {
        self.grant.as_ref().is_none_or(|grant| grant.reaches(conversation))
    }

    /// Queues a frame. A client too slow for its queue is closed and resumes: memory per connection is bounded.
    pub fn push(&self, frame: Utf8Bytes) {
        let bytes = frame.len();
        let queued = self.queued_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if queued > self.max_queued_bytes || self.frames.try_send(frame).is_err() {
            if self.close.get().is_none() {
                metrics::counter!("sealpost_websocket_slow_consumers_total").increment(1);
            }
            self.close(CloseCode::SlowConsumer);
        }
    }

    pub fn send(&self, frame: &ServerFrame) {
        self.push(encode(frame));
    }

    /// Queues a frame of a backlog: waits while the queue is half full, and leaves the other half to what is live.
    pub async fn push_backlog(&self, frame: Utf8Bytes) {
        loop {
            let drained = self.drained.notified();
            let half_full = self.frames.capacity() * 2 < self.frames.max_capacity()
                || self.queued_bytes.load(Ordering::Relaxed) * 2 > self.max_queued_bytes;
            if !half_full || self.closing().is_some() {
                break;
            }
            drained.await;
        }
        self.push(frame);
    }

    /// The connection's task has taken these bytes out of the queue.
    pub fn written(&self, bytes: usize) {
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.drained.notify_one();
    }

    /// The first reason wins.
    pub fn close(&self, code: CloseCode) {
        if self.close.set(code).is_ok() {
            self.wake.notify_one();
            self.drained.notify_one();
        }
    }

    pub fn closing(&self) -> Option<CloseCode> {
        self.close.get().copied()
    }

    pub fn begin_send(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub fn end_send(&self) {
        if self.in_flight.fetch_sub(1, Ordering::Relaxed) >= self.max_in_flight {
            self.wake.notify_one();
        }
    }

    /// Whether the client may send more before hearing of what it sent.
    pub fn may_send(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) < self.max_in_flight
    }

    pub fn started(&self) {
        self.started.cancel();
    }

    pub fn is_started(&self) -> bool {
        self.started.is_cancelled()
    }

    /// Returns when the connection is in all its rooms, or has ended.
    pub async fn until_started(&self) {
        self.started.cancelled().await;
    }

    /// False if it was attached before.
    pub fn entered(&self, id: ConversationId, room: &Arc<Room>) -> bool {
        self.rooms().insert(id, Arc::clone(room)).is_none()
    }

    /// It is not in the room any more, and has everything up to `seq`.
    pub fn left(&self, id: ConversationId, seq: Seq) {
        self.rooms().remove(&id);
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.insert(id, seq);
        if left.len() > MAX_LEFT {
            self.close(CloseCode::TryAgainLater);
        }
    }

    /// The last event that it has of a conversation that it left. Asked once, on coming back.
    pub fn take_left(&self, id: ConversationId) -> Option<Seq> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).remove(&id)
    }

    pub fn is_in(&self, id: ConversationId) -> bool {
        self.rooms().contains_key(&id)
    }

    pub fn room(&self, id: ConversationId) -> Option<Arc<Room>> {
        self.rooms().get(&id).cloned()
    }

    pub fn presence(&self) -> Presence {
        *self.presence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_presence(&self, presence: Presence) {
        *self.presence.lock().unwrap_or_else(PoisonError::into_inner) = presence;
    }

    /// Watches these, and returns those that it watched before.
    pub fn watch(&self, ids: Vec<ConversationId>) -> Vec<ConversationId> {
        std::mem::replace(&mut *self.watched.lock().unwrap_or_else(PoisonError::into_inner), ids)
    }

    pub fn take_room(&self, id: ConversationId) -> Option<Arc<Room>> {
        self.rooms().remove(&id)
    }

    /// Takes all rooms out, for leaving them.
    pub fn take_rooms(&self) -> HashMap<ConversationId, Arc<Room>> {
        std::mem::take(&mut *self.rooms())
    }

    fn rooms(&self) -> std::sync::MutexGuard<'_, HashMap<ConversationId, Arc<Room>>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A frame as text. Frames always serialise; an empty one could only come from a defect, and is not valid JSON.
pub fn encode(frame: &ServerFrame) -> Utf8Bytes {
    Utf8Bytes::from(serde_json::to_string(frame).unwrap_or_default())
}
