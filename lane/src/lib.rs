//! The lane: numbers and orders the events of each conversation, without a lock service and without the database.
//!
//! For each active conversation a process holds one lane, a task that owns everything that is known about the end of that
//! conversation: the last seq, the last position in the event log, who takes part, which client message ids were used lately, and
//! which appended events the store has not confirmed. It appends with compare-and-append, one record at a time, and
//! what gathers meanwhile goes into the next record. Several processes may hold a lane for the same conversation: the log lets one
//! of them win each round, and the others take over what they missed and try again.
//!
//! Promised to callers of [`Lanes`]:
//! - events of a conversation get the seqs 1, 2, 3 … without a gap, in the order in which the log has them;
//! - an event id or client message id that the lane knows is never appended again: the caller gets the first event;
//! - [`Progress::Accepted`] comes after the log has the event; [`LaneError::Unavailable`] says that it never will;
//!   [`LaneError::OutcomeUnknown`] says neither;
//! - control changes get their numbers in the order in which they were decided, whichever process appends them;
//! - what was appended here is kept until the store has it, and appended again if the log loses its tail.
//!
//! `tests/` holds each of these against real logs.

mod actor;
mod additions;
mod config;
mod decided;
mod error;
mod fold;
mod known;
mod reader;
mod registry;
mod unstored;

pub use config::LaneConfig;
pub use error::LaneError;
pub use fold::{Fold, expiry};
pub use reader::{Reader, Tail};
pub use registry::Lanes;

use std::sync::Arc;

use sealpost_schema::{Action, Event, EventBody, EventId, EventRecord, MessageId, Seq, Timestamp, UserId};

/// An event that has no number yet.
#[derive(Clone, Debug)]
pub struct Draft {
    pub id: EventId,
    pub sender_id: UserId,
    pub created_at: Timestamp,
    pub body: EventBody,
    pub rule: Rule,
    /// The sender says that it may have sent this before: look in the store, too.
    pub retry: bool,
}

/// What must hold at the moment the event gets its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The sender is a participant whose role may post, and the message disappears when the settings say ([`expiry`]).
    Post,
    /// The sender is the author of the message (named by user id) and still may post, or may edit others' messages.
    EditMessageOf(UserId),
    /// The sender is the author of the message (named by user id) or may delete others' messages.
    DeleteMessageOf(UserId),
    /// The sender is a participant whose role has this right.
    May(Action),
    /// The same, and there is room for one more of what was counted.
    MayAdd(Action, Counted),
    /// Already decided, in a database transaction.
    Control,
}

/// What there may be only so many of, as somebody counted it before they made a draft. If others were quicker, the lane says
/// [`LaneError::Changed`]: count again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The last event that was taken into account.
    pub as_of: Seq,
    pub room: Room,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// So many more fit, counting each addition as one more.
    Left(u32),
    /// Another user has the same reaction: as long as nobody takes theirs away, it takes no room.
    Shared,
}

/// The event as it stands in the log.
#[derive(Clone, Debug)]
pub struct Appended {
    pub event: Arc<Event>,
    /// True: it was there before (same event id, or same sender and client message id).
    pub duplicate: bool,
}

/// What becomes of a draft. `Accepted` and `Failed` come first and once; after `Accepted` comes `Stored` or `Voided`, once, and
/// before it perhaps `Overdue`.
#[derive(Clone, Debug)]
pub enum Progress {
    /// The log has it. `stored` tells whether the store has it too (then no `Stored` follows).
    Accepted {
        appended: Appended,
        stored: bool,
    },
    /// The store did not confirm it within the time-out. It will be stored later.
    Overdue,
    Stored,
    /// The store kept the number empty, since the client message id had been used by this message.
    Voided {
        original_id: MessageId,
        original_seq: Seq,
    },
    Failed(LaneError),
}

/// Gets the progress of one draft, in the lane's task: it must not block.
pub type Waiter = Box<dyn FnMut(Progress) + Send>;

/// Hears of every record that a lane has appended or come across, in order per conversation. Must not block.
pub trait Observer: Send + Sync + 'static {
    fn appended(&self, record: &Arc<EventRecord>);
}
