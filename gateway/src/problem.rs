//! Error replies. Every handler returns [`ApiError`]; there is no blanket `From`, so each mapping is written down.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{self, FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sea_orm::DbErr;
use sealpost_lane::LaneError;
use sealpost_schema::{Problem, ProblemKind};

/// A problem on its way to the client. The cause of a server error is logged where this is made, once.
#[derive(Debug)]
pub struct ApiError(pub Problem);

pub type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self(Problem::new(kind, detail))
    }

    /// What does not exist, and what the user may not see: the same answer.
    pub fn not_found(what: &str) -> Self {
        Self::new(ProblemKind::NotFound, format!("There is no such {what}, or you may not see it."))
    }

    /// There is nothing left to change.
    pub fn message_deleted() -> Self {
        Self::new(
            ProblemKind::MessageDeleted,
            "The message is deleted: there is nothing left to change. Send a new one.",
        )
    }

    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(ProblemKind::Invalid, detail)
    }

    /// A defect or a failing part. The client learns no more than the request id.
    pub fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(%cause, "internal error");
        Self::new(ProblemKind::Internal, "The server could not do this. The cause is in its log under the request id.")
    }

    /// The store did not do it.
    pub fn store(error: &DbErr) -> Self {
        if is_connection_error(error) {
            tracing::warn!(%error, "the store is not available");
            return Self::new(
                ProblemKind::Unavailable,
                "The store is not available now. Nothing was changed; try again.",
            );
        }
        Self::internal(error)
    }

    pub fn lane(error: &LaneError) -> Self {
        match error {
            LaneError::NotFound => Self::not_found("conversation"),
            LaneError::Forbidden => Self::new(
                ProblemKind::Forbidden,
                "Your role in this conversation does not allow this. Ask one of its admins.",
            ),
            LaneError::Deleted => Self::message_deleted(),
            LaneError::Changed => Self::new(
                ProblemKind::Unavailable,
                "Others are changing what this depends on all the time. Nothing was taken; try again.",
            ),
            LaneError::OutcomeUnknown => Self::new(
                ProblemKind::OutcomeUnknown,
                "The event log gave no answer in time. Send the same client_message_id again with \"retry\": true: it will not appear twice.",
            ),
            LaneError::Unavailable(reason) => {
                tracing::warn!(reason, "not available");
                Self::new(ProblemKind::Unavailable, "The server cannot take this now. Nothing was taken; try again.")
            }
            LaneError::Refused(reason) => {
                tracing::error!(reason, "refused by the event log");
                Self::new(ProblemKind::Invalid, "The event log does not take this message: it is too large.")
            }
            LaneError::Corrupt(reason) => Self::internal(reason),
        }
    }
}

/// Whether the database could not be reached, as opposed to having said no.
pub fn is_connection_error(error: &DbErr) -> bool {
    matches!(error, DbErr::ConnectionAcquire(_) | DbErr::Conn(_)) || {
        let text = error.to_string();
        ["connection", "pool timed out", "shutting down", "starting up", "broken pipe", "terminating"]
            .iter()
            .any(|sign| text.to_lowercase().contains(sign))
    }
}

/// One reply for a problem, also used outside handlers.
pub fn respond(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, Json(problem)).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        // The rest of the body is not read, so nothing can follow it on this connection: the client has to know.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(seconds) = problem.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    } else if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        respond(&self.0)
    }
}

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> Self {
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                Self::new(ProblemKind::BodyTooLarge, "The body is larger than this server takes. Send less at once.")
            }
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::new(
                ProblemKind::UnsupportedMediaType,
                "Send JSON with the header `Content-Type: application/json`.",
            ),
            StatusCode::UNPROCESSABLE_ENTITY => Self::new(ProblemKind::Invalid, rejection.body_text()),
            _ => Self::new(ProblemKind::Malformed, rejection.body_text()),
        }
    }
}

impl From<PathRejection> for ApiError {
    fn from(_: PathRejection) -> Self {
        // An id that is none names nothing: the same answer as for an unknown one.
        Self::not_found("thing at this address")
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(ProblemKind::Invalid, rejection.body_text())
    }
}

/// A JSON body whose rejection is a problem.
pub struct Body<T>(pub T);

impl<S: Send + Sync, T> FromRequest<S> for Body<T>
where
    Json<T>: FromRequest<S, Rejection = JsonRejection>,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let Json(body) = Json::from_request(request, state).await?;
        Ok(Self(body))
    }
}

/// Path parameters whose rejection is a problem.
pub struct Path<T>(pub T);

impl<S: Send + Sync, T> FromRequestParts<S> for Path<T>
where
    extract::Path<T>: FromRequestParts<S, Rejection = PathRejection>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let extract::Path(path) = extract::Path::from_request_parts(parts, state).await?;
        Ok(Self(path))
    }
}

/// A query whose rejection is a problem.
pub struct Query<T>(pub T);

impl<S: Send + Sync, T> FromRequestParts<S> for Query<T>
where
    extract::Query<T>: FromRequestParts<S, Rejection = QueryRejection>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let extract::Query(query) = extract::Query::from_request_parts(parts, state).await?;
        Ok(Self(query))
    }
}
