//! Conversations. Titles are sealed under the conversation's key.

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::Query;

use super::participant;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "conversations")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// `dm`, `group` or `channel`.
    pub kind: String,
    /// Both user ids of a dm in order, `<lower>:<higher>`: two dms between the same people are one.
    #[sea_orm(unique)]
    pub dm_key: Option<String>,
    /// Envelope; bound to `title_event_id` as message and `title_sender_id` as sender.
    #[sea_orm(column_type = "Text", nullable)]
    pub sealed_title: Option<String>,
    pub title_event_id: Option<Uuid>,
    pub title_sender_id: Option<Uuid>,
    pub created_by: Uuid,
    pub created_at: i64,
    pub deleted_at: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// Conversations that `user` takes part in and that are not deleted.
    pub fn for_user(user: Uuid) -> Select<Self> {
        let mine = Query::select()
            .column(participant::Column::ConversationId)
            .from(participant::Entity)
            .and_where(participant::Column::UserId.eq(user))
            .to_owned();
        Self::find().filter(Column::Id.in_subquery(mine)).filter(Column::DeletedAt.is_null())
    }
}

/// The `dm_key` of two users, in either order.
pub fn dm_key(one: Uuid, other: Uuid) -> String {
    let (low, high) = if one <= other { (one, other) } else { (other, one) };
    format!("{}:{}", low.simple(), high.simple())
}
