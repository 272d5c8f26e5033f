//! One conversation as its local connections see it: what comes next, who gets it, and the last frames for those who
//! come back.
//!
//! The lock is held for handing frames to queues and never across an await; an owner task would put one more hop into the
//! path of every message.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::ws::Utf8Bytes;
use sealpost_schema::{
    Audience, ConversationId, Event, EventBody, EventId, Mark, MessageId, Seq, ServerFrame, StoredRange, Timestamp,
    UserId,
};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Connection;
use super::connection::encode;
use super::render::{render, without_content, without_content_of};
use super::shown::Shown;
use crate::keys::ConversationKeys;

/// Frames kept for connections that come back after a moment.
const RECENT_FRAMES: usize = 64;
/// Events that wait for the ones before them. Beyond it they are dropped: the fill brings them again.
const MAX_EARLY: usize = 1024;

pub struct Room {
    pub id: ConversationId,
    state: Mutex<State>,
    /// Ends the room's subscription.
    pub stop: CancellationToken,
    subscribing: AtomicBool,
    subscribed: CancellationToken,
    /// It could not be subscribed.
    deaf: AtomicBool,
}

#[derive(Default)]
struct State {
    /// The seq that is sent next; `None` until the head is known.
    next: Option<Seq>,
    early: BTreeMap<Seq, Arc<Event>>,
    /// The store is said to have everything up to here, or at least this one.
    announced: Seq,
    recent: VecDeque<Recent>,
    shown: Shown,
    /// What was shown up to here was not what the store has: holes are filled from the store.
    rewound_from: Seq,
    members: Vec<Member>,
    /// A task is filling the hole.
    filling: bool,
    /// No member can come any more: the hub has let go of it.
    closed: bool,
}

/// A frame for those who come back.
struct Recent {
    seq: Seq,
    id: EventId,
    frame: Utf8Bytes,
    /// What it says is not shown from then on.
    expires_at: Option<Timestamp>,
    standing: Option<Standing>,
}

/// What an event says of who takes part from then on.
#[derive(Clone, Copy)]
enum Standing {
    In(UserId),
    Out(UserId),
    AllOut,
}

impl Standing {
    fn of(body: &EventBody) -> Option<Self> {
        match body {
            EventBody::ParticipantAdded { user_id, .. } => Some(Self::In(*user_id)),
            EventBody::ParticipantRemoved { user_id } => Some(Self::Out(*user_id)),
            EventBody::ConversationDeleted => Some(Self::AllOut),
            _ => None,
        }
    }

    /// Whether this user is out after it; `None`: it is about others.
    fn puts_out(self, user: UserId) -> Option<bool> {
        match self {
            Self::In(who) => (who == user).then_some(false),
            Self::Out(who) => (who == user).then_some(true),
            Self::AllOut => Some(true),
        }
    }
}

/// Whether this user takes no part any more after the event; `None`: it changes nothing for them.
pub fn puts_out(event: &Event, user: UserId) -> Option<bool> {
    Standing::of(&event.body)?.puts_out(user)
}

struct Member {
    connection: Arc<Connection>,
    /// The first event that it may see.
    start: Seq,
    /// The member has everything up to here.
    sent: Seq,
    /// Gets what is typed here and who is there.
    watches: bool,
}

/// What [`Room::stored`] says.
pub struct Heard {
    /// Something of it was not sent here, and the caller has to fill the hole, if it is still one then.
    pub behind: bool,
    /// Perhaps something else was sent here from the one to the other: the caller has to [compare](Room::compare).
    pub doubtful: Option<(Seq, Seq)>,
}

/// Where a connection is in a conversation.
#[derive(Clone, Copy)]
pub struct Position {
    /// The first event that it may see.
    pub start: Seq,
    /// It has everything up to here.
    pub from: Seq,
    /// By then its user took no part any more.
    pub is_out: bool,
}

/// What [`Room::attach`] says.
pub enum Attach {
    /// From now on the connection gets everything after where it was; `replayed` events were queued at once.
    Done { replayed: u64 },
    /// Events up to `head` must be sent first.
    Behind { head: Seq },
    /// The room is gone: ask the hub again.
    Closed,
}

impl Room {
    pub fn new(id: ConversationId) -> Self {
        Self {
            id,
            state: Mutex::default(),
            stop: CancellationToken::new(),
            subscribing: AtomicBool::new(false),
            subscribed: CancellationToken::new(),
            deaf: AtomicBool::new(false),
        }
    }

    /// For the one who subscribes the room to the bus; dropping the claim lets the others go on. `None`: somebody else does.
    pub fn claim_subscription(&self) -> Option<DropGuard> {
        (!self.subscribing.swap(true, Ordering::AcqRel)).then(|| self.subscribed.clone().drop_guard())
    }

    /// Returns when the room is subscribed, or was given up (then it is closed).
    pub async fn subscribed(&self) {
        self.subscribed.cancelled().await;
    }

    /// It cannot be subscribed: nobody can attach any more.
    pub fn give_up(&self) {
        self.deaf.store(true, Ordering::Release);
        self.lock().closed = true;
        self.stop.cancel();
    }

    pub fn is_given_up(&self) -> bool {
        self.deaf.load(Ordering::Acquire)
    }

    /// Tells where the conversation stood when the room was made. The first call counts. True: something waits behind a hole.
    pub fn start_at(&self, head: Seq, keys: &ConversationKeys) -> bool {
        let mut state = self.lock();
        if state.next.is_none() {
            state.next = Some(head.next());
            state.early = state.early.split_off(&head.next());
        }
        state.send_ready(keys) || state.begin_catching_up()
    }

    pub fn is_started(&self) -> bool {
        self.lock().next.is_some()
    }

    /// The last seq that was sent.
    pub fn head(&self) -> Option<Seq> {
        self.lock().next.map(|next| Seq(next.0 - 1))
    }

    /// Which event had this number, if it was sent lately.
    pub fn recent_id(&self, seq: Seq) -> Option<EventId> {
        self.lock().recent.iter().rev().find(|recent| recent.seq == seq).map(|recent| recent.id)
    }

    /// Takes events in; sends what is next. True: a hole must be filled, and the caller is the one to do it.
    pub fn take(&self, events: &[Arc<Event>], keys: &ConversationKeys) -> bool {
        let mut state = self.lock();
        let mut all_known = true;
        for event in events {
            match state.next {
                Some(next) if event.seq < next => {}
                Some(next) if event.seq == next && state.early.is_empty() => {
                    if !state.send(event, keys) {
                        all_known = false;
                        state.early.insert(event.seq, Arc::clone(event));
                    }
                }
                _ => {
                    if state.early.len() < MAX_EARLY {
                        state.early.insert(event.seq, Arc::clone(event));
                    }
                }
            }
        }
        if !all_known {
            return state.begin_filling();
        }
        state.send_ready(keys)
    }

    /// Whether the fill task is still needed; if not, it has to end.
    pub fn still_filling(&self, keys: &ConversationKeys) -> Option<Seq> {
        let mut state = self.lock();
        state.filling = false;
        (state.send_ready(keys) || state.begin_catching_up()).then(|| state.next.map_or(Seq(0), |next| Seq(next.0 - 1)))
    }

    /// The store has these. A room that starts from the store misses what was pushed before that and stored after it.
    pub fn stored(&self, range: &StoredRange) -> Heard {
        let mut state = self.lock();
        state.announced = state.announced.max(range.last);
        let doubtful = (!state.shown.confirm(range)).then_some((range.first, range.last));
        let doubtful = doubtful.or_else(|| state.shown.overdue(Instant::now()));
        Heard { behind: state.begin_catching_up(), doubtful }
    }

    /// What was shown and is not known to be stored.
    pub fn unconfirmed(&self) -> Option<(Seq, Seq)> {
        self.lock().shown.all()
    }

    /// Holds what was shown against what the store has. If it has another event under one of the numbers, the log has lost the first one
    /// for good: everybody here is told to drop what they have from there on, and gets it anew. True: the caller has to fill.
    pub fn compare(&self, stored: &[(Seq, EventId)]) -> bool {
        let mut state = self.lock();
        let Some(first) = state.shown.compare(stored) else { return false };
        state.rewind(self.id, Seq(first.0 - 1))
    }

    /// Whether what follows `after` has to come from the store, even if the log has something there.
    pub fn trusts_only_the_store(&self, after: Seq) -> bool {
        after < self.lock().rewound_from
    }

    /// What was announced cannot be found: nothing more to look for.
    pub fn forget_announced(&self) {
        self.lock().announced = Seq::default();
    }

    /// Claims the fill for a check of the head. False: somebody is at it.
    pub fn claim_fill(&self) -> bool {
        self.lock().begin_filling()
    }

    /// Adds a connection. One whose user was removed by now gets the events up to now, and is not added. `now`: what has disappeared by then is
    /// not shown to it.
    pub fn attach(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        Position { start, from, mut is_out }: Position,
        now: Timestamp,
    ) -> Attach {
        let mut state = self.lock();
        if state.closed {
            return Attach::Closed;
        }
        let head = state.next.map_or(Seq(0), |next| Seq(next.0 - 1));
        if from < head {
            let covered = state.recent.front().is_some_and(|first| first.seq <= from.next());
            if !covered {
                return Attach::Behind { head };
            }
        }
        if !connection.entered(self.id, self) {
            return Attach::Done { replayed: 0 };
        }
        let mut replayed = 0;
        for recent in state.recent.iter_mut().filter(|recent| recent.seq > from) {
            recent.hide_expired(now);
            connection.push(recent.frame.clone());
            is_out = recent.standing.and_then(|standing| standing.puts_out(connection.user_id)).unwrap_or(is_out);
            replayed += 1;
        }
        if is_out {
            connection.left(self.id, from.max(head));
            return Attach::Done { replayed };
        }
        let (connection, sent) = (Arc::clone(connection), from.max(head));
        state.members.push(Member { connection, start, sent, watches: false });
        Attach::Done { replayed }
    }

    /// Whether this connection gets what is only for those who watch. False: it is not here.
    pub fn watch(&self, connection: &Arc<Connection>, watches: bool) -> bool {
        let mut state = self.lock();
        let member = state.members.iter_mut().find(|member| Arc::ptr_eq(&member.connection, connection));
        member.map(|member| member.watches = watches).is_some()
    }

    /// Connections that watch.
    pub fn watchers(&self) -> usize {
        self.lock().members.iter().filter(|member| member.watches).count()
    }

    /// A frame for those who watch, outside of the order of events.
    pub fn tell_watchers(&self, frame: &Utf8Bytes) {
        for member in self.lock().members.iter().filter(|member| member.watches) {
            member.connection.push(frame.clone());
        }
    }

    /// Tells of watermarks, each to those who may know.
    pub fn tell_marks(&self, marks: &[Mark]) {
        let state = self.lock();
        for mark in marks {
            let frame = |read_seq| {
                let (user_id, delivered_seq) = (mark.user_id, mark.delivered_seq);
                encode(&ServerFrame::Receipt { conversation_id: self.id, user_id, delivered_seq, read_seq })
            };
            let to_others = match mark.audience {
                Audience::Oneself => None,
                Audience::WithoutRead => Some(frame(None)),
                Audience::Everybody => Some(frame(Some(mark.read_seq))),
            };
            let to_own = frame(Some(mark.read_seq));
            for member in &state.members {
                if member.connection.user_id == mark.user_id {
                    member.connection.push(to_own.clone());
                } else if let Some(frame) = &to_others {
                    member.connection.push(frame.clone());
                }
            }
        }
    }

    /// True: the room is empty.
    pub fn detach(&self, connection: &Arc<Connection>) -> bool {
        let mut state = self.lock();
        state.members.retain(|member| {
            let leaves = Arc::ptr_eq(&member.connection, connection);
            if leaves {
                connection.left(self.id, member.sent);
            }
            !leaves
        });
        state.members.is_empty()
    }

    /// Closes the room if nobody is in it.
    pub fn close_if_empty(&self) -> bool {
        let mut state = self.lock();
        if state.members.is_empty() {
            state.closed = true;
            self.stop.cancel();
        }
        state.closed
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    fn hide_expired(&mut self, now: Timestamp) {
        if self.expires_at.is_some_and(|expires_at| expires_at <= now) {
            self.expires_at = None;
            if let Some((bare, _)) = without_content(&self.frame) {
                self.frame = encode(&bare);
            }
        }
    }
}

impl State {
    fn begin_filling(&mut self) -> bool {
        !std::mem::replace(&mut self.filling, true)
    }

    /// Whether the store has more than was sent, and nobody looks for it yet.
    fn begin_catching_up(&mut self) -> bool {
        self.next.is_some_and(|next| self.announced >= next) && self.begin_filling()
    }

    /// Sends the early events whose turn has come. True: others still wait, and the caller has to fill the hole.
    fn send_ready(&mut self, keys: &ConversationKeys) -> bool {
        while let Some(next) = self.next {
            self.early = match self.early.first_key_value() {
                Some((&first, _)) if first < next => self.early.split_off(&next),
                _ => std::mem::take(&mut self.early),
            };
            let Some(event) = self.early.get(&next).cloned() else { break };
            if !self.send(&event, keys) {
                break;
            }
            self.early.remove(&next);
        }
        self.next.is_some() && !self.early.is_empty() && self.begin_filling()
    }

    /// Sends the next event to all members. False: its key is not in memory.
    fn send(&mut self, event: &Arc<Event>, keys: &ConversationKeys) -> bool {
        let Some(frame) = render(event, keys) else { return false };
        let frame = encode(&frame);
        for member in &mut self.members {
            if event.seq > member.sent {
                member.connection.push(frame.clone());
                member.sent = event.seq;
            }
        }
        let standing = Standing::of(&event.body);
        if let Some(standing) = standing {
            self.dismiss(standing, event);
        }
        if let EventBody::MessageDeleted { message_id, .. } = &event.body {
            self.forget_content(*message_id);
        }
        if self.recent.len() == RECENT_FRAMES {
            self.recent.pop_front();
        }
        let (seq, id, expires_at) = (event.seq, event.id, event.body.expires_at());
        self.recent.push_back(Recent { seq, id, frame, expires_at, standing });
        self.shown.insert(seq, id);
        self.next = Some(event.seq.next());
        true
    }

    /// What came after `seq` was not so. True: the caller has to fill.
    fn rewind(&mut self, id: ConversationId, seq: Seq) -> bool {
        let Some(next) = self.next.filter(|next| *next > seq.next()) else { return false };
        tracing::error!(conversation = %id, after = %seq, "events were shown that the event log has lost: they are taken back");
        self.rewound_from = self.rewound_from.max(Seq(next.0 - 1));
        self.next = Some(seq.next());
        self.early.clear();
        self.shown.rewind(seq);
        self.recent.retain(|recent| recent.seq <= seq);
        let frame = |after_seq| encode(&ServerFrame::Rewound { conversation_id: id, after_seq });
        let for_most = frame(seq);
        for member in &mut self.members {
            // What was before somebody joined stays hidden from them.
            let after = seq.max(Seq(member.start.0.saturating_sub(1)));
            if member.sent > after {
                member.connection.push(if after == seq { for_most.clone() } else { frame(after) });
                member.sent = after;
            }
        }
        self.begin_filling()
    }

    /// Those who come back after the deletion of a message do not see any more what it said.
    fn forget_content(&mut self, message: MessageId) {
        for recent in &mut self.recent {
            if let Some(bare) = without_content_of(&recent.frame, message) {
                recent.frame = encode(&bare);
            }
        }
    }

    /// Members that see nothing after this event.
    fn dismiss(&mut self, standing: Standing, event: &Event) {
        self.members.retain(|member| {
            let stays = standing.puts_out(member.connection.user_id) != Some(true);
            if !stays {
                member.connection.left(event.conversation_id, member.sent);
            }
            stays
        });
    }
}
