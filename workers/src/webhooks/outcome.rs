//! What an answer, or none, means for the webhook and for the conversation.

use std::time::Duration;

use sea_orm::prelude::Uuid;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait as _,
    PaginatorTrait as _, QueryFilter as _,
};
use sealpost_outgoing::SendError;
use sealpost_schema::Timestamp;
use sealpost_schema::entities::{audit, webhook, webhook_cursor};
use serde_json::json;

use super::config::WebhookWorkerConfig;
use super::due::{Standing, key};
use crate::transaction::begin;

/// Conversations that have to be refused, with nothing taken meanwhile, before it is thought to be the receiver's fault and not theirs.
const REFUSED_ALL: u64 = 3;
/// The time of the last success is written this often.
const NOTE_SUCCESS: Duration = Duration::from_secs(1);
const MAX_ERROR_CHARS: usize = 200;

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Taken(u16),
    /// It was answered, and not taken.
    Refused(u16),
    Failed(SendError),
}

impl Answer {
    pub fn of(sent: Result<u16, SendError>) -> Self {
        match sent {
            Ok(status @ 200..=299) => Self::Taken(status),
            Ok(status) => Self::Refused(status),
            Err(error) => Self::Failed(error),
        }
    }

    pub fn is_taken(&self) -> bool {
        matches!(self, Self::Taken(_))
    }

    pub fn status(&self) -> Option<i32> {
        match self {
            Self::Taken(status) | Self::Refused(status) => Some(i32::from(*status)),
            Self::Failed(_) => None,
        }
    }

    /// In words, cut to what the column should hold.
    pub fn error(&self) -> Option<String> {
        let text = match self {
            Self::Taken(_) => return None,
            Self::Refused(status @ 300..=399) => {
                format!("it answered with status {status}; redirections are not followed")
            }
            Self::Refused(status) => format!("it answered with status {status}"),
            Self::Failed(error) => error.to_string(),
        };
        Some(text.chars().take(MAX_ERROR_CHARS).collect())
    }

    /// Whether it says nothing about what was sent: the receiver is away, or has too much to do.
    fn is_away(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Refused(429 | 502 | 503 | 504))
    }
}

/// A leased cursor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leased {
    pub webhook: Uuid,
    pub conversation: Uuid,
    pub lease: Uuid,
    /// The one request by which a receiver that was away is asked.
    pub is_probe: bool,
}

/// Moves the cursor on, if it stands where it stood: a replay moves it meanwhile. `false`: it does not, or the lease is lost.
pub(super) async fn advance(
    db: &DatabaseConnection,
    leased: Leased,
    from: i64,
    to: i64,
    answer: Option<&Answer>,
    (now, until): (Timestamp, Timestamp),
) -> Result<bool, DbErr> {
    let mut change =
        webhook_cursor::ActiveModel { next_seq: Set(to), lease_until: Set(until.millis()), ..Default::default() };
    if let Some(answer) = answer {
        change.attempts = Set(0);
        change.retry_at = Set(None);
        change.failing_since = Set(None);
        change.last_status = Set(answer.status());
        change.last_error = Set(None);
        change.last_attempt_at = Set(now.millis());
        change.delivered_at = Set(Some(now.millis()));
    }
    let moved = webhook_cursor::Entity::update_many()
        .set(change)
        .filter(key(leased.webhook, leased.conversation))
        .filter(webhook_cursor::Column::LeaseId.eq(leased.lease))
        .filter(webhook_cursor::Column::NextSeq.eq(from))
        .exec(db)
        .await?;
    Ok(moved.rows_affected == 1)
}

/// The receiver takes something: it is there. `true`: it had been away.
pub(super) async fn note_success(
    db: &DatabaseConnection,
    webhook: &webhook::Model,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let was_away = webhook.attempts > 0 || webhook.failing_since.is_some();
    let lately = now.minus(NOTE_SUCCESS).millis();
    if !was_away && webhook.last_success_at.is_some_and(|at| at > lately) {
        return Ok(false);
    }
    let change = webhook::ActiveModel {
        attempts: Set(0),
        next_attempt_at: Set(0),
        failing_since: Set(None),
        last_success_at: Set(Some(now.millis())),
        ..Default::default()
    };
    webhook::Entity::update_many().set(change).filter(webhook::Column::Id.eq(webhook.id)).exec(db).await?;
    Ok(was_away)
}

/// It was not taken: when to try again, and whether at all.
pub(super) async fn note_failure(
    db: &DatabaseConnection,
    config: &WebhookWorkerConfig,
    leased: Leased,
    webhook: &webhook::Model,
    standing: &Standing,
    answer: &Answer,
    now: Timestamp,
) -> Result<(), DbErr> {
    let since = standing.cursor_failing_since.unwrap_or(now.millis());
    let is_away = answer.is_away() || refuses_all(db, webhook, leased.conversation).await?;
    let retry_at = if is_away {
        now.plus(config.delay(webhook.attempts.saturating_add(1)))
    } else {
        now.plus(config.delay(standing.cursor_attempts.saturating_add(1)))
    };
    // Others take a success for a sign that it is this conversation's fault.
    let takes_others = webhook.last_success_at.is_some_and(|at| at > since);
    let too_long = |since: i64| now.minus(config.give_up()).millis() >= since;
    let stops = !is_away && takes_others && too_long(since);
    let change = webhook_cursor::ActiveModel {
        attempts: Set(standing.cursor_attempts.saturating_add(1)),
        retry_at: Set(Some(retry_at.millis())),
        failing_since: Set(Some(since)),
        stopped_at: Set(stops.then_some(now.millis())),
        last_status: Set(answer.status()),
        last_error: Set(answer.error()),
        last_attempt_at: Set(now.millis()),
        ..Default::default()
    };
    webhook_cursor::Entity::update_many()
        .set(change)
        .filter(key(leased.webhook, leased.conversation))
        .filter(webhook_cursor::Column::LeaseId.eq(leased.lease))
        .filter(webhook_cursor::Column::NextSeq.eq(standing.row_seq))
        .exec(db)
        .await?;
    if is_away {
        let change = webhook::ActiveModel {
            attempts: Set(webhook.attempts.saturating_add(1)),
            next_attempt_at: Set(retry_at.millis()),
            failing_since: Set(Some(webhook.failing_since.unwrap_or(now.millis()))),
            ..Default::default()
        };
        // Requests that failed at the same time count once.
        webhook::Entity::update_many()
            .set(change)
            .filter(webhook::Column::Id.eq(webhook.id))
            .filter(webhook::Column::Attempts.eq(webhook.attempts))
            .exec(db)
            .await?;
    }
    if stops {
        tracing::warn!(webhook = %webhook.id, conversation = %leased.conversation, "a webhook takes nothing of this conversation and was stopped there");
        return Ok(());
    }
    let away_too_long = is_away && webhook.failing_since.is_some_and(too_long);
    if away_too_long || (!takes_others && too_long(since)) {
        disable(db, vec![webhook.id], webhook::reason::FAILED, now).await?;
    }
    Ok(())
}

/// Whether it refuses what it is sent, whatever conversation that is of.
async fn refuses_all(db: &DatabaseConnection, webhook: &webhook::Model, this: Uuid) -> Result<bool, DbErr> {
    let others = webhook_cursor::Entity::find()
        .filter(webhook_cursor::Column::WebhookId.eq(webhook.id))
        .filter(webhook_cursor::Column::ConversationId.ne(this))
        .filter(webhook_cursor::Column::FailingSince.gt(webhook.last_success_at.unwrap_or(i64::MIN)))
        .count(db)
        .await?;
    Ok(others + 1 >= REFUSED_ALL)
}

/// Lets others have the conversation.
pub(super) async fn release(db: &DatabaseConnection, leased: Leased) -> Result<(), DbErr> {
    let change = webhook_cursor::ActiveModel { lease_id: Set(None), lease_until: Set(0), ..Default::default() };
    webhook_cursor::Entity::update_many()
        .set(change)
        .filter(key(leased.webhook, leased.conversation))
        .filter(webhook_cursor::Column::LeaseId.eq(leased.lease))
        .exec(db)
        .await?;
    Ok(())
}

/// Gives up on webhooks, and records it.
pub(super) async fn disable(
    db: &DatabaseConnection,
    webhooks: Vec<Uuid>,
    reason: &str,
    now: Timestamp,
) -> Result<(), DbErr> {
    let transaction = begin(db).await?;
    let disabled = webhook::Entity::update_many()
        .col_expr(webhook::Column::DisabledAt, Expr::value(now.millis()))
        .col_expr(webhook::Column::DisabledReason, Expr::value(reason))
        .filter(webhook::Column::Id.is_in(webhooks))
        .filter(webhook::Column::DisabledAt.is_null())
        .exec_with_returning(&transaction)
        .await?;
    record(&transaction, &disabled, reason, now).await?;
    transaction.commit().await?;
    for webhook in disabled {
        tracing::warn!(webhook = %webhook.id, reason, "a webhook was disabled");
        metrics::counter!("sealpost_webhooks_disabled_total", "reason" => reason.to_owned()).increment(1);
    }
    Ok(())
}

/// As the gateway's audit log has them: ids, and words of this program.
async fn record(
    db: &impl ConnectionTrait,
    disabled: &[webhook::Model],
    reason: &str,
    now: Timestamp,
) -> Result<(), DbErr> {
    let rows = disabled.iter().map(|webhook| audit::ActiveModel {
        id: Set(Uuid::now_v7()),
        at: Set(now.millis()),
        action: Set("webhook_disabled".to_owned()),
        actor_id: Set(None),
        user_id: Set(Some(webhook.reader_id)),
        session_id: Set(None),
        address: Set(None),
        user_agent: Set(None),
        details: Set(json!({ "webhook_id": webhook.id, "reason": reason }).to_string()),
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return Ok(());
    }
    audit::Entity::insert_many(rows).exec_without_returning(db).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_success_is_taken_and_only_silence_is_the_receivers_fault() {
        for status in [200, 201, 204, 299] {
            assert!(Answer::of(Ok(status)).is_taken());
        }
        for status in [100, 199, 301, 400, 404, 410, 500] {
            let answer = Answer::of(Ok(status));
            assert!(!answer.is_taken() && !answer.is_away(), "{status}");
        }
        for away in [Ok(429), Ok(502), Ok(503), Ok(504), Err(SendError::Timeout), Err(SendError::Closed)] {
            assert!(Answer::of(away.clone()).is_away(), "{away:?}");
        }
        assert!(Answer::of(Ok(302)).error().unwrap().contains("not followed"));
        let long = Answer::of(Err(SendError::Connect("x".repeat(1000)))).error().unwrap();
        assert_eq!(long.chars().count(), MAX_ERROR_CHARS);
    }
}
