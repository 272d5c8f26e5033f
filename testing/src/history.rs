//! Holds what clients were told against what is there. Linear in the size of the history.

use std::collections::{BTreeMap, HashMap};

use crate::load::Sent;
use crate::user::{Message, User};
use crate::view::View;

/// Reads a conversation from its beginning, over WebSocket and REST, and checks:
/// - both tell the same, every seq is there once ([`View`] checks that), every client message id is there once;
/// - every acknowledged message is there under the id and seq of its ack, and no refused one is;
/// - everybody's view is a part of it, without a hole, and reaches its end.
pub async fn check_history(reader: &User, conversation: &str, sent: &mut [Sent]) -> View {
    let full = reader.connect().resume().await.unwrap().view;
    let messages = full.messages(conversation);
    assert_eq!(full.seq(conversation), full.events(conversation).len() as u64, "the history does not begin at 1");
    assert_eq!(messages, reader.history(conversation).await, "REST and WebSocket tell different histories");
    let by_name = by_name(&messages);
    for one in sent {
        one.socket.wait_for_seq(conversation, full.seq(conversation)).await;
        check_sent(one, &by_name);
        check_view(&one.socket.view, &full, conversation);
    }
    full
}

fn by_name(messages: &[Message]) -> HashMap<(&str, &str), &Message> {
    let mut names = HashMap::new();
    for message in messages {
        let before = names.insert((message.sender_id.as_str(), message.client_message_id.as_str()), message);
        assert!(before.is_none(), "one client message id twice: {before:?} and {message:?}");
    }
    names
}

fn check_sent(sent: &Sent, history: &HashMap<(&str, &str), &Message>) {
    for (name, (message_id, seq)) in &sent.acks {
        let Some(message) = history.get(&(sent.user_id.as_str(), name.as_str())) else {
            panic!("{name} was acknowledged with seq {seq} and is lost")
        };
        assert_eq!((&message.message_id, message.seq), (message_id, *seq), "{name} was acknowledged otherwise");
    }
    for name in &sent.refused {
        let found = history.get(&(sent.user_id.as_str(), name.as_str()));
        assert!(found.is_none(), "the server said that nothing was taken of {name}, and it is there: {found:?}");
    }
}

/// The view goes from where it began to the end, as the history does.
pub fn check_view(view: &View, full: &View, conversation: &str) {
    let (seen, all) = (view.events(conversation), full.events(conversation));
    let index: BTreeMap<_, _> = all.iter().map(|event| (event["seq"].as_u64(), event)).collect();
    for event in seen {
        assert_eq!(index.get(&event["seq"].as_u64()), Some(&event), "a reader saw something else than the history");
    }
    assert_eq!(view.seq(conversation), full.seq(conversation), "a reader does not have the end");
}
