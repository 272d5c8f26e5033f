//! The index made anew from what is stored, and emptied: for those who run the server, beside it or while it is stopped.

use std::time::Instant;

use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, DatabaseConnection, DbBackend, DbErr, EntityTrait as _,
    PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};
use sealpost_schema::ConversationId;
use sealpost_schema::entities::{conversation, event, search_message, search_term};
use sealpost_sealing::KeyRing;
use uuid::Uuid;

use super::config::SearchConfig;
use super::index::Indexer;
use super::pace::Pace;

/// Conversations read at a time.
const PAGE: u64 = 100;
/// Seqs looked through at a time.
const WINDOW: i64 = 4000;

/// What to do.
pub struct Rebuild {
    pub key_ring: KeyRing,
    pub config: SearchConfig,
    /// Only this one.
    pub conversation: Option<ConversationId>,
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Messages that were looked at, of so many.
    pub done: u64,
    pub total: u64,
    /// Those whose terms were missing or wrong.
    pub written: u64,
    /// Those that cannot be opened.
    pub unreadable: u64,
}

/// Looks at every message that is stored, and writes the terms of those that the index lacks or has wrong. Any number of times, with
/// the same result; a message that comes or changes meanwhile is the gateways' to index.
///
/// # Errors
/// What the store says. What was done stays; another run goes on where terms are missing.
pub async fn rebuild(
    db: &DatabaseConnection,
    what: Rebuild,
    mut told: impl FnMut(Progress),
) -> Result<Progress, DbErr> {
    let indexer = Indexer::new(db.clone(), what.key_ring);
    let only = what.conversation.map(|id| id.0);
    let mut progress = Progress { total: messages(only).count(db).await?, ..Progress::default() };
    told(progress);
    let mut after = Uuid::nil();
    loop {
        let page = match only {
            Some(id) if after.is_nil() => vec![id],
            Some(_) => Vec::new(),
            None => conversations_after(db, after).await?,
        };
        let Some(last) = page.last().copied() else { return Ok(progress) };
        for conversation in page {
            one(&indexer, &what.config, conversation, &mut progress, &mut told).await?;
        }
        after = last;
    }
}

async fn one(
    indexer: &Indexer,
    config: &SearchConfig,
    conversation: Uuid,
    progress: &mut Progress,
    told: &mut impl FnMut(Progress),
) -> Result<(), DbErr> {
    let head: Option<Option<i64>> = messages(Some(conversation))
        .select_only()
        .column_as(event::Column::Seq.max(), "head")
        .into_tuple()
        .one(&indexer.db)
        .await?;
    let head = head.flatten().unwrap_or(0);
    // What the servers are doing is not known here.
    let (mut after, mut pace) = (0, Pace::new(None));
    while after < head {
        let started = Instant::now();
        // Within bounds, so that Postgres, whatever its statistics say, does not read all that follows for each batch.
        let to = head.min(after + WINDOW);
        let page: Vec<(Uuid, i64)> = messages(Some(conversation))
            .select_only()
            .columns([event::Column::Id, event::Column::Seq])
            .filter(event::Column::Seq.gt(after))
            .filter(event::Column::Seq.lte(to))
            .order_by_asc(event::Column::Seq)
            .limit(u64::try_from(config.batch).unwrap_or(1))
            .into_tuple()
            .all(&indexer.db)
            .await?;
        let is_full = page.len() == config.batch;
        after = page.last().filter(|_| is_full).map_or(to, |(_, last)| *last);
        if page.is_empty() {
            continue;
        }
        let ids: Vec<Uuid> = page.into_iter().map(|(id, _)| id).collect();
        let indexed = indexer.index(&ids).await?;
        progress.done += ids.len() as u64;
        progress.written += indexed.written as u64;
        progress.unreadable += indexed.unreadable as u64;
        told(*progress);
        if indexed.written > 0 {
            tokio::time::sleep(pace.rest(config, indexed.written, started.elapsed())).await;
        }
    }
    Ok(())
}

/// Of one conversation, or of all that are not deleted.
fn messages(conversation: Option<Uuid>) -> sea_orm::Select<event::Entity> {
    let query = event::Entity::find()
        .filter(event::Column::Kind.eq("message_posted"))
        .filter(event::Column::Sealed.is_not_null());
    if let Some(id) = conversation {
        return query.filter(event::Column::ConversationId.eq(id));
    }
    let living = sea_orm::sea_query::Query::select()
        .column(conversation::Column::Id)
        .from(conversation::Entity)
        .and_where(conversation::Column::DeletedAt.is_null())
        .to_owned();
    query.filter(event::Column::ConversationId.in_subquery(living))
}

async fn conversations_after(db: &DatabaseConnection, after: Uuid) -> Result<Vec<Uuid>, DbErr> {
    conversation::Entity::find()
        .select_only()
        .column(conversation::Column::Id)
        .filter(conversation::Column::DeletedAt.is_null())
        .filter(conversation::Column::Id.gt(after))
        .order_by_asc(conversation::Column::Id)
        .limit(PAGE)
        .into_tuple()
        .all(db)
        .await
}

/// Empties the index. Returns how many messages it had.
///
/// # Errors
/// What the store says; then nothing was changed.
pub async fn drop_index(db: &DatabaseConnection) -> Result<u64, DbErr> {
    let count = search_message::Entity::find().count(db).await?;
    if db.get_database_backend() == DbBackend::Postgres {
        // At once, and without a trace in the tables' files.
        db.execute_unprepared("TRUNCATE search_terms, search_messages").await?;
        return Ok(count);
    }
    let transaction = crate::transaction::begin_on(db).await?;
    search_term::Entity::delete_many().exec(&transaction).await?;
    search_message::Entity::delete_many().exec(&transaction).await?;
    transaction.commit().await?;
    Ok(count)
}
