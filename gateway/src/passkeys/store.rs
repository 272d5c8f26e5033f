//! Passkeys in the store, and what becomes of one that was used.

use sea_orm::{ActiveValue::Set, ColumnTrait as _, ConnectionTrait, DbErr, EntityTrait as _, QueryFilter as _};
use sealpost_schema::entities::passkey;
use sealpost_schema::{ProblemKind, Timestamp, UserId};
use uuid::Uuid;
use webauthn_rs::prelude::{AuthenticationResult, Passkey, WebauthnError};

use crate::audit::{self, AuditEntry, AuditEvent};
use crate::caller::Caller;
use crate::problem::{ApiError, ApiResult};
use crate::state::App;

/// The same for everything that is wrong with one.
pub fn refused() -> ApiError {
    ApiError::new(ProblemKind::PasskeyRefused, "The passkey is not good here. Try another way to sign in.")
}

/// A passkey as it is used.
pub fn open(row: &passkey::Model) -> ApiResult<Passkey> {
    serde_json::from_str(&row.passkey).map_err(|error| ApiError::internal(&error))
}

/// Takes note of a use. An error: it was not good. Counts of signatures only rise; one that does not is an alarm.
pub async fn used(
    app: &App,
    mut row: passkey::Model,
    result: Result<AuthenticationResult, WebauthnError>,
    caller: &Caller,
) -> ApiResult<()> {
    let result = match result {
        Ok(result) => result,
        Err(WebauthnError::CredentialPossibleCompromise) => return Err(cloned(app, &row, caller).await?),
        Err(error) => {
            tracing::debug!(%error, "a passkey was refused");
            return Err(refused());
        }
    };
    // What began this may be older than the last use.
    let counter = i64::from(result.counter());
    if row.counter > 0 && counter <= row.counter {
        return Err(cloned(app, &row, caller).await?);
    }
    let mut passkey = open(&row)?;
    passkey.update_credential(&result);
    row.passkey = serde_json::to_string(&passkey).map_err(|error| ApiError::internal(&error))?;
    let noted = note(&app.db, &row, counter, app.clock.now()).await;
    // If another use was noted meanwhile, this one has not been checked against it.
    if noted.map_err(|error| ApiError::store(&error))? { Ok(()) } else { Err(refused()) }
}

async fn note(db: &impl ConnectionTrait, row: &passkey::Model, counter: i64, now: Timestamp) -> Result<bool, DbErr> {
    let change = passkey::ActiveModel {
        passkey: Set(row.passkey.clone()),
        counter: Set(counter),
        last_used_at: Set(Some(now.millis())),
        ..Default::default()
    };
    let noted = passkey::Entity::update_many()
        .set(change)
        .filter(passkey::Column::Id.eq(row.id))
        .filter(passkey::Column::Counter.eq(row.counter))
        .exec(db)
        .await?;
    Ok(noted.rows_affected == 1)
}

async fn cloned(app: &App, row: &passkey::Model, caller: &Caller) -> ApiResult<ApiError> {
    let (user, passkey_id): (UserId, Uuid) = (UserId(row.user_id), row.id);
    tracing::warn!(%user, %passkey_id, "the signatures of a passkey are counted, and the count fell behind: there may be a copy");
    let entry = AuditEntry::to(Some(user), AuditEvent::PasskeyCloned { passkey_id });
    let recorded = audit::record(&app.db, app.clock.now(), caller, entry).await;
    recorded.map_err(|error| ApiError::store(&error))?;
    Ok(refused())
}
