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
    /// `user` or `admin`: what they may do on this server, beside their roles in conversations.
    pub role: String,
    /// `person` or `service`.
    pub kind: String,
    /// Who made it, if it is a service account.
    pub owner_id: Option<Uuid>,
    pub status_text: Option<String>,
    /// A name of the IANA database.
    pub time_zone: Option<String>,
    /// BCP 47.
    pub language: Option<String>,
    /// When they proved that `email` is theirs.
    pub email_verified_at: Option<i64>,
    /// Since when a sign-in needs a second factor.
    pub second_factor_at: Option<i64>,
    /// The picture in use, of which `avatars` has the sizes.
    pub avatar_id: Option<Uuid>,
    /// Others may see what they have read.
    pub read_receipts: bool,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// [`Model::role`] of those who administer this server.
pub const ADMIN: &str = "admin";
/// [`Model::kind`] of people.
pub const PERSON: &str = "person";
/// [`Model::kind`] of programs, which have API tokens and cannot sign in.
pub const SERVICE: &str = "service";
/// [`Model::role`] of everybody else.
pub const USER: &str = "user";

impl Model {
    /// Somebody with this name (in lower case) and nothing else, who cannot sign in yet.
    pub fn new(id: Uuid, username: &str, created_at: i64) -> Self {
        Self {
            id,
            username: username.to_owned(),
            display_name: username.to_owned(),
            email: None,
            password_hash: String::new(),
            created_at,
            disabled_at: None,
            role: USER.to_owned(),
            kind: PERSON.to_owned(),
            owner_id: None,
            status_text: None,
            time_zone: None,
            language: None,
            email_verified_at: None,
            second_factor_at: None,
            avatar_id: None,
            read_receipts: true,
        }
    }
}

impl Entity {
    /// Users who can sign in and be found.
    pub fn active() -> Select<Self> {
        Self::find().filter(Column::DisabledAt.is_null())
    }

    /// This user, if not disabled.
    pub fn active_by_id(id: Uuid) -> Select<Self> {
        Self::active().filter(Column::Id.eq(id))
    }

    /// Everybody, also those who are disabled: for those who administer this server.
    pub fn everybody() -> Select<Self> {
        Self::find()
    }

    /// Accounts of programs. Who may see which, the handler adds.
    pub fn service_accounts() -> Select<Self> {
        Self::active().filter(Column::Kind.eq(SERVICE))
    }

    /// `email` as it is stored: in lower case.
    pub fn by_email(email: &str) -> Select<Self> {
        Self::active().filter(Column::Email.eq(email))
    }

    /// `username` in any case.
    pub fn by_username(username: &str) -> Select<Self> {
        Self::active().filter(Column::Username.eq(username.to_lowercase()))
    }
}
