//! What users have begun to write, one for each conversation.

use sea_orm::entity::prelude::*;

use super::conversation;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "drafts")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub conversation_id: Uuid,
    /// New with each text: the envelope is bound to it.
    pub draft_id: Uuid,
    #[sea_orm(column_type = "Text")]
    pub sealed: String,
    pub updated_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// Drafts of `user` in conversations that they take part in.
    pub fn for_user(user: Uuid) -> Select<Self> {
        use sea_orm::{QuerySelect as _, QueryTrait as _};
        let mine = conversation::Entity::for_user(user).select_only().column(conversation::Column::Id).into_query();
        Self::find().filter(Column::UserId.eq(user)).filter(Column::ConversationId.in_subquery(mine))
    }
}
