//! `POST /webhooks/{id}/secret`

use axum::Json;
use axum::extract::State;
use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _};
use sealpost_schema::Problem;
use sealpost_schema::entities::webhook;
use secrecy::ExposeSecret as _;
use uuid::Uuid;

use super::create::CreatedWebhookResponse;
use super::load;
use super::update::record;
use crate::audit::AuditEvent;
use crate::auth::Principal;
use crate::caller::Caller;
use crate::problem::{ApiError, ApiResult, Path};
use crate::state::App;
use crate::transaction::{begin, commit};

/// Make a new secret
///
/// For a day deliveries are signed with the one before it as well, so that receivers can change over. Asking twice ends the first one at
/// once: after a theft, ask twice.
#[utoipa::path(
    post, path = "/webhooks/{id}/secret", tag = "webhooks", security(("bearer" = [])),
    params(("id" = Uuid, Path)),
    responses(
        (status = 200, body = CreatedWebhookResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "Your role does not allow it"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "You have no such webhook"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "This server has no key for webhooks"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn rotate_webhook_secret(
    State(app): State<App>,
    principal: Principal,
    caller: Caller,
    Path(id): Path<Uuid>,
) -> ApiResult<Json<CreatedWebhookResponse>> {
    let keys = app.webhooks.keys()?;
    load(&app, principal, id).await?;
    let transaction = begin(&app).await?;
    let changed = webhook::Entity::update_many()
        .col_expr(webhook::Column::SecretVersion, Expr::col(webhook::Column::SecretVersion).add(1))
        .col_expr(webhook::Column::SecretRotatedAt, Expr::value(app.clock.now().millis()))
        .filter(webhook::Column::Id.eq(id))
        .exec_with_returning(&transaction)
        .await
        .map_err(|error| ApiError::store(&error))?;
    let row = changed.into_iter().next().ok_or_else(super::not_found)?;
    record(&transaction, &app, &caller, principal, &row, AuditEvent::WebhookSecretRotated { webhook_id: id }).await?;
    commit(transaction).await?;
    let secret = keys.secret(id, row.secret_version).expose_secret().to_owned();
    Ok(Json(CreatedWebhookResponse { secret, webhook: row.into() }))
}
