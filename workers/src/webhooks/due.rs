//! What is to be delivered, and taking it: some queries for all webhooks together.

use sea_orm::prelude::Uuid;
use sea_orm::sea_query::{
    Alias, CaseStatement, Expr, ExprTrait as _, Func, JoinType, Order, Query, SelectStatement, SimpleExpr,
};
use sea_orm::{
    ColumnTrait as _, Condition, ConnectionTrait as _, DatabaseConnection, DbErr, EntityTrait as _, FromQueryResult,
    QueryFilter as _, QueryOrder as _, QuerySelect as _,
};
use sealpost_schema::Timestamp;
use sealpost_schema::entities::{conversation, event, participant, user, webhook, webhook_cursor};

/// Rows of one look.
pub(super) const PAGE: u64 = 64;
/// Events read at a time, so that a filter that takes few gets on.
const READ: i64 = 500;

/// Which of the conversations.
#[derive(Clone, Debug)]
pub(super) enum Which {
    All,
    /// Of which a notice told.
    Told(Vec<Uuid>),
    /// Which failed, and whose pause is over.
    Retries,
}

#[derive(Clone, Copy, Debug, FromQueryResult)]
pub(super) struct Due {
    pub webhook_id: Uuid,
    pub conversation_id: Uuid,
    /// How often in a row the receiver was away.
    pub away: i64,
}

fn col<T: sea_orm::sea_query::Iden + 'static>(table: impl sea_orm::sea_query::Iden + 'static, column: T) -> SimpleExpr {
    Expr::col((table, column))
}

/// The number of the next event: not from before the reader may see it.
fn next_seq() -> SimpleExpr {
    let next = || col(webhook_cursor::Entity, webhook_cursor::Column::NextSeq);
    let visible = || col(participant::Entity, participant::Column::VisibleFrom);
    CaseStatement::new().case(next().gt(visible()), next()).finally(visible()).into()
}

/// Whoever left and came back does not go on where they were, in the moment before [`begin`] finds the event that added them again.
fn is_of_this_joining() -> SimpleExpr {
    let added = col(participant::Entity, participant::Column::AddedEventId);
    let joined = Func::coalesce([added, Expr::value(Uuid::nil())]);
    col(webhook_cursor::Entity, webhook_cursor::Column::JoinedId).eq(joined)
}

/// Cursors of readers who take part and are not disabled, where they were not stopped.
fn going() -> SelectStatement {
    let mut select = webhook_cursor::seen();
    webhook_cursor::with_cursors(&mut select, JoinType::InnerJoin)
        .join(
            JoinType::InnerJoin,
            user::Entity,
            Expr::col((user::Entity, user::Column::Id)).equals((webhook::Entity, webhook::Column::ReaderId)),
        )
        .and_where(col(user::Entity, user::Column::DisabledAt).is_null())
        .and_where(col(webhook_cursor::Entity, webhook_cursor::Column::StoppedAt).is_null())
        .and_where(is_of_this_joining());
    select
}

/// Those whose next event is stored, of webhooks that their owner and the server want to go on.
fn pending() -> SelectStatement {
    let mut select = going();
    let next = Alias::new("next");
    select
        .join_as(
            JoinType::InnerJoin,
            event::Entity,
            next.clone(),
            Expr::col((next.clone(), event::Column::ConversationId))
                .equals((participant::Entity, participant::Column::ConversationId))
                .and(Expr::col((next, event::Column::Seq)).eq(next_seq())),
        )
        .and_where(col(webhook::Entity, webhook::Column::PausedAt).is_null())
        .and_where(col(webhook::Entity, webhook::Column::DisabledAt).is_null());
    select
}

/// What can be sent now, those first that failed least and waited longest.
pub(super) async fn find(db: &DatabaseConnection, which: Which, now: Timestamp) -> Result<Vec<Due>, DbErr> {
    use webhook_cursor::{Column as K, Entity as Cursor};
    let now = now.millis();
    let mut select = pending();
    select
        .expr_as(col(Cursor, K::WebhookId), Alias::new("webhook_id"))
        .expr_as(col(Cursor, K::ConversationId), Alias::new("conversation_id"))
        .expr_as(col(webhook::Entity, webhook::Column::Attempts), Alias::new("away"))
        .and_where(col(webhook::Entity, webhook::Column::NextAttemptAt).lte(now))
        .and_where(col(Cursor, K::LeaseUntil).lte(now))
        .order_by((Cursor, K::Attempts), Order::Asc)
        .order_by((Cursor, K::LastAttemptAt), Order::Asc)
        .limit(PAGE);
    let retry = col(Cursor, K::RetryAt);
    match which {
        Which::Retries => select.and_where(retry.lte(now)),
        Which::All => select.and_where(retry.clone().is_null().or(retry.lte(now))),
        Which::Told(ids) => {
            select.and_where(retry.clone().is_null().or(retry.lte(now)));
            select.and_where(col(participant::Entity, participant::Column::ConversationId).is_in(ids))
        }
    };
    Due::find_by_statement(db.get_database_backend().build(&select)).all(db).await
}

/// Of how many conversations something waits, and the time of the oldest event that does.
#[derive(Clone, Copy, Debug, FromQueryResult)]
pub(super) struct Waiting {
    pub conversations: i64,
    pub oldest: Option<i64>,
}

pub(super) async fn waiting(db: &DatabaseConnection) -> Result<Option<Waiting>, DbErr> {
    let mut select = pending();
    select
        .expr_as(
            Func::count(col(webhook_cursor::Entity, webhook_cursor::Column::WebhookId)),
            Alias::new("conversations"),
        )
        .expr_as(Func::min(Expr::col((Alias::new("next"), event::Column::CreatedAt))), Alias::new("oldest"));
    Waiting::find_by_statement(db.get_database_backend().build(&select)).one(db).await
}

/// Lets webhooks begin where their reader has joined.
pub(super) async fn begin(db: &DatabaseConnection, only: Option<Vec<Uuid>>) -> Result<(), DbErr> {
    // Nearly always there is nothing to do, and a statement that writes waits for whoever writes.
    if db.query_one(webhook_cursor::to_begin(only.clone()).limit(1)).await?.is_none() {
        return Ok(());
    }
    db.execute(&webhook_cursor::begin_where_joined(only)).await.map(|_| ())
}

/// Whether anything is to be delivered at all.
pub(super) async fn any(db: &DatabaseConnection) -> Result<bool, DbErr> {
    let active = webhook::Entity::find()
        .filter(webhook::Column::PausedAt.is_null())
        .filter(webhook::Column::DisabledAt.is_null());
    Ok(active.one(db).await?.is_some())
}

/// Takes those whose receiver was away, one request for each: whoever else looks meanwhile finds that it is not their time.
pub(super) async fn take_away(
    db: &DatabaseConnection,
    webhooks: Vec<Uuid>,
    now: Timestamp,
    until: Timestamp,
) -> Result<Vec<Uuid>, DbErr> {
    if webhooks.is_empty() {
        return Ok(Vec::new());
    }
    let taken = webhook::Entity::update_many()
        .col_expr(webhook::Column::NextAttemptAt, Expr::value(until.millis()))
        .filter(webhook::Column::Id.is_in(webhooks))
        .filter(webhook::Column::Attempts.gt(0))
        .filter(webhook::Column::NextAttemptAt.lte(now.millis()))
        .exec_with_returning(db)
        .await?;
    Ok(taken.into_iter().map(|row| row.id).collect())
}

/// Leases these; those that somebody else has are left out.
pub(super) async fn lease(
    db: &DatabaseConnection,
    wanted: &[Due],
    lease: Uuid,
    now: Timestamp,
    until: Timestamp,
) -> Result<Vec<(Uuid, Uuid)>, DbErr> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let mut these = Condition::any();
    for due in wanted {
        these = these.add(key(due.webhook_id, due.conversation_id));
    }
    let taken = webhook_cursor::Entity::update_many()
        .col_expr(webhook_cursor::Column::LeaseId, Expr::value(lease))
        .col_expr(webhook_cursor::Column::LeaseUntil, Expr::value(until.millis()))
        .filter(these)
        .filter(webhook_cursor::Column::LeaseUntil.lte(now.millis()))
        .exec_with_returning(db)
        .await?;
    Ok(taken.into_iter().map(|row| (row.webhook_id, row.conversation_id)).collect())
}

pub(super) fn key(webhook: Uuid, conversation: Uuid) -> Condition {
    Condition::all()
        .add(webhook_cursor::Column::WebhookId.eq(webhook))
        .add(webhook_cursor::Column::ConversationId.eq(conversation))
}

/// How things stand for one webhook in one conversation.
#[derive(Clone, Debug, FromQueryResult)]
pub(super) struct Standing {
    /// As the row has it.
    pub row_seq: i64,
    /// The next event that the reader may see.
    pub next_seq: i64,
    pub cursor_attempts: i64,
    pub cursor_failing_since: Option<i64>,
    pub role: String,
    pub kind: String,
    pub rights: Option<String>,
}

/// With the webhook, at this moment. `None`: it is not to be delivered any more, or somebody else has the lease.
pub(super) async fn standing(
    db: &DatabaseConnection,
    webhook: Uuid,
    conversation: Uuid,
    lease: Uuid,
) -> Result<Option<(webhook::Model, Standing)>, DbErr> {
    use webhook_cursor::{Column as K, Entity as Cursor};
    let mut select = going();
    select
        .expr_as(col(Cursor, K::NextSeq), Alias::new("row_seq"))
        .expr_as(next_seq(), Alias::new("next_seq"))
        .expr_as(col(Cursor, K::Attempts), Alias::new("cursor_attempts"))
        .expr_as(col(Cursor, K::FailingSince), Alias::new("cursor_failing_since"))
        .expr_as(col(participant::Entity, participant::Column::Role), Alias::new("role"))
        .expr_as(col(conversation::Entity, conversation::Column::Kind), Alias::new("kind"))
        .expr_as(col(conversation::Entity, conversation::Column::Rights), Alias::new("rights"))
        .and_where(col(Cursor, K::WebhookId).eq(webhook))
        .and_where(col(Cursor, K::ConversationId).eq(conversation))
        .and_where(col(Cursor, K::LeaseId).eq(lease));
    let standing = Standing::find_by_statement(db.get_database_backend().build(&select)).one(db).await?;
    let row = webhook::Entity::find_by_id(webhook).one(db).await?.filter(webhook::Model::is_active);
    Ok(row.zip(standing))
}

/// Of an event, what receivers are told.
#[derive(Clone, Debug, FromQueryResult)]
pub(super) struct EventRow {
    pub seq: i64,
    pub id: Uuid,
    pub kind: String,
    pub sender_id: Uuid,
    pub created_at: i64,
    pub target_id: Option<Uuid>,
}

/// What `reader` sees of the conversation from this event on, up to the first one that is not stored yet.
pub(super) async fn events(
    db: &DatabaseConnection,
    conversation: Uuid,
    reader: Uuid,
    from: i64,
) -> Result<Vec<EventRow>, DbErr> {
    use event::Column as E;
    let rows: Vec<EventRow> = event::Entity::of_for_user(conversation, reader)
        .select_only()
        .columns([E::Seq, E::Id, E::Kind, E::SenderId, E::CreatedAt, E::TargetId])
        // What is further on is not consecutive.
        .filter(E::Seq.between(from, from.saturating_add(READ - 1)))
        .order_by_asc(E::Seq)
        .into_model()
        .all(db)
        .await?;
    // With several persistence workers later events can be stored before earlier ones.
    let consecutive = (from..).zip(rows).take_while(|(seq, row)| row.seq == *seq);
    Ok(consecutive.map(|(_, row)| row).collect())
}

/// The ids of webhooks of conversations that their maker does not take part in any more.
pub(super) async fn orphans(db: &DatabaseConnection) -> Result<Vec<Uuid>, DbErr> {
    let still = Query::select()
        .expr(Expr::val(1))
        .from(participant::Entity)
        .and_where(
            Expr::col((participant::Entity, participant::Column::UserId))
                .equals((webhook::Entity, webhook::Column::ReaderId)),
        )
        .and_where(
            Expr::col((participant::Entity, participant::Column::ConversationId))
                .equals((webhook::Entity, webhook::Column::ConversationId)),
        )
        .to_owned();
    webhook::Entity::find()
        .select_only()
        .column(webhook::Column::Id)
        .filter(webhook::Column::ConversationId.is_not_null())
        .filter(webhook::Column::DisabledAt.is_null())
        .filter(Expr::exists(still).not())
        .into_tuple()
        .all(db)
        .await
}
