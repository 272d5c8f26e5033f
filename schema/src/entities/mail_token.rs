//! Links in mails that wait to be used, as hashes.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "mail_tokens")]
pub struct Model {
    /// SHA-256 of the token.
    #[sea_orm(primary_key, auto_increment = false)]
    pub hash: Vec<u8>,
    #[sea_orm(indexed)]
    pub user_id: Uuid,
    /// [`Purpose::as_str`].
    pub purpose: String,
    /// Where the mail went.
    pub email: String,
    #[sea_orm(indexed)]
    pub expires_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// What a link does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    VerifyEmail,
    ResetPassword,
    MagicLink,
    /// Nothing: the mail says that somebody else wanted the address, and its row only counts how often that was said.
    AddressInUse,
}

impl Purpose {
    /// As column and link have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::VerifyEmail => "verify_email",
            Self::ResetPassword => "reset_password",
            Self::MagicLink => "magic_link",
            Self::AddressInUse => "address_in_use",
        }
    }
}

impl Entity {
    pub fn of(user: Uuid, purpose: Purpose) -> Select<Self> {
        Self::find().filter(Column::UserId.eq(user)).filter(Column::Purpose.eq(purpose.as_str()))
    }

    /// Not expired at `now` (milliseconds).
    pub fn good(hash: Vec<u8>, purpose: Purpose, now: i64) -> Select<Self> {
        Self::find()
            .filter(Column::Hash.eq(hash))
            .filter(Column::Purpose.eq(purpose.as_str()))
            .filter(Column::ExpiresAt.gt(now))
    }
}
