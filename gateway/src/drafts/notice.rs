//! Telling a user's other connections.

use sealpost_schema::{DraftNotice, EventId, ServerFrame};

use crate::state::App;

/// To the user's connections here, but for those of the session that wrote it. Opening may need the store, so it has its own task.
pub fn tell(app: &App, notice: DraftNotice) {
    let mut connections = app.connections.of_user(notice.user_id);
    connections.retain(|other| other.session_id != notice.session_id && other.reaches(notice.conversation_id));
    if connections.is_empty() {
        return;
    }
    let app = app.clone();
    app.tasks.clone().spawn(async move {
        let DraftNotice { user_id, conversation_id, draft_id, sealed, updated_at, .. } = notice;
        let text = match sealed {
            None => None,
            Some(sealed) => match app.keys.open(conversation_id, EventId(draft_id), user_id, &sealed).await {
                Ok(text) => Some(text),
                Err(error) => {
                    tracing::error!(conversation = %conversation_id, %error, "a draft cannot be opened");
                    return;
                }
            },
        };
        let frame = ServerFrame::Draft { conversation_id, text, updated_at };
        for connection in connections {
            connection.send(&frame);
        }
    });
}
