//! Links that let people join a conversation, with their token as a hash.

use sea_orm::Condition;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Expr, ExprTrait as _};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "invite_links")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    #[sea_orm(indexed)]
    pub conversation_id: Uuid,
    /// SHA-256.
    #[sea_orm(unique)]
    pub token_hash: Vec<u8>,
    /// What those get who join with it.
    pub role: String,
    pub created_by: Uuid,
    pub created_at: i64,
    pub expires_at: i64,
    pub max_uses: i64,
    pub uses: i64,
    pub revoked_at: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Good for one more at `now` (milliseconds).
pub fn usable(now: i64) -> Condition {
    Condition::all()
        .add(Column::RevokedAt.is_null())
        .add(Column::ExpiresAt.gt(now))
        .add(Expr::col(Column::Uses).lt(Expr::col(Column::MaxUses)))
}

impl Entity {
    /// Links of one conversation that are good at `now`. The caller has shown before that the user may see them.
    pub fn usable_of(conversation: Uuid, now: i64) -> Select<Self> {
        Self::find().filter(Column::ConversationId.eq(conversation)).filter(usable(now))
    }
}
