//! Ids: newtypes over UUIDv7, and the numbers that order events.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IdError {
    #[error("a client_message_id has 1 to 64 characters out of letters, digits, '-', '_', '.' and ':'")]
    ClientMessageId,
    #[error("`{0}` is not a UUID")]
    Uuid(String),
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
        #[serde(transparent)]
        #[schema(value_type = uuid::Uuid)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new id, ordered by time of making (UUIDv7).
            #[allow(clippy::new_without_default, reason = "every call gives another value, which Default should not")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                text.parse().map(Self).map_err(|_| IdError::Uuid(text.chars().take(64).collect()))
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Uuid {
                id.0
            }
        }
    };
}

id!(
    /// A person or a program.
    UserId
);
id!(
    /// One signed-in device of a user.
    SessionId
);
id!(ConversationId);
id!(
    /// One event. The id of a `message_posted` event is also the id of its message.
    EventId
);
id!(MessageId);

impl From<EventId> for MessageId {
    fn from(id: EventId) -> Self {
        Self(id.0)
    }
}

impl From<MessageId> for EventId {
    fn from(id: MessageId) -> Self {
        Self(id.0)
    }
}

impl MessageId {
    /// The id of the event that deletes this message: the message's, with another version digit, so that it is fixed and unique. One
    /// deletion per message, however often and through however many gateways it is asked for.
    pub fn deletion_id(self) -> EventId {
        let mut bytes = *self.0.as_bytes();
        // UUID version 8: «custom».
        bytes[6] = (bytes[6] & 0x0f) | 0x80;
        EventId(Uuid::from_bytes(bytes))
    }
}

/// Stands for an emoji where no plaintext may be: a keyed hash of it under a key of the conversation, so that the same emoji has the same
/// hash there and nobody without the key knows which. Written as a UUID, which is a handy form of 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReactionHash(pub Uuid);

/// The number of an event in its conversation: 1, 2, 3 … without gaps. 0 stands for «before the first».
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(transparent)]
#[schema(value_type = u64)]
pub struct Seq(pub u64);

impl Seq {
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// As the database keeps it. Sequences stay far below 2^63.
    pub fn to_db(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }

    pub fn from_db(value: i64) -> Self {
        Self(u64::try_from(value).unwrap_or(0))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The sender's own name for a message, unique per sender and conversation: sending it twice is sending it once.
/// 1 to 64 characters out of letters, digits, `-`, `_`, `.` and `:`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, utoipa::ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._:-]{1,64}$")]
pub struct ClientMessageId(Box<str>);

impl ClientMessageId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ClientMessageId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
        if (1..=64).contains(&text.len()) && text.bytes().all(valid) {
            Ok(Self(text.into()))
        } else {
            Err(IdError::ClientMessageId)
        }
    }
}

impl<'de> Deserialize<'de> for ClientMessageId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for ClientMessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_message_ids_are_short_and_plain() {
        for good in ["a", "m-1", "0198aa:7.x_y", &"x".repeat(64)] {
            assert!(ClientMessageId::try_from(good.to_owned()).is_ok(), "{good}");
        }
        for bad in ["", " ", "a b", "ä", "a\n", &"x".repeat(65)] {
            assert!(ClientMessageId::try_from(bad.to_owned()).is_err(), "{bad:?}");
        }
    }
}
