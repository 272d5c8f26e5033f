//! `POST /conversations/{conversation_id}/transfer`

use axum::Json;
use axum::extract::State;
use sealpost_schema::{ConversationId, NamedRole, Problem, Role, UserId};
use serde::Deserialize;

use super::ConversationResponse;
use super::control::{begin, commit, give_role, load_locked, not_dm, role_of};
use super::model::load_one;
use crate::auth::Principal;
use crate::problem::{ApiError, ApiResult, Body, Path};
use crate::state::App;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TransferConversationRequest {
    /// A participant: the new owner.
    pub user_id: UserId,
}

/// Hand a group or channel over
///
/// The other one becomes owner and you become admin, both or neither. Other owners stay.
#[utoipa::path(
    post, path = "/conversations/{conversation_id}/transfer", tag = "conversations", security(("bearer" = [])),
    params(("conversation_id" = ConversationId, Path)),
    request_body = TransferConversationRequest,
    responses(
        (status = 200, body = ConversationResponse),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "You are not its owner"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such conversation for you, or no such participant"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A dm, or yourself"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "Not available, or recorded and still to take effect"),
    )
)]
pub async fn transfer_conversation(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<ConversationId>,
    Body(request): Body<TransferConversationRequest>,
) -> ApiResult<Json<ConversationResponse>> {
    let me = principal.user_id;
    let transaction = begin(&app).await?;
    let locked = load_locked(&transaction, id, me).await?;
    not_dm(locked.kind)?;
    locked.check_owner()?;
    if request.user_id == me {
        return Err(ApiError::invalid("You own it already. Name the participant who is to own it."));
    }
    let theirs = role_of(&transaction, id, request.user_id).await?.ok_or_else(|| ApiError::not_found("participant"))?;
    let mut changes = Vec::new();
    if theirs != Role::Owner {
        let named = NamedRole { user_id: request.user_id, role: Role::Owner };
        changes.push(give_role(&app, &transaction, id, named, false, me).await?);
    }
    changes.push(give_role(&app, &transaction, id, NamedRole { user_id: me, role: Role::Admin }, false, me).await?);
    commit(transaction).await?;
    for change in changes {
        change.publish(&app).await?;
    }
    load_one(&app, me, id).await.map(Json)
}
