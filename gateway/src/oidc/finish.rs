//! `POST /auth/oidc/{provider}/finish`: what the provider sent the browser back with

use axum::extract::State;
use axum::{Extension, Json};
use sea_orm::{ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _};
use sealpost_schema::entities::{identity, oidc_sign_in, session, user};
use sealpost_schema::{Problem, ProblemKind, SessionId, UserId};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::accounts;
use super::id_token::Claims;
use super::on_its_way::{self, Secrets};
use super::provider::{Answer, Provider, refused};
use crate::audit::{self, AuditEntry, AuditEvent, SignInMethod};
use crate::auth::{Device, DeviceKind, SignIn, SignInResponse, SignedInResponse, complete_sign_in};
use crate::caller::Caller;
use crate::edge::BrowserKey;
use crate::problem::{ApiError, ApiResult, Body, Path};
use crate::second_factor::SecondFactorRequired;
use crate::state::App;

/// The query with which the provider sent the browser back to `/oidc/{provider}`.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FinishOidcRequest {
    #[schema(value_type = String, example = "hV3d0b2tlbiBmcm9tIGEgbWFpbCBsaW5r")]
    pub state: SecretString,
    #[schema(value_type = Option<String>, example = "SplxlOBeZQQYbYS6WxSbIA")]
    pub code: Option<SecretString>,
    /// In place of a code: why there is none.
    #[schema(example = "access_denied")]
    pub error: Option<String>,
    /// Who answers, where the provider says it.
    #[schema(example = "https://id.example")]
    pub iss: Option<String>,
}

/// What it led to.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum FinishOidcResponse {
    /// A new session.
    SignedIn(SignedInResponse),
    /// No session yet: a second factor completes it.
    SecondFactorRequired(SecondFactorRequired),
    /// From now on the account at the provider signs in to the one that asked for it.
    Linked {},
}

/// Come back from a provider
///
/// With the cookie that the beginning set: another browser gets nothing.
#[utoipa::path(
    post, path = "/auth/oidc/{provider}/finish", tag = "auth",
    params(("provider" = String, Path)),
    request_body = FinishOidcRequest,
    responses(
        (status = 200, body = FinishOidcResponse),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "The account changed meanwhile"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "It was not begun in this browser, is not good, or belongs to no account here: see the type"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such provider"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "The account at the provider belongs to another one here"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A field is missing, unknown or not allowed"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store or the provider is away: see the type"),
    )
)]
pub async fn finish_oidc(
    State(app): State<App>,
    caller: Caller,
    key: Option<Extension<BrowserKey>>,
    Path(provider): Path<String>,
    Body(request): Body<FinishOidcRequest>,
) -> ApiResult<Json<FinishOidcResponse>> {
    let provider = app.providers.find(&provider)?;
    let Some(Extension(key)) = key else {
        return Err(refused(
            "This browser has begun no sign-in, or its cookie is gone. Begin again, and allow cookies.",
        ));
    };
    let secrets = Secrets::of(&key.0, request.state.expose_secret());
    let row = on_its_way::take(&app.db, &secrets, &provider.name, app.clock.now()).await?;
    let claims = match vouched(provider, &request, &secrets).await {
        Ok(claims) => claims,
        Err(error) => return Err(note_failure(&app, &row, &caller, error).await?),
    };
    match row.user_id {
        Some(user) => link(&app, provider, &row, UserId(user), &claims, &caller).await.map(Json),
        None => sign_in(&app, provider, row, &claims, &caller).await.map(Json),
    }
}

/// What the provider says, if all of it is right.
async fn vouched(provider: &Provider, request: &FinishOidcRequest, secrets: &Secrets) -> ApiResult<Claims> {
    provider.check_issuer(request.iss.as_deref()).await?;
    let Some(code) = &request.code else {
        let said = request.error.as_deref().unwrap_or("nothing");
        let said: String = said.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(64).collect();
        return Err(refused(&format!(
            "The provider let nobody in; it says `{said}`. Begin again, or sign in another way."
        )));
    };
    let (verifier, nonce) = (secrets.verifier(), secrets.nonce());
    provider.redeem(&Answer { code: code.expose_secret(), verifier: &verifier, nonce: &nonce }).await
}

async fn note_failure(app: &App, row: &oidc_sign_in::Model, caller: &Caller, error: ApiError) -> ApiResult<ApiError> {
    let event = AuditEvent::SignInFailed { method: SignInMethod::Oidc };
    let entry = AuditEntry::to(row.user_id.map(UserId), event);
    let recorded = audit::record(&app.db, app.clock.now(), caller, entry).await;
    recorded.map_err(|error| ApiError::store(&error))?;
    Ok(error)
}

async fn sign_in(
    app: &App,
    provider: &Provider,
    row: oidc_sign_in::Model,
    claims: &Claims,
    caller: &Caller,
) -> ApiResult<FinishOidcResponse> {
    let found = identity::Entity::known(&provider.config.issuer, &claims.sub).one(&app.db).await;
    let known = match found.map_err(|error| ApiError::store(&error))? {
        Some(known) => known,
        None if accounts::may_create(app, provider) => accounts::create(app, provider, claims, caller).await?,
        None => {
            let error = ApiError::new(
                ProblemKind::UnknownIdentity,
                format!(
                    "No account here belongs to this one at `{}`. Sign in another way and link it.",
                    provider.title()
                ),
            );
            return Err(note_failure(app, &row, caller, error).await?);
        }
    };
    let user = user::Entity::active_by_id(known.user_id).one(&app.db).await;
    let user = user.map_err(|error| ApiError::store(&error))?;
    let user = user.ok_or_else(|| ApiError::new(ProblemKind::UnknownIdentity, "The account here is disabled."))?;
    let used = identity::ActiveModel { last_used_at: Set(Some(app.clock.now().millis())), ..Default::default() };
    let noted = identity::Entity::update_many().set(used).filter(identity::Column::Id.eq(known.id)).exec(&app.db).await;
    noted.map_err(|error| ApiError::store(&error))?;
    let device = Device { name: row.device_name, kind: DeviceKind::parse(&row.device_kind) };
    let sign_in = SignIn { method: SignInMethod::Oidc, device, caller };
    Ok(match complete_sign_in(app, user, sign_in).await? {
        SignInResponse::SignedIn(signed_in) => FinishOidcResponse::SignedIn(signed_in),
        SignInResponse::SecondFactorRequired(required) => FinishOidcResponse::SecondFactorRequired(required),
    })
}

async fn link(
    app: &App,
    provider: &Provider,
    row: &oidc_sign_in::Model,
    user: UserId,
    claims: &Claims,
    caller: &Caller,
) -> ApiResult<FinishOidcResponse> {
    let now = app.clock.now();
    let begun_in = row.session_id.map(SessionId).ok_or_else(|| refused("It was begun without a session."))?;
    let live = session::Entity::live_of(user.0, now.millis())
        .filter(session::Column::Id.eq(begun_in.0))
        .one(&app.db)
        .await
        .map_err(|error| ApiError::store(&error))?;
    if live.is_none() {
        return Err(refused("The session that began this has ended. Sign in and begin again."));
    }
    accounts::link(app, provider, user, claims, caller).await?;
    Ok(FinishOidcResponse::Linked {})
}
