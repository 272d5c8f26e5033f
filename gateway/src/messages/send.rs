//! `POST /conversations/{conversation_id}/messages`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use sealpost_lane::{Appended, LaneError, Progress, Waiter};
use sealpost_schema::{AckLevel, ClientMessageId, ConversationId, MessageId, Problem, Seq, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{Outgoing, check_same, first, submit};
use crate::auth::Principal;
use crate::problem::{ApiError, ApiResult, Body, Path};
use crate::state::App;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SendMessageRequest {
    /// Your own name for the message: sending it again is sending it once.
    #[schema(example = "m-1")]
    pub client_message_id: ClientMessageId,
    #[schema(example = "Hello!")]
    pub text: String,
    /// When to answer: once the event log has it, or (default) once the store has committed it.
    #[serde(default)]
    pub ack: AckLevel,
    /// This repeats a send whose answer never came.
    #[serde(default)]
    pub retry: bool,
    /// The message that this one answers; histories quote it.
    pub reply_to: Option<MessageId>,
    /// The first message of the thread that this one belongs to.
    pub thread_id: Option<MessageId>,
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct SendMessageResponse {
    pub message_id: MessageId,
    pub conversation_id: ConversationId,
    pub seq: Seq,
    pub client_message_id: ClientMessageId,
    pub created_at: Timestamp,
    /// What is certain now. `accepted` although `stored` was asked for means: the store is late, the message is kept and will be stored.
    pub level: AckLevel,
    pub stored: bool,
    /// This client message id had been sent before; this is the first one's answer.
    pub duplicate: bool,
}

/// Send a message
///
/// `@name` mentions a participant; `@all` everybody, for those who have the right `mention_all`.
#[utoipa::path(
    post, path = "/conversations/{conversation_id}/messages", tag = "messages", security(("bearer" = [])),
    params(("conversation_id" = ConversationId, Path)),
    request_body = SendMessageRequest,
    responses(
        (status = 201, body = SendMessageResponse),
        (status = 200, body = SendMessageResponse, description = "A repeat: the first answer again"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "Your role may not post"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such conversation for you"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "The client message id was used with another text"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "Empty or too long text, or a bad value"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "Not taken, or not known whether taken: see the type"),
    )
)]
pub async fn send_message(
    State(app): State<App>,
    principal: Principal,
    Path(conversation_id): Path<ConversationId>,
    Body(request): Body<SendMessageRequest>,
) -> ApiResult<(StatusCode, Json<SendMessageResponse>)> {
    let SendMessageRequest { client_message_id, text, ack, retry, reply_to, thread_id } = request;
    let outgoing = Outgoing { conversation_id, client_message_id, text, reply_to, thread_id, retry };
    let (waiter, receiver) = waiter(ack);
    submit(&app, principal.user_id, outgoing.clone(), waiter).await?;
    let told = receiver.await.unwrap_or(Err(LaneError::OutcomeUnknown)).map_err(|error| ApiError::lane(&error))?;
    let (appended, stored) = match told {
        Told::Sent(appended, stored) => (appended, stored),
        Told::Voided(original_seq) => (first(&app, conversation_id, original_seq).await?, true),
    };
    if appended.duplicate {
        check_same(&app, &outgoing, &appended).await?;
    }
    let status = if appended.duplicate { StatusCode::OK } else { StatusCode::CREATED };
    let response = SendMessageResponse {
        message_id: appended.event.id.into(),
        conversation_id,
        seq: appended.event.seq,
        client_message_id: outgoing.client_message_id,
        created_at: appended.event.created_at,
        level: if stored { AckLevel::Stored } else { AckLevel::Accepted },
        stored,
        duplicate: appended.duplicate,
    };
    Ok((status, Json(response)))
}

enum Told {
    /// And whether the store has it.
    Sent(Appended, bool),
    /// The store found that the name had been used long before, by the message with this number.
    Voided(Seq),
}

/// Answers once, at the level that was asked for or when the store is late.
fn waiter(ack: AckLevel) -> (Waiter, oneshot::Receiver<Result<Told, LaneError>>) {
    let (sender, receiver) = oneshot::channel();
    let mut sender = Some(sender);
    let mut accepted: Option<Appended> = None;
    let waiter: Waiter = Box::new(move |progress| {
        let answer = match progress {
            Progress::Accepted { appended, stored } if stored || ack == AckLevel::Accepted => {
                Ok(Told::Sent(appended, stored))
            }
            Progress::Accepted { appended, .. } => {
                accepted = Some(appended);
                return;
            }
            Progress::Failed(error) => Err(error),
            Progress::Voided { original_seq, .. } => Ok(Told::Voided(original_seq)),
            Progress::Overdue | Progress::Stored => {
                let stored = matches!(progress, Progress::Stored);
                let Some(appended) = accepted.take() else { return };
                Ok(Told::Sent(appended, stored))
            }
        };
        if let Some(sender) = sender.take() {
            // The client may have gone.
            let _ = sender.send(answer);
        }
    });
    (waiter, receiver)
}
