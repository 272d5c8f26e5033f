//! `GET /webhooks/{id}/deliveries`

use axum::Json;
use axum::extract::State;
use sea_orm::FromQueryResult;
use sea_orm::prelude::Uuid;
use sea_orm::sea_query::{Alias, Expr, ExprTrait as _, Func, JoinType, Order, Query as Select, SelectStatement};
use sealpost_schema::entities::{event, participant, webhook, webhook_cursor};
use sealpost_schema::{ConversationId, Problem, Seq, Timestamp};
use serde::{Deserialize, Serialize};

use super::load;
use crate::auth::Principal;
use crate::page;
use crate::problem::{ApiError, ApiResult, Path, Query};
use crate::state::App;

const MAX_LIMIT: u64 = 200;

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListDeliveriesQuery {
    /// Only conversations of which something was not taken.
    #[serde(default)]
    pub failing: bool,
    /// 1 to 200.
    #[serde(default = "default_limit")]
    #[param(minimum = 1, maximum = 200, default = 50)]
    pub limit: u64,
    /// `next` of the page before.
    pub after: Option<ConversationId>,
}

fn default_limit() -> u64 {
    50
}

/// How far a webhook has got in one conversation.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct DeliveryResponse {
    pub conversation_id: ConversationId,
    /// What is delivered next.
    pub next_seq: Seq,
    /// The last event that is stored. All is delivered if it is below `next_seq`.
    pub head_seq: Seq,
    /// How often in a row it was not taken.
    pub attempts: u64,
    pub failing_since: Option<Timestamp>,
    /// When it is tried again.
    pub next_attempt_at: Option<Timestamp>,
    /// The server gave up on this conversation, while others are taken. A replay lets it go on.
    pub stopped: bool,
    /// Of the last attempt: the status it was answered with, or why there was no answer.
    #[schema(example = 500)]
    pub last_status: Option<i32>,
    #[schema(example = "it answered with status 500")]
    pub last_error: Option<String>,
    pub last_attempt_at: Option<Timestamp>,
    /// When something was taken last.
    pub delivered_at: Option<Timestamp>,
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct ListDeliveriesResponse {
    /// By id of the conversation.
    pub conversations: Vec<DeliveryResponse>,
    /// If there are more: send it as `after`.
    pub next: Option<ConversationId>,
}

#[derive(FromQueryResult)]
struct Row {
    conversation_id: Uuid,
    next_seq: i64,
    visible_from: i64,
    head_seq: i64,
    attempts: i64,
    retry_at: Option<i64>,
    failing_since: Option<i64>,
    stopped_at: Option<i64>,
    last_status: Option<i32>,
    last_error: Option<String>,
    last_attempt_at: i64,
    delivered_at: Option<i64>,
}

impl From<Row> for DeliveryResponse {
    fn from(row: Row) -> Self {
        // Somebody whose joining is not stored yet sees nothing.
        let next = if row.visible_from == participant::NOT_YET {
            row.next_seq
        } else {
            std::cmp::max(row.next_seq, row.visible_from)
        };
        Self {
            conversation_id: ConversationId(row.conversation_id),
            next_seq: Seq::from_db(next),
            head_seq: Seq::from_db(row.head_seq),
            attempts: u64::try_from(row.attempts).unwrap_or(0),
            failing_since: row.failing_since.map(Timestamp::from_millis),
            next_attempt_at: row.retry_at.map(Timestamp::from_millis),
            stopped: row.stopped_at.is_some(),
            last_status: row.last_status,
            last_error: row.last_error,
            last_attempt_at: (row.last_attempt_at > 0).then_some(Timestamp::from_millis(row.last_attempt_at)),
            delivered_at: row.delivered_at.map(Timestamp::from_millis),
        }
    }
}

/// Of what its reader sees at this moment.
fn select(id: Uuid) -> SelectStatement {
    use webhook_cursor::{Column as K, Entity as Cursor};
    let newest = Select::select()
        .expr(Func::coalesce([Func::max(Expr::col((event::Entity, event::Column::Seq))).into(), Expr::value(0_i64)]))
        .from(event::Entity)
        .and_where(Expr::col((event::Entity, event::Column::ConversationId)).equals((Cursor, K::ConversationId)))
        .to_owned();
    let mut select = webhook_cursor::seen();
    webhook_cursor::with_cursors(&mut select, JoinType::InnerJoin)
        .columns(
            [
                K::ConversationId,
                K::NextSeq,
                K::Attempts,
                K::RetryAt,
                K::FailingSince,
                K::StoppedAt,
                K::LastStatus,
                K::LastError,
                K::LastAttemptAt,
                K::DeliveredAt,
            ]
            .map(|column| (Cursor, column)),
        )
        .column((participant::Entity, participant::Column::VisibleFrom))
        .expr_as(Expr::SubQuery(None, Box::new(newest.into())), Alias::new("head_seq"))
        .and_where(Expr::col((webhook::Entity, webhook::Column::Id)).eq(id))
        .order_by((Cursor, K::ConversationId), Order::Asc);
    select
}

/// See what became of deliveries
///
/// One row for each conversation that the webhook has begun with.
#[utoipa::path(
    get, path = "/webhooks/{id}/deliveries", tag = "webhooks", security(("bearer" = [])),
    params(("id" = Uuid, Path), ListDeliveriesQuery),
    responses(
        (status = 200, body = ListDeliveriesResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "Your role does not allow it"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "You have no such webhook"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A value is not allowed"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn list_deliveries(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<Uuid>,
    Query(query): Query<ListDeliveriesQuery>,
) -> ApiResult<Json<ListDeliveriesResponse>> {
    use webhook_cursor::{Column as K, Entity as Cursor};
    page::check_limit(query.limit, MAX_LIMIT)?;
    load(&app, principal, id).await?;
    let mut select = select(id);
    select.limit(query.limit + 1);
    if let Some(after) = query.after {
        select.and_where(Expr::col((Cursor, K::ConversationId)).gt(after.0));
    }
    if query.failing {
        select.and_where(Expr::col((Cursor, K::FailingSince)).is_not_null());
    }
    let statement = app.db.get_database_backend().build(&select);
    let mut rows = Row::find_by_statement(statement).all(&app.db).await.map_err(|error| ApiError::store(&error))?;
    let has_more = page::cut(&mut rows, query.limit);
    let next = rows.last().filter(|_| has_more).map(|last| ConversationId(last.conversation_id));
    Ok(Json(ListDeliveriesResponse { conversations: rows.into_iter().map(Into::into).collect(), next }))
}

/// One of them.
pub(super) async fn find_one(app: &App, id: Uuid, conversation: ConversationId) -> ApiResult<Option<DeliveryResponse>> {
    use webhook_cursor::{Column as K, Entity as Cursor};
    let mut select = select(id);
    select.and_where(Expr::col((Cursor, K::ConversationId)).eq(conversation.0));
    let statement = app.db.get_database_backend().build(&select);
    let row = Row::find_by_statement(statement).one(&app.db).await.map_err(|error| ApiError::store(&error))?;
    Ok(row.map(Into::into))
}
