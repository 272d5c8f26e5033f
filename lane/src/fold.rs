//! Who takes part in a conversation and who may do what, folded from its events.
//!
//! Since an append succeeds only for a lane that knows every event before it, checking rights against the fold makes
//! «removed» exact: no message of a removed participant gets a number after the removal's.

use std::collections::HashMap;
use std::time::Duration;

use sealpost_schema::{Action, ConversationKind, Event, EventBody, Rights, Role, Timestamp, UserId};

use crate::{Draft, LaneError, Rule};

#[derive(Clone, Debug)]
pub struct Fold {
    pub kind: ConversationKind,
    pub deleted: bool,
    pub roles: HashMap<UserId, Role>,
    pub rights: Rights,
    /// Messages disappear so many seconds after they were sent.
    pub disappear_after: Option<u32>,
}

impl Fold {
    /// Whether this user takes part and has the right now.
    pub fn may(&self, user: UserId, action: Action) -> bool {
        !self.deleted && self.roles.get(&user).is_some_and(|role| self.rights.allow(*role, action))
    }

    /// Whether drafts behind such an event must wait until it is in the log before they are checked.
    pub(crate) fn is_changed_by(body: &EventBody) -> bool {
        !matches!(body, EventBody::MessagePosted { .. } | EventBody::Void { .. }) && body.target().is_none()
    }

    pub(crate) fn apply(&mut self, event: &Event) {
        match &event.body {
            EventBody::ConversationCreated { participants, .. } => {
                self.roles.extend(participants.iter().map(|named| (named.user_id, named.role)));
            }
            EventBody::ParticipantAdded { user_id, role } => {
                self.roles.insert(*user_id, *role);
            }
            EventBody::ParticipantRemoved { user_id } => {
                self.roles.remove(user_id);
            }
            EventBody::SettingsChanged { rights, lifetimes, .. } => {
                self.rights.apply(rights);
                if let Some(lifetimes) = lifetimes {
                    self.disappear_after = lifetimes.disappear_after_seconds;
                }
            }
            EventBody::ConversationDeleted => self.deleted = true,
            _ => {}
        }
    }

    /// Whether the draft may be appended now, as it is.
    pub(crate) fn check(&self, draft: &Draft) -> Result<(), LaneError> {
        if draft.rule == Rule::Control {
            return Ok(());
        }
        let role = self.roles.get(&draft.sender_id).filter(|_| !self.deleted).ok_or(LaneError::NotFound)?;
        if draft.body.mentions_all() && !self.rights.allow(*role, Action::MentionAll) {
            return Err(LaneError::Forbidden);
        }
        let allowed = match draft.rule {
            Rule::Post => self.rights.allow(*role, Action::Post),
            Rule::EditMessageOf(author) => {
                let of_own = author == draft.sender_id && self.rights.allow(*role, Action::Post);
                of_own || self.rights.allow(*role, Action::EditOthers)
            }
            Rule::DeleteMessageOf(author) => {
                author == draft.sender_id || self.rights.allow(*role, Action::DeleteOthers)
            }
            Rule::May(action) | Rule::MayAdd(action, _) => self.rights.allow(*role, action),
            Rule::Control => true,
        };
        if !allowed {
            return Err(LaneError::Forbidden);
        }
        if draft.rule == Rule::Post && draft.body.expires_at() != expiry(self.disappear_after, draft.created_at) {
            return Err(LaneError::Changed);
        }
        Ok(())
    }
}

/// When a message disappears that is sent now, where messages disappear after so many seconds. What is posted has to say just this.
pub fn expiry(disappear_after: Option<u32>, now: Timestamp) -> Option<Timestamp> {
    disappear_after.map(|seconds| now.plus(Duration::from_secs(seconds.into())))
}
