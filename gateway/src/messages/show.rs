//! Messages as the API shows them: the newest text, what they answer, reactions, threads, pins. For a page of any length one query each for what
//! is quoted, edits, reactions and threads, and none where there are none.

use std::collections::HashMap;
use std::sync::Arc;

use sea_orm::prelude::Uuid;
use sea_orm::sea_query::{Alias, Expr, ExprTrait as _, JoinType, Order, Query};
use sea_orm::{EntityTrait as _, FromQueryResult, QueryFilter as _};
use sealpost_schema::entities::event::Marks;
use sealpost_schema::entities::{event, reaction};
use sealpost_schema::{
    ClientMessageId, ConversationId, Event, EventBody, EventId, MessageLinks, Seq, Timestamp, UserId,
};

use super::current::Current;
use super::links;
use super::model::{MessageResponse, QuoteResponse, ReactionResponse};
use super::thread_state::states;
use crate::keys::KeyError;
use crate::problem::{ApiError, ApiResult};
use crate::state::App;

/// So much of a message is quoted.
const QUOTED_CHARS: usize = 200;

/// A message to be shown.
#[derive(Clone)]
pub struct Found {
    pub row: event::Model,
    /// An edit that the store does not know of yet.
    pub edit: Option<Arc<Event>>,
}

impl From<event::Model> for Found {
    fn from(row: event::Model) -> Self {
        Self { row, edit: None }
    }
}

impl From<Current> for Found {
    fn from(mut current: Current) -> Self {
        if current.is_deleted() {
            current.row.sealed = None;
        }
        Self { row: current.row, edit: current.edit }
    }
}

impl Found {
    /// What has disappeared shows nothing, whether or not a worker has destroyed it yet.
    fn hide_expired(&mut self, now: Timestamp) {
        if self.row.is_expired(now) {
            self.row.sealed = None;
        }
    }
}

/// All of them, in their order.
pub async fn show(app: &App, user: UserId, mut found: Vec<Found>) -> ApiResult<Vec<MessageResponse>> {
    let now = app.clock.now();
    for found in &mut found {
        found.hide_expired(now);
    }
    let mut quoted = quotes_in(app, user, &found).await?;
    for answered in quoted.values_mut() {
        answered.hide_expired(now);
    }
    let edits = edits_of(app, found.iter().chain(quoted.values())).await?;
    let begun = found.iter().filter(|found| found.row.marks.unwrap_or(0) & Marks::THREAD != 0);
    let mut threads = states(app, user, begun.map(|found| found.row.id).collect()).await?;
    let mut reactions = reactions_to(app, user, &found).await?;
    let mut shown = Vec::with_capacity(found.len());
    for Found { row, edit } in found {
        let stored = row.edit().and_then(|place| edits.get(&place));
        let edit = edit.as_ref().or(stored);
        let mut message = open(app, &row, edit.map(|edit| &**edit)).await?;
        message.reactions = reactions.remove(&row.id).unwrap_or_default();
        message.thread = threads.remove(&row.id);
        if let Some(answered) = links_of(&row)?.and_then(|links| links.reply_to).and_then(|id| quoted.get(&id.0)) {
            let edit = answered.row.edit().and_then(|place| edits.get(&place));
            message.reply_to = Some(quote(open(app, &answered.row, edit.map(|edit| &**edit)).await?));
        }
        shown.push(message);
    }
    Ok(shown)
}

pub async fn show_one(app: &App, user: UserId, found: Found) -> ApiResult<MessageResponse> {
    show(app, user, vec![found]).await?.pop().ok_or_else(|| ApiError::not_found("message"))
}

async fn open(app: &App, row: &event::Model, edit: Option<&Event>) -> ApiResult<MessageResponse> {
    let (conversation_id, id, sender_id) =
        (ConversationId(row.conversation_id), EventId(row.id), UserId(row.sender_id));
    let client_message_id = row.client_message_id.clone().map(ClientMessageId::try_from).transpose();
    let client_message_id = client_message_id.map_err(|error| ApiError::internal(&error))?;
    let opened = match (&row.sealed, edit) {
        (None, _) => None,
        (Some(_), Some(edit)) => {
            let sealed = edit.body.content().unwrap_or_default();
            Some(app.keys.open(conversation_id, edit.id, edit.sender_id, sealed).await)
        }
        (Some(sealed), None) => Some(app.keys.open(conversation_id, id, sender_id, sealed).await),
    };
    if let Some(Err(error)) = &opened {
        tracing::error!(conversation = %conversation_id, seq = row.seq, %error, "a stored message cannot be opened");
    }
    // Of a deleted message nothing is told but that it was there, and where.
    let edit = edit.filter(|_| row.sealed.is_some());
    let links = links_of(row)?.unwrap_or_default();
    let (mentions, mentions_all) = match edit.map(|edit| &edit.body) {
        Some(EventBody::MessageEdited { mentions, mentions_all, .. }) => (mentions.clone(), *mentions_all),
        _ if row.sealed.is_none() => (Vec::new(), false),
        _ => (links.mentions, links.mentions_all),
    };
    Ok(MessageResponse {
        id: id.into(),
        conversation_id,
        seq: Seq::from_db(row.seq),
        sender_id,
        client_message_id,
        deleted: row.sealed.is_none(),
        unreadable: matches!(opened, Some(Err(_))),
        text: opened.and_then(Result::ok),
        created_at: Timestamp::from_millis(row.created_at),
        expires_at: row.expires_at.map(Timestamp::from_millis),
        edited_seq: edit.map(|edit| edit.seq),
        edited_at: edit.map(|edit| edit.created_at),
        pinned: row.sealed.is_some() && row.pinned_seq.is_some(),
        reactions: Vec::new(),
        reply_to: None,
        thread_id: links.thread_id,
        thread: None,
        mentions,
        mentions_all,
    })
}

fn links_of(row: &event::Model) -> ApiResult<Option<MessageLinks>> {
    row.links().map_err(|error| ApiError::internal(&error))
}

/// What these messages answer, by id.
async fn quotes_in(app: &App, user: UserId, found: &[Found]) -> ApiResult<HashMap<Uuid, Found>> {
    let (mut quotes, mut wanted) = (HashMap::new(), Vec::new());
    for Found { row, .. } in found.iter().filter(|found| found.row.sealed.is_some()) {
        let Some(id) = links_of(row)?.and_then(|links| links.reply_to).map(|id| id.0) else { continue };
        // What is on the same page needs no query, and may not be stored yet.
        match found.iter().find(|found| (found.row.conversation_id, found.row.id) == (row.conversation_id, id)) {
            Some(here) => drop(quotes.insert(id, here.clone())),
            None => wanted.push((row.conversation_id, id)),
        }
    }
    let rows = links::quoted(app, user, wanted).await?;
    quotes.extend(rows.into_iter().map(|row| (row.id, Found::from(row))));
    Ok(quotes)
}

fn quote(message: MessageResponse) -> QuoteResponse {
    QuoteResponse {
        message_id: message.id,
        seq: message.seq,
        sender_id: message.sender_id,
        text: message.text.map(|text| text.chars().take(QUOTED_CHARS).collect()),
        deleted: message.deleted,
    }
}

/// The newest edits, by conversation and seq.
async fn edits_of<'a>(
    app: &App,
    found: impl Iterator<Item = &'a Found>,
) -> ApiResult<HashMap<(Uuid, i64), Arc<Event>>> {
    let unknown = found.filter(|found| found.edit.is_none() && found.row.sealed.is_some());
    let Some(wanted) = event::at(unknown.filter_map(|found| found.row.edit())) else { return Ok(HashMap::new()) };
    let rows = event::Entity::find().filter(wanted).all(&app.db).await.map_err(|error| ApiError::store(&error))?;
    let edit = |row: event::Model| {
        let event = row.to_event().map_err(|error| ApiError::internal(&error))?;
        Ok(((row.conversation_id, row.seq), Arc::new(event)))
    };
    rows.into_iter().map(edit).collect()
}

#[derive(FromQueryResult)]
struct Counted {
    message_id: Uuid,
    conversation_id: Uuid,
    reaction: Uuid,
    count: i64,
    mine: i32,
    event_id: Uuid,
    user_id: Uuid,
    sealed: String,
}

/// By message, those first that came first.
async fn reactions_to(app: &App, user: UserId, found: &[Found]) -> ApiResult<HashMap<Uuid, Vec<ReactionResponse>>> {
    let marked = |row: &&event::Model| row.sealed.is_some() && row.marks.unwrap_or(0) & Marks::REACTIONS != 0;
    let ids: Vec<Uuid> = found.iter().map(|found| &found.row).filter(marked).map(|row| row.id).collect();
    let mut by_message: HashMap<Uuid, Vec<ReactionResponse>> = HashMap::new();
    if ids.is_empty() {
        return Ok(by_message);
    }
    let statement = app.db.get_database_backend().build(&count(user, ids));
    let rows = Counted::find_by_statement(statement).all(&app.db).await.map_err(|error| ApiError::store(&error))?;
    // The same hash is the same emoji, so each is opened once a page.
    let mut opened: HashMap<(Uuid, Uuid), String> = HashMap::new();
    for row in rows {
        let emoji = match opened.get(&(row.conversation_id, row.reaction)) {
            Some(emoji) => emoji.clone(),
            None => match open_emoji(app, &row).await {
                Ok(emoji) => opened.entry((row.conversation_id, row.reaction)).or_insert(emoji).clone(),
                Err(error) => {
                    tracing::error!(message = %row.message_id, %error, "a reaction cannot be opened");
                    continue;
                }
            },
        };
        let count = u64::try_from(row.count).unwrap_or(0);
        by_message.entry(row.message_id).or_default().push(ReactionResponse { emoji, count, mine: row.mine > 0 });
    }
    Ok(by_message)
}

async fn open_emoji(app: &App, row: &Counted) -> Result<String, KeyError> {
    app.keys.open(ConversationId(row.conversation_id), EventId(row.event_id), UserId(row.user_id), &row.sealed).await
}

/// Counts by message and emoji, each with the oldest row, whose envelope says which emoji it is.
fn count(user: UserId, messages: Vec<Uuid>) -> sea_orm::sea_query::SelectStatement {
    use reaction::Column as C;
    let counted = Query::select()
        .columns([C::MessageId, C::Reaction])
        .expr_as(Expr::cust("COUNT(*)"), "count")
        .expr_as(Expr::case(Expr::col(C::UserId).eq(user.0), 1).finally(0).max(), "mine")
        .expr_as(Expr::col(C::Seq).min(), "first")
        .from(reaction::Entity)
        .and_where(Expr::col(C::MessageId).is_in(messages))
        .and_where(Expr::col(C::Added).eq(true))
        .group_by_columns([C::MessageId, C::Reaction])
        .to_owned();
    let of_counted = |name: &'static str| Expr::col((Alias::new("counted"), Alias::new(name)));
    let of_row = |column: C| Expr::col((reaction::Entity, column));
    Query::select()
        .columns(
            [C::MessageId, C::ConversationId, C::Reaction, C::EventId, C::UserId, C::Sealed]
                .map(|column| (reaction::Entity, column)),
        )
        .expr_as(of_counted("count"), "count")
        .expr_as(of_counted("mine"), "mine")
        .from(reaction::Entity)
        .join_subquery(
            JoinType::InnerJoin,
            counted,
            Alias::new("counted"),
            of_row(C::MessageId).eq(of_counted("message_id")).and(of_row(C::Seq).eq(of_counted("first"))),
        )
        .order_by((reaction::Entity, C::Seq), Order::Asc)
        .to_owned()
}
