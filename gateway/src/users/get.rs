//! `GET /users/{id}`

use axum::Json;
use axum::extract::State;
use sea_orm::Select;
use sealpost_schema::entities::user;
use sealpost_schema::{Problem, UserId};

use super::{UserResponse, username};
use crate::auth::Principal;
use crate::problem::{ApiError, ApiResult, Path};
use crate::state::App;

/// Get a user
///
/// By id or by user name.
#[utoipa::path(
    get, path = "/users/{id}", tag = "users", security(("bearer" = [])),
    params(("id" = String, Path, description = "A user's id, or their user name in any case", example = "ada")),
    responses(
        (status = 200, body = UserResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "Nobody has this id or name"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn get_user(
    State(app): State<App>,
    _principal: Principal,
    Path(id): Path<String>,
) -> ApiResult<Json<UserResponse>> {
    let wanted = select(&id).ok_or_else(|| ApiError::not_found("user"))?;
    let user = wanted.one(&app.db).await.map_err(|error| ApiError::store(&error))?;
    Ok(Json(UserResponse::new(user.ok_or_else(|| ApiError::not_found("user"))?)))
}

/// An id is taken with its hyphens only, 36 characters: longer than any name, so that no name can stand for an id.
fn select(text: &str) -> Option<Select<user::Entity>> {
    const ID_LENGTH: usize = 36;
    if text.len() == ID_LENGTH {
        let id: UserId = text.parse().ok()?;
        return Some(user::Entity::active_by_id(id.0));
    }
    username::normalize(text).map(|name| user::Entity::by_username(&name))
}

#[cfg(test)]
mod tests {
    use sea_orm::{DbBackend, QueryTrait as _};

    use super::*;

    #[test]
    fn ids_and_names_are_told_apart() {
        let id = UserId::new();
        let asks_for = |text: &str| select(text).map(|select| select.build(DbBackend::Sqlite).to_string());
        assert!(asks_for(&id.to_string()).unwrap().contains("\"id\" = "));
        // The id without hyphens is a possible name, and means that name.
        assert!(asks_for(&id.0.simple().to_string()).unwrap().contains("\"username\" = "));
        assert!(asks_for("Ada").unwrap().ends_with("\"username\" = 'ada'"));
        for neither in ["", "a", "%", "ada\0", "me@example.org", &"a".repeat(36), &format!("{{{id}}}")] {
            assert!(asks_for(neither).is_none(), "{neither}");
        }
    }
}
