//! `POST /messages/{message_id}/reactions`, `DELETE /messages/{message_id}/reactions/{emoji}`, and the frame `reaction`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use sea_orm::prelude::Uuid;
use sea_orm::{EntityTrait as _, QuerySelect as _};
use sealpost_lane::Rule;
use sealpost_schema::entities::reaction;
use sealpost_schema::{Action, EventBody, EventId, MessageId, Problem, ProblemKind, ReactionHash, Seq, UserId};
use serde::Deserialize;

use super::change::{Decision, draft, submit};
use super::current::Current;
use super::emoji;
use super::model::ChangeResponse;
use super::submit::key_error;
use crate::auth::Principal;
use crate::problem::{ApiError, ApiResult, Body, Path};
use crate::state::App;

/// Different emojis of one message. Requests at the same time may go past it by as many as there are.
const MAX_DIFFERENT: u64 = 50;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddReactionRequest {
    /// One emoji, or `:name:`.
    #[schema(example = "👍")]
    pub emoji: String,
}

/// React to a message
///
/// Takes the right `react`. Each user and emoji counts once: what is there already makes no event, and the answer is 200. At most 50 different
/// emojis a message.
#[utoipa::path(
    post, path = "/messages/{message_id}/reactions", tag = "messages", security(("bearer" = [])),
    params(("message_id" = MessageId, Path)),
    request_body = AddReactionRequest,
    responses(
        (status = 201, body = ChangeResponse, description = "Added"),
        (status = 200, body = ChangeResponse, description = "It was there"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "Your role may not react"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such message for you"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "It is deleted, or has too many reactions"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "No emoji"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "Not taken, or not known whether taken: see the type"),
    )
)]
pub async fn add_reaction(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<MessageId>,
    Body(request): Body<AddReactionRequest>,
) -> ApiResult<(StatusCode, Json<ChangeResponse>)> {
    let current = Current::load(&app, principal.user_id, None, id).await?;
    let decision = react(&app, principal.user_id, &current, request.emoji, true).await?;
    let response = submit(&app, current.conversation_id(), id, decision).await?.stored().await;
    let status = if response.changed { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(response)))
}

/// Take your reaction away
///
/// What is not there makes no event.
#[utoipa::path(
    delete, path = "/messages/{message_id}/reactions/{emoji}", tag = "messages", security(("bearer" = [])),
    params(("message_id" = MessageId, Path), ("emoji" = String, Path, description = "One emoji, or `:name:`", example = "👍")),
    responses(
        (status = 200, body = ChangeResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "Your role may not react"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such message for you"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "It is deleted"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "No emoji"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "Not taken, or not known whether taken: see the type"),
    )
)]
pub async fn remove_reaction(
    State(app): State<App>,
    principal: Principal,
    Path((id, emoji)): Path<(MessageId, String)>,
) -> ApiResult<Json<ChangeResponse>> {
    let current = Current::load(&app, principal.user_id, None, id).await?;
    let decision = react(&app, principal.user_id, &current, emoji, false).await?;
    Ok(Json(submit(&app, current.conversation_id(), id, decision).await?.stored().await))
}

pub async fn react(app: &App, user: UserId, current: &Current, emoji: String, add: bool) -> ApiResult<Decision> {
    if !emoji::is_reaction(&emoji) {
        return Err(ApiError::invalid(emoji::RULE));
    }
    if current.is_deleted() {
        return Err(ApiError::message_deleted());
    }
    let conversation = current.conversation_id();
    let hash_key = app.keys.hash_key(conversation, "reaction").await.map_err(key_error)?;
    let reaction = ReactionHash(Uuid::from_bytes(hash_key.hash(emoji::canonical(&emoji).as_bytes())));
    let (there, seq) = state(app, user, current, reaction).await?;
    if there == add {
        return Ok(Decision::Nothing(seq));
    }
    if add {
        check_count(app, current, reaction).await?;
    }
    let key = current.key(app).await?;
    let id = EventId::new();
    let sealed = app.keys.seal(&key, id, user, &emoji).map_err(|error| ApiError::internal(&error))?;
    let (message_id, message_seq, expires_at) = (current.id(), current.seq(), current.expires_at());
    if expires_at.is_none() {
        app.keys.remember(id, message_id, emoji);
    }
    let body = if add {
        EventBody::ReactionAdded { message_id, message_seq, reaction, sealed, expires_at }
    } else {
        EventBody::ReactionRemoved { message_id, message_seq, reaction, sealed, expires_at }
    };
    Ok(Decision::Append(draft(app, user, id, body, Rule::May(Action::React))))
}

/// Whether the user's reaction is there, and since which event: of what the store and the log say the newest counts.
async fn state(app: &App, user: UserId, current: &Current, reaction: ReactionHash) -> ApiResult<(bool, Option<Seq>)> {
    let row = reaction::Entity::find_by_id((current.row.id, reaction.0, user.0)).one(&app.db).await;
    let row = row.map_err(|error| ApiError::store(&error))?;
    let stored = row.map(|row| (Seq::from_db(row.seq), row.added));
    let logged = current.unstored.iter().filter(|event| event.sender_id == user).filter_map(|event| match event.body {
        EventBody::ReactionAdded { reaction: other, .. } if other == reaction => Some((event.seq, true)),
        EventBody::ReactionRemoved { reaction: other, .. } if other == reaction => Some((event.seq, false)),
        _ => None,
    });
    let newest = stored.into_iter().chain(logged).max();
    Ok((newest.is_some_and(|(_, added)| added), newest.map(|(seq, _)| seq)))
}

async fn check_count(app: &App, current: &Current, reaction: ReactionHash) -> ApiResult<()> {
    let different: Vec<Uuid> = reaction::Entity::of(current.row.id)
        .select_only()
        .column(reaction::Column::Reaction)
        .distinct()
        .limit(MAX_DIFFERENT + 1)
        .into_tuple()
        .all(&app.db)
        .await
        .map_err(|error| ApiError::store(&error))?;
    if (different.len() as u64) < MAX_DIFFERENT || different.contains(&reaction.0) {
        return Ok(());
    }
    let detail =
        format!("The message has {MAX_DIFFERENT} different reactions, the most there may be. Add to one of those.");
    Err(ApiError::new(ProblemKind::TooManyReactions, detail))
}
