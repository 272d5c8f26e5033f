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

/// A participant's role, weakest first. What each may do is a matter of the conversation: [`Rights`](crate::Rights).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// By default: reads.
    Reader,
    /// Also posts.
    Member,
    /// Also adds and removes participants, renames, and deletes others' messages.
    Admin,
    /// Also names admins and owners, and deletes the conversation.
    Owner,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
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

    /// Admins and owners, whom only owners name and remove.
    pub fn is_named_by_owners(self) -> bool {
        self >= Self::Admin
    }
}
