//! `GET /users`

use axum::Json;
use axum::extract::State;
use sea_orm::sea_query::{Expr, ExprTrait as _, Func};
use sea_orm::{ColumnTrait as _, Condition, QueryFilter as _, QueryOrder as _, QuerySelect as _, Select};
use sealpost_schema::Problem;
use sealpost_schema::entities::user;
use serde::{Deserialize, Serialize};

use super::{UserResponse, username};
use crate::auth::Principal;
use crate::page::{self, beginning_with, check_limit};
use crate::problem::{ApiError, ApiResult, Query};
use crate::state::App;

/// No name is longer.
const MAX_QUERY_CHARS: usize = 80;
const MAX_LIMIT: u64 = 100;

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListUsersQuery {
    /// How the user name or the display name begins, in any case. Nothing lists everybody.
    #[serde(default)]
    #[param(example = "ada", max_length = 80)]
    pub query: String,
    /// 1 to 100.
    #[serde(default = "default_limit")]
    #[param(minimum = 1, maximum = 100, default = 50)]
    pub limit: u64,
    /// `next` of the page before.
    #[param(example = "bob")]
    pub after: Option<String>,
}

fn default_limit() -> u64 {
    50
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct ListUsersResponse {
    /// By user name.
    pub users: Vec<UserResponse>,
    /// If there are more: send it as `after`.
    #[schema(example = "bob")]
    pub next: Option<String>,
}

/// Find users
///
/// By the beginning of their user name or display name.
#[utoipa::path(
    get, path = "/users", tag = "users", security(("bearer" = [])),
    params(ListUsersQuery),
    responses(
        (status = 200, body = ListUsersResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A value is not allowed"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn list_users(
    State(app): State<App>,
    _principal: Principal,
    Query(query): Query<ListUsersQuery>,
) -> ApiResult<Json<ListUsersResponse>> {
    let mut rows = select(&query)?.all(&app.db).await.map_err(|error| ApiError::store(&error))?;
    let has_more = page::cut(&mut rows, query.limit);
    let next = rows.last().filter(|_| has_more).map(|last| last.username.clone());
    Ok(Json(ListUsersResponse { users: rows.into_iter().map(UserResponse::new).collect(), next }))
}

/// The page and one more.
fn select(query: &ListUsersQuery) -> ApiResult<Select<user::Entity>> {
    check_limit(query.limit, MAX_LIMIT)?;
    let begin = query.query.trim();
    if begin.chars().count() > MAX_QUERY_CHARS || begin.chars().any(char::is_control) {
        return Err(ApiError::invalid(format!("query has at most {MAX_QUERY_CHARS} characters, in one line.")));
    }
    let mut page = user::Entity::active().order_by_asc(user::Column::Username).limit(query.limit + 1);
    if let Some(after) = &query.after {
        let after = username::normalize(after)
            .ok_or_else(|| ApiError::invalid("after is no user name: send `next` of the page before."))?;
        page = page.filter(user::Column::Username.gt(after));
    }
    Ok(if begin.is_empty() { page } else { page.filter(begins_with(begin)) })
}

fn begins_with(begin: &str) -> Condition {
    let name = Expr::col((user::Entity, user::Column::DisplayName));
    let mut any = Condition::any().add(user::Column::Username.like(beginning_with(&begin.to_ascii_lowercase())));
    for spelling in spellings(begin) {
        any = any.add(Expr::expr(Func::lower(name.clone())).like(beginning_with(&spelling)));
    }
    any
}

/// `LOWER` of SQLite (and of Postgres in some locales) knows ASCII only, so other letters are tried in the cases that names have them in.
fn spellings(begin: &str) -> Vec<String> {
    let mut letters = begin.chars();
    let capitalized: String =
        letters.next().into_iter().flat_map(char::to_uppercase).chain(letters.flat_map(char::to_lowercase)).collect();
    let mut spellings = vec![begin.to_lowercase(), begin.to_ascii_lowercase(), capitalized.to_ascii_lowercase()];
    spellings.sort_unstable();
    spellings.dedup();
    spellings
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
