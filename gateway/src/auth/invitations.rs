//! Invitations: codes that let somebody sign up. The store has their hashes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{ColumnTrait as _, ConnectionTrait, DbErr, EntityTrait as _, QueryFilter as _};
use sealpost_schema::entities::invitation;
use sealpost_schema::{ProblemKind, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::problem::{ApiError, ApiResult};

const CODE_BYTES: usize = 24;

/// A new code, for its owner alone, and its hash, for the store.
pub fn new_code() -> Result<(SecretString, Vec<u8>), getrandom::Error> {
    let mut bytes = Zeroizing::new([0; CODE_BYTES]);
    getrandom::fill(bytes.as_mut_slice())?;
    let code = SecretString::from(URL_SAFE_NO_PAD.encode(bytes.as_slice()));
    let hash = hash_of_code(&code);
    Ok((code, hash))
}

/// What the store has in place of a code.
pub fn hash_of_code(code: &SecretString) -> Vec<u8> {
    Sha256::digest(code.expose_secret().trim()).to_vec()
}

fn refused() -> ApiError {
    ApiError::new(
        ProblemKind::InvitationRefused,
        "This server takes sign-ups by invitation. The invitation is missing, expired, used up or withdrawn: ask for another one.",
    )
}

/// Whether the code is good, so that a bad one costs no work. [`consume`] has the last word.
pub async fn check(db: &impl ConnectionTrait, code: Option<&SecretString>, now: Timestamp) -> ApiResult<()> {
    let code = code.ok_or_else(refused)?;
    let found = invitation::Entity::find()
        .filter(invitation::Column::CodeHash.eq(hash_of_code(code)))
        .filter(invitation::usable(now.millis()))
        .one(db)
        .await;
    found.map_err(|error| ApiError::store(&error))?.map(|_| ()).ok_or_else(refused)
}

/// Uses the code once. However many do so at the same time, it is used no more often than it may be.
pub async fn consume(db: &impl ConnectionTrait, code: Option<&SecretString>, now: Timestamp) -> ApiResult<Uuid> {
    let code = code.ok_or_else(refused)?;
    let used = use_once(db, hash_of_code(code), now).await.map_err(|error| ApiError::store(&error))?;
    used.ok_or_else(refused)
}

async fn use_once(db: &impl ConnectionTrait, hash: Vec<u8>, now: Timestamp) -> Result<Option<Uuid>, DbErr> {
    let used = invitation::Entity::update_many()
        .col_expr(invitation::Column::Uses, Expr::col(invitation::Column::Uses).add(1))
        .filter(invitation::Column::CodeHash.eq(hash))
        .filter(invitation::usable(now.millis()))
        .exec_with_returning(db)
        .await?;
    Ok(used.first().map(|row| row.id))
}

#[cfg(test)]
mod tests {
    use sea_orm::{ConnectOptions, Database, IntoActiveModel as _, Schema};

    use super::*;

    #[tokio::test]
    async fn a_code_is_used_as_often_as_it_may_be_and_not_after_its_end() {
        let db = Database::connect(ConnectOptions::new("sqlite::memory:").max_connections(1).to_owned()).await.unwrap();
        db.execute(&Schema::new(db.get_database_backend()).create_table_from_entity(invitation::Entity)).await.unwrap();
        let (code, code_hash) = new_code().unwrap();
        let row = invitation::Model {
            id: Uuid::now_v7(),
            code_hash,
            created_by: None,
            created_at: 0,
            expires_at: 1000,
            max_uses: 2,
            uses: 0,
            revoked_at: None,
        };
        invitation::Entity::insert(row.clone().into_active_model()).exec_without_returning(&db).await.unwrap();
        let (early, late) = (Timestamp::from_millis(999), Timestamp::from_millis(1000));
        assert!(consume(&db, Some(&code), late).await.is_err());
        assert!(consume(&db, None, early).await.is_err());
        assert!(consume(&db, Some(&"other".into()), early).await.is_err());
        for _ in 0..2 {
            check(&db, Some(&code), early).await.unwrap();
            assert_eq!(consume(&db, Some(&code), early).await.unwrap(), row.id);
        }
        assert!(check(&db, Some(&code), early).await.is_err());
        let error = consume(&db, Some(&code), early).await.unwrap_err().0;
        assert_eq!(error.kind, ProblemKind::InvitationRefused);
    }
}
