//! Who takes part in what, with which role, and how far they have read.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "participants")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub conversation_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: Uuid,
    /// `owner`, `admin`, `member` or `reader`.
    pub role: String,
    pub added_at: i64,
    /// Read up to this seq. Only rises.
    pub read_seq: i64,
    /// Some device of theirs has everything up to here. Only rises.
    pub delivered_seq: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// Participants of one conversation. The caller has shown before that the user may see it.
    pub fn of(conversation: Uuid) -> Select<Self> {
        Self::find().filter(Column::ConversationId.eq(conversation))
    }
}
