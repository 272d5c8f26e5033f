//! Signed-in devices, with their current refresh token as a hash.

use sea_orm::Condition;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Expr, ExprTrait as _};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sessions")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    #[sea_orm(indexed)]
    pub user_id: Uuid,
    /// SHA-256 of the current refresh token.
    #[sea_orm(unique)]
    pub refresh_hash: Vec<u8>,
    /// SHA-256 of the one before: its use after the grace ends the session.
    #[sea_orm(indexed)]
    pub previous_hash: Option<Vec<u8>>,
    pub rotated_at: i64,
    pub created_at: i64,
    pub expires_at: i64,
    pub ended_at: Option<i64>,
    pub user_agent: Option<String>,
    /// What its owner calls the device.
    pub name: Option<String>,
    /// `browser` or `device`.
    pub kind: String,
    /// Where it was begun from.
    pub address: Option<String>,
    /// To about a minute: it is written now and then.
    pub last_seen_at: i64,
    /// It ends when it was not seen for this long.
    pub idle_seconds: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// Sessions of `user` that have neither ended nor expired at `now` (milliseconds).
    pub fn live_of(user: Uuid, now: i64) -> Select<Self> {
        Self::find().filter(Column::UserId.eq(user)).filter(live(now))
    }
}

/// Neither ended, nor expired, nor idle for too long at `now` (milliseconds).
pub fn live(now: i64) -> Condition {
    let idle_until = Expr::col(Column::LastSeenAt).add(Expr::col(Column::IdleSeconds).mul(1000));
    Condition::all().add(Column::EndedAt.is_null()).add(Column::ExpiresAt.gt(now)).add(idle_until.gt(now))
}
