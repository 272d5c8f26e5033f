//! Brings one webhook up to date in one conversation, under a lease.

use std::time::Duration;

use sea_orm::DbErr;
use sea_orm::prelude::Uuid;
use sealpost_schema::entities::{conversation, webhook};
use sealpost_schema::{Action, ConversationId, ConversationKind, Role, Timestamp};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::MAX_EVENTS;
use super::body::Body;
use super::due::{self, EventRow, Standing};
use super::outcome::{self, Answer, Leased};
use super::worker::Shared;

/// The secret before a new one is signed with for this long.
const OLD_SECRET: Duration = Duration::from_hours(24);

/// What the worker does next about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    pub webhook: Uuid,
    pub conversation: Uuid,
    /// The receiver had been away and is back: whatever waits for it can go.
    pub is_back: bool,
}

/// Until everything is delivered that is stored, something fails, or the worker is to stop.
pub(super) async fn run(shared: &Shared, leased: Leased, stop: &CancellationToken) -> Done {
    let mut done = Done { webhook: leased.webhook, conversation: leased.conversation, is_back: false };
    let result = batches(shared, leased, &mut done, stop).await;
    let released = outcome::release(&shared.db, leased).await;
    if let Err(error) = result.and(released) {
        // The lease ends by itself, and the batch comes again.
        tracing::warn!(webhook = %leased.webhook, %error, "the store did not take what became of a delivery");
    }
    done
}

async fn batches(shared: &Shared, leased: Leased, done: &mut Done, stop: &CancellationToken) -> Result<(), DbErr> {
    while !stop.is_cancelled() {
        let found = due::standing(&shared.db, leased.webhook, leased.conversation, leased.lease).await?;
        let Some((webhook, standing)) = found else { return Ok(()) };
        if webhook.attempts > 0 && !leased.is_probe {
            // It went away since this was found to be due.
            return Ok(());
        }
        if !is_allowed(&webhook, &standing) {
            let reason = webhook::reason::NOT_ALLOWED;
            return outcome::disable(&shared.db, vec![webhook.id], reason, shared.clock.now()).await;
        }
        let events = due::events(&shared.db, leased.conversation, webhook.reader_id, standing.next_seq).await?;
        let Some((wanted, next)) = cut(&webhook, events) else { return Ok(()) };
        let until = || {
            let now = shared.clock.now();
            (now, now.plus(shared.config.lease()))
        };
        if wanted.is_empty() {
            if !outcome::advance(&shared.db, leased, standing.row_seq, next, None, until()).await? {
                return Ok(());
            }
            continue;
        }
        let count = wanted.len() as u64;
        let answer = send(shared, &webhook, leased.conversation, wanted).await;
        let now = shared.clock.now();
        if !answer.is_taken() {
            metrics::counter!("sealpost_webhook_deliveries_total", "outcome" => "failed").increment(1);
            tracing::info!(webhook = %webhook.id, answer = ?answer, "a delivery was not taken");
            return outcome::note_failure(&shared.db, &shared.config, leased, &webhook, &standing, &answer, now).await;
        }
        metrics::counter!("sealpost_webhook_deliveries_total", "outcome" => "delivered").increment(1);
        metrics::counter!("sealpost_webhook_events_total").increment(count);
        let moved = outcome::advance(&shared.db, leased, standing.row_seq, next, Some(&answer), until()).await?;
        done.is_back |= outcome::note_success(&shared.db, &webhook, now).await?;
        if !moved {
            return Ok(());
        }
    }
    Ok(())
}

/// A conversation's webhook is as good as its maker's right to change the settings.
fn is_allowed(webhook: &webhook::Model, standing: &Standing) -> bool {
    if webhook.conversation_id.is_none() {
        return true;
    }
    let kind = ConversationKind::parse(&standing.kind);
    let rights = kind.and_then(|kind| conversation::rights(kind, standing.rights.as_deref()).ok());
    rights.zip(Role::parse(&standing.role)).is_some_and(|(rights, role)| rights.allow(role, Action::ChangeSettings))
}

/// What is wanted of these, as much as one request holds, and the seq behind it. `None`: there is nothing.
fn cut(webhook: &webhook::Model, events: Vec<EventRow>) -> Option<(Vec<EventRow>, i64)> {
    let mut next = events.first()?.seq;
    let mut wanted = Vec::new();
    for event in events {
        if webhook.wants(&event.kind) {
            if wanted.len() == MAX_EVENTS {
                break;
            }
            next = event.seq + 1;
            wanted.push(event);
        } else {
            next = event.seq + 1;
        }
    }
    Some((wanted, next))
}

async fn send(shared: &Shared, webhook: &webhook::Model, conversation: Uuid, events: Vec<EventRow>) -> Answer {
    let delivery_id = Uuid::now_v7();
    let events = events.into_iter().map(Into::into).collect();
    let conversation_id = ConversationId(conversation);
    let body = Body::Events { webhook_id: webhook.id, delivery_id, conversation_id, events };
    post(shared, webhook, delivery_id, &body).await
}

/// Signs and sends.
pub(super) async fn post(shared: &Shared, webhook: &webhook::Model, delivery: Uuid, body: &Body) -> Answer {
    let (Ok(url), Ok(body)) = (Url::parse(&webhook.url), serde_json::to_vec(body)) else {
        return Answer::Failed(sealpost_outgoing::SendError::Address);
    };
    let now = shared.clock.now();
    let signature = shared.keys.sign(webhook.id, &versions(webhook, now), now.unix_seconds(), &body);
    let headers = [("sealpost-signature", signature), ("sealpost-delivery", delivery.to_string())];
    let sent = shared.client.post(&url, &headers, body).await;
    Answer::of(sent.map(|status| status.as_u16()))
}

/// The newest secret's, and for a day the one's before it.
fn versions(webhook: &webhook::Model, now: Timestamp) -> Vec<i32> {
    let newest = webhook.secret_version;
    let is_fresh = webhook.secret_rotated_at.is_some_and(|at| at > now.minus(OLD_SECRET).millis());
    if is_fresh && newest > 1 { vec![newest, newest - 1] } else { vec![newest] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook(kinds: Option<&str>) -> webhook::Model {
        webhook::Model {
            id: Uuid::nil(),
            reader_id: Uuid::nil(),
            conversation_id: None,
            url: String::new(),
            kinds: kinds.map(str::to_owned),
            secret_version: 1,
            secret_rotated_at: None,
            created_by: Uuid::nil(),
            created_at: 0,
            paused_at: None,
            disabled_at: None,
            disabled_reason: None,
            attempts: 0,
            next_attempt_at: 0,
            failing_since: None,
            last_success_at: None,
        }
    }

    fn events(kinds: impl IntoIterator<Item = &'static str>) -> Vec<EventRow> {
        let row = |(seq, kind): (i64, &str)| EventRow {
            seq,
            id: Uuid::nil(),
            kind: kind.to_owned(),
            sender_id: Uuid::nil(),
            created_at: 0,
            target_id: None,
        };
        (7..).zip(kinds).map(row).collect()
    }

    #[test]
    fn a_batch_is_full_or_ends_with_what_is_there() {
        let all = webhook(None);
        assert!(cut(&all, Vec::new()).is_none());
        let (wanted, next) = cut(&all, events(vec!["message_posted"; 150])).unwrap();
        assert_eq!((wanted.len(), next), (100, 107));
        let some = webhook(Some("message_edited,message_deleted"));
        let (wanted, next) = cut(&some, events(["message_posted", "message_deleted", "void"])).unwrap();
        assert_eq!((wanted.len(), wanted[0].seq, next), (1, 8, 10), "what is not wanted is left behind");
        let (wanted, next) = cut(&some, events(vec!["message_posted"; 500])).unwrap();
        assert_eq!((wanted.len(), next), (0, 507));
    }

    #[test]
    fn the_secret_before_is_signed_with_for_a_day() {
        let mut row = webhook(None);
        let now = Timestamp::from_millis(1_795_253_400_000);
        assert_eq!(versions(&row, now), [1]);
        (row.secret_version, row.secret_rotated_at) = (3, Some(now.millis()));
        assert_eq!(versions(&row, now), [3, 2]);
        assert_eq!(versions(&row, now.plus(Duration::from_hours(24))), [3]);
    }
}
