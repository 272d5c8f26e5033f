//! Accounts at sign-in providers that belong to users here.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "identities")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    #[sea_orm(indexed)]
    pub user_id: Uuid,
    /// The provider's name in the configuration when it was linked.
    pub provider: String,
    /// With `subject` it is somebody, for ever; names and mail addresses may change hands.
    #[sea_orm(unique_key = "identity")]
    pub issuer: String,
    #[sea_orm(unique_key = "identity")]
    pub subject: String,
    pub created_at: i64,
    pub last_used_at: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    pub fn of(user: Uuid) -> Select<Self> {
        Self::find().filter(Column::UserId.eq(user))
    }

    pub fn known(issuer: &str, subject: &str) -> Select<Self> {
        Self::find().filter(Column::Issuer.eq(issuer)).filter(Column::Subject.eq(subject))
    }
}
