//! How far a webhook has got in a conversation, and whose turn it is to bring it further.

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{
    Alias, Expr, ExprTrait as _, Func, InsertStatement, JoinType, OnConflict, Query, SelectStatement, SimpleExpr,
};

use super::{conversation, event, participant, webhook};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "webhook_cursors")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub webhook_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub conversation_id: Uuid,
    /// The event that added the reader ([`participant::Model::added_event_id`]); nil: the one that created the conversation. Whoever
    /// comes back begins with the event that added them again.
    pub joined_id: Uuid,
    /// What is delivered next.
    pub next_seq: i64,
    /// How often in a row it was not taken.
    pub attempts: i64,
    /// Not before; none: nothing has failed.
    #[sea_orm(indexed)]
    pub retry_at: Option<i64>,
    pub failing_since: Option<i64>,
    /// The server gave up on this conversation, while the receiver takes those of others.
    pub stopped_at: Option<i64>,
    /// Of the last attempt: the status it was answered with, or why there was no answer.
    pub last_status: Option<i32>,
    pub last_error: Option<String>,
    pub last_attempt_at: i64,
    pub delivered_at: Option<i64>,
    /// Who works on it, and until when nobody else does.
    pub lease_id: Option<Uuid>,
    pub lease_until: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

fn of<T: Iden + 'static>(table: impl Iden + 'static, column: T) -> SimpleExpr {
    Expr::col((table, column))
}

/// The event that made the reader of a webhook see the conversation.
fn joined() -> SimpleExpr {
    let added = of(participant::Entity, participant::Column::AddedEventId);
    Func::coalesce([added, Expr::value(Uuid::nil())]).into()
}

/// Webhooks with the conversations that their readers see: what may be delivered at this moment.
pub fn seen() -> SelectStatement {
    let mut select = Query::select();
    select
        .from(webhook::Entity)
        .join(
            JoinType::InnerJoin,
            participant::Entity,
            Expr::col((participant::Entity, participant::Column::UserId))
                .equals((webhook::Entity, webhook::Column::ReaderId)),
        )
        .join(
            JoinType::InnerJoin,
            conversation::Entity,
            Expr::col((conversation::Entity, conversation::Column::Id))
                .equals((participant::Entity, participant::Column::ConversationId)),
        )
        .and_where(of(participant::Entity, participant::Column::ShutBy).is_null())
        .and_where(of(conversation::Entity, conversation::Column::DeletedAt).is_null())
        .and_where(
            of(webhook::Entity, webhook::Column::ConversationId).is_null().or(Expr::col((
                webhook::Entity,
                webhook::Column::ConversationId,
            ))
            .equals((participant::Entity, participant::Column::ConversationId))),
        );
    select
}

/// Joins the cursors to [`seen`].
pub fn with_cursors(select: &mut SelectStatement, join: JoinType) -> &mut SelectStatement {
    select.join(
        join,
        Entity,
        Expr::col((Entity, Column::WebhookId)).equals((webhook::Entity, webhook::Column::Id)).and(
            Expr::col((Entity, Column::ConversationId))
                .equals((participant::Entity, participant::Column::ConversationId)),
        ),
    )
}

const COLUMNS: [Column; 4] = [Column::WebhookId, Column::ConversationId, Column::JoinedId, Column::NextSeq];

fn insert(select: SelectStatement) -> InsertStatement {
    let mut again = OnConflict::columns([Column::WebhookId, Column::ConversationId]);
    again.update_columns([Column::JoinedId, Column::NextSeq]).values([
        (Column::Attempts, 0.into()),
        (Column::RetryAt, Expr::value(Option::<i64>::None)),
        (Column::FailingSince, Expr::value(Option::<i64>::None)),
        (Column::StoppedAt, Expr::value(Option::<i64>::None)),
    ]);
    let mut insert = Query::insert();
    insert.into_table(Entity).columns(COLUMNS).on_conflict(again);
    // Both have as many columns.
    let _ = insert.select_from(select);
    insert
}

/// Lets webhooks of service accounts begin in conversations that were joined since anybody looked, at the event that added the account, once
/// that is stored. `only`: these conversations and no others.
pub fn begin_where_joined(only: Option<Vec<Uuid>>) -> InsertStatement {
    insert(to_begin(only))
}

/// Where [`begin_where_joined`] has something to do: to ask takes no lock.
pub fn to_begin(only: Option<Vec<Uuid>>) -> SelectStatement {
    let added = Alias::new("added");
    let mut select = seen();
    with_cursors(&mut select, JoinType::LeftJoin)
        .join_as(
            JoinType::LeftJoin,
            event::Entity,
            added.clone(),
            Expr::col((added.clone(), event::Column::Id))
                .equals((participant::Entity, participant::Column::AddedEventId)),
        )
        .column((webhook::Entity, webhook::Column::Id))
        .column((participant::Entity, participant::Column::ConversationId))
        .expr(joined())
        .expr(Func::coalesce([Expr::col((added.clone(), event::Column::Seq)), Expr::value(1_i64)]))
        .and_where(of(Entity, Column::WebhookId).is_null().or(of(Entity, Column::JoinedId).ne(joined())))
        .and_where(
            of(participant::Entity, participant::Column::AddedEventId).is_null().or(Expr::col((
                added,
                event::Column::Seq,
            ))
            .is_not_null()),
        );
    if let Some(only) = only {
        select.and_where(of(participant::Entity, participant::Column::ConversationId).is_in(only));
    }
    select
}

/// Lets a new webhook begin behind everything that is stored.
pub fn begin_at_head(webhook: Uuid) -> InsertStatement {
    let newest = Query::select()
        .expr(Func::coalesce([Func::max(Expr::col((event::Entity, event::Column::Seq))).into(), Expr::value(0_i64)]))
        .from(event::Entity)
        .and_where(
            Expr::col((event::Entity, event::Column::ConversationId))
                .equals((participant::Entity, participant::Column::ConversationId)),
        )
        .to_owned();
    let mut select = seen();
    select
        .column((webhook::Entity, webhook::Column::Id))
        .column((participant::Entity, participant::Column::ConversationId))
        .expr(joined())
        .expr(SimpleExpr::from(Expr::SubQuery(None, Box::new(newest.into()))).add(1))
        .and_where(of(webhook::Entity, webhook::Column::Id).eq(webhook));
    insert(select)
}
