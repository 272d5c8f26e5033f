//! Live notices between processes: ephemeral, each safe to lose (the reader has another way to find out).

use serde::{Deserialize, Serialize};

use crate::{
    ConversationId, EventId, MessageId, OwnState, ScheduledFailure, ScheduledState, Seq, SessionId, Timestamp, UserId,
};

/// From a persistence worker, after a commit. Subject [`StoredNotice::SUBJECT`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredNotice {
    pub stored: Vec<StoredRange>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub voided: Vec<VoidedEvent>,
}

/// These events, both ends included, are committed. A range and not a watermark: with several workers, later
/// events can be committed before earlier ones. All of them stood in one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredRange {
    #[serde(rename = "c")]
    pub conversation_id: ConversationId,
    #[serde(rename = "f")]
    pub first: Seq,
    #[serde(rename = "l")]
    pub last: Seq,
    /// [`fingerprint`](Self::fingerprint) of the events' ids. A log that forgot its tail may have given one of these numbers to two
    /// events, and only one of them is in the store.
    #[serde(rename = "i", default)]
    pub ids: u32,
}

impl StoredRange {
    /// Tells sets of ids apart, in any order.
    pub fn fingerprint(ids: impl IntoIterator<Item = EventId>) -> u32 {
        // The end of an id is random.
        #[expect(clippy::cast_possible_truncation, reason = "cut to 32 bits right before")]
        let ends = ids.into_iter().map(|id| (id.0.as_u128() & u128::from(u32::MAX)) as u32);
        ends.fold(0, |all, end| all ^ end)
    }
}

/// An event that the store kept as `void`, because its sender had used the client message id before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoidedEvent {
    pub conversation_id: ConversationId,
    pub seq: Seq,
    pub id: EventId,
    pub original_id: MessageId,
    pub original_seq: Seq,
}

impl StoredNotice {
    pub const SUBJECT: &'static str = "live.stored";
}

/// What every gateway must hear at once. Subject [`ControlNotice::SUBJECT`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ControlNotice {
    /// A user became a participant with this event: their connections begin to see the conversation from `seq` on.
    Joined { user_id: UserId, conversation_id: ConversationId, seq: Seq },
    /// A user wrote a draft or dropped it: their other connections are told.
    Draft(DraftNotice),
    /// A scheduled message of a user was made, changed, sent, refused or cancelled: their connections are told.
    Scheduled(ScheduledNotice),
    /// Sessions ended: their connections are closed and their access tokens are refused.
    SessionsEnded { session_ids: Vec<SessionId> },
    /// There is an announcement, or one was withdrawn: look.
    Announced {},
    /// A user muted, archived or hid a conversation, or took that back: their connections are told.
    OwnState { user_id: UserId, conversation_id: ConversationId, state: OwnState },
    /// A user blocks somebody, or does not any more: their connections are told, and leave the conversation that is shut by it.
    Blocked {
        user_id: UserId,
        blocked_id: UserId,
        blocked: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shut: Option<ConversationId>,
    },
}

/// See [`ControlNotice::Draft`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DraftNotice {
    pub user_id: UserId,
    /// Where it was written: not told.
    pub session_id: SessionId,
    pub conversation_id: ConversationId,
    pub draft_id: uuid::Uuid,
    /// Envelope of the text, bound to `draft_id` and the user; `None`: dropped.
    pub sealed: Option<String>,
    pub updated_at: Timestamp,
}

/// See [`ControlNotice::Scheduled`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduledNotice {
    pub user_id: UserId,
    pub conversation_id: ConversationId,
    /// Of the message that it becomes.
    pub message_id: MessageId,
    pub state: ScheduledState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<ScheduledFailure>,
    pub send_at: Timestamp,
}

impl ControlNotice {
    pub const SUBJECT: &'static str = "live.control";
}

/// Subject of a word to the timers workers: something may be due sooner than they think. It says nothing else, and may be lost: they look
/// again every few seconds.
pub const TIMERS_SUBJECT: &str = "live.timers";

/// To the delivery workers: this webhook is new, was changed, or is to be tested. Subject [`WebhookNotice::SUBJECT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookNotice {
    pub webhook_id: uuid::Uuid,
}

impl WebhookNotice {
    pub const SUBJECT: &'static str = "live.webhooks";
}
