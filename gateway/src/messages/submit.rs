//! The way of a message into its lane, for REST and WebSocket alike.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sealpost_lane::{Appended, Draft, LaneError, Progress, Rule, Waiter, expiry};
use sealpost_schema::{ClientMessageId, ConversationId, EventBody, EventId, MessageId, ProblemKind, Seq, UserId};

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

/// A message is sealed anew at most so often.
const MAX_CHANGES: u8 = 3;

/// Checks, seals and hands over. `Err`: the waiter will not be called.
pub async fn submit(app: &App, sender: UserId, outgoing: Outgoing, waiter: Waiter) -> ApiResult<()> {
    check_text(&outgoing.text, app.config.max_text_bytes)?;
    let draft = seal(app, sender, &outgoing).await?;
    let conversation = outgoing.conversation_id;
    let waiter = with_changes(app, sender, outgoing, Arc::new(Mutex::new(waiter)), MAX_CHANGES);
    app.lanes.submit(conversation, draft, waiter).await.map_err(|error| ApiError::lane(&error))
}

async fn seal(app: &App, sender: UserId, outgoing: &Outgoing) -> ApiResult<Draft> {
    let Outgoing { conversation_id, client_message_id, text, reply_to, thread_id, retry } = outgoing;
    let disappear_after = app.lanes.disappear_after(*conversation_id).await.map_err(|error| ApiError::lane(&error))?;
    let now = app.clock.now();
    let key = match disappear_after {
        None => app.keys.newest(*conversation_id).await,
        Some(after) => app.keys.disappearing(*conversation_id, after, now).await,
    };
    let key = key.map_err(key_error)?;
    let links = links::resolve(app, sender, *conversation_id, text, *reply_to, *thread_id).await?;
    let id = EventId::new();
    let sealed = app.keys.seal(&key, id, sender, text).map_err(|error| ApiError::internal(&error))?;
    if disappear_after.is_none() {
        app.keys.remember(id, id.into(), text.clone());
    }
    let (client_message_id, expires_at) = (client_message_id.clone(), expiry(disappear_after, now));
    Ok(Draft {
        id,
        sender_id: sender,
        created_at: now,
        body: EventBody::MessagePosted { client_message_id, sealed, links, expires_at },
        rule: Rule::Post,
        retry: *retry,
    })
}

/// If the settings changed before the message had its number, it is sealed as they say now and handed over again; the one who waits hears
/// nothing of that.
fn with_changes(app: &App, sender: UserId, outgoing: Outgoing, waiter: Arc<Mutex<Waiter>>, changes_left: u8) -> Waiter {
    let (app, mut outgoing) = (app.clone(), Some(outgoing));
    let tell = |waiter: &Mutex<Waiter>, progress| (waiter.lock().unwrap_or_else(PoisonError::into_inner))(progress);
    Box::new(move |progress| {
        let is_changed = matches!(progress, Progress::Failed(LaneError::Changed)) && changes_left > 0;
        let Some(outgoing) = outgoing.take_if(|_| is_changed) else {
            return tell(&waiter, progress);
        };
        let (app, waiter) = (app.clone(), Arc::clone(&waiter));
        app.tasks.clone().spawn(async move {
            if let Err(ApiError(problem)) = again(app, sender, outgoing, Arc::clone(&waiter), changes_left - 1).await {
                tell(&waiter, Progress::Failed(LaneError::Unavailable(problem.detail)));
            }
        });
    })
}

/// Boxed, since it comes back to itself.
fn again(
    app: App,
    sender: UserId,
    outgoing: Outgoing,
    waiter: Arc<Mutex<Waiter>>,
    changes_left: u8,
) -> BoxFuture<'static, ApiResult<()>> {
    async move {
        let draft = seal(&app, sender, &outgoing).await?;
        let conversation = outgoing.conversation_id;
        let waiter = with_changes(&app, sender, outgoing, waiter, changes_left);
        app.lanes.submit(conversation, draft, waiter).await.map_err(|error| ApiError::lane(&error))
    }
    .boxed()
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

/// The message that had a name first, where only the store remembered that.
pub async fn first(app: &App, conversation: ConversationId, seq: Seq) -> ApiResult<Appended> {
    let found = app.reader().event_at(conversation, seq).await.map_err(|error| ApiError::lane(&error))?;
    let (event, _) = found.ok_or_else(|| ApiError::internal(&format!("a void names {seq}, which is nowhere")))?;
    Ok(Appended { event, duplicate: true })
}

/// A repeated client message id must come with the text that it came with first.
pub async fn check_same(app: &App, outgoing: &Outgoing, first: &Appended) -> ApiResult<()> {
    let event = &first.event;
    let EventBody::MessagePosted { sealed, .. } = &event.body else { return Ok(()) };
    if sealed.is_empty() || app.keys.is_expired(event) {
        // Gone meanwhile: the repeat changes nothing.
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
