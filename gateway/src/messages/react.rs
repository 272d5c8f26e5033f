//! `POST /messages/{message_id}/reactions`, `DELETE /messages/{message_id}/reactions/{emoji}`, and the frame `reaction`

use std::collections::{HashMap, HashSet};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use sea_orm::prelude::Uuid;
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QuerySelect as _};
use sealpost_lane::{Counted, Room, Rule};
use sealpost_schema::entities::reaction;
use sealpost_schema::{Action, EventBody, EventId, MessageId, Problem, ProblemKind, ReactionHash, Seq, UserId};
use serde::Deserialize;

use super::change::{Change, Decision, change, draft};
use super::current::Current;
use super::emoji;
use super::model::ChangeResponse;
use super::submit::key_error;
use crate::auth::Principal;
use crate::problem::{ApiError, ApiResult, Body, Path};
use crate::state::App;

/// Different emojis of one message.
const MAX_DIFFERENT: u32 = 50;

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
    let what = Change::React { emoji: request.emoji, add: true };
    let response = change(&app, principal.user_id, None, id, what).await?.stored().await;
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
    let what = Change::React { emoji, add: false };
    Ok(Json(change(&app, principal.user_id, None, id, what).await?.stored().await))
}

pub async fn react(app: &App, user: UserId, current: &Current, emoji: &str, add: bool) -> ApiResult<Decision> {
    if !emoji::is_reaction(emoji) {
        return Err(ApiError::invalid(emoji::RULE));
    }
    if current.is_deleted() {
        return Err(ApiError::message_deleted());
    }
    let conversation = current.conversation_id();
    let hash_key = app.keys.hash_key(conversation, "reaction").await.map_err(key_error)?;
    let reaction = ReactionHash(Uuid::from_bytes(hash_key.hash(emoji::canonical(emoji).as_bytes())));
    let (there, seq) = state(app, user, current, reaction).await?;
    if there == add {
        return Ok(Decision::Nothing(seq));
    }
    let rule =
        if add { Rule::MayAdd(Action::React, count(app, current, reaction).await?) } else { Rule::May(Action::React) };
    let key = current.key(app).await?;
    let id = EventId::new();
    let sealed = app.keys.seal(&key, id, user, emoji).map_err(|error| ApiError::internal(&error))?;
    let (message_id, message_seq, expires_at) = (current.id(), current.seq(), current.expires_at());
    if expires_at.is_none() {
        app.keys.remember(id, message_id, emoji.to_owned());
    }
    let body = if add {
        EventBody::ReactionAdded { message_id, message_seq, reaction, sealed, expires_at }
    } else {
        EventBody::ReactionRemoved { message_id, message_seq, reaction, sealed, expires_at }
    };
    Ok(Decision::Append(draft(app, user, id, body, rule)))
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

/// Which reactions there are, of those whose last word is in the store and of those whose last word may be in the log alone. Each user is
/// looked up in one place: so nothing is missed that is stored meanwhile.
async fn count(app: &App, current: &Current, own: ReactionHash) -> ApiResult<Counted> {
    let mut words: HashMap<(ReactionHash, UserId), (Seq, bool)> = HashMap::new();
    for event in &current.unstored {
        let (reaction, added) = match event.body {
            EventBody::ReactionAdded { reaction, .. } => (reaction, true),
            EventBody::ReactionRemoved { reaction, .. } => (reaction, false),
            _ => continue,
        };
        words.insert((reaction, event.sender_id), (event.seq, added));
    }
    let logged: HashSet<Uuid> = words.keys().map(|(_, user)| user.0).collect();
    let mut there: HashSet<ReactionHash> = reaction::Entity::of(current.row.id)
        .filter(reaction::Column::UserId.is_not_in(logged.iter().copied()))
        .select_only()
        .column(reaction::Column::Reaction)
        .distinct()
        .into_tuple::<Uuid>()
        .all(&app.db)
        .await
        .map_err(|error| ApiError::store(&error))?
        .into_iter()
        .map(ReactionHash)
        .collect();
    if !logged.is_empty() {
        let rows = reaction::Entity::find()
            .filter(reaction::Column::MessageId.eq(current.row.id))
            .filter(reaction::Column::UserId.is_in(logged))
            .all(&app.db)
            .await
            .map_err(|error| ApiError::store(&error))?;
        for row in rows {
            let word = words.entry((ReactionHash(row.reaction), UserId(row.user_id))).or_default();
            *word = (*word).max((Seq::from_db(row.seq), row.added));
        }
        there.extend(words.iter().filter(|(_, (_, added))| *added).map(|((reaction, _), _)| *reaction));
    }
    let left = MAX_DIFFERENT.saturating_sub(u32::try_from(there.len()).unwrap_or(u32::MAX));
    let room = if there.contains(&own) { Room::Shared } else { Room::Left(left) };
    if room == Room::Left(0) {
        let detail =
            format!("The message has {MAX_DIFFERENT} different reactions, the most there may be. Add to one of those.");
        return Err(ApiError::new(ProblemKind::TooManyReactions, detail));
    }
    Ok(Counted { as_of: current.as_of, room })
}
