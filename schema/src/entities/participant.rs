//! Who takes part in what, with which role, from where on they see it, and how far they have read.

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Expr, ExprTrait as _, Query};
use sea_orm::{Condition, UpdateMany};

use super::conversation;

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
    /// They see events from this seq on; [`NOT_YET`]: the event that added them is not stored.
    pub visible_from: i64,
    /// The event that added them; none if it created the conversation.
    pub added_event_id: Option<Uuid>,
    /// No notifications before this moment.
    pub muted_until: Option<i64>,
    pub archived_at: Option<i64>,
    /// Not in lists while the last message has this seq or a lower one.
    pub hidden_seq: Option<i64>,
    /// Somebody whom this user blocks began this with them: it is shut for them until they take the block back.
    pub shut_by: Option<Uuid>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// [`Model::visible_from`] of those who see nothing before they joined, and whose event of joining is not stored yet.
pub const NOT_YET: i64 = i64::MAX;

/// The participations through which `user` sees a conversation, if that is not deleted.
pub fn sees(user: Uuid) -> Condition {
    let column = |column: Column| Expr::col((Entity, column));
    Condition::all().add(column(Column::UserId).eq(user)).add(column(Column::ShutBy).is_null())
}

impl Entity {
    /// What `user` takes part in and may see, without deleted conversations.
    pub fn of_user(user: Uuid) -> Select<Self> {
        let live = Query::select()
            .expr(Expr::val(1))
            .from(conversation::Entity)
            .and_where(
                Expr::col((conversation::Entity, conversation::Column::Id)).equals((Entity, Column::ConversationId)),
            )
            .and_where(conversation::Column::DeletedAt.is_null())
            .to_owned();
        Self::find().filter(sees(user)).filter(Expr::exists(live))
    }

    /// The event that added somebody is stored with this seq: now it is known what they see. Any number of times, in any order.
    pub fn joined(conversation: Uuid, user: Uuid, event: Uuid, seq: i64) -> UpdateMany<Self> {
        Self::update_many()
            .col_expr(Column::VisibleFrom, Expr::value(seq))
            .filter(Column::ConversationId.eq(conversation))
            .filter(Column::UserId.eq(user))
            .filter(Column::AddedEventId.eq(event))
            .filter(Column::VisibleFrom.eq(NOT_YET))
    }

    /// Participants of one conversation. The caller has shown before that the user may see it.
    pub fn of(conversation: Uuid) -> Select<Self> {
        Self::find().filter(Column::ConversationId.eq(conversation))
    }
}
