//! `GET /conversations/{conversation_id}/messages`

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use sea_orm::prelude::Uuid;
use sea_orm::{ColumnTrait, DbErr, QueryFilter, QueryOrder, QuerySelect};
use sealpost_schema::entities::event;
use sealpost_schema::{ConversationId, EventBody, Problem, ProblemKind, Seq, UserId};
use serde::{Deserialize, Serialize};

use super::MessageResponse;
use super::show::{Found, show};
use crate::auth::Principal;
use crate::conversations::{find_visible, load_start};
use crate::page::check_limit;
use crate::problem::{ApiError, ApiResult, Path, Query};
use crate::state::App;

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListMessagesQuery {
    /// Messages before this seq, newest first.
    #[param(minimum = 1)]
    pub before: Option<u64>,
    /// Messages after this seq, oldest first.
    pub after: Option<u64>,
    /// 1 to 200.
    #[serde(default = "default_limit")]
    #[param(minimum = 1, maximum = 200, default = 50)]
    pub limit: u64,
}

fn default_limit() -> u64 {
    50
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct ListMessagesResponse {
    /// Newest first; oldest first if `after` was given.
    pub messages: Vec<MessageResponse>,
    /// Whether there are more in this direction.
    pub has_more: bool,
}

/// Read the history
///
/// Newest first, or with `after` oldest first. Contains every message that was acknowledged before the request.
#[utoipa::path(
    get, path = "/conversations/{conversation_id}/messages", tag = "messages", security(("bearer" = [])),
    params(("conversation_id" = ConversationId, Path), ListMessagesQuery),
    responses(
        (status = 200, body = ListMessagesResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such conversation for you"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A seq or limit out of range"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store or the event log is away"),
    )
)]
pub async fn list_messages(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<ConversationId>,
    Query(query): Query<ListMessagesQuery>,
) -> ApiResult<Json<ListMessagesResponse>> {
    check(&query)?;
    let user = principal.user_id.0;
    // Before the page: what is stored after this is found in the log.
    let stored = Stored::look(&app, id, &query).await?;
    let rows = find(&app, id, user, &query, stored.head).await.map_err(|error| ApiError::store(&error))?;
    if rows.is_empty() {
        find_visible(&app, principal.user_id, id, "conversation").await?;
    }
    let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
    let mut messages: BTreeMap<Seq, Found> =
        rows.into_iter().map(|row| (Seq::from_db(row.seq), Found::from(row))).collect();
    add_unstored(&app, principal.user_id, id, &query, stored.floor, &mut messages).await?;
    let mut rows: Vec<_> = if query.after.is_some() {
        messages.into_values().take(limit + 1).collect()
    } else {
        messages.into_values().rev().take(limit + 1).collect()
    };
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    Ok(Json(ListMessagesResponse { messages: show(&app, principal.user_id, rows).await?, has_more }))
}

fn check(query: &ListMessagesQuery) -> ApiResult<()> {
    let most = i64::MAX.unsigned_abs();
    if query.before.is_some() && query.after.is_some() {
        return Err(ApiError::invalid("Give `before` or `after`, not both."));
    }
    check_limit(query.limit, 200)?;
    if query.before == Some(0) || query.before.or(query.after).is_some_and(|seq| seq > most) {
        return Err(ApiError::new(ProblemKind::SeqOutOfRange, format!("A seq is 1 to {most} (`after` may be 0).")));
    }
    Ok(())
}

/// What the store has of the conversation, as far as the page is concerned.
struct Stored {
    /// Everything up to here.
    floor: Seq,
    /// Nothing after this that matters here.
    head: Seq,
}

impl Stored {
    /// Pages that lie before what is known to be stored, most of them, need no look.
    async fn look(app: &App, id: ConversationId, query: &ListMessagesQuery) -> ApiResult<Self> {
        if let (Some(before), Some(floor)) = (query.before, app.reader().known_floor(id))
            && before <= floor.next().0
        {
            return Ok(Self { floor, head: floor });
        }
        let (floor, head) = app.reader().stored_floor(id).await.map_err(|error| ApiError::store(&error))?;
        Ok(Self { floor, head })
    }
}

/// One message more than the page has, if there are as many. Looks through a few seqs more first, which is enough where nearly all events
/// are messages, then through many more: a query without both bounds would have Postgres, where its statistics mislead it, read and sort all
/// that follows.
async fn find(
    app: &App,
    id: ConversationId,
    user: Uuid,
    query: &ListMessagesQuery,
    head: Seq,
) -> Result<Vec<event::Model>, DbErr> {
    let messages = || event::Entity::of_for_user(id.0, user).filter(event::Column::Kind.eq("message_posted"));
    let seq = event::Column::Seq;
    let wanted = query.limit + 1;
    let mut width = wanted + wanted / 4;
    let mut found: Vec<event::Model> = Vec::new();
    // Seqs between these two have not been looked at.
    let mut after = query.after.unwrap_or(0);
    let mut before = query.before.unwrap_or(u64::MAX).min(head.next().0);
    while after + 1 < before {
        let rows = messages().limit(wanted - found.len() as u64);
        let rows = if query.after.is_some() {
            let to = before.min(after + 1 + width);
            let rows = rows.filter(seq.gt(Seq(after).to_db())).filter(seq.lt(Seq(to).to_db())).order_by_asc(seq);
            after = to - 1;
            rows
        } else {
            let from = after.max(before.saturating_sub(1 + width));
            let rows = rows.filter(seq.gt(Seq(from).to_db())).filter(seq.lt(Seq(before).to_db())).order_by_desc(seq);
            before = from + 1;
            rows
        };
        found.extend(event::Shown::of(rows).all(&app.db).await?.into_iter().map(|event::Shown(row)| row));
        if found.len() as u64 >= wanted {
            break;
        }
        width *= 8;
    }
    Ok(found)
}

/// Adds what the log has and the store has not: the reader sees its own writes at any ack level.
async fn add_unstored(
    app: &App,
    user: UserId,
    id: ConversationId,
    query: &ListMessagesQuery,
    floor: Seq,
    messages: &mut BTreeMap<Seq, Found>,
) -> ApiResult<()> {
    if query.before.is_some_and(|before| before <= floor.next().0) {
        return Ok(());
    }
    let full = messages.len() as u64 > query.limit;
    let newest = messages.keys().next_back().copied().unwrap_or_default();
    if query.after.is_some() && full && newest <= floor {
        return Ok(());
    }
    let from = floor.max(Seq(query.after.unwrap_or(0)));
    let tail = app.reader().tail(id, from).await.map_err(|error| ApiError::lane(&error))?;
    let before = Seq(query.before.unwrap_or(u64::MAX));
    let events = tail.events_after(from);
    if events.is_empty() {
        return Ok(());
    }
    let start = load_start(app, user, id, "conversation").await?;
    let mut deleted = Vec::new();
    for (seq, event) in &events {
        match &event.body {
            EventBody::MessagePosted { .. } if (start..before).contains(seq) => {
                if let Entry::Vacant(vacant) = messages.entry(*seq) {
                    let row = event::Model::of(event).map_err(|error| ApiError::internal(&error))?;
                    vacant.insert(row.into());
                }
            }
            EventBody::MessageEdited { message_seq, .. } => {
                let newer = |found: &&mut Found| found.row.edited_seq.is_none_or(|stored| *seq > Seq::from_db(stored));
                if let Some(found) = messages.get_mut(message_seq).filter(newer) {
                    found.edit = Some(Arc::clone(event));
                }
            }
            EventBody::MessageDeleted { message_seq, .. } => deleted.push((*message_seq, *seq)),
            _ => {}
        }
    }
    for (message, by) in deleted {
        if let Some(found) = messages.get_mut(&message) {
            found.row.sealed = None;
            found.row.deleted_seq = Some(by.to_db());
        }
    }
    Ok(())
}
