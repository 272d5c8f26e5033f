//! The rows of reactions: of each user and emoji the newest word.

use std::collections::BTreeMap;

use sea_orm::prelude::Uuid;
use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict};
use sea_orm::{ActiveValue::Set, ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter};
use sealpost_schema::entities::event::Marks;
use sealpost_schema::entities::{event, reaction};
use sealpost_schema::{Event, EventBody};

use super::insert::portions;

/// Rows of one statement; eight values each.
const ROWS: usize = 100;

/// The events add or remove reactions to messages that are there and not deleted.
pub(super) async fn apply(transaction: &DatabaseTransaction, events: &[&Event]) -> Result<(), DbErr> {
    // One statement must not name a row twice.
    let mut newest: BTreeMap<(Uuid, Uuid, Uuid), reaction::ActiveModel> = BTreeMap::new();
    let mut events = events.to_vec();
    events.sort_by_key(|event| event.seq);
    for event in events {
        if let Some(row) = row_of(event) {
            newest.insert((row.0, row.1, event.sender_id.0), row.2);
        }
    }
    let mut messages: Vec<Uuid> = newest.keys().map(|(message, ..)| *message).collect();
    messages.dedup();
    for ids in portions(&messages) {
        event::Entity::mark(ids, Marks::REACTIONS).exec(transaction).await?;
    }
    let mut rows = newest.into_values();
    loop {
        let part: Vec<_> = rows.by_ref().take(ROWS).collect();
        if part.is_empty() {
            return Ok(());
        }
        upsert(transaction, part).await?;
    }
}

fn row_of(event: &Event) -> Option<(Uuid, Uuid, reaction::ActiveModel)> {
    let (message, reaction, sealed, added) = match &event.body {
        EventBody::ReactionAdded { message_id, reaction, sealed, .. } => (message_id.0, reaction.0, sealed, true),
        EventBody::ReactionRemoved { message_id, reaction, sealed, .. } => (message_id.0, reaction.0, sealed, false),
        _ => return None,
    };
    let row = reaction::ActiveModel {
        message_id: Set(message),
        reaction: Set(reaction),
        user_id: Set(event.sender_id.0),
        conversation_id: Set(event.conversation_id.0),
        seq: Set(event.seq.to_db()),
        event_id: Set(event.id.0),
        added: Set(added),
        sealed: Set(sealed.clone()),
    };
    Some((message, reaction, row))
}

async fn upsert(transaction: &DatabaseTransaction, rows: Vec<reaction::ActiveModel>) -> Result<(), DbErr> {
    use reaction::Column as C;
    let seq = |table: &'static str| Expr::col((table, C::Seq));
    let newer = OnConflict::columns([C::MessageId, C::Reaction, C::UserId])
        .update_columns([C::Seq, C::EventId, C::Added, C::Sealed])
        .action_and_where(seq("excluded").gt(seq("reactions")))
        .to_owned();
    reaction::Entity::insert_many(rows).on_conflict(newer).exec_without_returning(transaction).await?;
    Ok(())
}

pub(super) async fn destroy(transaction: &DatabaseTransaction, messages: Vec<Uuid>) -> Result<(), DbErr> {
    reaction::Entity::delete_many().filter(reaction::Column::MessageId.is_in(messages)).exec(transaction).await?;
    Ok(())
}
