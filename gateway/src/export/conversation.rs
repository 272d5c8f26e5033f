//! `GET /conversations/{conversation_id}/export`

use std::collections::HashMap;

use axum::extract::State;
use axum::response::Response;
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, DbErr, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};
use sealpost_schema::entities::{event, participant, user};
use sealpost_schema::{ConversationId, LeastRole, Problem, Role, UserId};
use serde_json::json;
use uuid::Uuid;

use super::lines::{Lines, Stop, answer};
use crate::audit::{self, AuditEntry, AuditEvent};
use crate::auth::Principal;
use crate::caller::Caller;
use crate::conversations::{ConversationResponse, ParticipantResponse, forbidden, load_one};
use crate::problem::{ApiError, ApiResult, Path};
use crate::state::App;

/// Rows in memory at a time.
const PAGE: u64 = 500;

/// Export a conversation
///
/// For its owners (of a dm: both). JSON lines: the conversation, its participants, every stored event in order as the WebSocket protocol has
/// it, and `end`. Lines of the type `progress` come between. If there is no `end`, it broke off: ask again.
#[utoipa::path(
    get, path = "/conversations/{conversation_id}/export", tag = "conversations", security(("bearer" = [])),
    params(("conversation_id" = ConversationId, Path)),
    responses(
        (status = 200, body = String, content_type = "application/x-ndjson", description = "One object a line"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "You are no owner of it"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such conversation for you"),
        (status = 429, body = Problem, content_type = "application/problem+json", description = "Too many exports at once"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn export_conversation(
    State(app): State<App>,
    principal: Principal,
    caller: Caller,
    Path(id): Path<ConversationId>,
) -> ApiResult<Response> {
    let me = principal.user_id;
    let conversation = load_one(&app, me, id).await?;
    if conversation.role != Role::Owner {
        return Err(forbidden(LeastRole::Owner));
    }
    let entry = AuditEntry::own(me, AuditEvent::ConversationExported { conversation_id: id });
    audit::record(&app.db, app.clock.now(), &caller, entry).await.map_err(|error| ApiError::store(&error))?;
    answer(&app, &format!("conversation-{id}"), move |app, lines| write(app, lines, me, conversation))
}

async fn write(app: App, mut lines: Lines, me: UserId, conversation: ConversationResponse) -> Result<Lines, Stop> {
    let (id, head) = (conversation.id, conversation.head_seq);
    let now = app.clock.now();
    lines.write(&json!({ "type": "conversation", "exported_at": now, "conversation": conversation })).await?;
    let mut after = Uuid::nil();
    loop {
        let rows = participants(&app.db, id, after).await?;
        let Some((last, _)) = rows.last() else { break };
        after = last.user_id;
        for (row, username) in rows {
            let Some(shown) = ParticipantResponse::new(&row) else { continue };
            lines.write(&json!({ "type": "participant", "participant": shown, "username": username })).await?;
        }
    }
    lines.write_events(&app, id, head, event::Entity::of_for_user(id.0, me.0)).await?;
    Ok(lines)
}

/// A page of them with their user names, which are gone with the account.
async fn participants(
    db: &impl ConnectionTrait,
    id: ConversationId,
    after: Uuid,
) -> Result<Vec<(participant::Model, Option<String>)>, DbErr> {
    let rows = participant::Entity::of(id.0)
        .filter(participant::Column::UserId.gt(after))
        .order_by_asc(participant::Column::UserId)
        .limit(PAGE)
        .all(db)
        .await?;
    let names: Vec<(Uuid, String)> = user::Entity::find()
        .select_only()
        .columns([user::Column::Id, user::Column::Username])
        .filter(user::Column::Id.is_in(rows.iter().map(|row| row.user_id)))
        .into_tuple()
        .all(db)
        .await?;
    let mut names: HashMap<Uuid, String> = names.into_iter().collect();
    let named = |row: participant::Model| {
        let name = names.remove(&row.user_id);
        (row, name)
    };
    Ok(rows.into_iter().map(named).collect())
}
