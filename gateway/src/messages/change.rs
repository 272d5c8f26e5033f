//! The way of a change into the lane, for REST and WebSocket alike.
//!
//! Changing something into what it is already makes no event and says so. Rights are checked by the lane, at the moment when the change
//! gets its number.

use sealpost_lane::{Appended, Draft, LaneError, Progress, Rule, Waiter};
use sealpost_schema::{ConversationId, EventBody, EventId, MessageId, Seq, UserId};
use tokio::sync::oneshot;

use super::current::Current;
use super::delete::delete;
use super::edit::edit;
use super::model::ChangeResponse;
use super::pin::pin;
use super::react::react;
use crate::problem::{ApiError, ApiResult};
use crate::state::App;

/// A change is decided anew so often at most, when others were quicker with what it counts on.
const MAX_ATTEMPTS: usize = 20;

/// What somebody wants to do with a message.
pub enum Change {
    Edit(String),
    Delete,
    React { emoji: String, add: bool },
    Pin { add: bool },
}

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

/// Decides and hands over; returns when the log has the change. `conversation`: as for [`Current::load`].
pub async fn change(
    app: &App,
    user: UserId,
    conversation: Option<ConversationId>,
    message: MessageId,
    change: Change,
) -> ApiResult<Accepted> {
    let mut attempts = 1;
    loop {
        let current = Current::load(app, user, conversation, message).await?;
        let decision = match &change {
            Change::Edit(text) => edit(app, user, &current, text).await?,
            Change::Delete => delete(app, user, &current),
            Change::React { emoji, add } => react(app, user, &current, emoji, *add).await?,
            Change::Pin { add } => pin(app, user, &current, *add).await?,
        };
        match submit(app, current.conversation_id(), message, decision).await {
            Err(LaneError::Changed) if attempts < MAX_ATTEMPTS => attempts += 1,
            done => return done.map_err(|error| ApiError::lane(&error)),
        }
    }
}

/// Hands the change to the lane and waits until the log has it.
async fn submit(
    app: &App,
    conversation_id: ConversationId,
    message_id: MessageId,
    decision: Decision,
) -> Result<Accepted, LaneError> {
    let answer = |changed, seq| ChangeResponse { message_id, conversation_id, changed, seq, stored: true };
    let draft = match decision {
        Decision::Nothing(seq) => return Ok(Accepted { response: answer(false, seq), stored: None }),
        Decision::Append(draft) => draft,
    };
    let (waiter, accepted, stored) = waiter();
    app.lanes.submit(conversation_id, draft, waiter).await?;
    let accepted = accepted.await.unwrap_or(Err(LaneError::OutcomeUnknown))?;
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
