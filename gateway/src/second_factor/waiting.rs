//! Sign-ins between their two factors.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sea_orm::{ColumnTrait as _, ConnectionTrait, DbErr, EntityTrait as _, IntoActiveModel as _, QueryFilter as _};
use sealpost_schema::entities::{user, waiting_sign_in};
use sealpost_schema::{ProblemKind, Timestamp, UserId};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::store::Factors;
use crate::audit::{self, AuditEntry, AuditEvent, SignInMethod};
use crate::auth::{Device, DeviceKind, SignIn, SignInResponse, complete_with_second_factor};
use crate::caller::Caller;
use crate::problem::{ApiError, ApiResult};
use crate::state::App;

const LIFETIME: Duration = Duration::from_mins(5);

/// What somebody can show as second factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SecondFactorMethod {
    /// A code of an app, at `POST /api/auth/signin/second-factor`.
    Totp,
    /// From `POST /api/auth/signin/passkey/second-factor` on.
    Passkey,
    /// Where codes of an app go.
    RecoveryCode,
}

/// The first factor was right; a second one completes the sign-in.
#[derive(Serialize, utoipa::ToSchema)]
pub struct SecondFactorRequired {
    /// Send it with a code to `POST /api/auth/signin/second-factor`.
    #[schema(example = "hV3d0b2tlbiBmcm9tIGEgbWFpbCBsaW5r")]
    pub challenge: String,
    /// What completes it. A recovery code does so always.
    pub methods: Vec<SecondFactorMethod>,
    /// Seconds until it is good for nothing.
    #[schema(example = 300)]
    pub expires_in: u64,
}

fn hash(challenge: &str) -> Vec<u8> {
    Sha256::digest(challenge.as_bytes()).to_vec()
}

/// Puts a sign-in aside until its code comes.
pub async fn wait(
    db: &impl ConnectionTrait,
    user: &user::Model,
    sign_in: &SignIn<'_>,
    now: Timestamp,
) -> ApiResult<SecondFactorRequired> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|error| ApiError::internal(&error))?;
    let challenge = URL_SAFE_NO_PAD.encode(bytes.as_slice());
    let row = waiting_sign_in::Model {
        hash: hash(&challenge),
        user_id: user.id,
        password_hash: user.password_hash.clone(),
        method: sign_in.method.as_str().to_owned(),
        device_name: sign_in.device.name.clone(),
        device_kind: sign_in.device.kind.as_str().to_owned(),
        expires_at: now.plus(LIFETIME).millis(),
    };
    let mut factors = None;
    let work = async {
        let old = waiting_sign_in::Entity::delete_many().filter(waiting_sign_in::Column::ExpiresAt.lte(now.millis()));
        old.exec(db).await?;
        factors = Some(Factors::of(db, UserId(user.id)).await?);
        waiting_sign_in::Entity::insert(row.into_active_model()).exec_without_returning(db).await
    };
    work.await.map_err(|error| ApiError::store(&error))?;
    let there = |there: fn(Factors) -> bool| factors.is_some_and(there);
    let methods = [
        (SecondFactorMethod::Totp, there(|factors| factors.totp)),
        (SecondFactorMethod::Passkey, there(|factors| factors.passkeys > 0)),
        (SecondFactorMethod::RecoveryCode, true),
    ];
    let methods = methods.into_iter().filter_map(|(method, there)| there.then_some(method)).collect();
    Ok(SecondFactorRequired { challenge, methods, expires_in: LIFETIME.as_secs() })
}

/// A sign-in that waits for its second factor.
pub struct Waiting {
    row: waiting_sign_in::Model,
    pub user: user::Model,
    method: SignInMethod,
}

/// What waits under this challenge, if the account's password is still the one that was checked.
pub async fn find(app: &App, challenge: &str) -> ApiResult<Waiting> {
    let row = waiting_sign_in::Entity::good(hash(challenge), app.clock.now().millis()).one(&app.db).await;
    let row = row.map_err(|error| ApiError::store(&error))?.ok_or_else(refused)?;
    let user = user::Entity::active()
        .filter(user::Column::Id.eq(row.user_id))
        .filter(user::Column::PasswordHash.eq(&row.password_hash))
        .one(&app.db)
        .await;
    let user = user.map_err(|error| ApiError::store(&error))?.ok_or_else(refused)?;
    let method = SignInMethod::parse(&row.method).ok_or_else(refused)?;
    Ok(Waiting { row, user, method })
}

impl Waiting {
    pub fn user_id(&self) -> UserId {
        UserId(self.user.id)
    }

    /// The second step. `checked`: whether what was shown is good; if not, that is recorded and the challenge stays.
    pub async fn finish(self, app: &App, checked: ApiResult<()>, caller: &Caller) -> ApiResult<SignInResponse> {
        let Self { row, user, method } = self;
        if let Err(error) = checked {
            let entry = AuditEntry::to(Some(UserId(user.id)), AuditEvent::SecondFactorFailed { method });
            let recorded = audit::record(&app.db, app.clock.now(), caller, entry).await;
            recorded.map_err(|error| ApiError::store(&error))?;
            return Err(error);
        }
        if !take(&app.db, &row).await.map_err(|error| ApiError::store(&error))? {
            return Err(refused());
        }
        complete_with_second_factor(app, user, SignIn { method, device: device(&row), caller }).await
    }
}

/// Of any number of calls at once one gets true.
async fn take(db: &impl ConnectionTrait, row: &waiting_sign_in::Model) -> Result<bool, DbErr> {
    let own = waiting_sign_in::Entity::delete_many().filter(waiting_sign_in::Column::Hash.eq(row.hash.clone()));
    own.exec(db).await.map(|deleted| deleted.rows_affected == 1)
}

fn device(row: &waiting_sign_in::Model) -> Device {
    Device { name: row.device_name.clone(), kind: DeviceKind::parse(&row.device_kind) }
}

fn refused() -> ApiError {
    ApiError::new(ProblemKind::WrongCode, "The challenge is not good any more. Begin again at POST /api/auth/signin.")
}
