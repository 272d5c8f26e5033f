//! Frames of `/ws/public/{channel}`: reading a public channel live, without an account.
//!
//! They name nobody by id. `docs/protocol.md` shows an example of each.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{ConversationId, MessageId, Problem, Seq, Timestamp};

/// What a reader sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum PublicClientFrame {
    /// The first frame, within five seconds.
    Subscribe {},
    /// Answered by `pong` with the same `id`.
    Ping {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
    },
}

/// What a reader gets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum PublicServerFrame {
    /// Messages after `head_seq` follow as they come.
    Subscribed {
        channel_id: ConversationId,
        name: String,
        title: Option<String>,
        head_seq: Seq,
    },
    /// A message. Numbers rise; those between belong to what is not shown here.
    ChannelMessage {
        channel_id: ConversationId,
        seq: Seq,
        message_id: MessageId,
        /// The sender's display name.
        sender_name: Option<String>,
        created_at: Timestamp,
        text: Option<String>,
        /// It disappears then: drop it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at: Option<Timestamp>,
    },
    ChannelMessageDeleted {
        channel_id: ConversationId,
        seq: Seq,
        message_id: MessageId,
    },
    /// Those who administer this server tell everybody.
    Announcement {
        announcement_id: Uuid,
        created_at: Timestamp,
        text: String,
    },
    Pong {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
    },
    /// A frame was not taken.
    Error {
        problem: Problem,
    },
}
