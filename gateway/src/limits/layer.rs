//! Limits on their way to the client: headers after draft-ietf-httpapi-ratelimit-headers.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, Method, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use sealpost_schema::ProblemKind;

use super::rates::{Count, Refusal};
use crate::edge::ClientAddress;
use crate::problem::ApiError;
use crate::state::App;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STANDING: HeaderName = HeaderName::from_static("ratelimit");

/// Where the extractor of the user leaves its count, for the answer's headers.
#[derive(Clone, Default)]
pub struct Standing(Arc<OnceLock<Count>>);

impl Standing {
    /// Notes the count of a request, or refuses it.
    pub fn note(&self, counted: Option<Result<Count, Refusal>>) -> Result<(), ApiError> {
        match counted {
            None => Ok(()),
            Some(Ok(count)) => {
                // One count for a request is enough.
                let _ = self.0.set(count);
                Ok(())
            }
            Some(Err(refusal)) => {
                let _ = self.0.set(refusal.count);
                Err(too_many(refusal.retry_after))
            }
        }
    }
}

/// 429 with the time to wait, in whole seconds.
pub fn too_many(retry_after: Duration) -> ApiError {
    let seconds = retry_after.as_secs_f64().ceil().max(1.0);
    let mut error = ApiError::new(
        ProblemKind::TooManyRequests,
        format!("Too many requests of this kind. Come again in {seconds} s."),
    );
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at least one, and at most a day")]
    let seconds = seconds as u64;
    error.0.retry_after = Some(seconds);
    error
}

/// Counts what begins or renews a session by its address; the rest is counted where its user becomes known.
pub async fn limit_requests(State(app): State<App>, mut request: Request<Body>, next: Next) -> Response {
    let standing = Standing::default();
    request.extensions_mut().insert(standing.clone());
    let begins = request.method() == Method::POST && request.uri().path().starts_with("/api/auth/");
    if begins
        && let Some(address) = request.extensions().get::<ClientAddress>().map(|client| client.0)
        && let Err(error) = standing.note(app.limits.sign_in(address))
    {
        return with_headers(error.into_response(), &standing);
    }
    with_headers(next.run(request).await, &standing)
}

fn with_headers(mut response: Response, standing: &Standing) -> Response {
    let Some(count) = standing.0.get() else { return response };
    let name = count.class.name();
    let policy = format!("\"{name}\";q={};w={}", count.quota, count.window_seconds);
    let now = format!("\"{name}\";r={}", count.remaining);
    for (header, text) in [(POLICY, policy), (STANDING, now)] {
        if let Ok(value) = HeaderValue::try_from(text) {
            response.headers_mut().insert(header, value);
        }
    }
    response
}
