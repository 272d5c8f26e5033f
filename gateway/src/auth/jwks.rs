//! `GET /.well-known/jwks.json`

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde::Serialize;

use crate::state::App;

/// The public half of a signing key (RFC 8037).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct JwkResponse {
    #[schema(value_type = String, example = "OKP")]
    pub kty: &'static str,
    #[schema(value_type = String, example = "Ed25519")]
    pub crv: &'static str,
    #[schema(value_type = String, example = "EdDSA")]
    pub alg: &'static str,
    #[serde(rename = "use")]
    #[schema(value_type = String, example = "sig")]
    pub purpose: &'static str,
    #[schema(example = "21fe31dfa154a261")]
    pub kid: String,
    /// 32 bytes as url-safe base64.
    #[schema(example = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")]
    pub x: String,
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct JwksResponse {
    /// The first one signs; tokens of the others are accepted, too.
    pub keys: Vec<JwkResponse>,
}

/// Public keys
///
/// With these another program can check access tokens: JWTs with `typ` `at+jwt` and `alg` `EdDSA`, the server's `iss` and `aud`. It cannot
/// see whether a session has ended.
#[utoipa::path(
    get, path = "/.well-known/jwks.json", tag = "auth",
    responses((status = 200, body = JwksResponse)),
)]
pub async fn get_jwks(State(app): State<App>) -> impl IntoResponse {
    let keys = app.tokens.public_keys();
    ([(header::CACHE_CONTROL, "public, max-age=300")], Json(JwksResponse { keys }))
}
