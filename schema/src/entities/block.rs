//! Who does not want to hear of whom.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "blocks")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub blocked_id: Uuid,
    pub created_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// Whom `user` blocks.
    pub fn of_user(user: Uuid) -> Select<Self> {
        Self::find().filter(Column::UserId.eq(user))
    }

    /// Those among `users` who block `blocked`.
    pub fn against(blocked: Uuid, users: impl IntoIterator<Item = Uuid>) -> Select<Self> {
        Self::find().filter(Column::BlockedId.eq(blocked)).filter(Column::UserId.is_in(users))
    }
}
