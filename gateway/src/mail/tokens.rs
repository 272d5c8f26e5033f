//! Tokens of links: random, kept as hashes, taken away by their first use.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, DbErr, EntityTrait as _, IntoActiveModel as _, PaginatorTrait as _,
    QueryFilter as _,
};
use sealpost_schema::entities::mail_token::{self, Purpose};
use sealpost_schema::{ProblemKind, Timestamp, UserId};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::problem::{ApiError, ApiResult};

/// Nobody can be buried in mails: so many of a purpose, and no more until the first of them has expired.
const MOST_AT_ONCE: u64 = 3;
const BYTES: usize = 32;

/// What a link is for.
pub struct NewToken<'a> {
    pub user: UserId,
    pub purpose: Purpose,
    /// The address that the mail goes to.
    pub email: &'a str,
}

/// The text for the link. `None`: this user has enough links of this purpose.
pub async fn make(
    db: &impl ConnectionTrait,
    new: &NewToken<'_>,
    now: Timestamp,
    until: Timestamp,
) -> Result<Option<Zeroizing<String>>, DbErr> {
    let own = mail_token::Entity::of(new.user.0, new.purpose);
    mail_token::Entity::delete_many().filter(mail_token::Column::ExpiresAt.lte(now.millis())).exec(db).await?;
    if own.count(db).await? >= MOST_AT_ONCE {
        return Ok(None);
    }
    let mut bytes = Zeroizing::new([0; BYTES]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|error| DbErr::Custom(error.to_string()))?;
    let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice()));
    let row = mail_token::Model {
        hash: hash(&text),
        user_id: new.user.0,
        purpose: new.purpose.as_str().to_owned(),
        email: new.email.to_owned(),
        expires_at: until.millis(),
    };
    mail_token::Entity::insert(row.into_active_model()).exec_without_returning(db).await?;
    Ok(Some(text))
}

/// The row of a token that is still good; nothing is used up.
pub async fn look(
    db: &impl ConnectionTrait,
    token: &str,
    purpose: Purpose,
    now: Timestamp,
) -> ApiResult<mail_token::Model> {
    let found = mail_token::Entity::good(hash(token), purpose, now.millis()).one(db).await;
    found.map_err(|error| ApiError::store(&error))?.ok_or_else(refused)
}

/// Uses the token up. Of any number of calls at once one gets the row.
pub async fn consume(
    db: &impl ConnectionTrait,
    token: &str,
    purpose: Purpose,
    now: Timestamp,
) -> ApiResult<mail_token::Model> {
    let row = look(db, token, purpose, now).await?;
    let deleted =
        mail_token::Entity::delete_many().filter(mail_token::Column::Hash.eq(row.hash.clone())).exec(db).await;
    if deleted.map_err(|error| ApiError::store(&error))?.rows_affected == 1 { Ok(row) } else { Err(refused()) }
}

/// All links that could open the account are void.
pub async fn void(db: &impl ConnectionTrait, user: UserId) -> Result<(), DbErr> {
    mail_token::Entity::delete_many().filter(mail_token::Column::UserId.eq(user.0)).exec(db).await.map(|_| ())
}

pub fn refused() -> ApiError {
    ApiError::new(
        ProblemKind::LinkRefused,
        "The link is not good: it was used, is older than its minutes, or was made for something else. Ask for a new one.",
    )
}

fn hash(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}
