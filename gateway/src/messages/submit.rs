//! The way of a message into its lane, for REST and WebSocket alike.

use sealpost_lane::{Appended, Draft, Rule, Waiter};
use sealpost_schema::{ClientMessageId, ConversationId, EventBody, EventId, MessageId, ProblemKind, UserId};

use super::links;
use crate::keys::KeyError;
use crate::problem::{ApiError, ApiResult};
use crate::state::App;

/// A message that a client wants to send.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub conversation_id: ConversationId,
    pub client_message_id: ClientMessageId,
    pub text: String,
    pub reply_to: Option<MessageId>,
    pub thread_id: Option<MessageId>,
    pub retry: bool,
}

/// Checks, seals and hands over. `Err`: the waiter will not be called.
pub async fn submit(app: &App, sender: UserId, outgoing: Outgoing, waiter: Waiter) -> ApiResult<()> {
    check_text(&outgoing.text, app.config.max_text_bytes)?;
    let key = app.keys.newest(outgoing.conversation_id).await.map_err(key_error)?;
    let Outgoing { conversation_id, reply_to, thread_id, .. } = outgoing;
    let links = links::resolve(app, sender, conversation_id, &outgoing.text, reply_to, thread_id).await?;
    let id = EventId::new();
    let sealed = app.keys.seal(&key, id, sender, &outgoing.text).map_err(|error| ApiError::internal(&error))?;
    app.keys.remember(id, id.into(), outgoing.text);
    let draft = Draft {
        id,
        sender_id: sender,
        created_at: app.clock.now(),
        body: EventBody::MessagePosted { client_message_id: outgoing.client_message_id, sealed, links },
        rule: Rule::Post,
        retry: outgoing.retry,
    };
    app.lanes.submit(outgoing.conversation_id, draft, waiter).await.map_err(|error| ApiError::lane(&error))
}

/// Why there is no key to seal with.
pub fn key_error(error: KeyError) -> ApiError {
    match error {
        KeyError::Missing => ApiError::not_found("conversation"),
        KeyError::Store(error) => ApiError::store(&error),
        other => ApiError::internal(&other),
    }
}

pub fn check_text(text: &str, max_bytes: usize) -> ApiResult<()> {
    if text.trim().is_empty() {
        return Err(ApiError::new(ProblemKind::EmptyText, "The text is empty. Send at least one visible character."));
    }
    if text.len() > max_bytes {
        let detail = format!("The text has {} bytes; this server takes {max_bytes}. Split it.", text.len());
        return Err(ApiError::new(ProblemKind::TextTooLong, detail));
    }
    Ok(())
}

/// A repeated client message id must come with the text that it came with first.
pub async fn check_same(app: &App, outgoing: &Outgoing, first: &Appended) -> ApiResult<()> {
    let event = &first.event;
    let EventBody::MessagePosted { sealed, .. } = &event.body else { return Ok(()) };
    if sealed.is_empty() {
        // Deleted meanwhile: what it said is gone, and the repeat changes nothing.
        return Ok(());
    }
    let text = app
        .keys
        .open(event.conversation_id, event.id, event.sender_id, sealed)
        .await
        .map_err(|error| ApiError::internal(&error))?;
    if text == outgoing.text {
        return Ok(());
    }
    Err(ApiError::new(
        ProblemKind::ClientMessageIdReused,
        format!(
            "client_message_id `{}` was used for message {} with another text. Use a new one for a new message.",
            outgoing.client_message_id, event.id
        ),
    ))
}
