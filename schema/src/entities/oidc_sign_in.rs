//! Sign-ins that are on their way through a provider.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "oidc_sign_ins")]
pub struct Model {
    /// SHA-256 of the state and of what the browser keeps.
    #[sea_orm(primary_key, auto_increment = false)]
    pub hash: Vec<u8>,
    pub provider: String,
    /// Who links an account of the provider with theirs, and in which session. None: somebody signs in.
    pub user_id: Option<Uuid>,
    pub session_id: Option<Uuid>,
    pub device_name: Option<String>,
    pub device_kind: String,
    #[sea_orm(indexed)]
    pub expires_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    pub fn on_their_way() -> Select<Self> {
        Self::find()
    }

    /// Not expired at `now` (milliseconds).
    pub fn good(hash: Vec<u8>, provider: &str, now: i64) -> Select<Self> {
        Self::find_by_id(hash).filter(Column::Provider.eq(provider)).filter(Column::ExpiresAt.gt(now))
    }
}
