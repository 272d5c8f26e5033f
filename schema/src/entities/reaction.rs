//! Who has reacted to which message with what: of each user and emoji the newest word, so that events in any order end in the same rows.
//!
//! No emoji stands here in clear: `reaction` is a keyed hash of it, `sealed` its envelope.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "reactions")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub message_id: Uuid,
    /// [`ReactionHash`](crate::ReactionHash).
    #[sea_orm(primary_key, auto_increment = false)]
    pub reaction: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: Uuid,
    pub conversation_id: Uuid,
    /// Of the event that decided.
    pub seq: i64,
    pub event_id: Uuid,
    /// False: taken away.
    pub added: bool,
    /// Envelope of the emoji, bound to `event_id` and `user_id`.
    #[sea_orm(column_type = "Text")]
    pub sealed: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// The reactions to a message that count. The caller has shown before that the user may see it.
    pub fn of(message: Uuid) -> Select<Self> {
        Self::find().filter(Column::MessageId.eq(message)).filter(Column::Added.eq(true))
    }
}
