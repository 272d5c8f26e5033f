//! Who follows which thread, and how far they have read it.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "thread_followers")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub root_id: Uuid,
    pub conversation_id: Uuid,
    /// False: said so, and not made a follower again by replying.
    pub following: bool,
    /// Only rises.
    pub read_seq: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// Who follows a thread. The caller has shown before that the user may see it.
    pub fn of(root: Uuid) -> Select<Self> {
        Self::find().filter(Column::RootId.eq(root)).filter(Column::Following.eq(true))
    }
}
