//! `POST` and `GET /service-accounts`, `DELETE /service-accounts/{id}`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};
use sealpost_schema::entities::{participant, user};
use sealpost_schema::{Problem, ProblemKind, Role, Timestamp, UserId};
use serde::{Deserialize, Serialize};

use super::load;
use crate::accounts::{self, AccountError, Act};
use crate::auth::{Principal, announce, is_admin, username};
use crate::caller::Caller;
use crate::problem::{ApiError, ApiResult, Body, Path};
use crate::state::App;

/// Of one owner who is no admin.
const MAX_OF_OWNER: u64 = 20;
const MAX_LISTED: u64 = 1000;
const MAX_NAME_CHARS: usize = 80;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateServiceAccountRequest {
    /// As for people.
    #[schema(example = "deploy-bot", min_length = 3, max_length = 32, pattern = "^[A-Za-z0-9._-]{3,32}$")]
    pub username: String,
    /// 1 to 80 characters in one line; if it is left out, the user name.
    #[schema(example = "Deployments", min_length = 1, max_length = 80)]
    pub display_name: Option<String>,
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct ServiceAccountResponse {
    pub id: UserId,
    #[schema(example = "deploy-bot")]
    pub username: String,
    #[schema(example = "Deployments")]
    pub display_name: String,
    /// Who made it.
    pub owner_id: Option<UserId>,
    pub created_at: Timestamp,
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct ListServiceAccountsResponse {
    /// By user name; 1,000 at most.
    pub service_accounts: Vec<ServiceAccountResponse>,
}

impl ServiceAccountResponse {
    fn new(row: user::Model) -> Self {
        Self {
            id: UserId(row.id),
            username: row.username,
            display_name: row.display_name,
            owner_id: row.owner_id.map(UserId),
            created_at: Timestamp::from_millis(row.created_at),
        }
    }
}

/// Make a service account
///
/// For admins, and for those who own a conversation. It cannot sign in: give it an API token, and add it to conversations.
#[utoipa::path(
    post, path = "/service-accounts", tag = "service accounts", security(("bearer" = [])),
    request_body = CreateServiceAccountRequest,
    responses(
        (status = 201, body = ServiceAccountResponse),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "You own no conversation"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "The user name is taken"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A value is not allowed, or you have 20 already"),
        (status = 429, body = Problem, content_type = "application/problem+json", description = "Too many requests"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn create_service_account(
    State(app): State<App>,
    principal: Principal,
    caller: Caller,
    Body(request): Body<CreateServiceAccountRequest>,
) -> ApiResult<(StatusCode, Json<ServiceAccountResponse>)> {
    let username = username::normalize(&request.username).ok_or_else(|| ApiError::invalid(username::RULE))?;
    let display_name = request.display_name.as_deref().unwrap_or(&username).trim().to_owned();
    let length = display_name.chars().count();
    if length == 0 || length > MAX_NAME_CHARS || display_name.chars().any(char::is_control) {
        return Err(ApiError::invalid(format!("A display name has 1 to {MAX_NAME_CHARS} characters, in one line.")));
    }
    may_create(&app, principal.user_id).await?;
    let now = app.clock.now();
    let row = user::Model {
        display_name,
        kind: user::SERVICE.to_owned(),
        owner_id: Some(principal.user_id.0),
        ..user::Model::new(UserId::new().0, &username, now.millis())
    };
    let act = Act { by: Some(principal.user_id), caller: &caller, now };
    accounts::create(&app.db, row.clone(), act).await.map_err(|error| match error {
        AccountError::Taken => ApiError::new(
            ProblemKind::UsernameTaken,
            format!("Somebody is called `{username}` already. Choose another user name."),
        ),
        AccountError::NotFound | AccountError::Changed => ApiError::internal(&error),
        AccountError::Store(error) => ApiError::store(&error),
    })?;
    Ok((StatusCode::CREATED, Json(ServiceAccountResponse::new(row))))
}

async fn may_create(app: &App, user: UserId) -> ApiResult<()> {
    if is_admin(app, user).await? {
        return Ok(());
    }
    let owns = participant::Entity::find()
        .filter(participant::Column::UserId.eq(user.0))
        .filter(participant::Column::Role.eq(Role::Owner.as_str()))
        .one(&app.db)
        .await
        .map_err(|error| ApiError::store(&error))?;
    if owns.is_none() {
        let detail = "Service accounts are made by admins, and by those who own a conversation.";
        return Err(ApiError::new(ProblemKind::Forbidden, detail));
    }
    let own = user::Entity::service_accounts().filter(user::Column::OwnerId.eq(user.0)).count(&app.db).await;
    if own.map_err(|error| ApiError::store(&error))? >= MAX_OF_OWNER {
        return Err(ApiError::invalid(format!("You have {MAX_OF_OWNER} service accounts: delete one first.")));
    }
    Ok(())
}

/// List service accounts
///
/// Yours; an admin sees all.
#[utoipa::path(
    get, path = "/service-accounts", tag = "service accounts", security(("bearer" = [])),
    responses(
        (status = 200, body = ListServiceAccountsResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "Not for API tokens"),
        (status = 429, body = Problem, content_type = "application/problem+json", description = "Too many requests"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn list_service_accounts(
    State(app): State<App>,
    principal: Principal,
) -> ApiResult<Json<ListServiceAccountsResponse>> {
    let mut rows = user::Entity::service_accounts().order_by_asc(user::Column::Username).limit(MAX_LISTED);
    if !is_admin(&app, principal.user_id).await? {
        rows = rows.filter(user::Column::OwnerId.eq(principal.user_id.0));
    }
    let rows = rows.all(&app.db).await.map_err(|error| ApiError::store(&error))?;
    Ok(Json(ListServiceAccountsResponse {
        service_accounts: rows.into_iter().map(ServiceAccountResponse::new).collect(),
    }))
}

/// Delete a service account
///
/// Its tokens are refused within a second, on every gateway. What it wrote stays, under its name, which stays taken.
#[utoipa::path(
    delete, path = "/service-accounts/{id}", tag = "service accounts", security(("bearer" = [])),
    params(("id" = UserId, Path)),
    responses(
        (status = 204, description = "It is gone"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "Not for API tokens"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "You have no such service account"),
        (status = 429, body = Problem, content_type = "application/problem+json", description = "Too many requests"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn delete_service_account(
    State(app): State<App>,
    principal: Principal,
    caller: Caller,
    Path(id): Path<UserId>,
) -> ApiResult<StatusCode> {
    load(&app, principal, id).await?;
    let act = Act { by: Some(principal.user_id), caller: &caller, now: app.clock.now() };
    let ended = accounts::disable(&app.db, id, act).await.map_err(|error| match error {
        AccountError::Store(error) => ApiError::store(&error),
        other => ApiError::internal(&other),
    })?;
    announce(&app, &ended).await;
    Ok(StatusCode::NO_CONTENT)
}
