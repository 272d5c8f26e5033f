//! What was begun and waits for the device's answer: in the store, so that any gateway can go on; good once; for five minutes.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, DbErr, EntityTrait as _, IntoActiveModel as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _,
};
use sealpost_schema::entities::passkey_ceremony;
use sealpost_schema::{ProblemKind, Timestamp, UserId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::problem::{ApiError, ApiResult};

pub const LIFETIME: Duration = Duration::from_mins(5);
/// Sign-ins that strangers have begun. Beyond it the oldest ones go: many addresses have to ask at their full rate for that.
const MOST_OF_STRANGERS: u64 = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Register,
    SignIn,
    SecondFactor,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::SignIn => "sign_in",
            Self::SecondFactor => "second_factor",
        }
    }
}

/// What a client shows again to go on.
pub fn new_handle() -> ApiResult<String> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|error| ApiError::internal(&error))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes.as_slice()))
}

fn hash(kind: Kind, handle: &str) -> Vec<u8> {
    Sha256::new().chain_update(kind.as_str()).chain_update([0]).chain_update(handle).finalize().to_vec()
}

/// Keeps `state`. A user has one of a kind at a time.
pub async fn put(
    db: &impl ConnectionTrait,
    (kind, handle): (Kind, &str),
    user: Option<UserId>,
    state: &impl Serialize,
    now: Timestamp,
) -> ApiResult<()> {
    let row = passkey_ceremony::Model {
        hash: hash(kind, handle),
        user_id: user.map(|user| user.0),
        kind: kind.as_str().to_owned(),
        state: serde_json::to_string(state).map_err(|error| ApiError::internal(&error))?,
        expires_at: now.plus(LIFETIME).millis(),
    };
    let work = async {
        make_room(db, kind, user, now).await?;
        passkey_ceremony::Entity::insert(row.into_active_model()).exec_without_returning(db).await
    };
    work.await.map(|_| ()).map_err(|error| ApiError::store(&error))
}

async fn make_room(db: &impl ConnectionTrait, kind: Kind, user: Option<UserId>, now: Timestamp) -> Result<(), DbErr> {
    let expires_at = passkey_ceremony::Column::ExpiresAt;
    passkey_ceremony::Entity::delete_many().filter(expires_at.lte(now.millis())).exec(db).await?;
    let Some(user) = user else {
        let nobodys = passkey_ceremony::Entity::nobodys().order_by_desc(expires_at).offset(MOST_OF_STRANGERS - 1);
        if let Some(oldest) = nobodys.limit(1).one(db).await? {
            passkey_ceremony::Entity::delete_many()
                .filter(passkey_ceremony::Column::UserId.is_null())
                .filter(expires_at.lte(oldest.expires_at))
                .exec(db)
                .await?;
        }
        return Ok(());
    };
    passkey_ceremony::Entity::delete_many()
        .filter(passkey_ceremony::Column::UserId.eq(user.0))
        .filter(passkey_ceremony::Column::Kind.eq(kind.as_str()))
        .exec(db)
        .await
        .map(|_| ())
}

/// Uses up what was kept, whatever comes of it. Of any number of calls at once one gets it.
pub async fn take<T: DeserializeOwned>(
    db: &impl ConnectionTrait,
    (kind, handle): (Kind, &str),
    user: Option<UserId>,
    now: Timestamp,
) -> ApiResult<T> {
    let row = passkey_ceremony::Entity::good(hash(kind, handle), kind.as_str(), now.millis()).one(db).await;
    let row = row.map_err(|error| ApiError::store(&error))?;
    let row = row.filter(|row| row.user_id == user.map(|user| user.0)).ok_or_else(over)?;
    let deleted = passkey_ceremony::Entity::delete_by_id(row.hash).exec(db).await;
    if deleted.map_err(|error| ApiError::store(&error))?.rows_affected != 1 {
        return Err(over());
    }
    serde_json::from_str(&row.state).map_err(|error| ApiError::internal(&error))
}

fn over() -> ApiError {
    ApiError::new(
        ProblemKind::PasskeyRefused,
        "This was used already, has taken too long, or was never begun. Begin again.",
    )
}
