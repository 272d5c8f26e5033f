//! Who did what, when, and from where. Rows are added and never changed; the database refuses it.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit")]
pub struct Model {
    /// UUIDv7, so rows sort by time of making.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub at: i64,
    pub action: String,
    /// Who did it; none if nobody was signed in, or the operator did it on the command line.
    pub actor_id: Option<Uuid>,
    /// Whose account it is about.
    pub user_id: Option<Uuid>,
    pub session_id: Option<Uuid>,
    pub address: Option<String>,
    pub user_agent: Option<String>,
    /// What belongs to the action, as a JSON object. Never a secret, never a text that a person typed.
    #[sea_orm(column_type = "Text")]
    pub details: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
