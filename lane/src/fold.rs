//! Who takes part in a conversation, folded from its events.
//!
//! Since an append succeeds only for a lane that knows every event before it, checking rights against the fold makes
//! «removed» exact: no message of a removed participant gets a number after the removal's.

use std::collections::HashMap;

use sealpost_schema::{ConversationKind, Event, EventBody, Role, UserId};

use crate::{Draft, LaneError, Rule};

#[derive(Clone, Debug)]
pub struct Fold {
    pub kind: ConversationKind,
    pub deleted: bool,
    pub roles: HashMap<UserId, Role>,
}

impl Fold {
    /// Whether drafts behind such an event must wait until it is in the log before they are checked.
    pub(crate) fn is_changed_by(body: &EventBody) -> bool {
        !matches!(body, EventBody::MessagePosted { .. } | EventBody::MessageDeleted { .. } | EventBody::Void { .. })
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
            EventBody::ConversationDeleted => self.deleted = true,
            _ => {}
        }
    }

    pub(crate) fn check(&self, draft: &Draft) -> Result<(), LaneError> {
        if draft.rule == Rule::Control {
            return Ok(());
        }
        let role = self.roles.get(&draft.sender_id).filter(|_| !self.deleted).ok_or(LaneError::NotFound)?;
        let allowed = match draft.rule {
            Rule::Post => role.may_post(),
            Rule::DeleteMessageOf(author) => author == draft.sender_id || role.may_manage(),
            Rule::Control => true,
        };
        if allowed { Ok(()) } else { Err(LaneError::Forbidden) }
    }
}
