//! `GET /conversations/{conversation_id}/receipts` and `GET /messages/{message_id}/receipts`

use axum::Json;
use axum::extract::State;
use sea_orm::sea_query::{Expr, ExprTrait as _, Query};
use sea_orm::{ColumnTrait as _, FromQueryResult, QueryFilter as _, QueryOrder as _, QuerySelect as _};
use sealpost_schema::entities::{participant, user};
use sealpost_schema::{ConversationId, MessageId, Problem, Seq, UserId};
use serde::Serialize;

use super::MAX_SHOWN;
use super::write::who_hides_reading;
use crate::auth::Principal;
use crate::conversations::find_visible;
use crate::messages;
use crate::problem::{ApiError, ApiResult, Path};
use crate::state::App;

/// How far a participant has got.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ReceiptResponse {
    pub user_id: UserId,
    pub delivered_seq: Seq,
    /// `null` if the participant shows nobody what they have read.
    pub read_seq: Option<Seq>,
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct GetReceiptsResponse {
    pub participants: u64,
    /// Of everybody, oneself included; `null` in conversations of more than 50.
    pub receipts: Option<Vec<ReceiptResponse>>,
}

/// How far the participants have got
#[utoipa::path(
    get, path = "/conversations/{conversation_id}/receipts", tag = "messages", security(("bearer" = [])),
    params(("conversation_id" = ConversationId, Path)),
    responses(
        (status = 200, body = GetReceiptsResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such conversation for you"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn get_receipts(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<ConversationId>,
) -> ApiResult<Json<GetReceiptsResponse>> {
    find_visible(&app, principal.user_id, id, "conversation").await?;
    let receipts = shown(&app, principal.user_id, id).await?;
    let participants = match &receipts {
        Some(receipts) => receipts.len() as u64,
        None => counts(&app, principal.user_id, id, Seq(0)).await?.participants(),
    };
    Ok(Json(GetReceiptsResponse { participants, receipts }))
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MessageStatus {
    /// The store has committed it.
    Stored,
    /// Some device of everybody else has it.
    Delivered,
    /// Everybody else has read it, of those who show that.
    Read,
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct GetMessageReceiptsResponse {
    pub status: MessageStatus,
    /// Participants beside the message's sender.
    pub recipients: u64,
    /// Of them, those who have it.
    pub delivered: u64,
    /// Of them, those who have read it and show that.
    pub read: u64,
    /// Of everybody; `null` in conversations of more than 50.
    pub receipts: Option<Vec<ReceiptResponse>>,
}

/// Who has got a message, and who has read it
#[utoipa::path(
    get, path = "/messages/{message_id}/receipts", tag = "messages", security(("bearer" = [])),
    params(("message_id" = MessageId, Path)),
    responses(
        (status = 200, body = GetMessageReceiptsResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such message for you"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn get_message_receipts(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<MessageId>,
) -> ApiResult<Json<GetMessageReceiptsResponse>> {
    let message = messages::find(&app, principal.user_id, id).await?;
    let conversation = ConversationId(message.conversation_id);
    let counts = counts(&app, UserId(message.sender_id), conversation, Seq::from_db(message.seq)).await?;
    let receipts = shown(&app, principal.user_id, conversation).await?;
    Ok(Json(GetMessageReceiptsResponse {
        status: counts.status(),
        recipients: counts.others.unsigned_abs(),
        delivered: counts.delivered.unwrap_or(0).unsigned_abs(),
        read: counts.read.unwrap_or(0).unsigned_abs(),
        receipts,
    }))
}

/// Everybody's marks as `me` may see them; `None` in large conversations.
async fn shown(app: &App, me: UserId, id: ConversationId) -> ApiResult<Option<Vec<ReceiptResponse>>> {
    let rows = participant::Entity::of(id.0)
        .order_by_asc(participant::Column::UserId)
        .limit(MAX_SHOWN + 1)
        .all(&app.db)
        .await
        .map_err(|error| ApiError::store(&error))?;
    if rows.len() as u64 > MAX_SHOWN {
        return Ok(None);
    }
    let hiding = who_hides_reading(app, rows.iter().map(|row| row.user_id)).await;
    let hiding = hiding.map_err(|error| ApiError::store(&error))?;
    let receipts = rows.into_iter().map(|row| ReceiptResponse {
        user_id: UserId(row.user_id),
        delivered_seq: Seq::from_db(row.delivered_seq),
        read_seq: (row.user_id == me.0 || !hiding.contains(&row.user_id)).then(|| Seq::from_db(row.read_seq)),
    });
    Ok(Some(receipts.collect()))
}

/// Participants beside one.
#[derive(FromQueryResult)]
struct Counts {
    others: i64,
    delivered: Option<i64>,
    /// Those who show it.
    read: Option<i64>,
    hiding: Option<i64>,
}

impl Counts {
    fn participants(&self) -> u64 {
        self.others.unsigned_abs() + 1
    }

    fn status(&self) -> MessageStatus {
        let (delivered, read) = (self.delivered.unwrap_or(0), self.read.unwrap_or(0));
        let showing = self.others - self.hiding.unwrap_or(0);
        if self.others == 0 || delivered < self.others {
            return MessageStatus::Stored;
        }
        // Of those who hide it nobody can say it; if all do, it stays at delivered.
        if showing > 0 && read == showing { MessageStatus::Read } else { MessageStatus::Delivered }
    }
}

/// One query: how many of the participants beside `sender` have come to `seq`.
async fn counts(app: &App, sender: UserId, id: ConversationId, seq: Seq) -> ApiResult<Counts> {
    use participant::Column as P;
    let hides = Expr::exists(
        Query::select()
            .expr(Expr::val(1))
            .from(user::Entity)
            .and_where(
                Expr::col((user::Entity, user::Column::Id)).equals((participant::Entity, participant::Column::UserId)),
            )
            .and_where(user::Column::ReadReceipts.eq(false))
            .to_owned(),
    );
    let one_if = |condition: Expr| Expr::expr(Expr::case(condition, 1).finally(0)).sum();
    participant::Entity::of(id.0)
        .select_only()
        .column_as(P::UserId.count(), "others")
        .column_as(one_if(P::DeliveredSeq.gte(seq.to_db())), "delivered")
        .column_as(one_if(P::ReadSeq.gte(seq.to_db()).and(hides.clone().not())), "read")
        .column_as(one_if(hides), "hiding")
        .filter(P::UserId.ne(sender.0))
        .into_model::<Counts>()
        .one(&app.db)
        .await
        .map_err(|error| ApiError::store(&error))?
        .ok_or_else(|| ApiError::internal(&"a count without an answer"))
}
