//! Whom messages mention, by the text that counts.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "mentions")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub message_id: Uuid,
    /// The nil UUID: everybody in the conversation.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: Uuid,
    pub conversation_id: Uuid,
    /// Of the message.
    pub seq: i64,
    /// Of the message: nobody is told that they mentioned themselves.
    pub sender_id: Uuid,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
