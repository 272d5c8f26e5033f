//! The messages that changes are about: there before them, and locked while the changes are stored.
//!
//! Without the lock two workers could store an edit and the deletion of its message side by side, neither seeing the other, and the edit
//! would keep its content.

use std::collections::{BTreeSet, HashMap, HashSet};

use sea_orm::prelude::Uuid;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use sealpost_schema::Event;
use sealpost_schema::entities::event;

use super::insert::portions;
use super::refused;
use super::store::{Problem, Stored, claim};

/// By conversation and id; whether the content of the message was destroyed before this batch.
#[derive(Debug, Default)]
pub(super) struct Bases(HashMap<(Uuid, Uuid), bool>);

impl Bases {
    /// In the order of their ids, so that two workers wait for each other rather than deadlock.
    pub async fn lock(transaction: &DatabaseTransaction, changes: &[&Event]) -> Result<Self, DbErr> {
        let ids: BTreeSet<Uuid> = changes.iter().filter_map(|event| event.body.target()).map(|id| id.0).collect();
        let ids: Vec<Uuid> = ids.into_iter().collect();
        let mut bases = HashMap::with_capacity(ids.len());
        let destroyed: Expr = Expr::case(event::Column::Sealed.is_null(), 1).finally(0).into();
        for ids in portions(&ids) {
            let rows: Vec<(Uuid, Uuid, i32)> = event::Entity::find()
                .select_only()
                .columns([event::Column::ConversationId, event::Column::Id])
                .column_as(destroyed.clone(), "destroyed")
                .filter(event::Column::Id.is_in(ids))
                .order_by_asc(event::Column::Id)
                .lock_exclusive()
                .into_tuple()
                .all(transaction)
                .await?;
            bases.extend(rows.into_iter().map(|(conversation, id, destroyed)| ((conversation, id), destroyed != 0)));
        }
        Ok(Self(bases))
    }

    /// The changes whose message is in the store; the others become problems.
    pub fn ready<'a>(&self, changes: &[&'a Event], stored: &mut Stored) -> Vec<&'a Event> {
        let mut ready = Vec::with_capacity(changes.len());
        for &event in changes {
            match event.body.target() {
                Some(message_id) if !self.0.contains_key(&(event.conversation_id.0, message_id.0)) => {
                    stored.problems.insert(claim(event), Problem::BaseMissing { event_id: event.id, message_id });
                }
                _ => ready.push(event),
            }
        }
        ready
    }

    /// Whether the content of the message that this changes was destroyed before this batch.
    pub fn is_destroyed(&self, event: &Event) -> bool {
        let target = event.body.target().map(|message| (event.conversation_id.0, message.0));
        target.and_then(|target| self.0.get(&target)).copied().unwrap_or(false)
    }
}

/// The replies whose thread has begun in the store; the others become problems.
pub(super) async fn with_their_threads<'a>(
    transaction: &DatabaseTransaction,
    replies: &[&'a Event],
    stored: &mut Stored,
) -> Result<Vec<&'a Event>, DbErr> {
    let roots: BTreeSet<Uuid> = replies.iter().filter_map(|event| event.body.thread()).map(|id| id.0).collect();
    let roots: Vec<Uuid> = roots.into_iter().collect();
    let there: HashSet<_> = refused::find_by_ids(transaction, &roots)
        .await?
        .into_iter()
        .map(|place| (place.conversation_id, place.id))
        .collect();
    let mut ready = Vec::with_capacity(replies.len());
    for &event in replies {
        match event.body.thread() {
            Some(message_id) if !there.contains(&(event.conversation_id.0, message_id.0)) => {
                stored.problems.insert(claim(event), Problem::BaseMissing { event_id: event.id, message_id });
            }
            _ => ready.push(event),
        }
    }
    Ok(ready)
}
