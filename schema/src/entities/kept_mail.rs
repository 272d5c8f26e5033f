//! Mails that waited to be sent when a gateway stopped.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "kept_mails")]
pub struct Model {
    /// UUIDv7, so rows sort by time of keeping.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// What to send and to whom, as JSON. No link: that is made when it is sent.
    #[sea_orm(column_type = "Text")]
    pub job: String,
    pub kept_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
