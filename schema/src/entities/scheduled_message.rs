//! Messages that their users want sent at a time. A row goes when its message is stored, is cancelled, or is deleted after it failed.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "scheduled_messages")]
pub struct Model {
    /// The id that its event will have: the envelope is bound to it, and the event log takes it once.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub user_id: Uuid,
    pub conversation_id: Uuid,
    /// Unique with user and conversation.
    pub client_message_id: String,
    #[sea_orm(column_type = "Text")]
    pub sealed: String,
    /// Of the conversation's keys, the one that it is sealed under.
    pub key_generation: i32,
    /// [`MessageLinks`](crate::MessageLinks) as JSON.
    #[sea_orm(column_type = "Text", nullable)]
    pub links: Option<String>,
    pub send_at: i64,
    /// [`ScheduledState`](crate::ScheduledState): waiting, sending or failed.
    pub state: String,
    /// [`ScheduledFailure`](crate::ScheduledFailure).
    pub failure: Option<String>,
    /// While it is being sent: when a worker took it last.
    pub claimed_at: Option<i64>,
    pub created_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// What `user` has scheduled.
    pub fn for_user(user: Uuid) -> Select<Self> {
        Self::find().filter(Column::UserId.eq(user))
    }
}
