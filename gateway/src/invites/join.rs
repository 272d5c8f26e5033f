//! `POST /invites/join`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{ColumnTrait as _, DatabaseTransaction, EntityTrait as _, QueryFilter as _, QuerySelect as _};
use sealpost_schema::entities::{conversation, invite_link};
use sealpost_schema::{
    Action, ConversationId, ConversationKind, LeastRole, NamedRole, Problem, ProblemKind, Role, UserId,
};
use secrecy::SecretString;
use serde::Deserialize;

use crate::auth::{Principal, hash_of_code};
use crate::conversations::control::{admit, begin, commit, find_participant, role_of};
use crate::conversations::{ConversationResponse, load_one};
use crate::problem::{ApiError, ApiResult, Body};
use crate::state::App;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinByInviteRequest {
    /// The token of the link.
    #[schema(value_type = String, example = "kQ9tJm2vXbR7cW1zLh4sPd8yNf6gTa3e")]
    pub token: SecretString,
}

/// Join by an invite link
///
/// Counts as a use, unless you are in it already. However many join at the same moment, no more get in than the link is for. A link is
/// good as long as the one who made it may invite.
#[utoipa::path(
    post, path = "/invites/join", tag = "conversations", security(("bearer" = [])),
    request_body = JoinByInviteRequest,
    responses(
        (status = 201, body = ConversationResponse),
        (status = 200, body = ConversationResponse, description = "You were in it already"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "The link is not good"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A value is not allowed, or the conversation is full"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "Not available, or recorded and still to take effect"),
    )
)]
pub async fn join_by_invite(
    State(app): State<App>,
    principal: Principal,
    Body(request): Body<JoinByInviteRequest>,
) -> ApiResult<(StatusCode, Json<ConversationResponse>)> {
    let me = principal.user_id;
    let transaction = begin(&app).await?;
    let link = find_link(&app, &transaction, &request.token).await?;
    let id = ConversationId(link.conversation_id);
    let conversation = load_joinable(&transaction, id).await?;
    if find_participant(&transaction, id, me).await?.is_some() {
        commit(transaction).await?;
        return Ok((StatusCode::OK, Json(load_one(&app, me, id).await?)));
    }
    let role = granted(&transaction, &conversation, &link).await?;
    use_once(&app, &transaction, &link).await?;
    let (change, _) = admit(&app, &transaction, &conversation, NamedRole { user_id: me, role }, me).await?;
    commit(transaction).await?;
    change.publish(&app).await?;
    Ok((StatusCode::CREATED, Json(load_one(&app, me, id).await?)))
}

fn refused() -> ApiError {
    ApiError::new(
        ProblemKind::InvitationRefused,
        "This link is not good: it is wrong, expired, used up or taken back. Ask for another one.",
    )
}

async fn find_link(
    app: &App,
    transaction: &DatabaseTransaction,
    token: &SecretString,
) -> ApiResult<invite_link::Model> {
    let found = invite_link::Entity::find()
        .filter(invite_link::Column::TokenHash.eq(hash_of_code(token)))
        .filter(invite_link::usable(app.clock.now().millis()))
        .one(transaction)
        .await;
    found.map_err(|error| ApiError::store(&error))?.ok_or_else(refused)
}

/// Locked, as by every control change.
async fn load_joinable(transaction: &DatabaseTransaction, id: ConversationId) -> ApiResult<conversation::Model> {
    let row = conversation::Entity::find_by_id(id.0)
        .filter(conversation::Column::DeletedAt.is_null())
        .lock_exclusive()
        .one(transaction)
        .await;
    row.map_err(|error| ApiError::store(&error))?.ok_or_else(refused)
}

/// What the link gives now: nothing more than the one who made it could give.
async fn granted(
    transaction: &DatabaseTransaction,
    conversation: &conversation::Model,
    link: &invite_link::Model,
) -> ApiResult<Role> {
    let kind = ConversationKind::parse(&conversation.kind).ok_or_else(|| ApiError::internal(&"unknown kind"))?;
    let rights = conversation.rights_of(kind).map_err(|error| ApiError::internal(&error))?;
    let role = Role::parse(&link.role).ok_or_else(|| ApiError::internal(&"unknown role"))?;
    let maker = role_of(transaction, ConversationId(conversation.id), UserId(link.created_by)).await?;
    let least = if role.is_named_by_owners() { LeastRole::Owner } else { LeastRole::Reader };
    maker.filter(|maker| rights.allow(*maker, Action::Invite) && least.allows(*maker)).map(|_| role).ok_or_else(refused)
}

/// The conversation's lock makes joins come one after the other; the condition holds even without it.
async fn use_once(app: &App, transaction: &DatabaseTransaction, link: &invite_link::Model) -> ApiResult<()> {
    let used = invite_link::Entity::update_many()
        .col_expr(invite_link::Column::Uses, Expr::col(invite_link::Column::Uses).add(1))
        .filter(invite_link::Column::Id.eq(link.id))
        .filter(invite_link::usable(app.clock.now().millis()))
        .exec(transaction)
        .await
        .map_err(|error| ApiError::store(&error))?;
    if used.rows_affected == 0 { Err(refused()) } else { Ok(()) }
}
