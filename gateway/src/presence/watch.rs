//! The frame `watch`.

use std::sync::Arc;

use sealpost_schema::{ConversationId, Presence, Problem, ProblemKind, ServerFrame, UserPresence};

use super::watched::Participants;
use super::{MAX_WATCHED, State};
use crate::live::Connection;
use crate::problem::{ApiError, ApiResult};
use crate::state::App;

/// The connection watches these conversations from now on, and none else. Each that is not the user's gets an `error`.
pub fn watch(app: &App, connection: &Arc<Connection>, mut ids: Vec<ConversationId>) -> ApiResult<()> {
    if ids.len() > MAX_WATCHED {
        let detail = format!("A connection watches {MAX_WATCHED} conversations at most; these are {}.", ids.len());
        return Err(ApiError::invalid(detail));
    }
    if !connection.is_started() {
        return Err(ApiError::new(ProblemKind::Malformed, "Resume first, then watch."));
    }
    ids.sort_unstable();
    ids.dedup();
    for id in connection.watch(ids.clone()) {
        if let Some(room) = connection.room(id)
            && !ids.contains(&id)
        {
            room.watch(connection, false);
        }
    }
    for id in ids {
        let watching = connection.room(id).is_some_and(|room| room.watch(connection, true));
        if !watching {
            let problem = Problem::new(ProblemKind::NotFound, format!("There is no conversation {id} for you."));
            connection.send(&ServerFrame::Error { problem, client_message_id: None, client_operation_id: None });
            continue;
        }
        for frame in greeting(&mut app.presences.lock(), id) {
            connection.send(&frame);
        }
    }
    Ok(())
}

/// What is known of the conversation; the rest comes with the next tick.
fn greeting(state: &mut State, id: ConversationId) -> Vec<ServerFrame> {
    let mut frames = Vec::new();
    if state.watched.watch(id).is_some_and(|participants| *participants != Participants::Unknown)
        && let Some(frame) = everybody(state, id)
    {
        frames.push(frame);
    }
    frames.extend(state.watched.typing(id).map(|user_id| ServerFrame::TypingStart { conversation_id: id, user_id }));
    frames
}

/// Who is there, of all participants.
pub fn everybody(state: &State, id: ConversationId) -> Option<ServerFrame> {
    let (online, users) = match state.watched.participants(id)? {
        Participants::Unknown | Participants::Many { counted: None, .. } => return None,
        Participants::Many { online, .. } => (*online, Vec::new()),
        Participants::Named(users) => {
            let there = users.iter().map(|user| (*user, state.table.of(*user)));
            let there = there.filter(|(_, status)| *status != Presence::Offline);
            let mut there: Vec<_> =
                there.map(|(user_id, status)| UserPresence { user_id, status, last_seen_at: None }).collect();
            there.sort_unstable_by_key(|one| one.user_id);
            (there.len() as u64, there)
        }
    };
    Some(ServerFrame::PresenceUpdate { conversation_id: id, online, whole: true, users })
}
