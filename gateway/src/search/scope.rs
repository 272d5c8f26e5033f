//! Where somebody may search: what they take part in and see, from where on they see it.

use sea_orm::sea_query::{Expr, ExprTrait as _, Query};
use sea_orm::{ColumnTrait as _, Condition, QueryFilter as _, QueryOrder as _, QuerySelect as _};
use sealpost_schema::entities::search_term::first_place;
use sealpost_schema::entities::{event, participant};
use sealpost_schema::{ConversationId, Seq, Timestamp};
use uuid::Uuid;

use crate::auth::Principal;
use crate::problem::{ApiError, ApiResult};
use crate::state::App;

/// Conversations of one search.
const MAX_CONVERSATIONS: u64 = 1000;
/// An event may get its number so much later than it was made, and clocks of gateways differ.
const SLACK_MILLIS: i64 = 60_000;

/// A conversation that may be searched.
#[derive(Clone, Copy, Debug)]
pub struct Searchable {
    pub id: ConversationId,
    pub visible_from: Seq,
    /// No message that they may see stands before this place. So what they may not see is not even looked at, and not how much of
    /// it there is shows in where a page ends.
    pub from: i64,
}

/// What is searched, and whether something was left out for being too much.
pub struct Scope {
    pub conversations: Vec<Searchable>,
    pub incomplete: bool,
}

/// All that the caller sees in their list, or the one that is named; 404 if that is not theirs.
pub async fn scope(app: &App, principal: Principal, named: Option<ConversationId>) -> ApiResult<Scope> {
    let mut query = participant::Entity::of_user(principal.user_id.0);
    if let Some(grant) = app.api_tokens.remembered(principal.session_id) {
        if named.is_some_and(|id| !grant.reaches(id)) {
            return Err(ApiError::not_found("conversation"));
        }
        if let Some(chosen) = &grant.conversations {
            query = query.filter(participant::Column::ConversationId.is_in(chosen.iter().map(|id| id.0)));
        }
    }
    query = match named {
        Some(id) => query.filter(participant::Column::ConversationId.eq(id.0)),
        None => query.filter(not_hidden()),
    };
    let rows: Vec<(Uuid, i64, i64)> = query
        .select_only()
        .columns([participant::Column::ConversationId, participant::Column::VisibleFrom, participant::Column::AddedAt])
        .order_by_desc(participant::Column::AddedAt)
        .limit(MAX_CONVERSATIONS + 1)
        .into_tuple()
        .all(&app.db)
        .await
        .map_err(|error| ApiError::store(&error))?;
    if named.is_some() && rows.is_empty() {
        return Err(ApiError::not_found("conversation"));
    }
    let mut conversations: Vec<_> = rows.into_iter().map(searchable).collect();
    let most = usize::try_from(MAX_CONVERSATIONS).unwrap_or(usize::MAX);
    let incomplete = conversations.len() > most;
    conversations.truncate(most);
    Ok(Scope { conversations, incomplete })
}

fn searchable((id, visible_from, added_at): (Uuid, i64, i64)) -> Searchable {
    let sees_all = visible_from <= 1;
    let from = if sees_all { 0 } else { first_place(Timestamp::from_millis(added_at.saturating_sub(SLACK_MILLIS))) };
    Searchable { id: ConversationId(id), visible_from: Seq::from_db(visible_from), from }
}

/// Not hidden by the caller, or with a message since.
fn not_hidden() -> Condition {
    let column = |column: participant::Column| Expr::col((participant::Entity, column));
    let newer = Query::select()
        .expr(Expr::val(1))
        .from(event::Entity)
        .and_where(
            Expr::col((event::Entity, event::Column::ConversationId)).eq(column(participant::Column::ConversationId)),
        )
        .and_where(Expr::col((event::Entity, event::Column::Seq)).gt(column(participant::Column::HiddenSeq)))
        .and_where(Expr::col((event::Entity, event::Column::Kind)).eq("message_posted"))
        .to_owned();
    Condition::any().add(column(participant::Column::HiddenSeq).is_null()).add(Expr::exists(newer))
}
