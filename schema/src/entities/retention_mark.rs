//! How far a conversation has been worked off by retention. With it the oldest messages are found by the primary key of `events`: an index by
//! time would cost every message that is written.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "retention_marks")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub conversation_id: Uuid,
    /// Everything up to this seq has been destroyed. Only rises.
    pub floor_seq: i64,
    /// What comes next is not older than this.
    pub next_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
