//! Events as frames: opened once per process and serialised once per conversation.

use sealpost_schema::{Event, EventBody, MessageId, ServerFrame};

use crate::keys::{ConversationKeys, KeyError, sealed_of};

/// The frame of an event. `None`: its key is not in memory yet.
pub fn render(event: &Event, keys: &ConversationKeys) -> Option<ServerFrame> {
    let opened = match sealed_of(event) {
        None => None,
        // It has disappeared.
        Some(_) if keys.is_expired(event) => None,
        Some(sealed) => Some(match keys.recall(event.id) {
            Some(text) => Ok(text),
            None => keys.open_cached(event.conversation_id, event.id, event.sender_id, sealed)?,
        }),
    };
    Some(frame(event, opened))
}

/// The frame of an event whose envelope was opened with this result.
#[expect(clippy::too_many_lines, reason = "one arm for each kind of event")]
pub fn frame(event: &Event, opened: Option<Result<String, KeyError>>) -> ServerFrame {
    let unreadable = matches!(opened, Some(Err(_)));
    if let Some(Err(error)) = &opened {
        metrics::counter!("sealpost_unreadable_events_total").increment(1);
        tracing::error!(conversation = %event.conversation_id, seq = %event.seq, %error, "an event cannot be opened");
    }
    let text = opened.and_then(Result::ok);
    let (conversation_id, seq, event_id, sender_id, created_at) =
        (event.conversation_id, event.seq, event.id, event.sender_id, event.created_at);
    match &event.body {
        EventBody::ConversationCreated { conversation_kind, participants } => ServerFrame::ConversationCreated {
            conversation_id,
            seq,
            event_id,
            sender_id,
            created_at,
            conversation_kind: *conversation_kind,
            participants: participants.clone(),
        },
        EventBody::MessagePosted { client_message_id, links, expires_at, .. } => ServerFrame::Message {
            conversation_id,
            seq,
            message_id: MessageId::from(event_id),
            client_message_id: client_message_id.clone(),
            sender_id,
            created_at,
            text,
            unreadable,
            reply_to: links.as_ref().and_then(|links| links.reply_to),
            thread_id: links.as_ref().and_then(|links| links.thread_id),
            mentions: links.as_ref().map(|links| links.mentions.clone()).unwrap_or_default(),
            mentions_all: event.body.mentions_all(),
            expires_at: *expires_at,
        },
        EventBody::MessageEdited { message_id, message_seq, mentions, .. } => ServerFrame::MessageEdited {
            conversation_id,
            seq,
            event_id,
            sender_id,
            created_at,
            message_id: *message_id,
            message_seq: *message_seq,
            text,
            unreadable,
            mentions: mentions.clone(),
            mentions_all: event.body.mentions_all(),
        },
        EventBody::ReactionAdded { message_id, message_seq, .. }
        | EventBody::ReactionRemoved { message_id, message_seq, .. } => ServerFrame::Reaction {
            conversation_id,
            seq,
            event_id,
            sender_id,
            created_at,
            message_id: *message_id,
            message_seq: *message_seq,
            emoji: text,
            added: matches!(event.body, EventBody::ReactionAdded { .. }),
        },
        EventBody::MessagePinned { message_id, message_seq }
        | EventBody::MessageUnpinned { message_id, message_seq } => ServerFrame::MessagePinned {
            conversation_id,
            seq,
            event_id,
            sender_id,
            created_at,
            message_id: *message_id,
            message_seq: *message_seq,
            pinned: matches!(event.body, EventBody::MessagePinned { .. }),
        },
        EventBody::MessageDeleted { message_id, message_seq } => ServerFrame::MessageDeleted {
            conversation_id,
            seq,
            event_id,
            sender_id,
            created_at,
            message_id: *message_id,
            message_seq: *message_seq,
        },
        EventBody::ParticipantAdded { user_id, role } => ServerFrame::ParticipantAdded {
            conversation_id,
            seq,
            event_id,
            sender_id,
            created_at,
            user_id: *user_id,
            role: *role,
        },
        EventBody::ParticipantRemoved { user_id } => {
            ServerFrame::ParticipantRemoved { conversation_id, seq, event_id, sender_id, created_at, user_id: *user_id }
        }
        EventBody::ConversationChanged { .. } => {
            ServerFrame::ConversationChanged { conversation_id, seq, event_id, sender_id, created_at, title: text }
        }
        EventBody::SettingsChanged { rights, history, public, lifetimes } => ServerFrame::SettingsChanged {
            conversation_id,
            seq,
            event_id,
            sender_id,
            created_at,
            rights: rights.clone(),
            history: *history,
            public: public.clone(),
            lifetimes: *lifetimes,
        },
        EventBody::ConversationDeleted => {
            ServerFrame::ConversationDeleted { conversation_id, seq, event_id, sender_id, created_at }
        }
        EventBody::Void { .. } => ServerFrame::Void { conversation_id, seq, event_id, created_at },
    }
}

/// A frame as it was sent, without what it says of this message. `None`: it says nothing of it.
pub fn without_content_of(frame: &str, message: MessageId) -> Option<ServerFrame> {
    if !frame.contains(&message.to_string()) {
        return None;
    }
    let (frame, of) = without_content(frame)?;
    (of == message).then_some(frame)
}

/// A frame as it was sent, without what it says of its message, and which that is. `None`: it says nothing of one.
pub fn without_content(frame: &str) -> Option<(ServerFrame, MessageId)> {
    let mut frame: ServerFrame = serde_json::from_str(frame).ok()?;
    let (message, content) = match &mut frame {
        ServerFrame::Message { message_id, text, .. } | ServerFrame::MessageEdited { message_id, text, .. } => {
            (*message_id, text)
        }
        ServerFrame::Reaction { message_id, emoji, .. } => (*message_id, emoji),
        _ => return None,
    };
    *content = None;
    Some((frame, message))
}
