//! `PUT /auth/me/avatar`, `DELETE /auth/me/avatar` and `GET /avatars/{id}`

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequest as _, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _};
use sealpost_schema::entities::avatar;
use sealpost_schema::{Problem, ProblemKind};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::avatar::{MAX_UPLOAD_BYTES, replace};
use super::decode::SIDES;
use crate::auth::Principal;
use crate::problem::{ApiError, ApiResult, Path, Query};
use crate::state::App;
use crate::transaction;

const TYPES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];

#[derive(Serialize, utoipa::ToSchema)]
pub struct AvatarResponse {
    /// Names this picture for ever: `GET /api/avatars/{avatar_id}`. Another picture has another id.
    pub avatar_id: Uuid,
}

/// Set my picture
///
/// The body is the picture itself. It is cut to a square and encoded again; of an animation the first frame is taken. At most
/// 4 MiB and 12 megapixels.
#[utoipa::path(
    put, path = "/auth/me/avatar", tag = "users", security(("bearer" = [])),
    request_body(content(
        (Vec<u8> = "image/jpeg"), (Vec<u8> = "image/png"), (Vec<u8> = "image/gif"), (Vec<u8> = "image/webp"),
    )),
    responses(
        (status = 200, body = AvatarResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token, or the account is gone"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "More than 4 MiB"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "No JPEG, PNG, GIF or WebP"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "Too many pixels, or damaged"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away, or too many pictures at once"),
    )
)]
pub async fn put_avatar(
    State(app): State<App>,
    principal: Principal,
    headers: HeaderMap,
    request: Request,
) -> ApiResult<Json<AvatarResponse>> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !TYPES.iter().any(|known| kind.eq_ignore_ascii_case(known)) {
        return Err(ApiError::new(
            ProblemKind::UnsupportedMediaType,
            "Send a picture with its type, such as `Content-Type: image/jpeg`. JPEG, PNG, GIF and WebP are taken.",
        ));
    }
    let upload = Bytes::from_request(request, &app).await.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            ApiError::new(ProblemKind::BodyTooLarge, format!("A picture has at most {MAX_UPLOAD_BYTES} bytes."))
        }
        _ => ApiError::new(ProblemKind::Malformed, rejection.body_text()),
    })?;
    let squares = app.avatars.squares(upload).await?;
    let avatar_id = Uuid::new_v4();
    store(&app, principal, Some((avatar_id, squares))).await?;
    Ok(Json(AvatarResponse { avatar_id }))
}

/// Take my picture away
#[utoipa::path(
    delete, path = "/auth/me/avatar", tag = "users", security(("bearer" = [])),
    responses(
        (status = 204, description = "There is none"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token, or the account is gone"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn delete_avatar(State(app): State<App>, principal: Principal) -> ApiResult<StatusCode> {
    store(&app, principal, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn store(app: &App, principal: Principal, squares: Option<(Uuid, Vec<super::decode::Square>)>) -> ApiResult<()> {
    let transaction = transaction::begin(app).await?;
    let done = replace(&transaction, principal.user_id, squares).await;
    if !done.map_err(|error| ApiError::store(&error))? {
        return Err(ApiError::new(ProblemKind::Unauthenticated, "This account is gone or disabled."));
    }
    transaction::commit(transaction).await
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct GetAvatarQuery {
    /// Width and height in pixels: 64, 192 or 512.
    #[serde(default = "default_size")]
    #[param(example = 192, default = 192)]
    pub size: u32,
}

fn default_size() -> u32 {
    SIDES[1]
}

/// Get a picture
///
/// Never changes: another picture of the same user has another id. Keep it as long as you like.
#[utoipa::path(
    get, path = "/avatars/{id}", tag = "users", security(("bearer" = [])),
    params(("id" = Uuid, Path, description = "`avatar_id` of a user"), GetAvatarQuery),
    responses(
        (status = 200, description = "The picture", content((Vec<u8> = "image/jpeg"), (Vec<u8> = "image/png"))),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such picture any more"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "Not one of the sizes"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn get_avatar(
    State(app): State<App>,
    _principal: Principal,
    Path(id): Path<Uuid>,
    Query(query): Query<GetAvatarQuery>,
) -> ApiResult<Response> {
    let side = i32::try_from(query.size).ok().filter(|_| SIDES.contains(&query.size));
    let side = side.ok_or_else(|| ApiError::invalid(format!("size is {}: use 64, 192 or 512.", query.size)))?;
    let found = avatar::Entity::find()
        .filter(avatar::Column::Id.eq(id))
        .filter(avatar::Column::Side.eq(side))
        .one(&app.db)
        .await
        .map_err(|error| ApiError::store(&error))?;
    let avatar = found.ok_or_else(|| ApiError::not_found("picture"))?;
    // The type is one that we wrote; nothing of the upload's name or type is kept.
    let kind = if avatar.content_type == "image/png" { "image/png" } else { "image/jpeg" };
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_DISPOSITION, "inline"),
        (header::CACHE_CONTROL, "private, max-age=31536000, immutable"),
    ];
    Ok((headers, Body::from(avatar.image)).into_response())
}
