//! Events, and the records that carry them through the log.
//!
//! A record holds one or more consecutive events of one conversation: whatever had gathered in the lane while the record before
//! was on its way. It is JSON, so that `nats sub 'chat.>'` shows it; all content is sealed.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    ClientMessageId, ConversationId, ConversationKind, EventId, HistoryVisibility, Lifetimes, MessageId,
    PublicSettings, ReactionHash, RightsChange, Role, Seq, Timestamp, UserId,
};

/// One numbered change of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub id: EventId,
    pub conversation_id: ConversationId,
    pub seq: Seq,
    /// Who did it.
    pub sender_id: UserId,
    pub created_at: Timestamp,
    pub body: EventBody,
}

/// A participant and their role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NamedRole {
    pub user_id: UserId,
    pub role: Role,
}

/// What a message has beside its text. Ids only: who stores it reads this.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageLinks {
    /// The message that it answers and quotes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<MessageId>,
    /// The first message of the thread that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<MessageId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<UserId>,
    /// Everybody in the conversation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mentions_all: bool,
}

/// What happened. New kinds may be added; the names and fields of the old ones stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EventBody {
    /// Always seq 1.
    ConversationCreated {
        conversation_kind: ConversationKind,
        participants: Vec<NamedRole>,
    },
    MessagePosted {
        client_message_id: ClientMessageId,
        /// Envelope of the text (see the `sealing` crate).
        sealed: String,
        /// `None` for a message and nothing else, as nearly all are.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        links: Option<Box<MessageLinks>>,
        /// It disappears then: after this moment nobody is shown what it says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at: Option<Timestamp>,
    },
    /// Another text for a message. Of several the one with the highest seq counts, in whatever order they are read.
    MessageEdited {
        message_id: MessageId,
        message_seq: Seq,
        /// Envelope of the new text, bound to this event's id and sender.
        sealed: String,
        /// Whom the new text mentions.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        mentions: Vec<UserId>,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        mentions_all: bool,
        /// The message disappears then, and this with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at: Option<Timestamp>,
    },
    /// Destroys the content of a message, of its edits and of its reactions.
    MessageDeleted {
        message_id: MessageId,
        message_seq: Seq,
    },
    /// Of a user's additions and removals of one emoji the one with the highest seq counts.
    ReactionAdded {
        message_id: MessageId,
        message_seq: Seq,
        reaction: ReactionHash,
        /// Envelope of the emoji, bound to this event's id and sender.
        sealed: String,
        /// The message disappears then, and this with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at: Option<Timestamp>,
    },
    ReactionRemoved {
        message_id: MessageId,
        message_seq: Seq,
        reaction: ReactionHash,
        /// As in `reaction_added`, for those who did not see that.
        sealed: String,
        /// As in `reaction_added`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at: Option<Timestamp>,
    },
    MessagePinned {
        message_id: MessageId,
        message_seq: Seq,
    },
    MessageUnpinned {
        message_id: MessageId,
        message_seq: Seq,
    },
    ParticipantAdded {
        user_id: UserId,
        role: Role,
    },
    ParticipantRemoved {
        user_id: UserId,
    },
    ConversationChanged {
        /// Envelope of the new title, bound to this event's id and sender; `None` takes the title away.
        sealed_title: Option<String>,
    },
    /// What is not named stays as it was.
    SettingsChanged {
        #[serde(default, skip_serializing_if = "RightsChange::is_empty")]
        rights: RightsChange,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        history: Option<HistoryVisibility>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        public: Option<PublicSettings>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lifetimes: Option<Lifetimes>,
    },
    ConversationDeleted,
    /// A number without content: what stood here was refused by the store (see DESIGN «idempotency»).
    Void {
        /// The message that the refused one repeated.
        original_id: Option<MessageId>,
    },
}

impl EventBody {
    /// All of [`kind`](Self::kind).
    pub const KINDS: [&'static str; 14] = [
        "conversation_created",
        "message_posted",
        "message_edited",
        "message_deleted",
        "reaction_added",
        "reaction_removed",
        "message_pinned",
        "message_unpinned",
        "participant_added",
        "participant_removed",
        "conversation_changed",
        "settings_changed",
        "conversation_deleted",
        "void",
    ];

    /// The name under `kind`, as stored.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ConversationCreated { .. } => "conversation_created",
            Self::MessagePosted { .. } => "message_posted",
            Self::MessageEdited { .. } => "message_edited",
            Self::MessageDeleted { .. } => "message_deleted",
            Self::ReactionAdded { .. } => "reaction_added",
            Self::ReactionRemoved { .. } => "reaction_removed",
            Self::MessagePinned { .. } => "message_pinned",
            Self::MessageUnpinned { .. } => "message_unpinned",
            Self::ParticipantAdded { .. } => "participant_added",
            Self::ParticipantRemoved { .. } => "participant_removed",
            Self::ConversationChanged { .. } => "conversation_changed",
            Self::SettingsChanged { .. } => "settings_changed",
            Self::ConversationDeleted => "conversation_deleted",
            Self::Void { .. } => "void",
        }
    }

    /// The message that this changes.
    pub fn target(&self) -> Option<MessageId> {
        match self {
            Self::MessageEdited { message_id, .. }
            | Self::MessageDeleted { message_id, .. }
            | Self::ReactionAdded { message_id, .. }
            | Self::ReactionRemoved { message_id, .. }
            | Self::MessagePinned { message_id, .. }
            | Self::MessageUnpinned { message_id, .. } => Some(*message_id),
            _ => None,
        }
    }

    /// The first message of the thread that this message belongs to.
    pub fn thread(&self) -> Option<MessageId> {
        match self {
            Self::MessagePosted { links: Some(links), .. } => links.thread_id,
            _ => None,
        }
    }

    /// Whether this calls everybody in the conversation.
    pub fn mentions_all(&self) -> bool {
        match self {
            Self::MessagePosted { links: Some(links), .. } => links.mentions_all,
            Self::MessageEdited { mentions_all, .. } => *mentions_all,
            _ => false,
        }
    }

    /// When the message disappears that this is, or changes.
    pub fn expires_at(&self) -> Option<Timestamp> {
        match self {
            Self::MessagePosted { expires_at, .. }
            | Self::MessageEdited { expires_at, .. }
            | Self::ReactionAdded { expires_at, .. }
            | Self::ReactionRemoved { expires_at, .. } => *expires_at,
            _ => None,
        }
    }

    /// The envelope that goes when the message is deleted. Empty: it is gone.
    pub fn content(&self) -> Option<&str> {
        match self {
            Self::MessagePosted { sealed, .. }
            | Self::MessageEdited { sealed, .. }
            | Self::ReactionAdded { sealed, .. }
            | Self::ReactionRemoved { sealed, .. } => Some(sealed),
            _ => None,
        }
    }

    /// Puts another envelope in the place of [`content`](Self::content); nothing happens if there is none.
    pub fn set_content(&mut self, envelope: String) {
        if let Self::MessagePosted { sealed, .. }
        | Self::MessageEdited { sealed, .. }
        | Self::ReactionAdded { sealed, .. }
        | Self::ReactionRemoved { sealed, .. } = self
        {
            *sealed = envelope;
        }
    }
}

impl Event {
    /// Whether this holds content of the message: it is the message, or changes it.
    pub fn is_about(&self, message: MessageId) -> bool {
        self.body.target().map_or(self.id == EventId::from(message), |target| target == message)
    }

    /// Whether its message has disappeared.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.body.expires_at().is_some_and(|expires_at| expires_at <= now)
    }

    /// The same without its content.
    #[must_use]
    pub fn without_content(&self) -> Self {
        let mut bare = self.clone();
        bare.body.set_content(String::new());
        bare
    }
}

/// Takes the content out of the events about messages that are deleted among them: whoever reads them late learns nothing of those.
pub fn redact(events: &mut [Arc<Event>]) {
    let deleted: Vec<MessageId> = events
        .iter()
        .filter(|event| matches!(event.body, EventBody::MessageDeleted { .. }))
        .filter_map(|event| event.body.target())
        .collect();
    if deleted.is_empty() {
        return;
    }
    for event in events {
        let is_about = |event: &Event| deleted.iter().any(|message| event.is_about(*message));
        if event.body.content().is_some_and(|sealed| !sealed.is_empty()) && is_about(event) {
            *event = Arc::new(event.without_content());
        }
    }
}

/// The payload of one record of the event log, and of one live message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRecord {
    /// Version of this shape.
    pub v: u8,
    /// Log position of the record before this one on the same subject (0: none known), so that the log of one conversation
    /// can be walked backwards.
    pub previous: u64,
    pub first: Seq,
    pub last: Seq,
    /// Only in a record that was lost by the log and appended again: the highest seq given away by then, which may stand before this
    /// record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replayed_at: Option<Seq>,
    /// Consecutive, `first` to `last`, all of one conversation.
    pub events: Vec<Arc<Event>>,
}

/// The start of a record, for readers that only want to know whether they need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct RecordHead {
    pub previous: u64,
    pub first: Seq,
    pub last: Seq,
}

#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("not an event record: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("event record of version {0}: this program reads version {current}", current = EventRecord::VERSION)]
    Version(u8),
    #[error("event record with events that are not consecutive or not of one conversation")]
    Inconsistent,
}

impl EventRecord {
    pub const VERSION: u8 = 1;

    /// `events` must be consecutive events of one conversation; `None` if they are not, or if there are none.
    pub fn new(previous: u64, events: Vec<Arc<Event>>) -> Option<Self> {
        let (first, last) = (events.first()?.seq, events.last()?.seq);
        let record = Self { v: Self::VERSION, previous, first, last, replayed_at: None, events };
        record.is_consistent().then_some(record)
    }

    /// The highest seq given away when this record was appended.
    pub fn head(&self) -> Seq {
        self.replayed_at.map_or(self.last, |head| head.max(self.last))
    }

    pub fn conversation_id(&self) -> Option<ConversationId> {
        self.events.first().map(|event| event.conversation_id)
    }

    /// Parses and checks. Whoever can write into the broker can write anything, so nothing is taken on trust.
    pub fn decode(payload: &[u8]) -> Result<Self, RecordError> {
        let record: Self = serde_json::from_slice(payload)?;
        if record.v != Self::VERSION {
            return Err(RecordError::Version(record.v));
        }
        if record.is_consistent() { Ok(record) } else { Err(RecordError::Inconsistent) }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(128 + self.events.len() * 700);
        // Writing plain data to memory cannot fail; were it to, readers refuse the cut-off record.
        let _ = serde_json::to_writer(&mut payload, self);
        payload
    }

    fn is_consistent(&self) -> bool {
        is_consistent(self.first, self.last, self.events.iter().map(|event| (event.conversation_id, event.seq)))
    }
}

impl RecordHead {
    /// The longest start that [`EventRecord::encode`] writes before the events.
    const MAX_BYTES: usize = 160;

    /// Reads the start, and of records that this program wrote nothing else.
    pub fn peek(payload: &[u8]) -> Result<Self, RecordError> {
        let start = &payload[..payload.len().min(Self::MAX_BYTES)];
        if let Some(end) = start.windows(10).position(|window| window == b",\"events\":")
            && let Ok(head) = serde_json::from_slice(&[&start[..end], b"}"].concat())
        {
            return Ok(head);
        }
        Ok(serde_json::from_slice(payload)?)
    }
}

/// A record without what its events say: enough to pass it on, for a fraction of the cost of [`EventRecord::decode`].
#[derive(Debug)]
pub struct RecordOutline {
    pub conversation_id: ConversationId,
    pub last: Seq,
    /// Some events say who takes part: whoever tells the newcomers has to decode the record.
    pub has_joins: bool,
}

impl RecordOutline {
    /// Checks as much as [`EventRecord::decode`], but for the events' contents.
    pub fn decode(payload: &[u8]) -> Result<Self, RecordError> {
        let record: OutlineRecord = serde_json::from_slice(payload)?;
        if record.v != EventRecord::VERSION {
            return Err(RecordError::Version(record.v));
        }
        let Some(conversation_id) = record.events.first().map(|event| event.conversation_id) else {
            return Err(RecordError::Inconsistent);
        };
        let places = record.events.iter().map(|event| (event.conversation_id, event.seq));
        if !is_consistent(record.first, record.last, places) {
            return Err(RecordError::Inconsistent);
        }
        let joins = |event: &OutlineEvent| matches!(&*event.body.kind, "conversation_created" | "participant_added");
        Ok(Self { conversation_id, last: record.last, has_joins: record.events.iter().any(joins) })
    }
}

#[derive(Deserialize)]
struct OutlineRecord<'a> {
    v: u8,
    first: Seq,
    last: Seq,
    #[serde(borrow)]
    events: Vec<OutlineEvent<'a>>,
}

#[derive(Deserialize)]
struct OutlineEvent<'a> {
    conversation_id: ConversationId,
    seq: Seq,
    #[serde(borrow)]
    body: OutlineBody<'a>,
}

#[derive(Deserialize)]
struct OutlineBody<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
}

/// Numbers from 1 up, without holes, of one conversation, at least one.
fn is_consistent(first: Seq, last: Seq, places: impl Iterator<Item = (ConversationId, Seq)>) -> bool {
    let (mut end, mut conversation) = (None, None);
    for (place, seq) in places {
        let expected = end.map_or(Some(first), |end: Seq| end.0.checked_add(1).map(Seq));
        if expected != Some(seq) || conversation.is_some_and(|known| known != place) {
            return false;
        }
        (end, conversation) = (Some(seq), Some(place));
    }
    first.0 > 0 && end == Some(last)
}

/// Subject of a conversation's records in the event log: `chat.<conversation id, 32 hex digits>`.
pub fn chat_subject(conversation: ConversationId) -> String {
    format!("chat.{}", conversation.0.simple())
}

/// Subject of a conversation's live copies.
pub fn live_subject(conversation: ConversationId) -> String {
    format!("live.conversation.{}", conversation.0.simple())
}
