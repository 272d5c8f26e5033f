//! `PUT /conversations/{conversation_id}/participants/{user_id}`

use axum::Json;
use axum::extract::State;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, EntityTrait as _, PaginatorTrait as _};
use sealpost_schema::entities::{participant, user};
use sealpost_schema::{Action, ConversationId, EventBody, Problem, ProblemKind, Role, UserId};
use serde::Deserialize;

use super::ParticipantResponse;
use super::control::{Change, Locked, begin, check_owner_stays, commit, load_locked, not_dm, role_of};
use crate::auth::Principal;
use crate::problem::{ApiError, ApiResult, Body, Path};
use crate::state::App;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutParticipantRequest {
    /// Default: `member` in a group, `reader` in a channel.
    pub role: Option<Role>,
}

/// Add a participant, or change their role
///
/// Who may is a setting (`add`, `change_roles`; by default admins); only owners may name or change admins and owners.
#[utoipa::path(
    put, path = "/conversations/{conversation_id}/participants/{user_id}", tag = "conversations", security(("bearer" = [])),
    params(("conversation_id" = ConversationId, Path), ("user_id" = UserId, Path)),
    request_body = PutParticipantRequest,
    responses(
        (status = 200, body = ParticipantResponse),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "Your role does not allow it"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such conversation for you, or no such user"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "The last owner cannot step down"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A dm, or too many participants"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "Not available, or recorded and still to take effect"),
    )
)]
pub async fn add_participant(
    State(app): State<App>,
    principal: Principal,
    Path((id, user_id)): Path<(ConversationId, UserId)>,
    Body(request): Body<PutParticipantRequest>,
) -> ApiResult<Json<ParticipantResponse>> {
    let transaction = begin(&app).await?;
    let locked = load_locked(&transaction, id, principal.user_id).await?;
    not_dm(locked.kind)?;
    let role = request.role.unwrap_or(locked.kind.default_role());
    let before = role_of(&transaction, id, user_id).await?;
    check_rights(&locked, role, before)?;
    if before == Some(Role::Owner) && role != Role::Owner {
        check_owner_stays(&transaction, id, user_id).await?;
    }
    let known = user::Entity::active_by_id(user_id.0).one(&transaction).await;
    known.map_err(|error| ApiError::store(&error))?.ok_or_else(|| {
        ApiError::new(
            ProblemKind::UnknownRecipient,
            format!("There is no user {user_id}. Find users at GET /api/users?query=."),
        )
    })?;
    let count = participant::Entity::of(id.0).count(&transaction).await.map_err(|error| ApiError::store(&error))?;
    if before.is_none() && count >= app.config.max_participants as u64 {
        return Err(ApiError::invalid(format!(
            "This conversation has {count} participants, the most that this server allows."
        )));
    }
    let now = app.clock.now();
    let row = participant::ActiveModel {
        conversation_id: Set(id.0),
        user_id: Set(user_id.0),
        role: Set(role.as_str().to_owned()),
        added_at: Set(now.millis()),
        read_seq: Set(0),
        delivered_seq: Set(0),
    };
    let keys = [participant::Column::ConversationId, participant::Column::UserId];
    let conflict = OnConflict::columns(keys).update_column(participant::Column::Role).to_owned();
    participant::Entity::insert(row)
        .on_conflict(conflict)
        .exec_without_returning(&transaction)
        .await
        .map_err(|error| ApiError::store(&error))?;
    let response = ParticipantResponse { user_id, role, added_at: now };
    if before == Some(role) {
        commit(transaction).await?;
        return Ok(Json(response));
    }
    let change = Change::new(&app, id, principal.user_id, EventBody::ParticipantAdded { user_id, role });
    change.record(&transaction).await?;
    commit(transaction).await?;
    change.publish(&app).await?;
    Ok(Json(response))
}

/// Owners may give every role; the others what is below admin and not above themselves, to those below themselves.
fn check_rights(caller: &Locked, new: Role, before: Option<Role>) -> ApiResult<()> {
    caller.check(if before.is_some() { Action::ChangeRoles } else { Action::Add })?;
    if new.is_named_by_owners() || before.is_some_and(Role::is_named_by_owners) {
        return caller.check_owner();
    }
    if caller.role != Role::Owner && (new > caller.role || before.is_some_and(|before| before >= caller.role)) {
        return Err(ApiError::new(
            ProblemKind::Forbidden,
            format!("You are {} here: you can change the roles of those below you, up to your own.", caller.role),
        ));
    }
    Ok(())
}
