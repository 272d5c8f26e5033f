//! `PUT /conversations/{conversation_id}/participants/{user_id}`

use axum::Json;
use axum::extract::State;
use sea_orm::DatabaseTransaction;
use sealpost_schema::entities::{participant, user};
use sealpost_schema::{Action, ConversationId, NamedRole, Problem, ProblemKind, Role, UserId};
use serde::Deserialize;

use super::ParticipantResponse;
use super::control::{
    Locked, admit, begin, check_owner_stays, commit, find_participant, give_role, load_locked, not_dm,
};
use crate::auth::Principal;
use crate::blocks::is_blocked;
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
    let before = find_participant(&transaction, id, user_id).await?;
    let role_before = before.as_ref().and_then(|row| Role::parse(&row.role));
    check_rights(&locked, user_id == principal.user_id, role, role_before)?;
    if role_before == Some(Role::Owner) && role != Role::Owner {
        check_owner_stays(&transaction, id, user_id).await?;
    }
    let named = NamedRole { user_id, role };
    let opens = match &before {
        Some(row) => is_shut_for_others(&transaction, row, &principal).await?,
        None => false,
    };
    let (change, row) = match before {
        Some(row) if role_before == Some(role) && !opens => (None, row),
        Some(row) => {
            let change = give_role(&app, &transaction, id, named, opens, principal.user_id).await?;
            (Some(change), participant::Model { role: role.as_str().to_owned(), ..row })
        }
        None => {
            check_user(&transaction, user_id).await?;
            let (change, row) = admit(&app, &transaction, &locked.row, named, principal.user_id).await?;
            (Some(change), row)
        }
    };
    commit(transaction).await?;
    if let Some(change) = change {
        change.publish(&app).await?;
    }
    ParticipantResponse::new(&row).map(Json).ok_or_else(|| ApiError::internal(&"unknown role"))
}

/// Somebody whom they block added them. Whoever they do not block can add them again, and that opens it.
async fn is_shut_for_others(
    transaction: &DatabaseTransaction,
    row: &participant::Model,
    principal: &Principal,
) -> ApiResult<bool> {
    Ok(row.shut_by.is_some() && !is_blocked(transaction, UserId(row.user_id), principal.user_id).await?)
}

async fn check_user(transaction: &DatabaseTransaction, id: UserId) -> ApiResult<()> {
    let known = user::Entity::active_by_id(id.0).one(transaction).await.map_err(|error| ApiError::store(&error))?;
    known.map(drop).ok_or_else(|| {
        ApiError::new(
            ProblemKind::UnknownRecipient,
            format!("There is no user {id}. Find users at GET /api/users?query=."),
        )
    })
}

/// Owners may give every role; the others what is below admin and not above themselves, to those below themselves. Everybody may step
/// down.
fn check_rights(caller: &Locked, own: bool, new: Role, before: Option<Role>) -> ApiResult<()> {
    if own && new <= caller.role {
        return Ok(());
    }
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
