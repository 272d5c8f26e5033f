//! `DELETE /conversations/{conversation_id}/participants/{user_id}`

use axum::extract::State;
use axum::http::StatusCode;
use sea_orm::EntityTrait as _;
use sealpost_schema::entities::participant;
use sealpost_schema::{Action, ConversationId, EventBody, Problem, Role, UserId};

use super::control::{Change, begin, check_owner_stays, commit, load_locked, not_dm, role_of};
use crate::auth::Principal;
use crate::problem::{ApiError, ApiResult, Path};
use crate::state::App;

/// Remove a participant, or leave
///
/// Everybody may leave; removing others is a setting (`remove`, by default for admins), and only owners may remove admins and owners.
/// When this returns, no later message of theirs gets a number, and their connections see nothing after the removal.
#[utoipa::path(
    delete, path = "/conversations/{conversation_id}/participants/{user_id}", tag = "conversations", security(("bearer" = [])),
    params(("conversation_id" = ConversationId, Path), ("user_id" = UserId, Path)),
    responses(
        (status = 204, description = "Removed"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "Your role does not allow it"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such conversation for you, or no such participant"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "The last owner cannot go"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "Nobody leaves a dm"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "Not available, or recorded and still to take effect"),
    )
)]
pub async fn remove_participant(
    State(app): State<App>,
    principal: Principal,
    Path((id, user_id)): Path<(ConversationId, UserId)>,
) -> ApiResult<StatusCode> {
    let transaction = begin(&app).await?;
    let locked = load_locked(&transaction, id, principal.user_id).await?;
    not_dm(locked.kind)?;
    let theirs = role_of(&transaction, id, user_id).await?.ok_or_else(|| ApiError::not_found("participant"))?;
    if user_id != principal.user_id {
        locked.check(Action::Remove)?;
        if theirs.is_named_by_owners() || theirs >= locked.role {
            locked.check_owner()?;
        }
    }
    if theirs == Role::Owner {
        check_owner_stays(&transaction, id, user_id).await?;
    }
    participant::Entity::delete_by_id((id.0, user_id.0))
        .exec(&transaction)
        .await
        .map_err(|error| ApiError::store(&error))?;
    let change = Change::new(&app, id, principal.user_id, EventBody::ParticipantRemoved { user_id });
    change.record(&transaction).await?;
    commit(transaction).await?;
    change.publish(&app).await?;
    Ok(StatusCode::NO_CONTENT)
}
