//! `GET /admin/users` and `GET /admin/users/{id}`

use axum::Json;
use axum::extract::State;
use sea_orm::{ColumnTrait as _, Condition, QueryFilter as _, QueryOrder as _, QuerySelect as _, Select};
use sealpost_schema::entities::user;
use sealpost_schema::{Problem, Timestamp, UserId};
use serde::{Deserialize, Serialize};

use crate::accounts::ServerRole;
use crate::auth::Admin;
use crate::page::{self, beginning_with, check_limit};
use crate::problem::{ApiError, ApiResult, Path, Query};
use crate::state::App;

const MAX_QUERY_CHARS: usize = 254;
const MAX_LIMIT: u64 = 100;

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListAllUsersQuery {
    /// How the user name or the email begins, in any case.
    #[serde(default)]
    #[param(example = "ada", max_length = 254)]
    pub query: String,
    /// Only those with this role.
    pub role: Option<ServerRole>,
    /// Only those who are disabled, or only those who are not.
    pub disabled: Option<bool>,
    /// 1 to 100.
    #[serde(default = "default_limit")]
    #[param(minimum = 1, maximum = 100, default = 50)]
    pub limit: u64,
    /// `next` of the page before.
    #[param(example = "bob", max_length = 64)]
    pub after: Option<String>,
}

fn default_limit() -> u64 {
    50
}

/// A user as admins see them.
#[derive(Serialize, utoipa::ToSchema)]
pub struct AccountResponse {
    pub id: UserId,
    #[schema(example = "ada")]
    pub username: String,
    #[schema(example = "Ada Lovelace")]
    pub display_name: String,
    #[schema(example = "ada@example.org")]
    pub email: Option<String>,
    pub role: ServerRole,
    pub created_at: Timestamp,
    /// Since when they cannot sign in.
    pub disabled_at: Option<Timestamp>,
}

impl AccountResponse {
    pub fn new(row: user::Model) -> Self {
        Self {
            id: UserId(row.id),
            username: row.username,
            display_name: row.display_name,
            email: row.email,
            role: ServerRole::parse(&row.role),
            created_at: Timestamp::from_millis(row.created_at),
            disabled_at: row.disabled_at.map(Timestamp::from_millis),
        }
    }
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct ListAllUsersResponse {
    /// By user name.
    pub users: Vec<AccountResponse>,
    /// If there are more: send it as `after`.
    #[schema(example = "bob")]
    pub next: Option<String>,
}

/// List all users
///
/// Also those who are disabled.
#[utoipa::path(
    get, path = "/admin/users", tag = "admin", security(("bearer" = [])),
    params(ListAllUsersQuery),
    responses(
        (status = 200, body = ListAllUsersResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "You do not administer this server"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A value is not allowed"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn list_users(
    State(app): State<App>,
    _admin: Admin,
    Query(query): Query<ListAllUsersQuery>,
) -> ApiResult<Json<ListAllUsersResponse>> {
    let mut rows = select(&query)?.all(&app.db).await.map_err(|error| ApiError::store(&error))?;
    let has_more = page::cut(&mut rows, query.limit);
    let next = rows.last().filter(|_| has_more).map(|last| last.username.clone());
    Ok(Json(ListAllUsersResponse { users: rows.into_iter().map(AccountResponse::new).collect(), next }))
}

/// The page and one more.
fn select(query: &ListAllUsersQuery) -> ApiResult<Select<user::Entity>> {
    check_limit(query.limit, MAX_LIMIT)?;
    let begin = query.query.trim();
    let texts = [begin, query.after.as_deref().unwrap_or_default()];
    if texts.iter().any(|text| text.chars().count() > MAX_QUERY_CHARS || text.chars().any(char::is_control)) {
        return Err(ApiError::invalid(format!(
            "query and after have at most {MAX_QUERY_CHARS} characters, in one line."
        )));
    }
    let mut page = user::Entity::everybody().order_by_asc(user::Column::Username).limit(query.limit + 1);
    if let Some(after) = &query.after {
        page = page.filter(user::Column::Username.gt(after));
    }
    if let Some(role) = query.role {
        page = page.filter(user::Column::Role.eq(role.as_str()));
    }
    if let Some(disabled) = query.disabled {
        let at = user::Column::DisabledAt;
        page = page.filter(if disabled { at.is_not_null() } else { at.is_null() });
    }
    if begin.is_empty() {
        return Ok(page);
    }
    // Both are kept in lower case.
    let pattern = beginning_with(&begin.to_lowercase());
    let either =
        Condition::any().add(user::Column::Username.like(pattern.clone())).add(user::Column::Email.like(pattern));
    Ok(page.filter(either))
}

/// Get an account
#[utoipa::path(
    get, path = "/admin/users/{id}", tag = "admin", security(("bearer" = [])),
    params(("id" = UserId, Path)),
    responses(
        (status = 200, body = AccountResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "You do not administer this server"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "Nobody has this id"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn get_user(
    State(app): State<App>,
    _admin: Admin,
    Path(id): Path<UserId>,
) -> ApiResult<Json<AccountResponse>> {
    Ok(Json(load(&app, id).await?))
}

pub async fn load(app: &App, id: UserId) -> ApiResult<AccountResponse> {
    let row = user::Entity::everybody().filter(user::Column::Id.eq(id.0)).one(&app.db).await;
    let row = row.map_err(|error| ApiError::store(&error))?;
    row.map(AccountResponse::new).ok_or_else(|| ApiError::not_found("user"))
}
