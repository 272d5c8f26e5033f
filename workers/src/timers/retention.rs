//! Destroys messages that are older than their conversation, or the server, keeps them.
//!
//! Of each conversation a mark says up to which seq that is done, and that what follows is not older than a moment. So a look at all
//! conversations shows which are due, and their oldest messages are found by their numbers: in a conversation the order of numbers is, but
//! for the clocks of gateways, that of time. A conversation is worked off once an hour at most, and in portions.

use std::collections::BTreeMap;

use sea_orm::prelude::Uuid;
use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict, Order, Query};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, Condition, DatabaseConnection, DbErr, EntityTrait as _, FromQueryResult,
    QueryFilter as _, QueryOrder as _, QuerySelect as _,
};
use sealpost_schema::Clock;
use sealpost_schema::entities::{conversation, event, retention_mark};
use tokio_util::sync::CancellationToken;

use super::{TimersConfig, tell_late};
use crate::persistence::destroy;
use crate::retry::Backoff;
use crate::transaction::begin;

const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;
/// Conversations of one portion.
const CONVERSATIONS: u64 = 20;
/// Events of each that are looked at in one portion.
const EVENTS: i64 = 500;
/// Numbers that the store does not have may still come, from a log that is worked off late; after so much more than the log keeps,
/// they will not.
const HOLE_MS: i64 = 30 * DAY_MS;

pub(super) struct Keeper {
    pub db: DatabaseConnection,
    pub config: TimersConfig,
    pub clock: Clock,
    /// Of the server; conversations may have less.
    pub days: Option<u32>,
}

/// A conversation with something that is too old, perhaps.
#[derive(Debug, FromQueryResult)]
struct Due {
    id: Uuid,
    floor_seq: i64,
    next_at: i64,
    days: i64,
}

#[derive(Debug, FromQueryResult)]
struct Row {
    conversation_id: Uuid,
    seq: i64,
    id: Uuid,
    created_at: i64,
    /// It is a message, and its content is there.
    has_content: i32,
}

/// What a portion found out about one conversation.
struct Found {
    floor_seq: i64,
    next_at: i64,
    messages: Vec<Uuid>,
}

pub(super) async fn run(keeper: Keeper, stop: CancellationToken) {
    let mut backoff = Backoff::new(keeper.config.retry_max());
    while !stop.is_cancelled() {
        if let Err(error) = keeper.round(&stop).await {
            tracing::warn!(%error, "what is too old could not be destroyed yet; trying again");
            if !backoff.wait(&stop).await {
                return;
            }
            continue;
        }
        backoff.reset();
        if stop.run_until_cancelled(tokio::time::sleep(keeper.config.retention_interval())).await.is_none() {
            return;
        }
    }
}

impl Keeper {
    async fn round(&self, stop: &CancellationToken) -> Result<(), DbErr> {
        while !stop.is_cancelled() {
            let now = self.clock.now().millis();
            let due = self.due(now).await?;
            let late = due.iter().map(|due| due.cutoff(now) - due.next_at).max().unwrap_or(0);
            tell_late("sealpost_retention_late_seconds", late);
            if due.is_empty() {
                break;
            }
            self.work_off(&due, now).await?;
        }
        Ok(())
    }

    /// Those first that have waited longest.
    async fn due(&self, now: i64) -> Result<Vec<Due>, DbErr> {
        let own = "CAST(conversations.retention_days AS BIGINT)";
        let days = match self.days {
            None => own.to_owned(),
            Some(days) => format!("CASE WHEN {own} < {days} THEN {own} ELSE {days} END"),
        };
        let next_at = "COALESCE(retention_marks.next_at, conversations.created_at)";
        let of_mark = Expr::col((retention_mark::Entity, retention_mark::Column::ConversationId));
        let select = Query::select()
            .column((conversation::Entity, conversation::Column::Id))
            .expr_as(Expr::cust("COALESCE(retention_marks.floor_seq, 0)"), "floor_seq")
            .expr_as(Expr::cust(next_at), "next_at")
            .expr_as(Expr::cust(days.clone()), "days")
            .from(conversation::Entity)
            .left_join(retention_mark::Entity, of_mark.equals((conversation::Entity, conversation::Column::Id)))
            .and_where(Expr::cust(format!("{next_at} < {now} - ({days}) * {DAY_MS}")))
            .order_by_expr(Expr::cust(next_at), Order::Asc)
            .limit(CONVERSATIONS)
            .to_owned();
        Due::find_by_statement(self.db.get_database_backend().build(&select)).all(&self.db).await
    }

    async fn work_off(&self, due: &[Due], now: i64) -> Result<(), DbErr> {
        let window = |due: &Due| {
            let seq = || Expr::col(event::Column::Seq);
            of(due).add(seq().gt(due.floor_seq)).add(seq().lte(due.floor_seq + EVENTS))
        };
        let mut rows: BTreeMap<Uuid, Vec<Row>> = BTreeMap::new();
        for row in self.events(due.iter().map(window)).await? {
            rows.entry(row.conversation_id).or_default().push(row);
        }
        // Where nothing follows at once, there may be something behind a hole.
        let empty: Vec<&Due> = due.iter().filter(|due| !rows.contains_key(&due.id)).collect();
        let mut behind: BTreeMap<Uuid, Row> = BTreeMap::new();
        if !empty.is_empty() {
            let rows = self.events(empty.into_iter().map(first_after)).await?;
            behind.extend(rows.into_iter().map(|row| (row.conversation_id, row)));
        }
        let found: BTreeMap<Uuid, Found> = due
            .iter()
            .map(|due| match rows.get(&due.id) {
                Some(rows) => (due.id, Found::of(due, rows, now)),
                None => (due.id, Found::behind_a_hole(due, behind.get(&due.id), now)),
            })
            .collect();
        let messages: Vec<Uuid> = found.values().flat_map(|found| found.messages.iter().copied()).collect();
        let portion = usize::try_from(self.config.page).unwrap_or(usize::MAX);
        for messages in messages.chunks(portion) {
            let transaction = begin(&self.db).await?;
            destroy::lock(&transaction, messages).await?;
            destroy::messages(&transaction, messages).await?;
            transaction.commit().await?;
        }
        metrics::counter!("sealpost_retention_messages_total").increment(messages.len() as u64);
        self.mark(found).await
    }

    async fn events(&self, which: impl Iterator<Item = Condition>) -> Result<Vec<Row>, DbErr> {
        let has_content = event::Column::Kind.eq("message_posted").and(event::Column::Sealed.is_not_null());
        let has_content: Expr = Expr::case(has_content, 1).finally(0).into();
        event::Entity::find()
            .select_only()
            .columns([event::Column::ConversationId, event::Column::Seq, event::Column::Id, event::Column::CreatedAt])
            .column_as(has_content, "has_content")
            .filter(which.fold(Condition::any(), Condition::add))
            .order_by_asc(event::Column::ConversationId)
            .order_by_asc(event::Column::Seq)
            .into_model()
            .all(&self.db)
            .await
    }

    /// After the messages: a worker that dies before leaves work that is done twice.
    async fn mark(&self, found: BTreeMap<Uuid, Found>) -> Result<(), DbErr> {
        use retention_mark::Column as C;
        let rows = found.into_iter().map(|(conversation, found)| retention_mark::ActiveModel {
            conversation_id: Set(conversation),
            floor_seq: Set(found.floor_seq),
            next_at: Set(found.next_at),
        });
        let floor = |table: &'static str| Expr::col((table, C::FloorSeq));
        let not_back = OnConflict::column(C::ConversationId)
            .update_columns([C::FloorSeq, C::NextAt])
            .action_and_where(floor("excluded").gte(floor("retention_marks")))
            .to_owned();
        retention_mark::Entity::insert_many(rows).on_conflict(not_back).exec_without_returning(&self.db).await?;
        Ok(())
    }
}

fn of(due: &Due) -> Condition {
    Condition::all().add(event::Column::ConversationId.eq(due.id))
}

/// The first event after the mark, however far behind it.
fn first_after(due: &Due) -> Condition {
    let first = Query::select()
        .expr(event::Column::Seq.min())
        .from(event::Entity)
        .and_where(event::Column::ConversationId.eq(due.id))
        .and_where(event::Column::Seq.gt(due.floor_seq))
        .to_owned();
    of(due).add(Expr::col(event::Column::Seq).eq(Expr::SubQuery(None, Box::new(first.into()))))
}

impl Due {
    /// What is older goes.
    fn cutoff(&self, now: i64) -> i64 {
        now - self.days * DAY_MS
    }
}

impl Found {
    /// The messages before the first event that stays, or before a hole.
    fn of(due: &Due, rows: &[Row], now: i64) -> Self {
        let cutoff = due.cutoff(now);
        let later = cutoff + HOUR_MS;
        let mut found = Self { floor_seq: due.floor_seq, next_at: due.next_at, messages: Vec::new() };
        for row in rows {
            let hole = row.seq > found.floor_seq + 1 && row.created_at >= cutoff - HOLE_MS;
            if hole || row.created_at >= cutoff {
                found.next_at = if hole { later } else { std::cmp::max(row.created_at, later) };
                return found;
            }
            found.floor_seq = row.seq;
            if row.has_content != 0 {
                found.messages.push(row.id);
            }
        }
        if found.floor_seq < due.floor_seq + EVENTS {
            // These were all: what comes is new.
            found.next_at = std::cmp::max(now, later);
        }
        found
    }

    fn behind_a_hole(due: &Due, first: Option<&Row>, now: i64) -> Self {
        let cutoff = due.cutoff(now);
        let (floor_seq, next_at) = match first {
            None => (due.floor_seq, now),
            Some(row) if row.created_at < cutoff - HOLE_MS => (row.seq - 1, due.next_at),
            Some(_) => (due.floor_seq, cutoff + HOUR_MS),
        };
        Self { floor_seq, next_at, messages: Vec::new() }
    }
}
