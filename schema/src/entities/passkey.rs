//! Passkeys: public keys of devices that vouch for a user.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "passkeys")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    #[sea_orm(indexed)]
    pub user_id: Uuid,
    /// What the device calls it.
    #[sea_orm(unique)]
    pub credential_id: Vec<u8>,
    /// What its owner calls it.
    pub name: String,
    /// The public key and what belongs to it, as the library writes it (JSON).
    #[sea_orm(column_type = "Text")]
    pub passkey: String,
    /// Of signatures, as far as the device counts them. It only rises.
    pub counter: i64,
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

    /// The one that a device showed as this user's.
    pub fn shown(user: Uuid, credential_id: Vec<u8>) -> Select<Self> {
        Self::of(user).filter(Column::CredentialId.eq(credential_id))
    }
}
