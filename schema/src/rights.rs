//! What may be done in a conversation, and the least role that it takes: a table of each conversation's own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{ConversationKind, Role};

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident)*) => {
        /// Something that takes a right. Deleting a conversation and naming admins and owners are not among them: that is for owners,
        /// always.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
        )]
        #[serde(rename_all = "snake_case")]
        pub enum Action {
            $($(#[$doc])* $name,)*
        }

        impl Action {
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
        }
    };
}

actions! {
    /// Send messages.
    Post
    /// React to messages.
    React
    /// Add participants, as members at most.
    Add
    /// Make invite links, see and revoke them.
    Invite
    /// Remove participants of a lower role than one's own.
    Remove
    /// Change the role of participants of a lower role, up to one's own and to member at most.
    ChangeRoles
    /// Edit others' messages.
    EditOthers
    /// Delete others' messages.
    DeleteOthers
    /// Pin messages, and take pins away.
    Pin
    /// Mention everybody at once.
    MentionAll
    /// Change the title and these settings.
    ChangeSettings
    /// See what a message said before it was edited.
    SeeEditHistory
}

/// The weakest role that may do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeastRole {
    Reader,
    Member,
    Admin,
    Owner,
    /// No role is enough.
    Nobody,
}

impl LeastRole {
    pub fn allows(self, role: Role) -> bool {
        let least = match self {
            Self::Reader => Role::Reader,
            Self::Member => Role::Member,
            Self::Admin => Role::Admin,
            Self::Owner => Role::Owner,
            Self::Nobody => return false,
        };
        role >= least
    }

    /// Whom it allows, for a sentence.
    pub fn who(self) -> &'static str {
        match self {
            Self::Reader => "participants",
            Self::Member => "members, admins and owners",
            Self::Admin => "admins and owners",
            Self::Owner => "owners",
            Self::Nobody => "no participants",
        }
    }
}

/// What differs from the defaults, or is to differ.
pub type RightsChange = BTreeMap<Action, LeastRole>;

/// The whole table of one conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights([LeastRole; Action::ALL.len()]);

impl Rights {
    /// What holds until somebody changes it.
    pub fn of(kind: ConversationKind) -> Self {
        use LeastRole::{Admin, Member, Nobody, Reader};
        let mut rights = Self([Admin; Action::ALL.len()]);
        let rest: &[(Action, LeastRole)] = match kind {
            // Both are members.
            ConversationKind::Dm => {
                &[(Action::Pin, Member), (Action::MentionAll, Member), (Action::SeeEditHistory, Member)]
            }
            ConversationKind::Group => &[(Action::SeeEditHistory, Member)],
            ConversationKind::Channel => &[(Action::React, Reader)],
        };
        let all = [(Action::Post, Member), (Action::React, Member), (Action::EditOthers, Nobody)];
        for (action, least) in all.iter().chain(rest) {
            rights.0[*action as usize] = *least;
        }
        rights
    }

    pub fn least(&self, action: Action) -> LeastRole {
        self.0[action as usize]
    }

    pub fn allow(&self, role: Role, action: Action) -> bool {
        self.least(action).allows(role)
    }

    pub fn apply(&mut self, change: &RightsChange) {
        for (action, least) in change {
            self.0[*action as usize] = *least;
        }
    }

    /// Every action with its least role.
    pub fn to_map(self) -> RightsChange {
        Action::ALL.iter().map(|action| (*action, self.least(*action))).collect()
    }
}

/// What those who are added later see of what was before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HistoryVisibility {
    #[default]
    All,
    /// From the event on that added them. It stays so for them if the setting changes.
    SinceJoining,
}

impl HistoryVisibility {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::SinceJoining => "since_joining",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::All, Self::SinceJoining].into_iter().find(|one| one.as_str() == text)
    }
}

/// How public a channel is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PublicSettings {
    /// Under which everybody signed in finds it and can join; `null`: it is not public.
    #[schema(example = "harbour")]
    pub name: Option<String>,
    /// Whether it can be read live without an account.
    pub open_reading: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_what_the_roles_say_of_themselves() {
        for kind in [ConversationKind::Dm, ConversationKind::Group, ConversationKind::Channel] {
            let rights = Rights::of(kind);
            for role in [Role::Reader, Role::Member, Role::Admin, Role::Owner] {
                assert_eq!(rights.allow(role, Action::Post), role >= Role::Member);
                let manage =
                    [Action::Add, Action::Remove, Action::ChangeRoles, Action::ChangeSettings, Action::DeleteOthers];
                assert!(manage.iter().all(|action| rights.allow(role, *action) == (role >= Role::Admin)));
                assert!(!rights.allow(role, Action::EditOthers));
            }
        }
    }

    #[test]
    fn the_table_has_a_place_for_each_action() {
        for (place, action) in Action::ALL.iter().enumerate() {
            assert_eq!(*action as usize, place);
        }
        let mut rights = Rights::of(ConversationKind::Group);
        rights.apply(&RightsChange::from([(Action::Post, LeastRole::Owner)]));
        assert!(!rights.allow(Role::Admin, Action::Post) && rights.allow(Role::Owner, Action::Post));
        assert_eq!(rights.to_map().len(), Action::ALL.len());
    }
}
