//! From a token to who shows it: the one place where a token is read and refused, for REST and for WebSockets.

use std::sync::Arc;

use axum::http::{HeaderMap, header};
use sealpost_schema::ProblemKind;

use super::Principal;
use super::api_tokens::SentToken;
use super::scopes::Grant;
use super::tokens::{Claims, TokenError};
use crate::problem::{ApiError, ApiResult};
use crate::state::App;

/// A WebSocket client that offers this subprotocol shows its token behind it.
const BEARER_PROTOCOL: &str = "bearer.";

/// The token of `Authorization: Bearer <token>`. A header of another shape is a token that is not valid, and not none.
pub fn token_of(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().unwrap_or_default();
    let token = value.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    Some(token.map(|(_, token)| token).unwrap_or_default())
}

/// The same, or the token of the subprotocol `bearer.<token>`.
pub fn token_of_handshake(headers: &HeaderMap) -> Option<&str> {
    token_of(headers).or_else(|| {
        let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
        offered.flat_map(|list| list.split(',')).find_map(|protocol| protocol.trim().strip_prefix(BEARER_PROTOCOL))
    })
}

/// Who shows a token, and what it may do if it is one of a service account.
#[derive(Clone)]
pub struct Authenticated {
    pub principal: Principal,
    pub grant: Option<Arc<Grant>>,
}

/// Whose token this is. Costs no query: what ended meanwhile is known in memory ([`Revocations`](super::Revocations)), and API tokens are
/// remembered after their first use.
pub async fn authenticate(app: &App, token: &str) -> ApiResult<Authenticated> {
    if let Some(sent) = SentToken::parse(token) {
        return api_token(app, &sent).await;
    }
    let claims = app.tokens.verify(token).map_err(|error| match error {
        TokenError::Invalid => ApiError::new(
            ProblemKind::Unauthenticated,
            "The access token is not one of this server's. Sign in at POST /api/auth/signin.",
        ),
        TokenError::Expired => ApiError::new(
            ProblemKind::TokenExpired,
            "The access token has expired: refresh it at POST /api/auth/refresh.",
        ),
    })?;
    if !app.revocations.are_known() {
        return Err(ApiError::new(
            ProblemKind::Unavailable,
            "This server has just started and does not know yet which sessions have ended. Try again in a moment.",
        ));
    }
    if app.revocations.has_ended(claims.session_id) {
        return Err(ApiError::new(
            ProblemKind::Unauthenticated,
            "This session has ended. Sign in at POST /api/auth/signin.",
        ));
    }
    app.seen.touch(claims.session_id);
    let Claims { user_id, session_id, expires_at } = claims;
    Ok(Authenticated { principal: Principal { user_id, session_id, expires_at }, grant: None })
}

async fn api_token(app: &App, sent: &SentToken) -> ApiResult<Authenticated> {
    let found = app.api_tokens.find(&app.db, sent.id, app.clock.now()).await;
    let grant = found.map_err(|error| ApiError::store(&error))?.filter(|grant| sent.is(grant)).ok_or_else(|| {
        ApiError::new(
            ProblemKind::Unauthenticated,
            "This API token is not good: it was withdrawn, has expired, or was never one. Ask for another one.",
        )
    })?;
    app.tokens_seen.touch(grant.token_id);
    let principal = Principal { user_id: grant.user_id, session_id: grant.token_id, expires_at: grant.expires_at };
    Ok(Authenticated { principal, grant: Some(grant) })
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn only_bearer_tokens_count() {
        let token = |value| token_of(&headers(header::AUTHORIZATION, value)).map(str::to_owned);
        assert_eq!(token("Bearer a.b.c").as_deref(), Some("a.b.c"));
        assert_eq!(token("bearer a.b.c").as_deref(), Some("a.b.c"));
        for other in ["", "Bearer", "Bearer ", "Basic YTpi", "a.b.c", "Bearera.b.c"] {
            assert_eq!(token(other).as_deref(), Some(""), "{other}");
        }
        assert_eq!(token_of(&HeaderMap::new()), None);
    }

    #[test]
    fn a_handshake_can_show_its_token_as_a_subprotocol() {
        let of = |value| headers(header::SEC_WEBSOCKET_PROTOCOL, value);
        assert_eq!(token_of_handshake(&of("sealpost.v1, bearer.a.b.c")), Some("a.b.c"));
        assert_eq!(token_of_handshake(&of("sealpost.v1")), None);
        let mut both = of("bearer.other");
        both.insert(header::AUTHORIZATION, HeaderValue::from_static("Basic x"));
        assert_eq!(token_of_handshake(&both), Some(""), "a header that is no token is not passed over");
    }
}
