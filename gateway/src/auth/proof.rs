//! Showing again that it is you: before anything that decides who gets into an account.

use std::time::Duration;

use sea_orm::{ColumnTrait as _, QueryFilter as _};
use sealpost_schema::entities::{session, user};
use sealpost_schema::{ProblemKind, Timestamp};
use secrecy::SecretString;
use serde::Deserialize;

use super::{Principal, load_account};
use crate::caller::Caller;
use crate::mail::confirm_password;
use crate::problem::{ApiError, ApiResult};
use crate::state::App;

/// A session as young as this is proof enough. Refreshing makes none younger.
const FRESH: Duration = Duration::from_mins(10);

/// A password, or nothing if the session began within the last ten minutes.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProofRequest {
    #[schema(value_type = Option<String>, format = Password, example = "walrus lantern 47")]
    pub password: Option<SecretString>,
}

/// The account of who asks, who has given its password or has just signed in.
pub async fn prove(
    app: &App,
    principal: Principal,
    password: Option<SecretString>,
    caller: &Caller,
) -> ApiResult<user::Model> {
    if let Some(password) = password {
        return confirm_password(app, principal.user_id, password, caller).await;
    }
    let now = app.clock.now();
    let own = session::Entity::live_of(principal.user_id.0, now.millis())
        .filter(session::Column::Id.eq(principal.session_id.0))
        .one(&app.db)
        .await
        .map_err(|error| ApiError::store(&error))?;
    let is_fresh = |session: &session::Model| Timestamp::from_millis(session.created_at).plus(FRESH) > now;
    if !own.as_ref().is_some_and(is_fresh) {
        return Err(ApiError::new(
            ProblemKind::ProofNeeded,
            "Send your password with this, or sign in anew and do it within ten minutes.",
        ));
    }
    load_account(app, principal.user_id).await
}
