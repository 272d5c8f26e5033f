//! Who sends this request.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use sealpost_schema::{ProblemKind, SessionId, Timestamp, UserId};

use super::tokens::TokenError;
use crate::problem::ApiError;
use crate::state::App;

/// The signed-in user of a request: a handler that takes it answers nobody else.
///
/// From the access token alone, without a query. Whether a session has ended meanwhile will be asked here.
#[derive(Clone, Copy, Debug)]
pub struct Principal {
    pub user_id: UserId,
    pub session_id: SessionId,
    pub expires_at: Timestamp,
}

impl FromRequestParts<App> for Principal {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let token = bearer(&parts.headers).ok_or_else(|| {
            ApiError::new(
                ProblemKind::Unauthenticated,
                "Send the access token in the header `Authorization: Bearer <token>`. Get one at POST /api/auth/signin.",
            )
        })?;
        let claims = app.tokens.verify(token).map_err(refusal)?;
        Ok(Self { user_id: claims.user_id, session_id: claims.session_id, expires_at: claims.expires_at })
    }
}

fn refusal(error: TokenError) -> ApiError {
    match error {
        TokenError::Invalid => ApiError::new(
            ProblemKind::Unauthenticated,
            "The access token is not one of this server's. Sign in at POST /api/auth/signin.",
        ),
        TokenError::Expired => ApiError::new(
            ProblemKind::TokenExpired,
            "The access token has expired: refresh it at POST /api/auth/refresh.",
        ),
    }
}

/// The token of `Authorization: Bearer <token>`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_bearer_tokens_count() {
        let bearer_of = |value: &'static str| {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(value))]);
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(bearer_of("Bearer a.b.c").as_deref(), Some("a.b.c"));
        assert_eq!(bearer_of("bearer a.b.c").as_deref(), Some("a.b.c"));
        for other in ["", "Bearer", "Bearer ", "Basic YTpi", "a.b.c", "Bearera.b.c"] {
            assert_eq!(bearer_of(other), None, "{other}");
        }
        assert_eq!(bearer(&HeaderMap::new()), None);
    }
}
