//! `GET /auth/oidc`, `POST /auth/oidc/{provider}` and `POST /auth/oidc/{provider}/link`

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use sealpost_schema::Problem;
use serde::{Deserialize, Serialize};

use super::on_its_way::{self, Secrets};
use super::provider::Provider;
use crate::auth::{Device, Principal, ProofRequest, prove};
use crate::caller::Caller;
use crate::edge;
use crate::problem::{ApiError, ApiResult, Body, Path};
use crate::state::App;

/// Somewhere else where people can sign in.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ProviderResponse {
    /// For addresses.
    #[schema(example = "example")]
    pub name: String,
    /// For people.
    #[schema(example = "Example Inc.")]
    pub title: String,
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct ListProvidersResponse {
    pub providers: Vec<ProviderResponse>,
}

/// List sign-in providers
#[utoipa::path(
    get, path = "/auth/oidc", tag = "auth",
    responses((status = 200, body = ListProvidersResponse))
)]
pub async fn list_providers(State(app): State<App>) -> Json<ListProvidersResponse> {
    let response =
        |provider: &Provider| ProviderResponse { name: provider.name.clone(), title: provider.title().to_owned() };
    Json(ListProvidersResponse { providers: app.providers.iter().map(response).collect() })
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BeginOidcRequest {
    #[serde(default)]
    pub device: Device,
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct BeginOidcResponse {
    /// Send the browser there. It comes back to `/oidc/{provider}` on this server.
    #[schema(example = "https://id.example/authorize?response_type=code&client_id=chat")]
    pub url: String,
}

/// Begin to sign in with a provider
///
/// Sets a cookie, by which the answer is good in this browser only, for ten minutes.
#[utoipa::path(
    post, path = "/auth/oidc/{provider}", tag = "auth",
    params(("provider" = String, Path)),
    request_body = BeginOidcRequest,
    responses(
        (status = 200, body = BeginOidcResponse),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such provider"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A field is missing, unknown or not allowed"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store or the provider is away: see the type"),
    )
)]
pub async fn begin_oidc(
    State(app): State<App>,
    Path(provider): Path<String>,
    Body(request): Body<BeginOidcRequest>,
) -> ApiResult<(HeaderMap, Json<BeginOidcResponse>)> {
    let device = request.device.checked()?;
    begin(&app, &provider, None, device).await
}

/// Begin to link an account at a provider with mine
///
/// Then it signs in to this one. Takes the password, or a session that began within the last ten minutes. Sets a cookie, as signing in does.
#[utoipa::path(
    post, path = "/auth/oidc/{provider}/link", tag = "auth", security(("bearer" = [])),
    params(("provider" = String, Path)),
    request_body = ProofRequest,
    responses(
        (status = 200, body = BeginOidcResponse),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token, or the password is wrong: see the type"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "It takes the password, or a new sign-in"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such provider"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A field is missing, unknown or not allowed"),
        (status = 429, body = Problem, content_type = "application/problem+json", description = "Too many wrong passwords"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store or the provider is away: see the type"),
    )
)]
pub async fn link_oidc(
    State(app): State<App>,
    principal: Principal,
    caller: Caller,
    Path(provider): Path<String>,
    Body(request): Body<ProofRequest>,
) -> ApiResult<(HeaderMap, Json<BeginOidcResponse>)> {
    prove(&app, principal, request.password, &caller).await?;
    begin(&app, &provider, Some(principal), Device::default()).await
}

async fn begin(
    app: &App,
    provider: &str,
    link: Option<Principal>,
    device: Device,
) -> ApiResult<(HeaderMap, Json<BeginOidcResponse>)> {
    let provider = app.providers.find(provider)?;
    let secrets = Secrets::new()?;
    // First, so that nothing is kept of what cannot go on.
    let url = provider.authorization_url(&secrets.state, &secrets.nonce(), &secrets.challenge()).await?;
    on_its_way::put(&app.db, &secrets, &provider.name, link, device, &app.clock).await?;
    let cookie = edge::browser_key_cookie(&app.config, &secrets.key, on_its_way::LIFETIME);
    let cookie = cookie.map_err(|error| ApiError::internal(&error))?;
    Ok((HeaderMap::from_iter([(header::SET_COOKIE, cookie)]), Json(BeginOidcResponse { url })))
}
