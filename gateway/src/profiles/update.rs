//! `PATCH /auth/me`

use axum::Json;
use axum::extract::State;
use sea_orm::{ActiveModelTrait as _, ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _};
use sealpost_schema::Problem;
use sealpost_schema::entities::user;
use serde::Deserialize;

use super::names;
use crate::auth::{MeResponse, Principal, load_me};
use crate::problem::{ApiError, ApiResult, Body};
use crate::state::App;

/// What is left out stays; an empty text takes away.
#[derive(Default, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpdateMeRequest {
    /// 1 to 80 characters in one line.
    #[schema(example = "Ada Lovelace", min_length = 1, max_length = 80)]
    pub display_name: Option<String>,
    /// At most 140 characters in one line.
    #[schema(example = "Computing Bernoulli numbers", max_length = 140)]
    pub status_text: Option<String>,
    /// A name of the IANA database.
    #[schema(example = "Europe/London", max_length = 64)]
    pub time_zone: Option<String>,
    /// A BCP 47 tag; for mails to you and for clients. Shown to nobody else.
    #[schema(example = "en-GB", max_length = 35)]
    pub language: Option<String>,
    /// Whether others may see what you have read. What was delivered they see in any case.
    pub read_receipts: Option<bool>,
}

/// Change my profile
#[utoipa::path(
    patch, path = "/auth/me", tag = "users", security(("bearer" = [])),
    request_body = UpdateMeRequest,
    responses(
        (status = 200, body = MeResponse, description = "The account as it is now"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token, or the account is gone"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A value is not allowed"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn update_me(
    State(app): State<App>,
    principal: Principal,
    Body(request): Body<UpdateMeRequest>,
) -> ApiResult<Json<MeResponse>> {
    let mut change = <user::ActiveModel as Default>::default();
    if let Some(name) = request.display_name {
        change.display_name = Set(names::display_name(&name)?);
    }
    if let Some(text) = request.status_text {
        change.status_text = Set(names::status(&text)?);
    }
    if let Some(name) = request.time_zone {
        change.time_zone = Set(names::time_zone(&name)?);
    }
    if let Some(tag) = request.language {
        change.language = Set(names::language(&tag)?);
    }
    if let Some(shown) = request.read_receipts {
        change.read_receipts = Set(shown);
    }
    if change.is_changed() {
        let mine = user::Entity::update_many().set(change).filter(user::Column::Id.eq(principal.user_id.0));
        let changed = mine.filter(user::Column::DisabledAt.is_null()).exec(&app.db).await;
        changed.map_err(|error| ApiError::store(&error))?;
    }
    load_me(&app, principal).await.map(Json)
}
