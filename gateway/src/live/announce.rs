//! Notices to all gateways, and what they do here.

use sealpost_bus::Subject;
use sealpost_schema::{ControlNotice, ServerFrame};
use serde::Serialize;

use super::join;
use crate::announcements::refresh;
use crate::auth::end_here;
use crate::drafts;
use crate::scheduled;
use crate::state::App;

/// Tells all gateways, this one too. A notice may be lost: it brings nothing that cannot be read again.
pub async fn announce(app: &App, notice: &ControlNotice) {
    notify(app, ControlNotice::SUBJECT, notice).await;
}

/// Tells whoever hears this subject. It may be lost.
pub async fn notify(app: &App, subject: &str, notice: &impl Serialize) {
    if let Err(error) = publish(app, subject, notice).await {
        tracing::warn!(error, subject, "a notice could not be sent");
    }
}

async fn publish(app: &App, subject: &str, notice: &impl Serialize) -> Result<(), String> {
    let subject = Subject::new(subject).map_err(|error| error.to_string())?;
    let notice = serde_json::to_vec(notice).map_err(|error| error.to_string())?;
    app.live.publish(subject, notice.into()).await.map_err(|error| error.to_string())?;
    app.live.flush().await.map_err(|error| error.to_string())
}

/// What a notice means for the connections of this process.
pub fn hear(app: &App, notice: ControlNotice) {
    match notice {
        ControlNotice::Joined { user_id, conversation_id, seq } => {
            join(app, app.connections.of_user(user_id), conversation_id, Some(seq));
        }
        ControlNotice::SessionsEnded { session_ids } => end_here(app, &session_ids),
        ControlNotice::Draft(notice) => drafts::tell(app, notice),
        ControlNotice::Scheduled(notice) => scheduled::tell(app, notice),
        ControlNotice::Announced {} => {
            let app = app.clone();
            app.tasks.clone().spawn(async move {
                // If the store is away, the next look comes within a minute.
                let _ = refresh(&app).await;
            });
        }
        ControlNotice::OwnState { user_id, conversation_id, state } => {
            for connection in app.connections.of_user(user_id) {
                if connection.reaches(conversation_id) {
                    connection.send(&ServerFrame::ConversationState { conversation_id, state });
                }
            }
        }
        ControlNotice::Blocked { user_id, blocked_id, blocked, shut } => {
            for connection in app.connections.of_user(user_id) {
                if let Some(id) = shut {
                    app.hub.leave_one(&connection, id);
                }
                // Programs have no business with whom their account blocks.
                if connection.grant.is_none() {
                    connection.send(&ServerFrame::UserBlocked { user_id: blocked_id, blocked });
                }
            }
        }
    }
}
