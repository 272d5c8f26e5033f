//! A conversation as the API shows it.

use std::collections::HashMap;

use sea_orm::prelude::Uuid;
use sea_orm::sea_query::{Alias, Asterisk, Expr, ExprTrait as _, JoinType, Order, Query, SelectStatement};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, DbBackend, DbErr, EntityTrait as _, QueryFilter as _, QueryResult,
    QuerySelect as _,
};
use sealpost_schema::entities::{ByPlace, conversation, event, mention, participant};
use sealpost_schema::{
    ConversationId, ConversationKind, EventId, HistoryVisibility, Lifetimes, OwnState, PublicSettings, RightsChange,
    Role, Seq, Timestamp, UserId,
};
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
    /// What the caller keeps about it for themselves.
    pub state: OwnState,
    /// Where one conversation was asked for, or changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<SettingsResponse>,
}

/// How a conversation is set.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct SettingsResponse {
    /// Every action, with the least role that may do it.
    pub rights: RightsChange,
    /// What those who are added see of what was before.
    pub history: HistoryVisibility,
    /// Of a channel: how public it is.
    pub public: PublicSettings,
    /// How long what is said stays.
    pub lifetimes: Lifetimes,
    /// So many days old the server destroys messages, if the conversation is not set to less; left out: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_retention_days: Option<u32>,
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

/// In the order in which [`select`] has them.
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
    history: String,
    public_name: Option<String>,
    open_reading: bool,
    disappear_after: Option<i32>,
    retention_days: Option<i32>,
    role: String,
    read_seq: i64,
    muted_until: Option<i64>,
    archived_at: Option<i64>,
    hidden_seq: Option<i64>,
    head_seq: Option<i64>,
    unread: i64,
    mentioned: i64,
}

impl Row {
    fn read(mut row: ByPlace<'_>) -> Result<Self, DbErr> {
        Ok(Self {
            id: row.next()?,
            kind: row.next()?,
            dm_key: row.next()?,
            sealed_title: row.next()?,
            title_event_id: row.next()?,
            title_sender_id: row.next()?,
            created_by: row.next()?,
            created_at: row.next()?,
            rights: row.next()?,
            history: row.next()?,
            public_name: row.next()?,
            open_reading: row.next()?,
            disappear_after: row.next()?,
            retention_days: row.next()?,
            role: row.next()?,
            read_seq: row.next()?,
            muted_until: row.next()?,
            archived_at: row.next()?,
            hidden_seq: row.next()?,
            head_seq: row.next()?,
            unread: row.next()?,
            mentioned: row.next()?,
        })
    }
}

/// Conversations of one user that are looked at.
const MOST: u64 = 10_000;

/// Columns before those of the last message: as many as [`Row`] has fields.
const LAST: usize = 22;

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

/// Which conversations of a user are wanted.
#[derive(Clone, Copy)]
pub enum Wanted<'a> {
    /// At most so many.
    All(u64),
    /// With its settings.
    One(ConversationId),
    These(&'a [ConversationId]),
}

/// How many of the outer query's messages its participant has not read.
fn unread(messages: &SelectStatement, user: UserId, now: Timestamp) -> SelectStatement {
    let read_seq = Expr::col((participant::Entity, participant::Column::ReadSeq));
    let unread = messages
        .clone()
        .expr(Expr::val(1))
        .and_where(Expr::col((event::Entity, event::Column::Seq)).gt(read_seq))
        .and_where(Expr::col((event::Entity, event::Column::SenderId)).ne(user.0))
        .and_where(Expr::col((event::Entity, event::Column::Sealed)).is_not_null())
        .cond_where(event::Entity::not_expired(now))
        // So that Postgres reads what comes after that seq, and not all of the conversation by another index.
        .order_by((event::Entity, event::Column::Seq), Order::Asc)
        .limit(MAX_UNREAD)
        .to_owned();
    Query::select().expr(Expr::cust("COUNT(*)")).from_subquery(unread, Alias::new("unread_messages")).to_owned()
}

/// How many messages of the outer query's conversation mention its participant, who has not read them.
fn mentioned(user: UserId) -> SelectStatement {
    use mention::Column as M;
    let of = |column: M| Expr::col((mention::Entity, column));
    let own = |column: participant::Column| Expr::col((participant::Entity, column));
    let mentioned = Query::select()
        .distinct()
        .column((mention::Entity, M::MessageId))
        .from(mention::Entity)
        .and_where(of(M::ConversationId).equals((conversation::Entity, conversation::Column::Id)))
        .and_where(of(M::UserId).is_in([user.0, Uuid::nil()]))
        .and_where(of(M::SenderId).ne(user.0))
        .and_where(of(M::Seq).gt(own(participant::Column::ReadSeq)))
        .and_where(of(M::Seq).gte(own(participant::Column::VisibleFrom)))
        .limit(MAX_UNREAD)
        .to_owned();
    Query::select().expr(Expr::cust("COUNT(*)")).from_subquery(mentioned, Alias::new("mentions_of_me")).to_owned()
}

fn select(user: UserId, wanted: Wanted<'_>, now: Timestamp, backend: DbBackend) -> SelectStatement {
    use conversation::Column as C;
    use participant::Column as P;
    let last = |column: event::Column| Expr::col((Alias::new("last"), column));
    let newest =
        |mut of: SelectStatement| of.order_by((event::Entity, event::Column::Seq), Order::Desc).limit(1).to_owned();
    let newest_seq = |of| newest(of).column((event::Entity, event::Column::Seq)).to_owned();
    let mut messages = own_events();
    messages.and_where(Expr::col((event::Entity, event::Column::Kind)).eq("message_posted")).and_where(
        Expr::col((event::Entity, event::Column::Seq)).gte(Expr::col((participant::Entity, P::VisibleFrom))),
    );
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
        C::History,
        C::PublicName,
        C::OpenReading,
        C::DisappearAfter,
        C::RetentionDays,
    ];
    for column in columns {
        select.column((conversation::Entity, column));
    }
    select
        .column((participant::Entity, P::Role))
        .columns([P::ReadSeq, P::MutedUntil, P::ArchivedAt, P::HiddenSeq].map(|column| (participant::Entity, column)))
        .expr_as(Expr::SubQuery(None, Box::new(newest_seq(own_events()).into())), "head_seq")
        .expr_as(Expr::SubQuery(None, Box::new(unread(&messages, user, now).into())), "unread")
        .expr_as(Expr::SubQuery(None, Box::new(mentioned(user).into())), "mentioned")
        .exprs(event::Shown::columns("last").into_iter().map(|(_, column)| column));
    let living = Expr::col((conversation::Entity, C::DeletedAt)).is_null();
    let is_its_conversation = Expr::col((participant::Entity, P::ConversationId)).equals((conversation::Entity, C::Id));
    let mut mine = Query::select().from(participant::Entity).cond_where(participant::sees(user.0)).to_owned();
    let own_id = Expr::col((participant::Entity, P::ConversationId));
    match wanted {
        Wanted::All(_) => {}
        Wanted::One(one) => drop(mine.and_where(own_id.eq(one.0))),
        Wanted::These(these) => drop(mine.and_where(own_id.is_in(these.iter().map(|id| id.0)))),
    }
    mine.column((participant::Entity, Asterisk)).limit(MOST);
    select.from_subquery(mine, participant::Entity);
    // One more query for the last messages costs as much again as all of this.
    if backend == DbBackend::Postgres {
        // In this order, whatever Postgres has for statistics: of a table that it does not know it thinks that it has one row, and reads
        // all conversations, or all events of each, instead of looking up a few. The limits keep it from changing the order.
        let it = Query::select()
            .column((conversation::Entity, Asterisk))
            .from(conversation::Entity)
            .and_where(is_its_conversation)
            .limit(1)
            .to_owned();
        let newest = newest(messages).column((event::Entity, Asterisk)).to_owned();
        select.join_lateral(JoinType::InnerJoin, it, conversation::Entity, Expr::val(true)).join_lateral(
            JoinType::LeftJoin,
            newest,
            "last",
            Expr::val(true),
        );
    } else {
        select.inner_join(conversation::Entity, is_its_conversation).join_as(
            JoinType::LeftJoin,
            event::Entity,
            "last",
            last(event::Column::ConversationId)
                .equals((conversation::Entity, C::Id))
                .and(last(event::Column::Seq).eq(Expr::SubQuery(None, Box::new(newest_seq(messages).into())))),
        );
    }
    select.and_where(living);
    if let Wanted::All(limit) = wanted {
        select.limit(limit);
    }
    select
}

/// The user's conversations that are wanted, with the latest activity first. One query, one for keys that are not in memory, and
/// those of [`messages::show`].
pub async fn load(app: &App, user: UserId, wanted: Wanted<'_>) -> ApiResult<Vec<ConversationResponse>> {
    receipts::settle(app, user).await.map_err(|error| ApiError::store(&error))?;
    let backend = app.db.get_database_backend();
    let statement = backend.build(&select(user, wanted, app.clock.now(), backend));
    let rows = app.db.query_all_raw(statement).await.map_err(|error| ApiError::store(&error))?;
    let read =
        |row: QueryResult| Ok((Row::read(ByPlace::new(&row, 0))?, event::Shown::read(ByPlace::new(&row, LAST))?));
    let rows: Result<Vec<(Row, Option<event::Shown>)>, DbErr> = rows.into_iter().map(read).collect();
    let (rows, last): (Vec<_>, Vec<_>) = rows.map_err(|error| ApiError::store(&error))?.into_iter().unzip();
    let ids: Vec<_> = rows.iter().map(|row| ConversationId(row.id)).collect();
    app.keys.prepare_all(&ids).await.map_err(|error| ApiError::internal(&error))?;
    let last =
        messages::show(app, user, last.into_iter().flatten().map(|event::Shown(row)| Found::from(row)).collect())
            .await?;
    let mut last: HashMap<_, _> = last.into_iter().map(|message| (message.conversation_id.0, message)).collect();
    let mut conversations = Vec::with_capacity(rows.len());
    for row in rows {
        let message = last.remove(&row.id);
        conversations.push(show(app, user, row, message, matches!(wanted, Wanted::One(_))).await?);
    }
    let activity =
        |one: &ConversationResponse| one.last_message.as_ref().map_or(one.created_at, |message| message.created_at);
    conversations.sort_by_key(|one| std::cmp::Reverse((activity(one), one.id)));
    Ok(conversations)
}

/// One conversation of the caller's, or 404.
pub async fn load_one(app: &App, user: UserId, id: ConversationId) -> ApiResult<ConversationResponse> {
    let conversation = load(app, user, Wanted::One(id)).await?.pop();
    conversation.ok_or_else(|| ApiError::not_found("conversation"))
}

/// `None`: it has none, or it cannot be opened.
pub async fn open_title(app: &App, row: &conversation::Model) -> Option<String> {
    let id = ConversationId(row.id);
    open_sealed_title(app, id, row.sealed_title.clone(), row.title_event_id, row.title_sender_id).await
}

async fn open_sealed_title(
    app: &App,
    id: ConversationId,
    sealed: Option<String>,
    event: Option<Uuid>,
    sender: Option<Uuid>,
) -> Option<String> {
    let (Some(sealed), Some(event), Some(sender)) = (sealed, event, sender) else { return None };
    let opened = app.keys.open(id, EventId(event), UserId(sender), &sealed).await;
    opened.inspect_err(|error| tracing::error!(conversation = %id, %error, "a title cannot be opened")).ok()
}

async fn show(
    app: &App,
    user: UserId,
    row: Row,
    last_message: Option<MessageResponse>,
    with_settings: bool,
) -> ApiResult<ConversationResponse> {
    let id = ConversationId(row.id);
    let title = open_sealed_title(app, id, row.sealed_title, row.title_event_id, row.title_sender_id).await;
    let kind = ConversationKind::parse(&row.kind).ok_or_else(|| ApiError::internal(&"unknown kind of conversation"))?;
    let settings = if with_settings {
        let rights = conversation::rights(kind, row.rights.as_deref()).map_err(|error| ApiError::internal(&error))?;
        let public = PublicSettings { name: row.public_name, open_reading: row.open_reading };
        let history = HistoryVisibility::parse(&row.history).ok_or_else(|| ApiError::internal(&"unknown history"))?;
        let lifetimes = conversation::lifetimes(row.disappear_after, row.retention_days);
        let server_retention_days = app.retention_days;
        Some(SettingsResponse { rights: rights.to_map(), history, public, lifetimes, server_retention_days })
    } else {
        None
    };
    let state = OwnState {
        muted_until: row.muted_until.map(Timestamp::from_millis),
        archived: row.archived_at.is_some(),
        hidden: row
            .hidden_seq
            .is_some_and(|hidden| last_message.as_ref().is_none_or(|last| last.seq <= Seq::from_db(hidden))),
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
        state,
        settings,
    })
}

fn peer_of(dm_key: &str, user: UserId) -> Option<UserId> {
    dm_key.split(':').filter_map(|id| id.parse().ok()).find(|id| *id != user)
}
