//! What gateways tell each other about a conversation beside its events: ephemeral, at most once, and worth nothing when it is late.
//!
//! Signals travel on the conversation's live subject, where every gateway with a reader of it listens anyway; their first byte pair tells
//! them from copies of records.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Seq, UserId};

/// One signal, and the gateway that sent it, which drops its own echo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    // First, because `is_signal` looks at it.
    pub signal: SignalBody,
    /// Made anew by each process.
    pub from: Uuid,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SignalBody {
    /// Watermarks that rose.
    Marks { marks: Vec<Mark> },
    /// Somebody began or stopped to type.
    Typing { user_id: UserId, active: bool },
}

/// How far a participant has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub user_id: UserId,
    pub delivered_seq: Seq,
    pub read_seq: Seq,
    pub audience: Audience,
}

/// Who is told of a watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Audience {
    /// All participants.
    Everybody,
    /// All participants, but what was read only the user's own devices.
    WithoutRead,
    /// The user's own devices.
    Oneself,
}

impl Signal {
    /// Whether a payload of a live subject is a signal and not a record.
    pub fn is_signal(payload: &[u8]) -> bool {
        payload.starts_with(br#"{"signal""#)
    }
}

/// Which users are there, as one gateway says it to the others. Subject [`PresenceNotice::SUBJECT`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresenceNotice {
    pub from: Uuid,
    /// Counts the notices of this gateway: a jump says that one was lost.
    pub number: u64,
    /// Not what changed but everything; forget what this gateway said before. The first of several parts says so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole: bool,
    /// The gateway stops: nobody is there any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<(UserId, Presence)>,
}

impl PresenceNotice {
    pub const SUBJECT: &'static str = "live.presence";
    /// Asks all gateways to say everything; the payload is ignored.
    pub const ASK_SUBJECT: &'static str = "live.presence-ask";
}

/// Whether somebody is there.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// No connection, or one that wants to look so.
    #[default]
    Offline,
    /// Connected, and idle.
    Away,
    Online,
    /// Connected, and wants no interruption: whatever their other devices say.
    DoNotDisturb,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_told_from_a_record_by_its_start() {
        let signal = Signal { signal: SignalBody::Typing { user_id: UserId::new(), active: true }, from: Uuid::nil() };
        let payload = serde_json::to_vec(&signal).unwrap_or_default();
        assert!(Signal::is_signal(&payload));
        assert_eq!(serde_json::from_slice::<Signal>(&payload).ok(), Some(signal));
        assert!(!Signal::is_signal(br#"{"v":1,"previous":0,"first":1,"last":1,"events":[]}"#));
    }
}
