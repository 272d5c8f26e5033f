//! Kinds of conversations, and what a participant may do in them.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConversationKind {
    /// Between two people; there is one at most for each pair.
    Dm,
    Group,
    /// Many readers, few writers.
    Channel,
}

impl ConversationKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dm => "dm",
            Self::Group => "group",
            Self::Channel => "channel",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Dm, Self::Group, Self::Channel].into_iter().find(|kind| kind.as_str() == text)
    }

    /// The role that somebody gets who is added without one being named.
    pub fn default_role(self) -> Role {
        match self {
            Self::Dm | Self::Group => Role::Member,
            Self::Channel => Role::Reader,
        }
    }
}

/// A participant's role, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads.
    Reader,
    /// Reads and posts.
    Member,
    /// Also adds and removes participants, renames, and deletes others' messages.
    Admin,
    /// Also names admins and deletes the conversation.
    Owner,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Member => "member",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Reader, Self::Member, Self::Admin, Self::Owner].into_iter().find(|role| role.as_str() == text)
    }

    pub fn may_post(self) -> bool {
        self >= Self::Member
    }

    pub fn may_manage(self) -> bool {
        self >= Self::Admin
    }
}
