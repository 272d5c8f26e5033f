//! Sign-ins that wait for their second factor.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "waiting_sign_ins")]
pub struct Model {
    /// SHA-256 of the challenge.
    #[sea_orm(primary_key, auto_increment = false)]
    pub hash: Vec<u8>,
    #[sea_orm(indexed)]
    pub user_id: Uuid,
    /// What the first factor was checked against: it ends with the password.
    pub password_hash: String,
    pub method: String,
    pub device_name: Option<String>,
    pub device_kind: String,
    #[sea_orm(indexed)]
    pub expires_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// Not expired at `now` (milliseconds).
    pub fn good(hash: Vec<u8>, now: i64) -> Select<Self> {
        Self::find().filter(Column::Hash.eq(hash)).filter(Column::ExpiresAt.gt(now))
    }
}
