//! WebSocket frames: JSON text, one object a frame, told apart by `type`.
//!
//! `docs/protocol.md` shows an example of each; `tests/protocol.rs` holds them to the letter, and `testing/tests/stacks/protocol.rs` sends
//! them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    ClientMessageId, ConversationId, ConversationKind, EventId, HistoryVisibility, Lifetimes, MessageId, NamedRole,
    OwnState, Presence, Problem, PublicSettings, RightsChange, Role, ScheduledFailure, ScheduledState, Seq, SessionId,
    Timestamp, UserId,
};

/// The last seq that a client has seen, for each conversation. Any gateway understands it.
pub type Cursor = BTreeMap<ConversationId, Seq>;

/// The event that each place of a cursor stands for.
pub type LastEvents = BTreeMap<ConversationId, EventId>;

/// When the sender's acknowledgement is sent, and what it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AckLevel {
    /// The event log has it.
    Accepted,
    /// The store has committed it.
    #[default]
    Stored,
}

/// What a client sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ClientFrame {
    /// The first frame of a connection that brought no token in a header or subprotocol; within five seconds.
    Authenticate {
        token: String,
        /// Resume from here; live events start after what was missed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Option<BTreeMap<String, u64>>)]
        cursor: Option<Cursor>,
    },
    /// Answered by `pong` with the same `id`.
    Ping {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
    },
    /// Sends a message. Answered by `message_ack`, or by `error` with the same `client_message_id`.
    Message {
        conversation_id: ConversationId,
        client_message_id: ClientMessageId,
        text: String,
        #[serde(default)]
        ack: AckLevel,
        /// This is a repeat of a send whose answer never came. Always set it on a repeat: it makes the server look further back.
        #[serde(default)]
        retry: bool,
        /// The message that this one answers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reply_to: Option<MessageId>,
        /// The first message of the thread that this one belongs to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        thread_id: Option<MessageId>,
    },
    /// Reserved for end-to-end encrypted conversations, which this server does not have: whatever it holds, it is answered by `error` with
    /// the problem `reserved-frame`, and nothing is passed on.
    KeyExchange {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client_operation_id: Option<ClientMessageId>,
    },
    /// Keeps a draft, or with `null` none. Answered only by `error`; the user's other connections get `draft`.
    Draft {
        conversation_id: ConversationId,
        text: Option<String>,
    },
    /// On a connection opened with `/ws?resume=true`: the first frame. Sends what was missed, then live events.
    Resume {
        #[schema(value_type = BTreeMap<String, u64>)]
        cursor: Cursor,
        /// By conversation: the id (`message_id` or `event_id`) of the event that the cursor names. If another event has that number now,
        /// `rewound` says so.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        #[schema(value_type = BTreeMap<String, Uuid>)]
        last_events: LastEvents,
    },
    /// Gives a message another text. Answered by `change_ack`, or by `error`, with the same `client_operation_id`.
    MessageEdit {
        conversation_id: ConversationId,
        message_id: MessageId,
        text: String,
        /// The client's own name for this frame, for its answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client_operation_id: Option<ClientMessageId>,
    },
    /// Deletes a message for everybody. Answered as `message_edit`.
    MessageDelete {
        conversation_id: ConversationId,
        message_id: MessageId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client_operation_id: Option<ClientMessageId>,
    },
    /// Adds a reaction to a message, or takes one's own away. Answered as `message_edit`.
    Reaction {
        conversation_id: ConversationId,
        message_id: MessageId,
        /// One emoji, or `:name:`.
        emoji: String,
        #[serde(default)]
        remove: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client_operation_id: Option<ClientMessageId>,
    },
    /// Pins a message, or unpins it. Answered as `message_edit`.
    MessagePin {
        conversation_id: ConversationId,
        message_id: MessageId,
        #[serde(default)]
        remove: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client_operation_id: Option<ClientMessageId>,
    },
    /// «I have read up to here.» Watermarks only rise.
    MessageRead {
        conversation_id: ConversationId,
        seq: Seq,
    },
    /// «This device has everything up to here.» Watermarks only rise; what was read was delivered.
    MessageDelivered {
        conversation_id: ConversationId,
        seq: Seq,
    },
    /// The conversations that the user looks at now, at most 20, in place of those named before: who types there and who is there is
    /// told to this connection.
    Watch {
        conversation_ids: Vec<ConversationId>,
    },
    /// The user types here. Counts for six seconds; repeat it every few.
    TypingStart {
        conversation_id: ConversationId,
    },
    TypingStop {
        conversation_id: ConversationId,
    },
    /// What this connection says of its user; at first `online`. Of several connections the last of `offline`, `away`, `online`,
    /// `do_not_disturb` counts.
    PresenceUpdate {
        status: Presence,
    },
}

/// Whether a participant is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct UserPresence {
    pub user_id: UserId,
    pub status: Presence,
    /// Of those who are not there, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen_at: Option<Timestamp>,
}

/// Where a conversation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ConversationHead {
    pub conversation_id: ConversationId,
    /// Events up to here are not sent unless asked for by `resume`; every later one is.
    pub head_seq: Seq,
}

/// The last message of a conversation, as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LastMessage {
    pub message_id: MessageId,
    pub seq: Seq,
    pub sender_id: UserId,
    pub created_at: Timestamp,
    /// `null` if it was deleted or cannot be opened.
    pub text: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
}

/// What the server sends. Frames with a `conversation_id` and a `seq` are events: each connection gets every event of its
/// conversations exactly once, in the order of `seq`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerFrame {
    /// The connection is authenticated.
    Ready {
        user_id: UserId,
        session_id: SessionId,
        /// The server pings this often; a client that hears nothing for twice as long should reconnect.
        heartbeat_seconds: u64,
        /// When this connection ends, wait a random time up to so long before the next one: others come back at the same time.
        reconnect_within_ms: u64,
        conversations: Vec<ConversationHead>,
    },
    Pong {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
    },
    /// The message has this id and seq. `level` is what is certain now.
    MessageAck {
        client_message_id: ClientMessageId,
        conversation_id: ConversationId,
        message_id: MessageId,
        seq: Seq,
        level: AckLevel,
        /// False: a `stored` frame follows when the store has committed it.
        stored: bool,
        /// True if this client message id had been sent before: the answer is the first one's.
        duplicate: bool,
    },
    /// A message that was acknowledged as `accepted` is now committed in the store.
    Stored {
        client_message_id: ClientMessageId,
        conversation_id: ConversationId,
        message_id: MessageId,
        seq: Seq,
    },
    /// The answer to a change of a message.
    ChangeAck {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client_operation_id: Option<ClientMessageId>,
        conversation_id: ConversationId,
        message_id: MessageId,
        /// False: everything was as asked for already, and there is no event.
        changed: bool,
        /// Of the event that made it so, as far as that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seq: Option<Seq>,
        /// The store has committed it. False: it is accepted, and will be.
        stored: bool,
    },
    /// The user has written this on another device; `null`: dropped it there.
    Draft {
        conversation_id: ConversationId,
        text: Option<String>,
        updated_at: Timestamp,
    },
    /// All that was missed has been sent; live events follow.
    Resumed {
        conversations: u64,
        events: u64,
    },
    /// Too much was missed in this conversation: events from `from_seq` to `to_seq` are not sent here. Read them over REST
    /// (`GET /api/conversations/{id}/messages?after=`); live events go on after `to_seq`.
    Gap {
        conversation_id: ConversationId,
        from_seq: Seq,
        to_seq: Seq,
    },
    /// Drop what you have of this conversation after `after_seq`: it was accepted, and the event log lost it before it was stored. Events
    /// after `after_seq` follow anew. The cursor of the conversation is `after_seq` now. Nothing that was stored is ever taken back.
    Rewound {
        conversation_id: ConversationId,
        after_seq: Seq,
    },
    /// After a `gap` of a resume: where the conversation stands, for the list of conversations. The messages come page by page over
    /// REST when somebody looks at it.
    Snapshot {
        conversation_id: ConversationId,
        /// The last event that is stored.
        head_seq: Seq,
        read_seq: Seq,
        /// Messages of others after `read_seq`; counted up to 1000.
        unread_count: u64,
        /// Those of them that mention the user.
        mention_count: u64,
        last_message: Option<LastMessage>,
    },
    /// How far a participant has got, as far as they let others see it. Of the user's own devices: so far was read on any of them.
    Receipt {
        conversation_id: ConversationId,
        user_id: UserId,
        delivered_seq: Seq,
        /// Left out if the participant shows nobody what they have read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        read_seq: Option<Seq>,
    },
    /// In a conversation that this connection watches somebody began to type. Ends by `typing_stop`, or by their message.
    TypingStart {
        conversation_id: ConversationId,
        user_id: UserId,
    },
    TypingStop {
        conversation_id: ConversationId,
        user_id: UserId,
    },
    /// Who is there, in a conversation that this connection watches.
    PresenceUpdate {
        conversation_id: ConversationId,
        /// Participants who are there, whatever they do.
        online: u64,
        /// Everybody who is not named is offline: forget what was said before. Else those who are not named are as before.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        whole: bool,
        /// In large conversations nobody is named.
        users: Vec<UserPresence>,
    },
    /// A frame was not taken. The connection stays open unless a close follows.
    Error {
        problem: Problem,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client_message_id: Option<ClientMessageId>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client_operation_id: Option<ClientMessageId>,
    },
    /// On another device of yours, or on this one, a conversation was muted, archived or hidden, or that was taken back.
    ConversationState {
        conversation_id: ConversationId,
        state: OwnState,
    },
    /// A message that you scheduled was made, changed, sent, refused or cancelled, here or on another device.
    ScheduledMessage {
        conversation_id: ConversationId,
        /// The id that it has, or will have, as a message.
        message_id: MessageId,
        state: ScheduledState,
        /// Why it was refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<ScheduledFailure>,
        send_at: Timestamp,
    },
    /// You block this user, or do not any more: lists of conversations may have changed.
    UserBlocked {
        user_id: UserId,
        blocked: bool,
    },
    /// Those who administer this server tell everybody. It may come again at the start of a connection, until it is marked as seen
    /// (`PUT /api/announcements/seen`).
    Announcement {
        announcement_id: Uuid,
        created_at: Timestamp,
        text: String,
    },
    /// Event: the conversation was created; `sender_id` made it.
    ConversationCreated {
        conversation_id: ConversationId,
        seq: Seq,
        event_id: EventId,
        sender_id: UserId,
        created_at: Timestamp,
        conversation_kind: ConversationKind,
        participants: Vec<NamedRole>,
    },
    /// Event: a message. `text` is `null` if it was deleted or has disappeared since, or cannot be opened any more (then `unreadable` is
    /// true).
    Message {
        conversation_id: ConversationId,
        seq: Seq,
        message_id: MessageId,
        client_message_id: ClientMessageId,
        sender_id: UserId,
        created_at: Timestamp,
        text: Option<String>,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        unreadable: bool,
        /// The message that it answers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reply_to: Option<MessageId>,
        /// The first message of its thread.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        thread_id: Option<MessageId>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        mentions: Vec<UserId>,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        mentions_all: bool,
        /// It disappears then: drop it, with its edits and reactions. No event tells of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at: Option<Timestamp>,
    },
    /// Event: a message has another text. `text` is `null` if the message was deleted since, or the edit cannot be opened.
    MessageEdited {
        conversation_id: ConversationId,
        /// The message's `edited_seq` from now on.
        seq: Seq,
        event_id: EventId,
        sender_id: UserId,
        /// The message's `edited_at` from now on.
        created_at: Timestamp,
        message_id: MessageId,
        message_seq: Seq,
        text: Option<String>,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        unreadable: bool,
        /// Whom the new text mentions.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        mentions: Vec<UserId>,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        mentions_all: bool,
    },
    /// Event: somebody added a reaction or took one away. `emoji` is `null` if the message was deleted since.
    Reaction {
        conversation_id: ConversationId,
        seq: Seq,
        event_id: EventId,
        sender_id: UserId,
        created_at: Timestamp,
        message_id: MessageId,
        message_seq: Seq,
        emoji: Option<String>,
        added: bool,
    },
    /// Event: a message was pinned, or unpinned.
    MessagePinned {
        conversation_id: ConversationId,
        seq: Seq,
        event_id: EventId,
        sender_id: UserId,
        created_at: Timestamp,
        message_id: MessageId,
        message_seq: Seq,
        pinned: bool,
    },
    /// Event: a message was deleted.
    MessageDeleted {
        conversation_id: ConversationId,
        seq: Seq,
        event_id: EventId,
        sender_id: UserId,
        created_at: Timestamp,
        message_id: MessageId,
        message_seq: Seq,
    },
    /// Event: somebody was added, or got another role.
    ParticipantAdded {
        conversation_id: ConversationId,
        seq: Seq,
        event_id: EventId,
        sender_id: UserId,
        created_at: Timestamp,
        user_id: UserId,
        role: Role,
    },
    /// Event: somebody was removed or left. For that user it is the last one of this conversation.
    ParticipantRemoved {
        conversation_id: ConversationId,
        seq: Seq,
        event_id: EventId,
        sender_id: UserId,
        created_at: Timestamp,
        user_id: UserId,
    },
    /// Event: the title changed.
    ConversationChanged {
        conversation_id: ConversationId,
        seq: Seq,
        event_id: EventId,
        sender_id: UserId,
        created_at: Timestamp,
        title: Option<String>,
    },
    /// Event: settings changed. What is not named stays as it was.
    SettingsChanged {
        conversation_id: ConversationId,
        seq: Seq,
        event_id: EventId,
        sender_id: UserId,
        created_at: Timestamp,
        /// The new least role of each action that has one.
        #[serde(default, skip_serializing_if = "RightsChange::is_empty")]
        rights: RightsChange,
        /// What those who are added from now on see of what was before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        history: Option<HistoryVisibility>,
        /// How public a channel is from now on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        public: Option<PublicSettings>,
        /// How long what is said from now on stays.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lifetimes: Option<Lifetimes>,
    },
    /// Event: the conversation is gone. It is the last one.
    ConversationDeleted {
        conversation_id: ConversationId,
        seq: Seq,
        event_id: EventId,
        sender_id: UserId,
        created_at: Timestamp,
    },
    /// Event: a number without content. Skip it.
    Void {
        conversation_id: ConversationId,
        seq: Seq,
        event_id: EventId,
        created_at: Timestamp,
    },
}

/// Why the server closed a connection, and what the client should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseCode {
    /// 1001: the server stops or restarts. Reconnect after a random delay, then resume.
    GoingAway,
    /// 1013: the server cannot serve now (say, its store is away). Reconnect with growing delays.
    TryAgainLater,
    /// 4000: nothing was heard for too long. Reconnect, then resume.
    HeartbeatTimeout,
    /// 4008: the client read too slowly. Reconnect, then resume.
    SlowConsumer,
    /// 4400: a frame that breaks the protocol. Do not reconnect before the client is mended.
    ProtocolError,
    /// 4401: no token, a wrong or an expired one, or the session ended. Get a new token first.
    Unauthenticated,
    /// 4403: the channel is not open to readers without an account any more.
    NotOpen,
    /// 4409: too much for one connection or user. Reconnect with growing delays.
    TooMany,
}

impl CloseCode {
    pub fn code(self) -> u16 {
        match self {
            Self::GoingAway => 1001,
            Self::TryAgainLater => 1013,
            Self::HeartbeatTimeout => 4000,
            Self::SlowConsumer => 4008,
            Self::ProtocolError => 4400,
            Self::Unauthenticated => 4401,
            Self::NotOpen => 4403,
            Self::TooMany => 4409,
        }
    }

    pub fn reason(self) -> &'static str {
        match self {
            Self::GoingAway => "going away: reconnect and resume",
            Self::TryAgainLater => "try again later",
            Self::HeartbeatTimeout => "heartbeat timeout: reconnect and resume",
            Self::SlowConsumer => "slow consumer: reconnect and resume",
            Self::ProtocolError => "protocol error: do not reconnect as is",
            Self::Unauthenticated => "unauthenticated: get a new token first",
            Self::NotOpen => "the channel is not open to readers any more",
            Self::TooMany => "too many: reconnect later",
        }
    }

    /// Whether a client should come back without being changed or getting a new token.
    pub fn reconnect(self) -> bool {
        !matches!(self, Self::ProtocolError | Self::Unauthenticated | Self::NotOpen)
    }
}
