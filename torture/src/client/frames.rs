//! Frames and REST bodies as the history has them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::Shared;
use super::socket::{Opened, SILENCE, open};
use crate::directory::{Directory, uuid};
use crate::history::{Body, Mark, Number, Seen};

/// The event that a frame is; `None` if it is none.
pub fn event(directory: &Directory, frame: &Value) -> Option<Seen> {
    let user = |name: &str| frame[name].as_str().and_then(|id| directory.user_number(id)).unwrap_or(Number::MAX);
    let body = match frame["type"].as_str()? {
        "message" => message(directory, frame)?,
        "message_deleted" => Body::Deleted { message_seq: frame["message_seq"].as_u64()? },
        "message_edited" => Body::Edited {
            message: id_of(frame)?,
            sender: user("sender_id"),
            text: frame["text"].as_str().map(str::to_owned),
        },
        "reaction" => Body::Reacted {
            message: id_of(frame)?,
            sender: user("sender_id"),
            emoji: frame["emoji"].as_str().map(str::to_owned),
            added: frame["added"].as_bool()?,
        },
        "participant_added" => Body::Added { user: user("user_id") },
        "participant_removed" => Body::Removed { user: user("user_id") },
        "void" => Body::Void,
        "message_ack" | "change_ack" | "draft" | "snapshot" | "stored" | "gap" | "rewound" => return None,
        // Whatever kinds of events come later: those with a place in a conversation.
        _ => Body::Other,
    };
    let conversation = directory.conversation_number(frame["conversation_id"].as_str()?)?;
    Some(Seen { conversation, seq: frame["seq"].as_u64()?, body })
}

fn id_of(frame: &Value) -> Option<Uuid> {
    frame["message_id"].as_str()?.parse().ok()
}

/// The id of an event.
pub fn id(frame: &Value) -> Option<String> {
    let field = if frame["type"] == "message" { "message_id" } else { "event_id" };
    frame[field].as_str().map(str::to_owned)
}

/// A watermark, in a `receipt` frame or in an answer.
pub fn mark(directory: &Directory, value: &Value) -> Option<Mark> {
    let user = directory.user_number(value["user_id"].as_str()?)?;
    Some(Mark { user, delivered: value["delivered_seq"].as_u64()?, read: value["read_seq"].as_u64() })
}

fn message(directory: &Directory, value: &Value) -> Option<Body> {
    let id = value["message_id"].as_str().or(value["id"].as_str())?;
    Some(Body::Message {
        id: uuid(id),
        sender: value["sender_id"].as_str().and_then(|id| directory.user_number(id)).unwrap_or(Number::MAX),
        name: value["client_message_id"].as_str()?.to_owned(),
        text: value["text"].as_str().map(str::to_owned),
    })
}

/// A page of history, oldest first.
pub fn page(directory: &Directory, conversation: Number, body: &Value) -> Option<(Vec<Seen>, bool)> {
    let mut messages = Vec::new();
    for value in body["messages"].as_array()? {
        messages.push(Seen { conversation, seq: value["seq"].as_u64()?, body: message(directory, value)? });
    }
    messages.sort_by_key(|seen| seen.seq);
    Some((messages, body["has_more"] == false))
}

/// Everything that a user can see through one gateway, from the beginning, by conversation. Tries again until it is complete, for a
/// while.
pub async fn read_all(shared: &Arc<Shared>, user: Number, gateway: usize) -> Option<Vec<Vec<Seen>>> {
    for _ in 0..20 {
        if let Some(all) = read_once(shared, user, gateway).await {
            return Some(all);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    None
}

async fn read_once(shared: &Arc<Shared>, user: Number, gateway: usize) -> Option<Vec<Vec<Seen>>> {
    let base = shared.gateway(gateway);
    let session = shared.directory.sign_in(user, &base).await?;
    let Opened::Socket(mut socket) = open(&base, &session.access_token, SILENCE).await else { return None };
    let mut all = vec![Vec::new(); shared.directory.conversations.len()];
    loop {
        let frame = socket.next().await.ok()?;
        match frame["type"].as_str()? {
            "ready" => socket.send(&json!({ "type": "resume", "cursor": {} })).await.ok()?,
            "resumed" => return Some(all),
            "gap" | "rewound" => return None,
            _ => {
                if let Some(seen) = event(&shared.directory, &frame) {
                    all[seen.conversation as usize].push(seen);
                }
            }
        }
    }
}
