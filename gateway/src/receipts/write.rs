//! Writing marks, and telling of them.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::time::Duration;

use sea_orm::prelude::Uuid;
use sea_orm::sea_query::Value;
use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, DbErr, EntityTrait as _, QueryFilter as _, QuerySelect as _, Statement,
};
use sealpost_schema::entities::user;
use sealpost_schema::{Audience, ConversationId, Mark, SignalBody, UserId};
use tokio_util::sync::CancellationToken;

use super::MAX_SHOWN;
use super::marks::{Waiting, Watermarks};
use crate::conversations::sizes;
use crate::state::App;

/// Between two writes.
const PAUSE: Duration = Duration::from_secs(1);
/// Rows of one statement.
const BATCH: usize = 500;

/// Writes what waits, at most once a second, and once more at the end.
pub async fn write(app: App, stop: CancellationToken) {
    loop {
        let stopped = stop.run_until_cancelled(app.marks.wake.notified()).await.is_none();
        let taken = app.marks.take().await;
        if let Err(error) = store(&app, &taken.marks).await {
            tracing::warn!(%error, marks = taken.marks.len(), "receipts could not be stored yet");
            app.marks.put_back(&taken.marks);
            app.marks.wake.notify_one();
        }
        drop(taken);
        if stopped {
            return;
        }
        // If this ends early, the next round is the last one.
        let _ = stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
    }
}

/// What this user said is in the store when this returns: whoever asks reads their own writes.
///
/// # Errors
/// The store is away.
pub async fn settle(app: &App, user: UserId) -> Result<(), DbErr> {
    let Some(taken) = app.marks.take_of(user).await else { return Ok(()) };
    let stored = store(app, &taken.marks).await;
    if stored.is_err() {
        app.marks.put_back(&taken.marks);
        app.marks.wake.notify_one();
    }
    stored
}

/// Raises watermarks in the store, and tells who may know. Three queries for each few hundred marks.
///
/// # Errors
/// The store is away; what was written stays, and writing it again changes nothing.
pub async fn store(app: &App, marks: &Waiting) -> Result<(), DbErr> {
    let marks: Vec<_> = marks.iter().map(|(key, mark)| (*key, *mark)).collect();
    for some in marks.chunks(BATCH) {
        raise(app, some).await?;
        announce(app, some).await?;
    }
    Ok(())
}

type Row = ((UserId, ConversationId), Watermarks);

/// One statement for all. It finds no row of who was removed meanwhile.
async fn raise(app: &App, marks: &[Row]) -> Result<(), DbErr> {
    let mut values: Vec<Value> = Vec::with_capacity(marks.len() * 4);
    let mut rows = String::with_capacity(marks.len() * 40);
    for ((user, conversation), mark) in marks {
        let first = values.len() + 1;
        let comma = if rows.is_empty() { "" } else { ", " };
        // Writing to a text cannot fail. Postgres takes the types of the first row for all.
        let _ = write!(
            rows,
            "{comma}(${first}, ${}, CAST(${} AS BIGINT), CAST(${} AS BIGINT))",
            first + 1,
            first + 2,
            first + 3
        );
        values.extend([conversation.0.into(), user.0.into(), mark.delivered.to_db().into(), mark.read.to_db().into()]);
    }
    // Both databases name the columns of VALUES so.
    let sql = format!(
        "UPDATE participants SET \
         delivered_seq = CASE WHEN delivered_seq < m.column3 THEN m.column3 ELSE delivered_seq END, \
         read_seq = CASE WHEN read_seq < m.column4 THEN m.column4 ELSE read_seq END \
         FROM (VALUES {rows}) AS m \
         WHERE conversation_id = m.column1 AND user_id = m.column2 \
         AND (delivered_seq < m.column3 OR read_seq < m.column4)"
    );
    app.db.execute_raw(Statement::from_sql_and_values(app.db.get_database_backend(), sql, values)).await?;
    Ok(())
}

async fn announce(app: &App, marks: &[Row]) -> Result<(), DbErr> {
    let conversations: HashSet<_> = marks.iter().map(|((_, conversation), _)| *conversation).collect();
    let sizes = sizes(&app.db, conversations).await?;
    let shy = who_hides_reading(app, marks.iter().map(|((user, _), _)| user.0)).await?;
    let mut by_conversation: HashMap<ConversationId, Vec<Mark>> = HashMap::new();
    for ((user_id, conversation), mark) in marks {
        let is_small = sizes.get(conversation).is_some_and(|size| *size <= MAX_SHOWN);
        let audience = match (is_small, shy.contains(&user_id.0)) {
            (false, _) => Audience::Oneself,
            (true, true) => Audience::WithoutRead,
            (true, false) => Audience::Everybody,
        };
        by_conversation.entry(*conversation).or_default().push(Mark {
            user_id: *user_id,
            delivered_seq: mark.delivered,
            read_seq: mark.read,
            audience,
        });
    }
    for (conversation, marks) in by_conversation {
        app.hub.signal(conversation, SignalBody::Marks { marks }).await;
    }
    Ok(())
}

/// Those of these users who show nobody what they have read.
pub async fn who_hides_reading(app: &App, users: impl Iterator<Item = Uuid>) -> Result<HashSet<Uuid>, DbErr> {
    let hiding: Vec<Uuid> = user::Entity::find()
        .select_only()
        .column(user::Column::Id)
        .filter(user::Column::Id.is_in(users))
        .filter(user::Column::ReadReceipts.eq(false))
        .into_tuple()
        .all(&app.db)
        .await?;
    Ok(hiding.into_iter().collect())
}
