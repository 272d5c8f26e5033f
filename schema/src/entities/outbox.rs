//! Control changes on their way into the event log. A row is written in the transaction of the change, and goes when its event
//! is stored.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "outbox")]
pub struct Model {
    /// The id of the event.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    #[sea_orm(indexed)]
    pub conversation_id: Uuid,
    pub sender_id: Uuid,
    /// [`EventBody`](crate::EventBody) as JSON.
    #[sea_orm(column_type = "Text")]
    pub body: String,
    /// In milliseconds. Rises from row to row of a conversation, whatever the clocks of gateways say, so that rows sort in the order in
    /// which the changes were decided.
    pub created_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
