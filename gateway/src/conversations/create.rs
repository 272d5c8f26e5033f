//! `POST /conversations`

use std::collections::HashSet;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use sea_orm::prelude::Uuid;
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, DatabaseTransaction, EntityTrait, QueryFilter as _, QuerySelect as _,
};
use sealpost_schema::entities::{conversation, participant, user};
use sealpost_schema::{
    ConversationId, ConversationKind, EventBody, EventId, NamedRole, Problem, ProblemKind, Role, UserId,
};
use serde::Deserialize;

use super::ConversationResponse;
use super::control::{Change, begin, commit};
use super::model::load_one;
use crate::auth::Principal;
use crate::blocks::{blocks_of, check_not_blocked};
use crate::problem::{ApiError, ApiResult, Body};
use crate::state::App;

/// Participants named at creation; more can be added later.
const MAX_INITIAL: usize = 500;
pub const MAX_TITLE_CHARS: usize = 200;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateConversationRequest {
    pub kind: ConversationKind,
    /// User ids of the others. For a dm: exactly one.
    #[serde(default)]
    #[schema(max_items = 500)]
    pub participants: Vec<UserId>,
    /// For groups and channels; 1 to 200 characters.
    #[schema(max_length = 200)]
    pub title: Option<String>,
}

/// Create a conversation
///
/// You become its owner (in a dm, both are members). A dm that exists already is returned with status 200: two dms between the same two
/// people are one.
#[utoipa::path(
    post, path = "/conversations", tag = "conversations", security(("bearer" = [])),
    request_body = CreateConversationRequest,
    responses(
        (status = 201, body = ConversationResponse),
        (status = 200, body = ConversationResponse, description = "The dm was there already"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "A participant is unknown"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A value is not allowed"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "Not available, or recorded and still to take effect: see the type"),
    )
)]
pub async fn create_conversation(
    State(app): State<App>,
    principal: Principal,
    Body(mut request): Body<CreateConversationRequest>,
) -> ApiResult<(StatusCode, Json<ConversationResponse>)> {
    let me = principal.user_id;
    check(&mut request, me)?;
    check_known(&app, &request.participants).await?;
    let dm_key = (request.kind == ConversationKind::Dm).then(|| request.participants.first().copied()).flatten();
    if let Some(peer) = dm_key {
        check_not_blocked(&app.db, me, peer).await?;
    }
    let dm_key = dm_key.map(|peer| conversation::dm_key(me.0, peer.0));
    if let Some(existing) = find_dm(&app, dm_key.as_deref()).await? {
        return answer(&app, me, existing, StatusCode::OK).await;
    }
    let id = ConversationId::new();
    match create(&app, id, me, &request, dm_key.clone()).await {
        Ok(()) => answer(&app, me, id, StatusCode::CREATED).await,
        // The other one, or another request, was faster.
        Err(error) => match find_dm(&app, dm_key.as_deref()).await? {
            Some(existing) if existing != id => answer(&app, me, existing, StatusCode::OK).await,
            _ => Err(error),
        },
    }
}

async fn answer(
    app: &App,
    me: UserId,
    id: ConversationId,
    status: StatusCode,
) -> ApiResult<(StatusCode, Json<ConversationResponse>)> {
    let conversation = load_one(app, me, id).await?;
    Ok((status, Json(ConversationResponse { settings: None, ..conversation })))
}

fn check(request: &mut CreateConversationRequest, me: UserId) -> ApiResult<()> {
    request.participants.sort_unstable();
    request.participants.dedup();
    request.participants.retain(|user| *user != me);
    if request.participants.len() > MAX_INITIAL {
        return Err(ApiError::invalid(format!(
            "At most {MAX_INITIAL} participants at creation; add the others afterwards."
        )));
    }
    if request.kind == ConversationKind::Dm {
        if request.participants.len() != 1 {
            return Err(ApiError::invalid("A dm has exactly one other participant; name somebody else's user id."));
        }
        if request.title.is_some() {
            return Err(ApiError::invalid("A dm has no title; leave it out."));
        }
    }
    request.title.as_deref().map_or(Ok(()), check_title)
}

pub fn check_title(title: &str) -> ApiResult<()> {
    let length = title.chars().count();
    if title.trim().is_empty() || length > MAX_TITLE_CHARS || title.chars().any(char::is_control) {
        return Err(ApiError::invalid(format!(
            "A title has 1 to {MAX_TITLE_CHARS} characters, in one line; this one has {length}."
        )));
    }
    Ok(())
}

async fn check_known(app: &App, users: &[UserId]) -> ApiResult<()> {
    if users.is_empty() {
        return Ok(());
    }
    let known: Vec<sea_orm::prelude::Uuid> = user::Entity::active()
        .select_only()
        .column(user::Column::Id)
        .filter(user::Column::Id.is_in(users.iter().map(|user| user.0)))
        .into_tuple()
        .all(&app.db)
        .await
        .map_err(|error| ApiError::store(&error))?;
    match users.iter().find(|user| !known.contains(&user.0)) {
        None => Ok(()),
        Some(unknown) => Err(ApiError::new(
            ProblemKind::UnknownRecipient,
            format!("There is no user {unknown}. Find users at GET /api/users?query=."),
        )),
    }
}

async fn find_dm(app: &App, dm_key: Option<&str>) -> ApiResult<Option<ConversationId>> {
    let Some(dm_key) = dm_key else { return Ok(None) };
    let row = conversation::Entity::find().filter(conversation::Column::DmKey.eq(dm_key)).one(&app.db).await;
    Ok(row.map_err(|error| ApiError::store(&error))?.map(|row| ConversationId(row.id)))
}

async fn create(
    app: &App,
    id: ConversationId,
    me: UserId,
    request: &CreateConversationRequest,
    dm_key: Option<String>,
) -> ApiResult<()> {
    let my_role = if request.kind == ConversationKind::Dm { Role::Member } else { Role::Owner };
    let others =
        request.participants.iter().map(|user| NamedRole { user_id: *user, role: request.kind.default_role() });
    let participants: Vec<_> = std::iter::once(NamedRole { user_id: me, role: my_role }).chain(others).collect();
    let created =
        EventBody::ConversationCreated { conversation_kind: request.kind, participants: participants.clone() };
    let mut changes = vec![Change::new(app, id, me, created)];

    let transaction = begin(app).await?;
    let key = app.keys.create(&transaction, id).await.map_err(|error| ApiError::store(&error))?;
    let mut title = None;
    if let Some(text) = &request.title {
        let event = EventId::new();
        let sealed = app.keys.seal(&key, event, me, text).map_err(|error| ApiError::internal(&error))?;
        let body = EventBody::ConversationChanged { sealed_title: Some(sealed.clone()) };
        changes.push(Change { id: event, ..Change::new(app, id, me, body) });
        title = Some((sealed, event));
    }
    let shut_for = blocks_of(&transaction, me, request.participants.iter().copied()).await?;
    insert(app, &transaction, id, me, request.kind, dm_key, title, &participants, &shut_for).await?;
    for change in &changes {
        change.record(&transaction).await?;
    }
    commit(transaction).await?;
    for change in changes {
        change.publish(app).await?;
    }
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "the columns of one insert")]
async fn insert(
    app: &App,
    transaction: &DatabaseTransaction,
    id: ConversationId,
    me: UserId,
    kind: ConversationKind,
    dm_key: Option<String>,
    title: Option<(String, EventId)>,
    participants: &[NamedRole],
    shut_for: &HashSet<Uuid>,
) -> ApiResult<()> {
    let now = app.clock.now().millis();
    let (sealed_title, title_event) = title.unzip();
    let row = conversation::ActiveModel {
        id: Set(id.0),
        kind: Set(kind.as_str().to_owned()),
        dm_key: Set(dm_key),
        sealed_title: Set(sealed_title),
        title_event_id: Set(title_event.map(|event| event.0)),
        title_sender_id: Set(title_event.map(|_| me.0)),
        created_by: Set(me.0),
        created_at: Set(now),
        deleted_at: Set(None),
        ..Default::default()
    };
    conversation::Entity::insert(row)
        .exec_without_returning(transaction)
        .await
        .map_err(|error| ApiError::store(&error))?;
    let rows = participants.iter().map(|named| participant::ActiveModel {
        conversation_id: Set(id.0),
        user_id: Set(named.user_id.0),
        role: Set(named.role.as_str().to_owned()),
        added_at: Set(now),
        read_seq: Set(0),
        delivered_seq: Set(0),
        visible_from: Set(0),
        shut_by: Set(shut_for.contains(&named.user_id.0).then_some(me.0)),
        ..Default::default()
    });
    participant::Entity::insert_many(rows)
        .exec_without_returning(transaction)
        .await
        .map_err(|error| ApiError::store(&error))?;
    Ok(())
}
