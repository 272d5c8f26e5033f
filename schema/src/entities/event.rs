//! The stored events. A message is its `message_posted` event: same id, same seq.

use std::collections::BTreeMap;

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Alias, Expr, ExprTrait as _, Query, SelectStatement};
use sea_orm::{Condition, FromQueryResult, QueryResult, QuerySelect as _, SelectModel, Selector, UpdateMany};

use super::{ByPlace, conversation, participant};
use crate::{ClientMessageId, ConversationId, Event, EventBody, EventId, MessageLinks, Seq, Timestamp, UserId};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "events")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub conversation_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
    #[sea_orm(unique)]
    pub id: Uuid,
    /// [`EventBody::kind`].
    pub kind: String,
    pub sender_id: Uuid,
    pub created_at: i64,
    /// Of `message_posted`; unique with conversation and sender.
    pub client_message_id: Option<String>,
    /// Envelope of a message, an edit or a reaction; `NULL` once the message is deleted.
    #[sea_orm(column_type = "Text", nullable)]
    pub sealed: Option<String>,
    /// Of a message its [`MessageLinks`], if it has any; of the other kinds the body without what stands in `sealed`. JSON.
    #[sea_orm(column_type = "Text", nullable)]
    pub data: Option<String>,
    /// Of a message: the seq of the event that deleted it.
    pub deleted_seq: Option<i64>,
    /// Of an event that changes a message: that message.
    pub target_id: Option<Uuid>,
    /// Of a message: the seq of its newest edit.
    pub edited_seq: Option<i64>,
    /// Of a message that is pinned: the seq of the event that pinned it.
    pub pinned_seq: Option<i64>,
    /// Of a message: what else there may be about it, so that nobody looks in vain. See [`Marks`].
    pub marks: Option<i32>,
    /// Of a message in a thread: the message that began it.
    pub thread_id: Option<Uuid>,
    /// Of a message that disappears: when.
    pub expires_at: Option<i64>,
}

/// A message's row, for many at once: [by place](ByPlace) and without NULLs.
pub struct Shown(pub Model);

impl Shown {
    pub fn of(messages: Select<Entity>) -> Selector<SelectModel<Self>> {
        let select = Self::columns("events")
            .into_iter()
            .fold(messages.select_only(), |select, (name, column)| select.column_as(column, name));
        select.into_model()
    }

    /// What [`read`](Self::read) reads, of a table that is called so.
    pub fn columns(table: &'static str) -> impl IntoIterator<Item = (&'static str, Expr)> {
        use Column as C;
        let plain =
            [C::ConversationId, C::Seq, C::Id, C::SenderId, C::CreatedAt, C::ThreadId].map(|column| (column, None));
        let texts = [C::ClientMessageId, C::Sealed, C::Data].map(|column| (column, Some("''")));
        let numbers =
            [C::DeletedSeq, C::EditedSeq, C::PinnedSeq, C::Marks, C::ExpiresAt].map(|column| (column, Some("0")));
        plain.into_iter().chain(texts).chain(numbers).map(move |(column, empty): (Column, Option<&str>)| {
            let name = column.as_str();
            let expr = match empty {
                None => Expr::col((Alias::new(table), column)),
                Some(empty) => Expr::cust(format!(r#"COALESCE("{table}"."{name}", {empty})"#)),
            };
            (name, expr)
        })
    }

    /// `None`: an outer join found no message.
    pub fn read(mut row: ByPlace<'_>) -> Result<Option<Self>, DbErr> {
        let Some(conversation_id) = row.next()? else { return Ok(None) };
        let text = |text: String| (!text.is_empty()).then_some(text);
        // Seqs, times and marks that are there are not 0.
        let number = |number: i64| (number != 0).then_some(number);
        Ok(Some(Self(Model {
            conversation_id,
            seq: row.next()?,
            id: row.next()?,
            sender_id: row.next()?,
            created_at: row.next()?,
            thread_id: row.next()?,
            client_message_id: text(row.next()?),
            sealed: text(row.next()?),
            data: text(row.next()?),
            deleted_seq: number(row.next()?),
            edited_seq: number(row.next()?),
            pinned_seq: number(row.next()?),
            marks: Some(row.next()?).filter(|marks| *marks != 0),
            expires_at: number(row.next()?),
            kind: "message_posted".to_owned(),
            target_id: None,
        })))
    }
}

impl FromQueryResult for Shown {
    fn from_query_result(row: &QueryResult, _prefix: &str) -> Result<Self, DbErr> {
        Self::read(ByPlace::new(row, 0))?
            .ok_or_else(|| DbErr::RecordNotFound("a message without a conversation".to_owned()))
    }
}

/// The bits of [`Model::marks`].
pub struct Marks;

impl Marks {
    /// Somebody has reacted at some time.
    pub const REACTIONS: i32 = 1;
    /// It began a thread.
    pub const THREAD: i32 = 2;
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

#[derive(Debug, thiserror::Error)]
#[error("event {conversation_id}/{seq} of kind `{kind}` in the store cannot be read: {reason}")]
pub struct StoredEventError {
    pub conversation_id: Uuid,
    pub seq: i64,
    pub kind: String,
    pub reason: String,
}

impl Entity {
    /// Sets a bit of [`Model::marks`] where it is not set.
    pub fn mark(messages: Vec<Uuid>, bit: i32) -> UpdateMany<Self> {
        Self::update_many()
            .col_expr(Column::Marks, Expr::cust(format!("COALESCE(marks, 0) | {bit}")))
            .filter(Column::Id.is_in(messages))
            .filter(Expr::cust(format!("(COALESCE(marks, 0) & {bit}) = 0")))
    }

    /// Events of one conversation that `user` may see. This and [`for_user`](Self::for_user) are the one place where the store's events
    /// are held to who sees what.
    pub fn of_for_user(conversation: Uuid, user: Uuid) -> Select<Self> {
        let from = participations(user)
            .column((participant::Entity, participant::Column::VisibleFrom))
            .and_where(Expr::col((participant::Entity, participant::Column::ConversationId)).eq(conversation))
            .to_owned();
        // Of somebody who takes no part it is NULL, and nothing is greater or equal.
        Self::find()
            .filter(Column::ConversationId.eq(conversation))
            .filter(Expr::col((Entity, Column::Seq)).gte(Expr::SubQuery(None, Box::new(from.into()))))
    }

    /// All pinned messages of a conversation, for counting them: whoever may see them.
    pub fn pinned_of(conversation: Uuid) -> Select<Self> {
        Self::find().filter(Column::ConversationId.eq(conversation)).filter(Column::PinnedSeq.is_not_null())
    }

    /// Holds for events whose message has not disappeared.
    pub fn not_expired(now: Timestamp) -> Condition {
        let expires_at = || Expr::col((Entity, Column::ExpiresAt));
        Condition::any().add(expires_at().is_null()).add(expires_at().gt(now.millis()))
    }

    /// Events of all conversations that `user` may see.
    pub fn for_user(user: Uuid) -> Select<Self> {
        let mine = participations(user)
            .expr(Expr::val(1))
            .and_where(
                Expr::col((participant::Entity, participant::Column::ConversationId))
                    .equals((Entity, Column::ConversationId)),
            )
            .and_where(
                Expr::col((participant::Entity, participant::Column::VisibleFrom))
                    .lte(Expr::col((Entity, Column::Seq))),
            )
            .to_owned();
        Self::find().filter(Expr::exists(mine))
    }
}

/// The events of these conversations with these seqs. `None`: there are none, and a condition without parts would be all.
pub fn at(places: impl IntoIterator<Item = (Uuid, i64)>) -> Option<Condition> {
    let mut seqs: BTreeMap<Uuid, Vec<i64>> = BTreeMap::new();
    for (conversation, seq) in places {
        seqs.entry(conversation).or_default().push(seq);
    }
    let any = |any: Condition, (conversation, seqs)| {
        any.add(Column::ConversationId.eq(conversation).and(Column::Seq.is_in::<i64, Vec<i64>>(seqs)))
    };
    (!seqs.is_empty()).then(|| seqs.into_iter().fold(Condition::any(), any))
}

/// What `user` takes part in and may see.
fn participations(user: Uuid) -> SelectStatement {
    Query::select()
        .from(participant::Entity)
        .inner_join(
            conversation::Entity,
            Expr::col((conversation::Entity, conversation::Column::Id))
                .equals((participant::Entity, participant::Column::ConversationId)),
        )
        .cond_where(participant::sees(user))
        .and_where(Expr::col((conversation::Entity, conversation::Column::DeletedAt)).is_null())
        .to_owned()
}

impl Model {
    /// Whether this is a message that has disappeared, whether or not a worker has destroyed it yet.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= now.millis())
    }

    /// A message whose content was destroyed.
    pub fn is_deleted_message(&self) -> bool {
        self.kind == "message_posted" && self.sealed.is_none()
    }

    /// Of a message.
    ///
    /// # Errors
    /// The column holds something else.
    pub fn links(&self) -> Result<Option<MessageLinks>, serde_json::Error> {
        match self.data.as_deref().filter(|_| self.kind == "message_posted") {
            None => Ok(None),
            Some(data) => serde_json::from_str(data).map(Some),
        }
    }

    /// Of a message: where its newest edit stands.
    pub fn edit(&self) -> Option<(Uuid, i64)> {
        self.edited_seq.map(|seq| (self.conversation_id, seq))
    }

    /// Back to what the log held. A deleted message comes back with an empty envelope.
    pub fn to_event(&self) -> Result<Event, StoredEventError> {
        let error = |reason: String| StoredEventError {
            conversation_id: self.conversation_id,
            seq: self.seq,
            kind: self.kind.clone(),
            reason,
        };
        let body = if self.kind == "message_posted" {
            let id = self.client_message_id.clone().unwrap_or_default();
            EventBody::MessagePosted {
                client_message_id: ClientMessageId::try_from(id).map_err(|e| error(e.to_string()))?,
                sealed: self.sealed.clone().unwrap_or_default(),
                links: self.links().map_err(|e| error(e.to_string()))?.map(Box::new),
                expires_at: self.expires_at.map(Timestamp::from_millis),
            }
        } else {
            let data = self.data.as_deref().ok_or_else(|| error("it has no data".to_owned()))?;
            let mut body: EventBody = serde_json::from_str(data).map_err(|e| error(e.to_string()))?;
            body.set_content(self.sealed.clone().unwrap_or_default());
            body
        };
        Ok(Event {
            id: EventId(self.id),
            conversation_id: ConversationId(self.conversation_id),
            seq: Seq::from_db(self.seq),
            sender_id: UserId(self.sender_id),
            created_at: Timestamp::from_millis(self.created_at),
            body,
        })
    }
}

/// What the columns of an event's body hold.
pub struct Columns<'a> {
    pub client_message_id: Option<&'a str>,
    pub sealed: Option<&'a str>,
    pub data: Option<String>,
    pub target_id: Option<Uuid>,
    pub thread_id: Option<Uuid>,
    pub expires_at: Option<i64>,
}

impl<'a> Columns<'a> {
    /// # Errors
    /// None: plain data always serialises.
    pub fn of(body: &'a EventBody) -> Result<Self, serde_json::Error> {
        // An empty envelope is one that is gone.
        let sealed = body.content().filter(|sealed| !sealed.is_empty());
        if let EventBody::MessagePosted { client_message_id, links, expires_at, .. } = body {
            let client_message_id = Some(client_message_id.as_str());
            let data = links.as_deref().map(serde_json::to_string).transpose()?;
            let thread_id = links.as_deref().and_then(|links| links.thread_id).map(|root| root.0);
            let expires_at = expires_at.map(Timestamp::millis);
            return Ok(Self { client_message_id, sealed, data, target_id: None, thread_id, expires_at });
        }
        let data = if sealed.is_some() {
            let mut bare = body.clone();
            bare.set_content(String::new());
            serde_json::to_string(&bare)?
        } else {
            serde_json::to_string(body)?
        };
        let target_id = body.target().map(|message| message.0);
        Ok(Self { client_message_id: None, sealed, data: Some(data), target_id, thread_id: None, expires_at: None })
    }
}

impl Model {
    /// The row that an event will have in the store.
    ///
    /// # Errors
    /// See [`Columns::of`].
    pub fn of(event: &Event) -> Result<Self, serde_json::Error> {
        let columns = Columns::of(&event.body)?;
        Ok(Self {
            conversation_id: event.conversation_id.0,
            seq: event.seq.to_db(),
            id: event.id.0,
            kind: event.body.kind().to_owned(),
            sender_id: event.sender_id.0,
            created_at: event.created_at.millis(),
            client_message_id: columns.client_message_id.map(str::to_owned),
            sealed: columns.sealed.map(str::to_owned),
            data: columns.data,
            deleted_seq: None,
            target_id: columns.target_id,
            edited_seq: None,
            pinned_seq: None,
            marks: None,
            thread_id: columns.thread_id,
            expires_at: columns.expires_at,
        })
    }
}
