//! `PUT` and `DELETE /blocks/{user_id}`

use axum::extract::State;
use axum::http::StatusCode;
use sea_orm::prelude::Uuid;
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, DatabaseTransaction, EntityTrait as _, PaginatorTrait as _, QueryFilter as _,
};
use sealpost_schema::entities::{block, conversation, participant, user};
use sealpost_schema::{ControlNotice, ConversationId, Problem, ProblemKind, UserId};

use crate::auth::Principal;
use crate::conversations::head_of;
use crate::live::announce;
use crate::problem::{ApiError, ApiResult, Path};
use crate::state::App;
use crate::transaction::{begin, commit};

/// Blocks of one user.
const MAX_BLOCKS: u64 = 1000;

/// Block somebody
///
/// The dm with them, and what they add you to from now on, is shut for you: not in lists, without events, as if it was not there. They learn
/// nothing of it. What you both take part in otherwise stays as it is.
#[utoipa::path(
    put, path = "/blocks/{user_id}", tag = "users", security(("bearer" = [])),
    params(("user_id" = UserId, Path)),
    responses(
        (status = 204, description = "Blocked"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such user"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "Yourself, or you block 1,000 already"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn block_user(
    State(app): State<App>,
    principal: Principal,
    Path(other): Path<UserId>,
) -> ApiResult<StatusCode> {
    let me = principal.user_id;
    if other == me {
        return Err(ApiError::invalid("Nobody can block themselves. Name somebody else's user id."));
    }
    let store = |error| ApiError::store(&error);
    let transaction = begin(&app).await?;
    if user::Entity::active_by_id(other.0).one(&transaction).await.map_err(store)?.is_none() {
        return Err(ApiError::new(
            ProblemKind::UnknownRecipient,
            format!("There is no user {other}. Find users at GET /api/users?query=."),
        ));
    }
    if block::Entity::of_user(me.0).count(&transaction).await.map_err(store)? >= MAX_BLOCKS {
        return Err(ApiError::invalid(format!("You block {MAX_BLOCKS} people: take some blocks back first.")));
    }
    let row =
        block::ActiveModel { user_id: Set(me.0), blocked_id: Set(other.0), created_at: Set(app.clock.now().millis()) };
    let keep = OnConflict::columns([block::Column::UserId, block::Column::BlockedId]).do_nothing().to_owned();
    block::Entity::insert(row).on_conflict(keep).exec_without_returning(&transaction).await.map_err(store)?;
    let shut = shut_dm(&transaction, me, other).await?;
    commit(transaction).await?;
    announce(&app, &ControlNotice::Blocked { user_id: me, blocked_id: other, blocked: true, shut }).await;
    Ok(StatusCode::NO_CONTENT)
}

/// The dm of the two, if there is one.
async fn shut_dm(transaction: &DatabaseTransaction, me: UserId, other: UserId) -> ApiResult<Option<ConversationId>> {
    let store = |error| ApiError::store(&error);
    let key = conversation::dm_key(me.0, other.0);
    let dm = conversation::Entity::find().filter(conversation::Column::DmKey.eq(key)).one(transaction).await;
    let Some(dm) = dm.map_err(store)? else { return Ok(None) };
    participant::Entity::update_many()
        .col_expr(participant::Column::ShutBy, Expr::value(Some(other.0)))
        .filter(participant::Column::ConversationId.eq(dm.id))
        .filter(participant::Column::UserId.eq(me.0))
        .exec(transaction)
        .await
        .map_err(store)?;
    Ok(Some(ConversationId(dm.id)))
}

/// Take a block back
///
/// What was shut is there again, with all that was written meanwhile.
#[utoipa::path(
    delete, path = "/blocks/{user_id}", tag = "users", security(("bearer" = [])),
    params(("user_id" = UserId, Path)),
    responses(
        (status = 204, description = "Not blocked any more"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "Not an id"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn unblock_user(
    State(app): State<App>,
    principal: Principal,
    Path(other): Path<UserId>,
) -> ApiResult<StatusCode> {
    let (me, store) = (principal.user_id, |error| ApiError::store(&error));
    let transaction = begin(&app).await?;
    block::Entity::delete_by_id((me.0, other.0)).exec(&transaction).await.map_err(store)?;
    let opened: Vec<Uuid> = participant::Entity::update_many()
        .col_expr(participant::Column::ShutBy, Expr::value(Option::<Uuid>::None))
        .filter(participant::Column::UserId.eq(me.0))
        .filter(participant::Column::ShutBy.eq(other.0))
        .exec_with_returning(&transaction)
        .await
        .map_err(store)?
        .into_iter()
        .map(|row| row.conversation_id)
        .collect();
    commit(transaction).await?;
    announce(&app, &ControlNotice::Blocked { user_id: me, blocked_id: other, blocked: false, shut: None }).await;
    for id in opened.into_iter().map(ConversationId) {
        // What was written meanwhile is read over REST; live events go on from here. Rarely more than the one dm.
        let seq = head_of(&app, id).await?.next();
        announce(&app, &ControlNotice::Joined { user_id: me, conversation_id: id, seq }).await;
    }
    Ok(StatusCode::NO_CONTENT)
}
