//! Threads and mentions: what the links of messages say elsewhere. As everywhere, in any order and any number of times.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sea_orm::prelude::Uuid;
use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};
use sealpost_schema::entities::event::Marks;
use sealpost_schema::entities::{event, mention, thread, thread_follower};
use sealpost_schema::{Event, EventBody, UserId};

use super::insert::portions;

/// Rows of one statement; five values each.
const ROWS: usize = 100;

/// Replies in threads raise them, and make followers of those who wrote them and of those who began the threads. Who said that they do not
/// follow is not asked again.
pub(super) async fn apply_threads(transaction: &DatabaseTransaction, events: &[&Event]) -> Result<(), DbErr> {
    let mut threads: BTreeMap<Uuid, thread::ActiveModel> = BTreeMap::new();
    let mut followers: BTreeMap<(Uuid, Uuid), Uuid> = BTreeMap::new();
    for event in events {
        let Some(root) = event.body.thread() else { continue };
        let row = threads.entry(root.0).or_insert_with(|| thread::ActiveModel {
            root_id: Set(root.0),
            conversation_id: Set(event.conversation_id.0),
            last_seq: Set(0),
        });
        let last = std::cmp::max(row.last_seq.take().unwrap_or(0), event.seq.to_db());
        row.last_seq = Set(last);
        followers.insert((event.sender_id.0, root.0), event.conversation_id.0);
    }
    let roots: Vec<Uuid> = threads.keys().copied().collect();
    for ids in portions(&roots) {
        for (root, author, conversation) in authors(transaction, ids.clone()).await? {
            followers.insert((author, root), conversation);
        }
        event::Entity::mark(ids, Marks::THREAD).exec(transaction).await?;
    }
    upsert_threads(transaction, threads.into_values().collect()).await?;
    insert_followers(transaction, followers).await
}

async fn authors(transaction: &DatabaseTransaction, roots: Vec<Uuid>) -> Result<Vec<(Uuid, Uuid, Uuid)>, DbErr> {
    event::Entity::find()
        .select_only()
        .columns([event::Column::Id, event::Column::SenderId, event::Column::ConversationId])
        .filter(event::Column::Id.is_in(roots))
        .into_tuple()
        .all(transaction)
        .await
}

async fn upsert_threads(transaction: &DatabaseTransaction, rows: Vec<thread::ActiveModel>) -> Result<(), DbErr> {
    let last = |table: &'static str| Expr::col((table, thread::Column::LastSeq));
    for rows in rows.chunks(ROWS) {
        let higher = OnConflict::column(thread::Column::RootId)
            .update_column(thread::Column::LastSeq)
            .action_and_where(last("excluded").gt(last("threads")))
            .to_owned();
        thread::Entity::insert_many(rows.to_vec()).on_conflict(higher).exec_without_returning(transaction).await?;
    }
    Ok(())
}

async fn insert_followers(
    transaction: &DatabaseTransaction,
    followers: BTreeMap<(Uuid, Uuid), Uuid>,
) -> Result<(), DbErr> {
    use thread_follower::Column as F;
    let rows: Vec<_> = followers
        .into_iter()
        .map(|((user, root), conversation)| thread_follower::ActiveModel {
            user_id: Set(user),
            root_id: Set(root),
            conversation_id: Set(conversation),
            following: Set(true),
            read_seq: Set(0),
        })
        .collect();
    for rows in rows.chunks(ROWS) {
        let keep = OnConflict::columns([F::UserId, F::RootId]).do_nothing().to_owned();
        thread_follower::Entity::insert_many(rows.to_vec())
            .on_conflict(keep)
            .exec_without_returning(transaction)
            .await?;
    }
    Ok(())
}

/// A message mentions those whom its newest text mentions, and nobody once it is deleted. The events are messages and edits; what they
/// say of the messages' edits is stored.
pub(super) async fn apply_mentions(transaction: &DatabaseTransaction, events: &[&Event]) -> Result<(), DbErr> {
    let touched: BTreeSet<Uuid> = events.iter().map(|event| message_of(event)).collect();
    let touched: Vec<Uuid> = touched.into_iter().collect();
    let mut rows = Vec::new();
    for ids in portions(&touched) {
        let messages = current(transaction, ids).await?;
        let newest = events.iter().filter(|event| {
            messages.get(&message_of(event)).is_some_and(|message| message.newest == event.seq.to_db())
        });
        let (mut changed, mut portion) = (BTreeSet::new(), Vec::new());
        for event in newest {
            let message = &messages[&message_of(event)];
            if changed.insert(message.id) {
                portion.extend(mentioned(event).into_iter().map(|user| message.mention(user)));
            }
        }
        let changed: Vec<Uuid> = changed.into_iter().collect();
        for ids in portions(&changed) {
            forget_mentions(transaction, ids).await?;
        }
        rows.extend(portion);
    }
    for rows in rows.chunks(ROWS) {
        let keep = OnConflict::columns([mention::Column::MessageId, mention::Column::UserId]).do_nothing().to_owned();
        mention::Entity::insert_many(rows.to_vec()).on_conflict(keep).exec_without_returning(transaction).await?;
    }
    Ok(())
}

pub(super) async fn forget_mentions(transaction: &DatabaseTransaction, messages: Vec<Uuid>) -> Result<(), DbErr> {
    mention::Entity::delete_many().filter(mention::Column::MessageId.is_in(messages)).exec(transaction).await?;
    Ok(())
}

fn message_of(event: &Event) -> Uuid {
    event.body.target().map_or(event.id.0, |message| message.0)
}

fn mentioned(event: &Event) -> Vec<Uuid> {
    let (users, all): (&[UserId], bool) = match &event.body {
        EventBody::MessagePosted { links: Some(links), .. } => (&links.mentions, links.mentions_all),
        EventBody::MessageEdited { mentions, mentions_all, .. } => (mentions, *mentions_all),
        _ => (&[], false),
    };
    users.iter().map(|user| user.0).chain(all.then(Uuid::nil)).collect()
}

struct Message {
    id: Uuid,
    conversation_id: Uuid,
    seq: i64,
    sender_id: Uuid,
    /// The seq of the text that counts.
    newest: i64,
}

impl Message {
    fn mention(&self, user: Uuid) -> mention::ActiveModel {
        mention::ActiveModel {
            message_id: Set(self.id),
            user_id: Set(user),
            conversation_id: Set(self.conversation_id),
            seq: Set(self.seq),
            sender_id: Set(self.sender_id),
        }
    }
}

/// Those whose content is there, locked: another worker may be at an edit of them.
async fn current(transaction: &DatabaseTransaction, ids: Vec<Uuid>) -> Result<HashMap<Uuid, Message>, DbErr> {
    let rows: Vec<(Uuid, Uuid, i64, Uuid, Option<i64>)> = event::Entity::find()
        .select_only()
        .columns([
            event::Column::Id,
            event::Column::ConversationId,
            event::Column::Seq,
            event::Column::SenderId,
            event::Column::EditedSeq,
        ])
        .filter(event::Column::Id.is_in(ids))
        .filter(event::Column::Sealed.is_not_null())
        .order_by_asc(event::Column::Id)
        .lock_exclusive()
        .into_tuple()
        .all(transaction)
        .await?;
    let message = |(id, conversation_id, seq, sender_id, edited): (Uuid, Uuid, i64, Uuid, Option<i64>)| {
        (id, Message { id, conversation_id, seq, sender_id, newest: edited.unwrap_or(seq) })
    };
    Ok(rows.into_iter().map(message).collect())
}
