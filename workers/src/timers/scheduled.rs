//! Sends scheduled messages.
//!
//! A row is *waiting* until a worker claims it: from then on it is *sending*, and its user can change it no more. The worker appends the
//! event, which was sealed under the row's id when it was written, under a key of its own: if the message disappears, the key goes with it. The row goes when the store has the event: so a worker that dies between
//! claiming and appending, or between appending and tidying up, and a log that loses its tail, leave a row that another worker takes. It
//! may append the same event again, which lanes and store know by its id and client message id. Whether the sender may post is decided by
//! the lane at that moment.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use sea_orm::prelude::Uuid;
use sea_orm::sea_query::{Expr, ExprTrait as _, LockBehavior, LockType, Query, SelectStatement};
use sea_orm::{
    ColumnTrait as _, Condition, DatabaseConnection, DbErr, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _,
};
use sealpost_bus::{Live, Subject};
use sealpost_lane::{Appended, Draft, LaneError, Lanes, Rule, expiry};
use sealpost_schema::entities::scheduled_message::{Column, Entity, Model};
use sealpost_schema::entities::{conversation_key, event, user};
use sealpost_schema::{
    ClientMessageId, Clock, ControlNotice, ConversationId, EventBody, EventId, MessageId, ScheduledFailure,
    ScheduledNotice, ScheduledState, Timestamp, UserId,
};
use tokio_util::sync::CancellationToken;

use super::alarm::Alarm;
use super::{MIN_PAUSE, TimersConfig, millis_until, tell_late};
use crate::retry::Backoff;
use crate::transaction::begin;

/// While sent messages wait for the store, their rows are looked at so often.
const SETTLE: Duration = Duration::from_millis(500);
/// The settings may change between looking at them and sending, so often in a row.
const MAX_CHANGES: u32 = 3;

struct Sender {
    lanes: Lanes,
    live: Arc<dyn Live>,
    db: DatabaseConnection,
    config: TimersConfig,
    clock: Clock,
    /// Claims from before are of workers that may be gone; taken over in the first round, without waiting for the lease.
    started: Timestamp,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, Default)]
struct Outlook {
    /// When the next one is due.
    next: Option<Timestamp>,
    /// The oldest claim.
    claimed: Option<Timestamp>,
}

pub(super) async fn run(
    lanes: Lanes,
    live: Arc<dyn Live>,
    db: DatabaseConnection,
    config: TimersConfig,
    clock: Clock,
    stop: CancellationToken,
) {
    let mut alarm = Alarm::new(Arc::clone(&live));
    let mut backoff = Backoff::new(config.retry_max());
    let sender = Sender { lanes, live, db, started: clock.now(), config, clock };
    let mut first = true;
    while !stop.is_cancelled() {
        alarm.listen().await;
        let pause = match sender.round(first, &stop).await {
            Ok(pause) => pause,
            Err(error) => {
                tracing::warn!(%error, "scheduled messages could not be looked at; trying again");
                if !backoff.wait(&stop).await {
                    return;
                }
                continue;
            }
        };
        backoff.reset();
        first = false;
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = alarm.rings() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

impl Sender {
    /// Does what is due; says how long there is nothing to do, as far as is known.
    async fn round(&self, first: bool, stop: &CancellationToken) -> Result<Duration, DbErr> {
        let mut outlook = self.look().await?;
        if outlook.claimed.is_some() {
            self.settle().await?;
        }
        let abandoned = self.abandoned_before(first);
        let is_due = |outlook: Outlook| {
            outlook.next.is_some_and(|next| next <= self.clock.now())
                || outlook.claimed.is_some_and(|claimed| claimed < abandoned)
        };
        while is_due(outlook) && !stop.is_cancelled() {
            let rows = self.claim(abandoned).await?;
            if rows.is_empty() {
                // Others are at it.
                break;
            }
            self.send_all(rows).await?;
            self.settle().await?;
            outlook = self.look().await?;
        }
        let now = self.clock.now();
        let late = outlook.next.map_or(0, |next| std::cmp::max(now.millis() - next.millis(), 0));
        tell_late("sealpost_scheduled_late_seconds", late);
        let until_next = outlook.next.map(|next| Duration::from_millis(millis_until(now, next)));
        let settle = outlook.claimed.map(|_| SETTLE);
        let pause = [until_next, settle].into_iter().flatten().min().unwrap_or(Duration::MAX);
        // Others may hold what is due.
        Ok(pause.clamp(MIN_PAUSE, self.config.interval().max(MIN_PAUSE)))
    }

    fn abandoned_before(&self, first: bool) -> Timestamp {
        let leased = self.clock.now().minus(self.config.lease());
        if first { leased.max(self.started) } else { leased }
    }

    async fn look(&self) -> Result<Outlook, DbErr> {
        let least = async |state: ScheduledState, column: Column| {
            let least: Option<Option<i64>> = Entity::find()
                .select_only()
                .column_as(column.min(), "least")
                .filter(Column::State.eq(state.as_str()))
                .into_tuple()
                .one(&self.db)
                .await?;
            Ok::<_, DbErr>(least.flatten().map(Timestamp::from_millis))
        };
        Ok(Outlook {
            next: least(ScheduledState::Waiting, Column::SendAt).await?,
            claimed: least(ScheduledState::Sending, Column::ClaimedAt).await?,
        })
    }

    /// Takes what is due, and what was claimed before `abandoned`; what another worker is taking now is left to it.
    async fn claim(&self, abandoned: Timestamp) -> Result<Vec<Model>, DbErr> {
        let now = self.clock.now().millis();
        let due = Condition::all().add(Column::State.eq(ScheduledState::Waiting.as_str())).add(Column::SendAt.lte(now));
        let left = Condition::all()
            .add(Column::State.eq(ScheduledState::Sending.as_str()))
            .add(Column::ClaimedAt.lt(abandoned.millis()));
        let transaction = begin(&self.db).await?;
        let mut rows = Entity::find()
            .filter(Condition::any().add(due).add(left))
            .order_by_asc(Column::SendAt)
            .order_by_asc(Column::Id)
            .limit(self.config.page)
            .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
            .all(&transaction)
            .await?;
        if !rows.is_empty() {
            Entity::update_many()
                .col_expr(Column::State, Expr::value(ScheduledState::Sending.as_str()))
                .col_expr(Column::ClaimedAt, Expr::value(now))
                .filter(Column::Id.is_in(rows.iter().map(|row| row.id)))
                .exec(&transaction)
                .await?;
        }
        transaction.commit().await?;
        for row in &mut rows {
            row.claimed_at = Some(now);
        }
        Ok(rows)
    }

    async fn send_all(&self, rows: Vec<Model>) -> Result<(), DbErr> {
        let senders: HashSet<Uuid> = rows.iter().map(|row| row.user_id).collect();
        let active: Vec<Uuid> = user::Entity::active()
            .select_only()
            .column(user::Column::Id)
            .filter(user::Column::Id.is_in(senders))
            .into_tuple()
            .all(&self.db)
            .await?;
        let active: HashSet<Uuid> = active.into_iter().collect();
        let mut by_conversation: BTreeMap<Uuid, Vec<Model>> = BTreeMap::new();
        for row in rows {
            by_conversation.entry(row.conversation_id).or_default().push(row);
        }
        let sent: Vec<Result<(), DbErr>> = stream::iter(by_conversation.into_values())
            .map(|rows| self.send_in_order(rows, &active))
            .buffer_unordered(self.config.concurrency)
            .collect()
            .await;
        sent.into_iter().collect()
    }

    async fn send_in_order(&self, rows: Vec<Model>, active: &HashSet<Uuid>) -> Result<(), DbErr> {
        for row in rows {
            if !active.contains(&row.user_id) {
                self.fail(&row, ScheduledFailure::AccountDisabled).await?;
            } else if !self.send(&row).await? {
                // Nor could the others be: they wait for the end of the lease.
                break;
            }
        }
        Ok(())
    }

    /// False: the conversation takes nothing now.
    async fn send(&self, row: &Model) -> Result<bool, DbErr> {
        let failure = match self.append(row).await {
            Ok(appended) if appended.event.id.0 == row.id => {
                metrics::counter!("sealpost_scheduled_sent_total").increment(1);
                self.tell(row, ScheduledState::Sent, None).await;
                return Ok(true);
            }
            Ok(_) => ScheduledFailure::ClientMessageIdReused,
            Err(LaneError::NotFound) => ScheduledFailure::NotAParticipant,
            Err(LaneError::Forbidden) => ScheduledFailure::Forbidden,
            Err(error @ (LaneError::Unavailable(_) | LaneError::OutcomeUnknown | LaneError::Changed)) => {
                // It may be in the log. Whoever takes the row after the lease finds out.
                tracing::warn!(scheduled = %row.id, %error, "a scheduled message could not be sent; trying again");
                return Ok(false);
            }
            Err(error) => {
                tracing::error!(scheduled = %row.id, %error, "a scheduled message is refused");
                ScheduledFailure::Refused
            }
        };
        self.fail(row, failure).await?;
        Ok(true)
    }

    /// It disappears as the settings say at this moment.
    async fn append(&self, row: &Model) -> Result<Appended, LaneError> {
        let conversation = ConversationId(row.conversation_id);
        let mut changes = 0;
        loop {
            let disappear_after = self.lanes.disappear_after(conversation).await?;
            let draft = self.draft(row, disappear_after).map_err(LaneError::Refused)?;
            match self.lanes.append(conversation, draft).await {
                Err(LaneError::Changed) if changes < MAX_CHANGES => changes += 1,
                result => return result,
            }
        }
    }

    fn draft(&self, row: &Model, disappear_after: Option<u32>) -> Result<Draft, String> {
        let links = row.links.as_deref().map(serde_json::from_str).transpose().map_err(|error| error.to_string())?;
        let name = ClientMessageId::try_from(row.client_message_id.clone()).map_err(|error| error.to_string())?;
        let (now, sealed) = (self.clock.now(), row.sealed.clone());
        let expires_at = expiry(disappear_after, now);
        Ok(Draft {
            id: EventId(row.id),
            sender_id: UserId(row.user_id),
            created_at: now,
            body: EventBody::MessagePosted { client_message_id: name, sealed, links, expires_at },
            rule: Rule::Post,
            retry: true,
        })
    }

    /// It was refused and was not sent. Unless another worker has claimed it since: then that one's word counts.
    async fn fail(&self, row: &Model, failure: ScheduledFailure) -> Result<(), DbErr> {
        let failed = Entity::update_many()
            .col_expr(Column::State, Expr::value(ScheduledState::Failed.as_str()))
            .col_expr(Column::Failure, Expr::value(failure.as_str()))
            .filter(Column::Id.eq(row.id))
            .filter(Column::State.eq(ScheduledState::Sending.as_str()))
            .filter(Column::ClaimedAt.eq(row.claimed_at))
            .exec(&self.db)
            .await?;
        if failed.rows_affected > 0 {
            metrics::counter!("sealpost_scheduled_failed_total").increment(1);
            tracing::info!(scheduled = %row.id, failure = failure.as_str(), "a scheduled message was refused");
            self.tell(row, ScheduledState::Failed, Some(failure)).await;
        }
        Ok(())
    }

    /// Rows whose event is stored go, and the keys of messages that disappear get their end. One that the store kept as `void` repeats a
    /// message that the lane had forgotten.
    async fn settle(&self) -> Result<(), DbErr> {
        let sent: Vec<(Uuid, Uuid, i32, Option<i64>)> = Entity::find()
            .select_only()
            .columns([Column::Id, Column::ConversationId, Column::KeyGeneration])
            .column_as(Expr::SubQuery(None, Box::new(stored_expiry().into())), "expires_at")
            .filter(Column::State.eq(ScheduledState::Sending.as_str()))
            .filter(Expr::exists(stored_as("message_posted")))
            .limit(self.config.page)
            .into_tuple()
            .all(&self.db)
            .await?;
        if !sent.is_empty() {
            self.finish(&sent).await?;
        }
        self.settle_voids().await
    }

    async fn finish(&self, sent: &[(Uuid, Uuid, i32, Option<i64>)]) -> Result<(), DbErr> {
        const EXPIRY: &str = "(SELECT e.expires_at FROM scheduled_messages s JOIN events e ON e.id = s.id \
            WHERE s.conversation_id = conversation_keys.conversation_id \
            AND s.key_generation = conversation_keys.generation AND s.state = 'sending')";
        let transaction = begin(&self.db).await?;
        let mut keys = Condition::any();
        for (_, conversation, generation, _) in sent.iter().filter(|(.., expires_at)| expires_at.is_some()) {
            let generation = conversation_key::Column::Generation.eq(*generation);
            keys = keys.add(conversation_key::Column::ConversationId.eq(*conversation).and(generation));
        }
        if !keys.is_empty() {
            conversation_key::Entity::update_many()
                .col_expr(conversation_key::Column::ExpiresAt, Expr::cust(EXPIRY))
                .filter(conversation_key::Column::Purpose.eq(conversation_key::SINGLE))
                .filter(keys)
                .exec(&transaction)
                .await?;
        }
        Entity::delete_many()
            .filter(Column::State.eq(ScheduledState::Sending.as_str()))
            .filter(Column::Id.is_in(sent.iter().map(|(id, ..)| *id)))
            .exec(&transaction)
            .await?;
        transaction.commit().await
    }

    async fn settle_voids(&self) -> Result<(), DbErr> {
        Entity::update_many()
            .col_expr(Column::State, Expr::value(ScheduledState::Failed.as_str()))
            .col_expr(Column::Failure, Expr::value(ScheduledFailure::ClientMessageIdReused.as_str()))
            .filter(Column::State.eq(ScheduledState::Sending.as_str()))
            .filter(Expr::exists(stored_as("void")))
            .exec(&self.db)
            .await?;
        Ok(())
    }

    /// The user's devices. A notice that is lost is made up for by the next look at the list.
    async fn tell(&self, row: &Model, state: ScheduledState, failure: Option<ScheduledFailure>) {
        let notice = ControlNotice::Scheduled(ScheduledNotice {
            user_id: UserId(row.user_id),
            conversation_id: ConversationId(row.conversation_id),
            message_id: MessageId(row.id),
            state,
            failure,
            send_at: Timestamp::from_millis(row.send_at),
        });
        let Ok(payload) = serde_json::to_vec(&notice) else { return };
        if let Ok(subject) = Subject::new(ControlNotice::SUBJECT)
            && let Err(error) = self.live.publish(subject, Bytes::from(payload)).await
        {
            tracing::debug!(%error, "a notice of a scheduled message could not be sent");
        }
    }
}

/// The row's event in the store.
fn stored() -> SelectStatement {
    Query::select()
        .from(event::Entity)
        .and_where(Expr::col((event::Entity, event::Column::Id)).equals((Entity, Column::Id)))
        .to_owned()
}

/// Whether it is there, as this kind.
fn stored_as(kind: &str) -> SelectStatement {
    stored().expr(Expr::val(1)).and_where(Expr::col((event::Entity, event::Column::Kind)).eq(kind)).to_owned()
}

/// When it disappears.
fn stored_expiry() -> SelectStatement {
    stored().column((event::Entity, event::Column::ExpiresAt)).to_owned()
}
