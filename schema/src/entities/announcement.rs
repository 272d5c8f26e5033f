//! What admins tell everybody, sealed under a key of its own.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "announcements")]
pub struct Model {
    /// UUIDv7: later ones are greater.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    #[sea_orm(column_type = "Text")]
    pub wrapped: String,
    #[sea_orm(column_type = "Text")]
    pub sealed: String,
    pub created_by: Uuid,
    pub created_at: i64,
    pub expires_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// Those that everybody may still see at `now` (milliseconds).
    pub fn current(now: i64) -> Select<Self> {
        Self::find().filter(Column::ExpiresAt.gt(now))
    }
}
