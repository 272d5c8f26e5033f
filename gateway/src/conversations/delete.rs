//! `DELETE /conversations/{conversation_id}`

use axum::extract::State;
use axum::http::StatusCode;
use sea_orm::{ActiveModelTrait as _, ActiveValue::Set, IntoActiveModel as _};
use sealpost_schema::{ConversationId, EventBody, Problem};

use super::control::{Change, begin, commit, load_locked, not_dm};
use crate::auth::Principal;
use crate::problem::{ApiError, ApiResult, Path};
use crate::state::App;

/// Delete a group or channel for everybody
///
/// Its keys are destroyed when the last event is stored: nothing of it can be opened any more, wherever copies are.
#[utoipa::path(
    delete, path = "/conversations/{conversation_id}", tag = "conversations", security(("bearer" = [])),
    params(("conversation_id" = ConversationId, Path)),
    responses(
        (status = 204, description = "Deleted"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "You are not its owner"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such conversation for you"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A dm cannot be deleted"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "Not available, or recorded and still to take effect"),
    )
)]
pub async fn delete_conversation(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<ConversationId>,
) -> ApiResult<StatusCode> {
    let transaction = begin(&app).await?;
    let locked = load_locked(&transaction, id, principal.user_id).await?;
    not_dm(locked.kind)?;
    locked.check_owner()?;
    let mut row = locked.row.into_active_model();
    row.public_name = Set(None);
    row.open_reading = Set(false);
    row.deleted_at = Set(Some(app.clock.now().millis()));
    row.update(&transaction).await.map_err(|error| ApiError::store(&error))?;
    let change = Change::new(&app, id, principal.user_id, EventBody::ConversationDeleted);
    change.record(&transaction).await?;
    commit(transaction).await?;
    change.publish(&app).await?;
    app.keys.forget(id);
    Ok(StatusCode::NO_CONTENT)
}
