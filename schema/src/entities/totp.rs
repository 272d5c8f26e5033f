//! Secrets of one-time codes, sealed under a key that the master keys wrap.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "totp")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: Uuid,
    #[sea_orm(column_type = "Text")]
    pub wrapped: String,
    #[sea_orm(column_type = "Text")]
    pub sealed: String,
    /// Steps up to this one have been used: their codes are refused.
    pub last_step: i64,
    /// When a first code was right. Until then it counts for nothing.
    pub confirmed_at: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    pub fn of(user: Uuid) -> Select<Self> {
        Self::find_by_id(user)
    }

    /// Of somebody who has one-time codes on.
    pub fn confirmed_of(user: Uuid) -> Select<Self> {
        Self::of(user).filter(Column::ConfirmedAt.is_not_null())
    }
}
