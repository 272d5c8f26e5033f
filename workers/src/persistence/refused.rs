//! Events that the table did not take: replays mostly, repeated client message ids now and then, and clashes never, it is hoped.

use std::collections::HashMap;

use sea_orm::prelude::Uuid;
use sea_orm::{
    ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, FromQueryResult, QueryFilter, QuerySelect, Select,
};
use sealpost_schema::entities::event;
use sealpost_schema::{ConversationId, Event, EventBody, EventId, MessageId, Seq, VoidedEvent};

use super::insert::{Taken, insert, portions};
use super::store::{Problem, Stored, claim};

/// Where an event stands in the store.
#[derive(Clone, Debug, FromQueryResult)]
pub(super) struct Place {
    pub conversation_id: Uuid,
    pub seq: i64,
    pub id: Uuid,
    pub kind: String,
    pub data: Option<String>,
}

impl Place {
    fn is_at(&self, event: &Event) -> bool {
        self.conversation_id == event.conversation_id.0 && self.seq == event.seq.to_db()
    }

    /// What the event was refused for that stood here; `None` unless this is void.
    fn original_of_void(&self) -> Option<MessageId> {
        match serde_json::from_str(self.data.as_deref().filter(|_| self.kind == "void")?) {
            Ok(EventBody::Void { original_id }) => original_id,
            _ => None,
        }
    }
}

/// Finds out for each of `events`, after they were inserted as far as possible, what stands in the store.
pub(super) async fn classify(
    transaction: &DatabaseTransaction,
    events: &[&Event],
    stored: &mut Stored,
) -> Result<(), DbErr> {
    let ids: Vec<Uuid> = events.iter().map(|event| event.id.0).collect();
    let places: HashMap<Uuid, Place> =
        find_by_ids(transaction, &ids).await?.into_iter().map(|place| (place.id, place)).collect();
    for &event in events {
        match places.get(&event.id.0) {
            Some(place) if place.is_at(event) => {
                // There, now or before. It may have been voided before: whoever waits for it hears so again.
                if let Some(original) = place.original_of_void().filter(|_| event.body.kind() != "void") {
                    void_again(transaction, event, original, stored).await?;
                }
            }
            place => settle(transaction, event, place, stored).await?,
        }
    }
    Ok(())
}

/// An event whose id is not at its place.
async fn settle(
    transaction: &DatabaseTransaction,
    event: &Event,
    same_id: Option<&Place>,
    stored: &mut Stored,
) -> Result<(), DbErr> {
    let original = match find_by_client_message_id(transaction, event).await? {
        Some(place) => Some(place),
        None => same_id.cloned(),
    };
    // What `void` names: the message that was repeated, which may itself be known by a void only.
    let original_id = original.as_ref().map(|place| place.original_of_void().unwrap_or(MessageId(place.id)));
    if let Some(there) = find_at(event).one(transaction).await? {
        match original_id {
            Some(original) if there.original_of_void() == Some(original) => {
                return void_again(transaction, event, original, stored).await;
            }
            // A log that forgot gave its number away, and its lane brought it under another one: nothing is missing.
            _ => match same_id.filter(|place| place.conversation_id == event.conversation_id.0 && place.kind != "void")
            {
                Some(place) => {
                    tracing::warn!(conversation = %event.conversation_id, seq = event.seq.0, event = %event.id,
                        "an event whose number was given to another is stored under its new one");
                    push_voided(event, MessageId(event.id.0), Seq::from_db(place.seq), stored);
                }
                None => clash(event, &there, stored),
            },
        }
        return Ok(());
    }
    let (Some(original), Some(original_id)) = (original, original_id) else {
        return Err(DbErr::Custom(format!("event {} was refused by the store for no reason to be found", event.id)));
    };
    insert_void(transaction, event, original_id, same_id.is_none()).await?;
    metrics::counter!("sealpost_persistence_voided_total").increment(1);
    if original.conversation_id == event.conversation_id.0 {
        tracing::info!(conversation = %event.conversation_id, seq = event.seq.0, "a repeated message was kept as void");
    } else {
        let (conversation_id, event_id) = (event.conversation_id, event.id);
        let other_id = ConversationId(original.conversation_id);
        stored.problems.insert(claim(event), Problem::IdClash { conversation_id, event_id, other_id });
    }
    push_voided(event, original_id, Seq::from_db(original.seq), stored);
    Ok(())
}

fn clash(event: &Event, there: &Place, stored: &mut Stored) {
    let (conversation_id, seq, event_id) = claim(event);
    let problem = Problem::SeqClash { conversation_id, seq, event_id, stored_id: EventId(there.id) };
    tracing::error!(%problem, "two events claim one place");
    metrics::counter!("sealpost_persistence_seq_clashes_total").increment(1);
    stored.problems.insert(claim(event), problem);
}

/// Keeps the seq without content, so that no gap opens.
async fn insert_void(
    transaction: &DatabaseTransaction,
    event: &Event,
    original_id: MessageId,
    id_is_free: bool,
) -> Result<(), DbErr> {
    let void = Event {
        id: if id_is_free { event.id } else { EventId::new() },
        body: EventBody::Void { original_id: Some(original_id) },
        ..event.clone()
    };
    match insert(transaction, &[&void], Taken::Skip).await? {
        // Another worker was there first; the next attempt finds what it left.
        0 => Err(DbErr::Custom(format!(
            "seq {} of conversation {} was taken meanwhile",
            event.seq, event.conversation_id
        ))),
        _ => Ok(()),
    }
}

async fn void_again(
    transaction: &DatabaseTransaction,
    event: &Event,
    original: MessageId,
    stored: &mut Stored,
) -> Result<(), DbErr> {
    let place = find_by_ids(transaction, &[original.0]).await?.into_iter().next();
    push_voided(event, original, place.map_or(Seq::default(), |place| Seq::from_db(place.seq)), stored);
    Ok(())
}

fn push_voided(event: &Event, original_id: MessageId, original_seq: Seq, stored: &mut Stored) {
    let (conversation_id, seq, id) = claim(event);
    stored.voided.push(VoidedEvent { conversation_id, seq, id, original_id, original_seq });
}

fn places() -> Select<event::Entity> {
    event::Entity::find().select_only().columns([
        event::Column::ConversationId,
        event::Column::Seq,
        event::Column::Id,
        event::Column::Kind,
        event::Column::Data,
    ])
}

fn find_at(event: &Event) -> sea_orm::Selector<sea_orm::SelectModel<Place>> {
    places()
        .filter(event::Column::ConversationId.eq(event.conversation_id.0))
        .filter(event::Column::Seq.eq(event.seq.to_db()))
        .into_model()
}

async fn find_by_client_message_id(transaction: &DatabaseTransaction, event: &Event) -> Result<Option<Place>, DbErr> {
    let EventBody::MessagePosted { client_message_id, .. } = &event.body else { return Ok(None) };
    places()
        .filter(event::Column::ConversationId.eq(event.conversation_id.0))
        .filter(event::Column::SenderId.eq(event.sender_id.0))
        .filter(event::Column::ClientMessageId.eq(client_message_id.as_str()))
        .into_model()
        .one(transaction)
        .await
}

/// The events with these ids, as far as they are in the store, in no order.
pub(super) async fn find_by_ids(transaction: &DatabaseTransaction, ids: &[Uuid]) -> Result<Vec<Place>, DbErr> {
    let mut found = Vec::new();
    for ids in portions(ids) {
        found.extend(places().filter(event::Column::Id.is_in(ids)).into_model::<Place>().all(transaction).await?);
    }
    Ok(found)
}
