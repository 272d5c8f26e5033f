//! The way of a change into the lane, for REST and WebSocket alike.
//!
//! Changing something into what it is already makes no event and says so. Rights are checked by the lane, at the moment when the change
//! gets its number.

use sealpost_lane::{Appended, Draft, LaneError, Progress, Rule, Waiter};
use sealpost_schema::{ConversationId, EventBody, EventId, MessageId, Seq, UserId};
use tokio::sync::oneshot;

use super::model::ChangeResponse;
use crate::problem::{ApiError, ApiResult};
use crate::state::App;

/// What is to be done.
pub enum Decision {
    /// It is so already, since this event.
    Nothing(Option<Seq>),
    Append(Draft),
}

/// A draft of a change that `user` makes now.
pub fn draft(app: &App, user: UserId, id: EventId, body: EventBody, rule: Rule) -> Draft {
    Draft { id, sender_id: user, created_at: app.clock.now(), body, rule, retry: false }
}

/// A change that the event log has, and the store perhaps not yet.
pub struct Accepted {
    response: ChangeResponse,
    stored: Option<oneshot::Receiver<bool>>,
}

/// Hands the change to the lane and waits until the log has it.
pub async fn submit(
    app: &App,
    conversation_id: ConversationId,
    message_id: MessageId,
    decision: Decision,
) -> ApiResult<Accepted> {
    let answer = |changed, seq| ChangeResponse { message_id, conversation_id, changed, seq, stored: true };
    let draft = match decision {
        Decision::Nothing(seq) => return Ok(Accepted { response: answer(false, seq), stored: None }),
        Decision::Append(draft) => draft,
    };
    let (waiter, accepted, stored) = waiter();
    app.lanes.submit(conversation_id, draft, waiter).await.map_err(|error| ApiError::lane(&error))?;
    let accepted = accepted.await.unwrap_or(Err(LaneError::OutcomeUnknown)).map_err(|error| ApiError::lane(&error))?;
    Ok(Accepted { response: answer(!accepted.duplicate, Some(accepted.event.seq)), stored: Some(stored) })
}

impl Accepted {
    /// Waits until the store has it, or is late.
    pub async fn stored(self) -> ChangeResponse {
        match self.stored {
            None => self.response,
            Some(stored) => ChangeResponse { stored: stored.await.unwrap_or(false), ..self.response },
        }
    }
}

fn waiter() -> (Waiter, oneshot::Receiver<Result<Appended, LaneError>>, oneshot::Receiver<bool>) {
    let (accepted, first) = oneshot::channel();
    let (stored, second) = oneshot::channel();
    let (mut accepted, mut stored) = (Some(accepted), Some(stored));
    // Whoever asked may have gone.
    let waiter: Waiter = Box::new(move |progress| {
        let (answer, is_stored) = match progress {
            Progress::Failed(error) => (Some(Err(error)), None),
            Progress::Accepted { appended, stored } => (Some(Ok(appended)), stored.then_some(true)),
            Progress::Overdue => (None, Some(false)),
            Progress::Stored | Progress::Voided { .. } => (None, Some(true)),
        };
        if let Some(answer) = answer
            && let Some(accepted) = accepted.take()
        {
            let _ = accepted.send(answer);
        }
        if let Some(is_stored) = is_stored
            && let Some(stored) = stored.take()
        {
            let _ = stored.send(is_stored);
        }
    });
    (waiter, first, second)
}
