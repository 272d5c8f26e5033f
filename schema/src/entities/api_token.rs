//! Tokens of service accounts, with their secret as a hash.

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::Query;

use super::user;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "api_tokens")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    #[sea_orm(indexed)]
    pub user_id: Uuid,
    pub name: String,
    /// SHA-256.
    pub secret_hash: Vec<u8>,
    /// Names with commas between.
    pub scopes: String,
    /// Ids as a JSON list; none: all that the account takes part in.
    #[sea_orm(column_type = "Text", nullable)]
    pub conversations: Option<String>,
    pub created_by: Uuid,
    pub created_at: i64,
    pub expires_at: i64,
    /// To about a minute.
    pub last_used_at: Option<i64>,
    pub revoked_at: Option<i64>,
    /// What gateways remember of it from before this moment is out of date.
    #[sea_orm(indexed)]
    pub changed_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// Tokens of `user` that were not withdrawn and have not expired at `now` (milliseconds).
    pub fn live_of(user: Uuid, now: i64) -> Select<Self> {
        Self::find()
            .filter(Column::UserId.eq(user))
            .filter(Column::RevokedAt.is_null())
            .filter(Column::ExpiresAt.gt(now))
    }

    /// The token with this id if it is good at `now`: neither withdrawn nor expired, of an account that is not disabled.
    pub fn usable(id: Uuid, now: i64) -> Select<Self> {
        let mut active = Query::select();
        active.column(user::Column::Id).from(user::Entity).and_where(user::Column::DisabledAt.is_null());
        Self::find_by_id(id)
            .filter(Column::RevokedAt.is_null())
            .filter(Column::ExpiresAt.gt(now))
            .filter(Column::UserId.in_subquery(active))
    }
}
