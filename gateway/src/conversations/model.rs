//! A conversation as the API shows it.

use std::collections::HashMap;

use sea_orm::prelude::Uuid;
use sea_orm::sea_query::{Alias, Expr, ExprTrait as _, Order, Query, SelectStatement};
use sea_orm::{
    ColumnTrait as _, Condition, ConnectionTrait, DbErr, EntityTrait as _, FromQueryResult, QueryFilter as _,
    QuerySelect as _,
};
use sealpost_schema::entities::{conversation, event, mention, participant};
use sealpost_schema::{ConversationId, ConversationKind, EventId, RightsChange, Role, Seq, Timestamp, UserId};
use serde::Serialize;

use crate::messages::{self, Found, MessageResponse};
use crate::problem::{ApiError, ApiResult};
use crate::receipts;
use crate::state::App;

/// Unread messages are counted up to this.
pub const MAX_UNREAD: u64 = 1000;

/// A conversation, as the caller sees it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ConversationResponse {
    pub id: ConversationId,
    pub kind: ConversationKind,
    pub title: Option<String>,
    /// Of a dm: the other one.
    pub peer_id: Option<UserId>,
    /// The caller's.
    pub role: Role,
    pub created_by: UserId,
    pub created_at: Timestamp,
    /// The last event that is stored.
    pub head_seq: Seq,
    /// Read up to here.
    pub read_seq: Seq,
    /// Messages of others after `read_seq`; counted up to 1000.
    pub unread_count: u64,
    /// Messages of others after `read_seq` that mention the caller; counted up to 1000.
    pub mention_count: u64,
    pub last_message: Option<MessageResponse>,
    /// Where one conversation was asked for, or changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<SettingsResponse>,
}

/// How a conversation is set.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct SettingsResponse {
    /// Every action, with the least role that may do it.
    pub rights: RightsChange,
}

#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ParticipantResponse {
    pub user_id: UserId,
    pub role: Role,
    pub added_at: Timestamp,
}

impl ParticipantResponse {
    pub fn new(row: &participant::Model) -> Option<Self> {
        Some(Self {
            user_id: UserId(row.user_id),
            role: Role::parse(&row.role)?,
            added_at: Timestamp::from_millis(row.added_at),
        })
    }
}

/// How many take part in each of these conversations; one without participants is left out.
pub async fn sizes(
    db: &impl ConnectionTrait,
    ids: impl IntoIterator<Item = ConversationId>,
) -> Result<HashMap<ConversationId, u64>, DbErr> {
    let sizes: Vec<(Uuid, i64)> = participant::Entity::find()
        .select_only()
        .column(participant::Column::ConversationId)
        .column_as(participant::Column::UserId.count(), "participants")
        .filter(participant::Column::ConversationId.is_in(ids.into_iter().map(|id| id.0)))
        .group_by(participant::Column::ConversationId)
        .into_tuple()
        .all(db)
        .await?;
    Ok(sizes.into_iter().map(|(id, size)| (ConversationId(id), size.unsigned_abs())).collect())
}

#[derive(FromQueryResult)]
struct Row {
    id: Uuid,
    kind: String,
    dm_key: Option<String>,
    sealed_title: Option<String>,
    title_event_id: Option<Uuid>,
    title_sender_id: Option<Uuid>,
    created_by: Uuid,
    created_at: i64,
    rights: Option<String>,
    role: String,
    read_seq: i64,
    head_seq: Option<i64>,
    last_message_seq: Option<i64>,
    unread: i64,
    mentioned: i64,
}

/// Events of the outer query's conversation.
fn own_events() -> SelectStatement {
    Query::select()
        .from(event::Entity)
        .and_where(
            Expr::col((event::Entity, event::Column::ConversationId))
                .equals((conversation::Entity, conversation::Column::Id)),
        )
        .to_owned()
}

fn select(user: UserId, only: Option<ConversationId>, limit: u64) -> SelectStatement {
    use conversation::Column as C;
    use participant::Column as P;
    let newest = |mut of: SelectStatement| {
        of.column((event::Entity, event::Column::Seq))
            .order_by((event::Entity, event::Column::Seq), Order::Desc)
            .limit(1)
            .to_owned()
    };
    let mut messages = own_events();
    messages.and_where(Expr::col((event::Entity, event::Column::Kind)).eq("message_posted"));
    let unread = messages
        .clone()
        .expr(Expr::val(1))
        .and_where(Expr::col((event::Entity, event::Column::Seq)).gt(Expr::col((participant::Entity, P::ReadSeq))))
        .and_where(Expr::col((event::Entity, event::Column::SenderId)).ne(user.0))
        .and_where(Expr::col((event::Entity, event::Column::Sealed)).is_not_null())
        .limit(MAX_UNREAD)
        .to_owned();
    let unread =
        Query::select().expr(Expr::cust("COUNT(*)")).from_subquery(unread, Alias::new("unread_messages")).to_owned();
    let mentioned = Query::select()
        .distinct()
        .column((mention::Entity, mention::Column::MessageId))
        .from(mention::Entity)
        .and_where(Expr::col((mention::Entity, mention::Column::ConversationId)).equals((conversation::Entity, C::Id)))
        .and_where(Expr::col((mention::Entity, mention::Column::UserId)).is_in([user.0, Uuid::nil()]))
        .and_where(Expr::col((mention::Entity, mention::Column::SenderId)).ne(user.0))
        .and_where(Expr::col((mention::Entity, mention::Column::Seq)).gt(Expr::col((participant::Entity, P::ReadSeq))))
        .limit(MAX_UNREAD)
        .to_owned();
    let mentioned =
        Query::select().expr(Expr::cust("COUNT(*)")).from_subquery(mentioned, Alias::new("mentions_of_me")).to_owned();
    let mut select = Query::select();
    let columns = [
        C::Id,
        C::Kind,
        C::DmKey,
        C::SealedTitle,
        C::TitleEventId,
        C::TitleSenderId,
        C::CreatedBy,
        C::CreatedAt,
        C::Rights,
    ];
    for column in columns {
        select.column((conversation::Entity, column));
    }
    select
        .column((participant::Entity, P::Role))
        .column((participant::Entity, P::ReadSeq))
        .expr_as(Expr::SubQuery(None, Box::new(newest(own_events()).into())), "head_seq")
        .expr_as(Expr::SubQuery(None, Box::new(newest(messages).into())), "last_message_seq")
        .expr_as(Expr::SubQuery(None, Box::new(unread.into())), "unread")
        .expr_as(Expr::SubQuery(None, Box::new(mentioned.into())), "mentioned")
        .from(conversation::Entity)
        .inner_join(
            participant::Entity,
            Expr::col((participant::Entity, P::ConversationId)).equals((conversation::Entity, C::Id)),
        )
        .and_where(Expr::col((participant::Entity, P::UserId)).eq(user.0))
        .and_where(Expr::col((conversation::Entity, C::DeletedAt)).is_null())
        .limit(limit);
    if let Some(id) = only {
        select.and_where(Expr::col((conversation::Entity, C::Id)).eq(id.0));
    }
    select
}

/// The caller's conversations (or the one asked for, with its settings), with the latest activity first. Two queries, one for
/// keys that are not in memory, and those of [`messages::show`].
pub async fn load(
    app: &App,
    user: UserId,
    only: Option<ConversationId>,
    limit: u64,
) -> ApiResult<Vec<ConversationResponse>> {
    receipts::settle(app, user).await.map_err(|error| ApiError::store(&error))?;
    let statement = app.db.get_database_backend().build(&select(user, only, limit));
    let rows = Row::find_by_statement(statement).all(&app.db).await.map_err(|error| ApiError::store(&error))?;
    let ids: Vec<_> = rows.iter().map(|row| ConversationId(row.id)).collect();
    app.keys.prepare_all(&ids).await.map_err(|error| ApiError::internal(&error))?;
    let mut last = last_messages(app, user, &rows).await?;
    let mut conversations = Vec::with_capacity(rows.len());
    for row in rows {
        let message = last.remove(&row.id);
        conversations.push(show(app, user, row, message, only.is_some()).await?);
    }
    let activity =
        |one: &ConversationResponse| one.last_message.as_ref().map_or(one.created_at, |message| message.created_at);
    conversations.sort_by_key(|one| std::cmp::Reverse((activity(one), one.id)));
    Ok(conversations)
}

/// One conversation of the caller's, or 404.
pub async fn load_one(app: &App, user: UserId, id: ConversationId) -> ApiResult<ConversationResponse> {
    let conversation = load(app, user, Some(id), 1).await?.pop();
    conversation.ok_or_else(|| ApiError::not_found("conversation"))
}

async fn last_messages(app: &App, user: UserId, rows: &[Row]) -> ApiResult<HashMap<Uuid, MessageResponse>> {
    let mut any = Condition::any();
    for row in rows {
        if let Some(seq) = row.last_message_seq {
            any = any.add(event::Column::ConversationId.eq(row.id).and(event::Column::Seq.eq(seq)));
        }
    }
    if any.is_empty() {
        return Ok(HashMap::new());
    }
    let messages = event::Entity::find().filter(any).all(&app.db).await.map_err(|error| ApiError::store(&error))?;
    let shown = messages::show(app, user, messages.into_iter().map(Found::from).collect()).await?;
    Ok(shown.into_iter().map(|message| (message.conversation_id.0, message)).collect())
}

async fn show(
    app: &App,
    user: UserId,
    row: Row,
    last_message: Option<MessageResponse>,
    with_settings: bool,
) -> ApiResult<ConversationResponse> {
    let id = ConversationId(row.id);
    let title = match (row.sealed_title, row.title_event_id, row.title_sender_id) {
        (Some(sealed), Some(event), Some(sender)) => {
            let opened = app.keys.open(id, EventId(event), UserId(sender), &sealed).await;
            opened.inspect_err(|error| tracing::error!(conversation = %id, %error, "a title cannot be opened")).ok()
        }
        _ => None,
    };
    let kind = ConversationKind::parse(&row.kind).ok_or_else(|| ApiError::internal(&"unknown kind of conversation"))?;
    let settings = if with_settings {
        let rights = conversation::rights(kind, row.rights.as_deref()).map_err(|error| ApiError::internal(&error))?;
        Some(SettingsResponse { rights: rights.to_map() })
    } else {
        None
    };
    Ok(ConversationResponse {
        id,
        kind,
        title,
        peer_id: row.dm_key.as_deref().and_then(|key| peer_of(key, user)),
        role: Role::parse(&row.role).ok_or_else(|| ApiError::internal(&"unknown role"))?,
        created_by: UserId(row.created_by),
        created_at: Timestamp::from_millis(row.created_at),
        head_seq: Seq::from_db(row.head_seq.unwrap_or(0)),
        read_seq: Seq::from_db(row.read_seq),
        unread_count: u64::try_from(row.unread).unwrap_or(0),
        mention_count: u64::try_from(row.mentioned).unwrap_or(0),
        last_message,
        settings,
    })
}

fn peer_of(dm_key: &str, user: UserId) -> Option<UserId> {
    dm_key.split(':').filter_map(|id| id.parse().ok()).find(|id| *id != user)
}
