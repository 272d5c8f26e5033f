//! What was begun with a passkey and waits for the device's answer.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "passkey_ceremonies")]
pub struct Model {
    /// SHA-256 of what the client shows again.
    #[sea_orm(primary_key, auto_increment = false)]
    pub hash: Vec<u8>,
    /// None: a sign-in without a name.
    #[sea_orm(indexed)]
    pub user_id: Option<Uuid>,
    pub kind: String,
    /// As the library writes it (JSON).
    #[sea_orm(column_type = "Text")]
    pub state: String,
    #[sea_orm(indexed)]
    pub expires_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// Not expired at `now` (milliseconds).
    pub fn good(hash: Vec<u8>, kind: &str, now: i64) -> Select<Self> {
        Self::find_by_id(hash).filter(Column::Kind.eq(kind)).filter(Column::ExpiresAt.gt(now))
    }

    /// Begun by somebody who is not known yet.
    pub fn nobodys() -> Select<Self> {
        Self::find().filter(Column::UserId.is_null())
    }
}
