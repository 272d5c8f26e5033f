//! Accounts here and accounts at providers: who belongs to whom.
//!
//! Only issuer and subject say who somebody is. A mail address links nothing, whatever a provider says about it: who controls an address
//! at some provider must not get into an account here that has the same one.

use sea_orm::{
    ActiveModelTrait as _, DatabaseTransaction, DbErr, EntityTrait as _, IntoActiveModel as _, PaginatorTrait as _,
    SqlErr,
};
use sealpost_schema::entities::{identity, user};
use sealpost_schema::{ProblemKind, Timestamp, UserId};
use uuid::Uuid;

use super::id_token::Claims;
use super::provider::Provider;
use crate::audit::{self, AuditEntry, AuditEvent};
use crate::auth::{SignupMode, email, username};
use crate::caller::Caller;
use crate::mail::Job;
use crate::problem::{ApiError, ApiResult};
use crate::profiles::names;
use crate::second_factor::store as factors;
use crate::state::App;
use crate::transaction;

/// Of one user.
const MOST: u64 = 20;
/// Names that are tried for a new account.
const TRIES: usize = 8;
const LONGEST_NAME: usize = 32;

fn row(provider: &Provider, user: UserId, subject: &str, now: Timestamp) -> identity::Model {
    identity::Model {
        id: Uuid::now_v7(),
        user_id: user.0,
        provider: provider.name.clone(),
        issuer: provider.config.issuer.clone(),
        subject: subject.to_owned(),
        created_at: now.millis(),
        last_used_at: None,
    }
}

fn taken() -> ApiError {
    ApiError::new(ProblemKind::IdentityTaken, "This account at the provider belongs to another account here already.")
}

/// Links; doing it again changes nothing.
pub async fn link(app: &App, provider: &Provider, user: UserId, claims: &Claims, caller: &Caller) -> ApiResult<()> {
    let (transaction, now) = (transaction::begin(app).await?, app.clock.now());
    let locked = factors::lock(&transaction, user).await.map_err(|error| ApiError::store(&error))?;
    locked.ok_or_else(|| ApiError::new(ProblemKind::Unauthenticated, "This account is gone or disabled."))?;
    let known = identity::Entity::known(&provider.config.issuer, &claims.sub).one(&transaction).await;
    match known.map_err(|error| ApiError::store(&error))? {
        Some(known) if known.user_id == user.0 => return Ok(()),
        Some(_) => return Err(taken()),
        None => {}
    }
    let count = identity::Entity::of(user.0).count(&transaction).await.map_err(|error| ApiError::store(&error))?;
    if count >= MOST {
        return Err(ApiError::invalid(format!(
            "An account has {MOST} linked ones at most. Unlink one that you do not use."
        )));
    }
    let inserted = row(provider, user, &claims.sub, now).into_active_model().insert(&transaction).await;
    inserted.map_err(|error| match error.sql_err() {
        Some(SqlErr::UniqueConstraintViolation(_)) => taken(),
        _ => ApiError::store(&error),
    })?;
    let entry = AuditEntry::own(user, AuditEvent::IdentityLinked { provider: provider.name.clone() });
    audit::record(&transaction, now, caller, entry).await.map_err(|error| ApiError::store(&error))?;
    transaction::commit(transaction).await
}

/// Whether strangers that this provider vouches for get accounts.
pub fn may_create(app: &App, provider: &Provider) -> bool {
    provider.config.create_accounts && app.auth.signup == SignupMode::Open
}

/// A new account without a password. If somebody was faster for the same one, theirs.
pub async fn create(app: &App, provider: &Provider, claims: &Claims, caller: &Caller) -> ApiResult<identity::Model> {
    let start = name_of(claims);
    for number in 0..TRIES {
        let name = if number == 0 { start.clone() } else { with_number(&start)? };
        let transaction = transaction::begin(app).await?;
        let made = insert(&transaction, provider, claims, &name, (app.clock.now(), caller)).await;
        match made {
            Ok(Some((made, email))) => {
                transaction::commit(transaction).await?;
                if let Some(email) = email {
                    app.mailer.post(Job::Verify { user: UserId(made.user_id), email });
                }
                return Ok(made);
            }
            // The name is taken.
            Ok(None) => {}
            Err(error) if matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))) => {
                drop(transaction);
                let known = identity::Entity::known(&provider.config.issuer, &claims.sub).one(&app.db).await;
                if let Some(known) = known.map_err(|error| ApiError::store(&error))? {
                    return Ok(known);
                }
            }
            Err(error) => return Err(ApiError::store(&error)),
        }
    }
    Err(ApiError::new(
        ProblemKind::UsernameTaken,
        "No free user name was found for you. Sign up by yourself and link the account.",
    ))
}

/// Nothing if somebody has the name. The address is for a mail that asks for its proof.
async fn insert(
    db: &DatabaseTransaction,
    provider: &Provider,
    claims: &Claims,
    name: &str,
    (now, caller): (Timestamp, &Caller),
) -> Result<Option<(identity::Model, Option<String>)>, DbErr> {
    use sea_orm::{ColumnTrait as _, QueryFilter as _};
    if user::Entity::everybody().filter(user::Column::Username.eq(name)).count(db).await? > 0 {
        return Ok(None);
    }
    let mut email = claims.verified_email().and_then(email::normalize);
    if let Some(address) = &email
        && user::Entity::everybody().filter(user::Column::Email.eq(address)).count(db).await? > 0
    {
        email = None;
    }
    let display_name = claims.name.as_deref().and_then(|name| names::display_name(name).ok());
    let id = UserId::new();
    let user = user::Model {
        display_name: display_name.unwrap_or_else(|| name.to_owned()),
        email: email.clone(),
        ..user::Model::new(id.0, name, now.millis())
    };
    user::Entity::insert(user.into_active_model()).exec_without_returning(db).await?;
    let row = row(provider, id, &claims.sub, now);
    identity::Entity::insert(row.clone().into_active_model()).exec_without_returning(db).await?;
    let linked = AuditEvent::IdentityLinked { provider: provider.name.clone() };
    for event in [AuditEvent::SignedUp { invitation_id: None }, linked] {
        audit::record(db, now, caller, AuditEntry::own(id, event)).await?;
    }
    Ok(Some((row, email)))
}

/// A user name after what the provider calls somebody.
fn name_of(claims: &Claims) -> String {
    let local = claims.email.as_deref().and_then(|email| email.split('@').next());
    let candidates =
        [claims.preferred_username.as_deref().and_then(|name| name.split('@').next()), local, claims.name.as_deref()];
    candidates.into_iter().flatten().find_map(cleaned).unwrap_or_else(|| "user".to_owned())
}

fn cleaned(text: &str) -> Option<String> {
    let letter = |c: char| if c == ' ' { '.' } else { c.to_ascii_lowercase() };
    let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let text: String = text.trim().chars().map(letter).filter(allowed).take(LONGEST_NAME).collect();
    username::normalize(&text)
}

fn with_number(start: &str) -> ApiResult<String> {
    let number = getrandom::u32().map_err(|error| ApiError::internal(&error))? % 1_000_000;
    let start: String = start.chars().take(LONGEST_NAME - 7).collect();
    Ok(format!("{start}-{number:06}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_of_what_the_provider_says() {
        let name = |claims: serde_json::Value| {
            let mut all = serde_json::json!({ "sub": "1", "aud": "x", "exp": 1, "iat": 1 });
            all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
            name_of(&serde_json::from_value(all).unwrap())
        };
        assert_eq!(name(serde_json::json!({ "preferred_username": "Ada@corp.example", "name": "x" })), "ada");
        assert_eq!(name(serde_json::json!({ "email": "a.lovelace+chat@example.org" })), "a.lovelacechat");
        assert_eq!(name(serde_json::json!({ "preferred_username": "Я", "name": "Ada King" })), "ada.king");
        assert_eq!(name(serde_json::json!({})), "user");
        let numbered = with_number(&"a".repeat(32)).unwrap();
        assert_eq!(username::normalize(&numbered), Some(numbered));
    }
}
