//! Webhooks: addresses that are told of events.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "webhooks")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Who sees what is delivered: the service account, or, of a conversation's webhook, whoever made or resumed it.
    #[sea_orm(indexed)]
    pub reader_id: Uuid,
    /// None: all conversations of the service account.
    #[sea_orm(indexed)]
    pub conversation_id: Option<Uuid>,
    #[sea_orm(column_type = "Text")]
    pub url: String,
    /// Kinds of events with commas between; none: all.
    #[sea_orm(column_type = "Text", nullable)]
    pub kinds: Option<String>,
    pub secret_version: i32,
    /// When that version was made, if there is one before it.
    pub secret_rotated_at: Option<i64>,
    pub created_by: Uuid,
    pub created_at: i64,
    pub paused_at: Option<i64>,
    /// The server gave up.
    pub disabled_at: Option<i64>,
    /// One of [`reason`].
    pub disabled_reason: Option<String>,
    /// How often in a row the receiver was away; 0: it is not.
    pub attempts: i64,
    /// Nothing is sent before.
    pub next_attempt_at: i64,
    /// Since when the receiver is away.
    pub failing_since: Option<i64>,
    pub last_success_at: Option<i64>,
}

/// Why the server gave up on a webhook.
pub mod reason {
    /// Nothing was taken for days.
    pub const FAILED: &str = "failed";
    /// Whoever made it may not change the conversation's settings any more.
    pub const NOT_ALLOWED: &str = "not_allowed";
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    /// Whether events of this kind are wanted.
    pub fn wants(&self, kind: &str) -> bool {
        self.kinds.as_deref().is_none_or(|kinds| kinds.split(',').any(|wanted| wanted == kind))
    }

    /// Whether events are delivered, as far as its owner and the server have decided.
    pub fn is_active(&self) -> bool {
        self.paused_at.is_none() && self.disabled_at.is_none()
    }
}

impl Entity {
    /// Webhooks of one service account.
    pub fn of_account(account: Uuid) -> Select<Self> {
        Self::find().filter(Column::ReaderId.eq(account)).filter(Column::ConversationId.is_null())
    }

    /// Webhooks of one conversation. The caller has shown before that the user may see them.
    pub fn of_conversation(conversation: Uuid) -> Select<Self> {
        Self::find().filter(Column::ConversationId.eq(conversation))
    }
}
