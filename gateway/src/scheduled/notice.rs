//! Telling the user's connections, and the workers.

use sealpost_bus::Subject;
use sealpost_schema::entities::scheduled_message;
use sealpost_schema::{
    ControlNotice, ConversationId, MessageId, ScheduledNotice, ScheduledState, ServerFrame, TIMERS_SUBJECT, Timestamp,
    UserId,
};

use crate::live::announce;
use crate::state::App;

/// To the user's connections here.
pub fn tell(app: &App, notice: ScheduledNotice) {
    let ScheduledNotice { user_id, conversation_id, message_id, state, failure, send_at } = notice;
    for connection in app.connections.of_user(user_id) {
        if connection.reaches(conversation_id) {
            connection.send(&ServerFrame::ScheduledMessage { conversation_id, message_id, state, failure, send_at });
        }
    }
}

/// To all gateways; and if it waits, to the workers, since it may be due before all others.
pub async fn changed(app: &App, row: &scheduled_message::Model, state: ScheduledState) {
    let notice = ScheduledNotice {
        user_id: UserId(row.user_id),
        conversation_id: ConversationId(row.conversation_id),
        message_id: MessageId(row.id),
        state,
        failure: None,
        send_at: Timestamp::from_millis(row.send_at),
    };
    announce(app, &ControlNotice::Scheduled(notice)).await;
    if state == ScheduledState::Waiting
        && let Ok(subject) = Subject::new(TIMERS_SUBJECT)
        && let Err(error) = app.live.publish(subject, bytes::Bytes::new()).await
    {
        tracing::debug!(%error, "the timers workers could not be told; they look by themselves");
    }
}
