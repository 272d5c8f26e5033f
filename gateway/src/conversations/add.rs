//! `PUT /conversations/{conversation_id}/participants/{user_id}`

use axum::Json;
use axum::extract::State;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, EntityTrait as _, PaginatorTrait as _};
use sealpost_schema::entities::{participant, user};
use sealpost_schema::{ConversationId, EventBody, Problem, ProblemKind, Role, Seq, UserId};
use serde::Deserialize;

use super::ParticipantResponse;
use super::control::{Change, begin, check_owner_stays, commit, forbidden, load_locked, not_dm, role_of};
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
/// Admins may; only owners may name or change admins and owners.
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
    let (_, kind, mine) = load_locked(&transaction, id, principal.user_id).await?;
    not_dm(kind)?;
    let role = request.role.unwrap_or(kind.default_role());
    let before = role_of(&transaction, id, user_id).await?;
    check_rights(mine, role, before)?;
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
    };
    let keys = [participant::Column::ConversationId, participant::Column::UserId];
    let conflict = OnConflict::columns(keys).update_column(participant::Column::Role).to_owned();
    participant::Entity::insert(row)
        .on_conflict(conflict)
        .exec_without_returning(&transaction)
        .await
        .map_err(|error| ApiError::store(&error))?;
    let response = ParticipantResponse { user_id, role, added_at: now, read_seq: Seq(0) };
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

fn check_rights(mine: Role, new: Role, before: Option<Role>) -> ApiResult<()> {
    if !mine.may_manage() {
        return Err(forbidden("admins and owners"));
    }
    if mine != Role::Owner && (new.may_manage() || before.is_some_and(Role::may_manage)) {
        return Err(forbidden("owners"));
    }
    Ok(())
}
