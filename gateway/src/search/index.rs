//! Bringing messages into the index, and changed ones up to date.
//!
//! What the index says of a message is computed from what the store has of it now, so it does not matter how often, in which order and by
//! how many processes a message is indexed. The message's row is locked while its terms are written, as it is while its edits and its
//! deletion are stored: no text that was replaced, and nothing of a deleted message, gets in late.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use sea_orm::prelude::Uuid;
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _,
};
use sealpost_schema::entities::{conversation, event, search_message, search_term};
use sealpost_schema::{Clock, ConversationId, EventId, Seq, Timestamp, UserId};
use sealpost_sealing::{HashKey, KeyRing};

use super::terms::{PURPOSE, terms};
use crate::keys::{ConversationKeys, KeyError};
use crate::transaction::begin_on;

/// Ids or rows of one statement: a few fixed numbers, so that each text is prepared once. Ids are filled up by repeating one.
const SIZES: [usize; 4] = [1, 10, 100, 1000];
/// Conversation keys that one without a gateway keeps in memory.
const MAX_KEYS: usize = 1000;

/// Writes the index.
pub struct Indexer {
    pub(super) db: DatabaseConnection,
    keys: Arc<ConversationKeys>,
}

/// A message with the terms of the text that it had.
struct Prepared {
    id: Uuid,
    conversation_id: Uuid,
    at: i64,
    edited_seq: Option<i64>,
    terms: Vec<i64>,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Indexed {
    /// Messages whose terms were written; the others had the right ones.
    pub written: usize,
    /// Messages that cannot be opened, and so are not found.
    pub unreadable: usize,
}

impl Indexer {
    /// For those who have no gateway.
    pub fn new(db: DatabaseConnection, key_ring: KeyRing) -> Self {
        let keys = ConversationKeys::new(key_ring, db.clone(), Clock::default(), MAX_KEYS);
        Self { keys: Arc::new(keys), db }
    }

    pub(crate) fn of(db: DatabaseConnection, keys: Arc<ConversationKeys>) -> Self {
        Self { db, keys }
    }

    /// Indexes the messages with these ids, as far as they are stored: at most 1,000.
    ///
    /// # Errors
    /// What the store says; nothing was written of at least some.
    pub async fn index(&self, messages: &[Uuid]) -> Result<Indexed, DbErr> {
        let mut indexed = Indexed::default();
        let mut left = messages.to_vec();
        // A text that was replaced between reading it and writing its terms is read again. It has few chances: edits are stored one by one.
        for _ in 0..5 {
            let prepared = self.prepare(&left, &mut indexed).await?;
            if prepared.is_empty() {
                return Ok(indexed);
            }
            let (written, changed) = self.write(prepared).await?;
            indexed.written += written;
            left = changed;
            if left.is_empty() {
                return Ok(indexed);
            }
        }
        Err(DbErr::Custom("messages changed again and again while they were indexed".to_owned()))
    }

    /// Those of the messages whose terms are not right.
    async fn prepare(&self, messages: &[Uuid], indexed: &mut Indexed) -> Result<Vec<Prepared>, DbErr> {
        let rows = event::Entity::find()
            .filter(event::Column::Id.is_in(padded(messages)))
            .filter(event::Column::Kind.eq("message_posted"))
            .filter(event::Column::Sealed.is_not_null())
            .all(&self.db)
            .await?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let (edits, before) = (self.edits(&rows).await?, present(&self.db, messages).await?);
        let mut keys: HashMap<Uuid, Option<HashKey>> = HashMap::new();
        let mut prepared = Vec::with_capacity(rows.len());
        for row in rows {
            let Some(at) = search_term::place(Timestamp::from_millis(row.created_at), Seq::from_db(row.seq)) else {
                continue;
            };
            if let Entry::Vacant(unknown) = keys.entry(row.conversation_id) {
                unknown.insert(self.key(row.conversation_id).await?);
            }
            let edit = row.edit().and_then(|place| edits.get(&place));
            let (Some(Some(key)), Some(text)) =
                (keys.get(&row.conversation_id), self.open(edit.unwrap_or(&row)).await?)
            else {
                indexed.unreadable += 1;
                continue;
            };
            let (id, conversation_id, edited_seq) = (row.id, row.conversation_id, row.edited_seq);
            let terms = terms(key, UserId(row.sender_id), &text);
            if before.get(&id).is_none_or(|before| before.terms != search_message::pack(&terms)) {
                prepared.push(Prepared { id, conversation_id, at, edited_seq, terms });
            }
        }
        Ok(prepared)
    }

    /// The newest edits of messages, by place.
    async fn edits(&self, rows: &[event::Model]) -> Result<HashMap<(Uuid, i64), event::Model>, DbErr> {
        let Some(wanted) = event::at(rows.iter().filter_map(event::Model::edit)) else { return Ok(HashMap::new()) };
        let edits = event::Entity::find().filter(wanted).all(&self.db).await?;
        Ok(edits.into_iter().map(|edit| ((edit.conversation_id, edit.seq), edit)).collect())
    }

    async fn key(&self, conversation: Uuid) -> Result<Option<HashKey>, DbErr> {
        match self.keys.hash_key(ConversationId(conversation), PURPOSE).await {
            Ok(key) => Ok(Some(key)),
            Err(KeyError::Store(error)) => Err(error),
            Err(error) => {
                tracing::debug!(%conversation, %error, "messages cannot be indexed");
                Ok(None)
            }
        }
    }

    /// The text of a message or an edit; `None`: it cannot be opened.
    async fn open(&self, row: &event::Model) -> Result<Option<String>, DbErr> {
        let sealed = row.sealed.as_deref().unwrap_or_default();
        let (conversation, id, sender) = (ConversationId(row.conversation_id), EventId(row.id), UserId(row.sender_id));
        match self.keys.open(conversation, id, sender, sealed).await {
            Ok(text) => Ok(Some(text)),
            Err(KeyError::Store(error)) => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// One transaction. Returns how many were written, and those whose text was replaced meanwhile.
    async fn write(&self, mut prepared: Vec<Prepared>) -> Result<(usize, Vec<Uuid>), DbErr> {
        // In one order for all, so that two who index the same wait for each other rather than deadlock.
        prepared.sort_unstable_by_key(|message| message.id);
        let transaction = begin_on(&self.db).await?;
        let living = living(&transaction, &prepared).await?;
        let ids: Vec<Uuid> = prepared.iter().map(|message| message.id).collect();
        let texts = texts(&transaction, &ids).await?;
        let before = present(&transaction, &ids).await?;
        let (mut old, mut new, mut rows, mut changed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for message in prepared.into_iter().filter(|message| living.contains(&message.conversation_id)) {
            match texts.get(&message.id) {
                // Deleted meanwhile, with what the index had of it.
                None => continue,
                Some(edited_seq) if *edited_seq != message.edited_seq => {
                    changed.push(message.id);
                    continue;
                }
                Some(_) => {}
            }
            let had: BTreeSet<_> = before.get(&message.id).into_iter().flat_map(search_message::Model::rows).collect();
            let has: BTreeSet<_> = message.terms.iter().map(|term| (*term, message.at)).collect();
            old.extend(had.difference(&has).copied());
            new.extend(has.difference(&had).copied());
            rows.push(search_message::ActiveModel {
                message_id: Set(message.id),
                conversation_id: Set(message.conversation_id),
                at: Set(message.at),
                terms: Set(search_message::pack(&message.terms)),
            });
        }
        for rows in [&mut old, &mut new] {
            rows.sort_unstable();
        }
        search_term::remove(&transaction, &old).await?;
        search_term::insert(&transaction, &new).await?;
        let written = rows.len();
        upsert(&transaction, rows).await?;
        transaction.commit().await?;
        Ok((written, changed))
    }
}

async fn upsert(db: &impl ConnectionTrait, mut rows: Vec<search_message::ActiveModel>) -> Result<(), DbErr> {
    while let Some(size) = SIZES.into_iter().rev().find(|size| *size <= rows.len()) {
        let instead = OnConflict::column(search_message::Column::MessageId)
            .update_columns([search_message::Column::At, search_message::Column::Terms])
            .to_owned();
        let part = rows.split_off(rows.len() - size);
        search_message::Entity::insert_many(part).on_conflict(instead).exec_without_returning(db).await?;
    }
    Ok(())
}

/// Which of the conversations are not deleted; none is while the transaction lasts.
async fn living(db: &impl ConnectionTrait, messages: &[Prepared]) -> Result<BTreeSet<Uuid>, DbErr> {
    let ids: BTreeSet<Uuid> = messages.iter().map(|message| message.conversation_id).collect();
    let ids: Vec<Uuid> = ids.into_iter().collect();
    let rows: Vec<Uuid> = conversation::Entity::find()
        .select_only()
        .column(conversation::Column::Id)
        .filter(conversation::Column::Id.is_in(padded(&ids)))
        .filter(conversation::Column::DeletedAt.is_null())
        .order_by_asc(conversation::Column::Id)
        .lock_shared()
        .into_tuple()
        .all(db)
        .await?;
    Ok(rows.into_iter().collect())
}

/// The messages that are not deleted, locked, each with the seq of its newest edit.
async fn texts(db: &impl ConnectionTrait, ids: &[Uuid]) -> Result<HashMap<Uuid, Option<i64>>, DbErr> {
    let rows: Vec<(Uuid, Option<i64>)> = event::Entity::find()
        .select_only()
        .columns([event::Column::Id, event::Column::EditedSeq])
        .filter(event::Column::Id.is_in(padded(ids)))
        .filter(event::Column::Sealed.is_not_null())
        .order_by_asc(event::Column::Id)
        .lock_exclusive()
        .into_tuple()
        .all(db)
        .await?;
    Ok(rows.into_iter().collect())
}

/// What the index has of these messages.
async fn present(db: &impl ConnectionTrait, ids: &[Uuid]) -> Result<HashMap<Uuid, search_message::Model>, DbErr> {
    let rows = search_message::Entity::find().filter(search_message::Column::MessageId.is_in(padded(ids)));
    Ok(rows.all(db).await?.into_iter().map(|row| (row.message_id, row)).collect())
}

fn padded(ids: &[Uuid]) -> Vec<Uuid> {
    let size = SIZES.into_iter().find(|size| *size >= ids.len()).unwrap_or(ids.len());
    ids.iter().chain(ids.iter().cycle()).take(size).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_filled_up_to_a_few_sizes() {
        let ids: Vec<Uuid> = (0..11).map(Uuid::from_u128).collect();
        assert_eq!(padded(&ids[..1]).len(), 1);
        assert_eq!(padded(&ids[..2]).len(), 10);
        let all = padded(&ids);
        assert_eq!((all.len(), all[..11] == ids[..], all.iter().all(|id| ids.contains(id))), (100, true, true));
        assert_eq!(padded(&[]), Vec::<Uuid>::new());
    }
}
