//! Pictures of users: one row for each size. An id is given once, so what it names never changes.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "avatars")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Width and height, in pixels.
    #[sea_orm(primary_key, auto_increment = false)]
    pub side: i32,
    #[sea_orm(indexed)]
    pub user_id: Uuid,
    pub content_type: String,
    pub image: Vec<u8>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// All sizes of what `user` had and has.
    pub fn of_user(user: Uuid) -> Select<Self> {
        Self::find().filter(Column::UserId.eq(user))
    }
}
