//! Conversation keys, wrapped by the key ring. Deleting the rows destroys the content.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "conversation_keys")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub conversation_id: Uuid,
    /// From 1; new messages are sealed under the highest.
    #[sea_orm(primary_key, auto_increment = false)]
    pub generation: i32,
    /// See the `sealing` crate.
    #[sea_orm(column_type = "Text")]
    pub wrapped: String,
    pub created_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
