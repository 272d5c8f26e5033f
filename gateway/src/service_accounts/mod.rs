//! Accounts of programs, and their API tokens.
//!
//! An admin may make one for anything; who owns a conversation may make one for the conversations that they own. The account takes part
//! in conversations like everybody: somebody who may add participants adds it. Its tokens say what it may do there.

mod accounts;
mod tokens;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use sea_orm::{ColumnTrait as _, QueryFilter as _};
use sealpost_schema::UserId;
use sealpost_schema::entities::user;

use crate::auth::{Principal, is_admin};
use crate::problem::{ApiError, ApiResult};
use crate::state::App;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(accounts::create_service_account, accounts::list_service_accounts))
        .routes(routes!(accounts::delete_service_account))
        .routes(routes!(tokens::create_token, tokens::list_tokens))
        .routes(routes!(tokens::revoke_token))
}

/// The service account, if it is the caller's or the caller is an admin; and whether the latter.
pub async fn load(app: &App, principal: Principal, id: UserId) -> ApiResult<(user::Model, bool)> {
    let admin = is_admin(app, principal.user_id).await?;
    let row = user::Entity::service_accounts().filter(user::Column::Id.eq(id.0)).one(&app.db).await;
    let row = row.map_err(|error| ApiError::store(&error))?;
    let row = row.filter(|row| admin || row.owner_id == Some(principal.user_id.0));
    Ok((row.ok_or_else(|| ApiError::not_found("service account"))?, admin))
}
