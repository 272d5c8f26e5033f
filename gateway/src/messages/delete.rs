//! `DELETE /messages/{message_id}`, and the frame `message_delete`

use axum::extract::State;
use axum::http::StatusCode;
use sealpost_lane::{Draft, Rule};
use sealpost_schema::{EventBody, MessageId, Problem, UserId};

use super::change::{Change, Decision, change, draft};
use super::current::Current;
use crate::auth::Principal;
use crate::problem::{ApiResult, Path};
use crate::state::App;

/// Delete a message for everybody
///
/// Its author may, and who has the right `delete_others`. The content of the message, of its edits and of its reactions is destroyed in the store; the
/// number stays. Deleting again changes nothing.
#[utoipa::path(
    delete, path = "/messages/{message_id}", tag = "messages", security(("bearer" = [])),
    params(("message_id" = MessageId, Path)),
    responses(
        (status = 204, description = "Deleted"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "Not yours, and you are no admin"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such message for you"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store or the event log is away"),
    )
)]
pub async fn delete_message(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<MessageId>,
) -> ApiResult<StatusCode> {
    change(&app, principal.user_id, None, id, Change::Delete).await?.stored().await;
    Ok(StatusCode::NO_CONTENT)
}

pub fn delete(app: &App, user: UserId, current: &Current) -> Decision {
    if current.is_deleted() {
        return Decision::Nothing(None);
    }
    let body = EventBody::MessageDeleted { message_id: current.id(), message_seq: current.seq() };
    let rule = Rule::DeleteMessageOf(current.author());
    Decision::Append(Draft { retry: true, ..draft(app, user, current.id().deletion_id(), body, rule) })
}
