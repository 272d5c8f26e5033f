//! People and programs.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "users")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Lower case, 3 to 32 characters out of `a-z0-9._-`.
    #[sea_orm(unique)]
    pub username: String,
    pub display_name: String,
    #[sea_orm(unique)]
    pub email: Option<String>,
    /// PHC string (Argon2id).
    pub password_hash: String,
    pub created_at: i64,
    pub disabled_at: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// Users who can sign in and be found.
    pub fn active() -> Select<Self> {
        Self::find().filter(Column::DisabledAt.is_null())
    }

    /// `username` in any case.
    pub fn by_username(username: &str) -> Select<Self> {
        Self::active().filter(Column::Username.eq(username.to_lowercase()))
    }
}
