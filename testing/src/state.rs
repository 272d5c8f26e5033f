//! What a reader makes of a conversation: its messages as they are now.
//!
//! It can be built from events alone ([`State::event`]), and from pages of the history ([`State::page`]) with the events that follow
//! them. Whichever way, and in whatever portions, everybody must end with the same.

use std::collections::BTreeMap;

use serde_json::Value;

/// The messages of one conversation, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    messages: BTreeMap<String, Shown>,
}

/// One message. Of what changes, the event with the highest seq counts: so what a page knew already does no harm when it comes again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    pub seq: u64,
    pub sender_id: String,
    pub client_message_id: String,
    pub text: Option<String>,
    /// Of the event that brought the text; the message's own seq at first.
    pub text_seq: u64,
    pub deleted: bool,
    pub pinned: bool,
    /// By emoji: who.
    pub reactions: BTreeMap<String, Vec<String>>,
    /// What this reader remembers beside it.
    words: Words,
}

/// Readers who came by different ways remember different things, and show the same.
#[derive(Clone, Debug, Default)]
struct Words {
    /// By emoji and user: seq and kind of the last word.
    last: BTreeMap<(String, String), (u64, bool)>,
    /// The event of the deletion was seen.
    ended: bool,
}

impl PartialEq for Words {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Words {}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

fn seq(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_else(|| panic!("no {name}: {value}"))
}

impl State {
    /// Takes in what all these events say, in their order.
    pub fn of_events<'a>(events: impl IntoIterator<Item = &'a Value>) -> Self {
        let mut state = Self::default();
        events.into_iter().for_each(|event| state.event(event));
        state
    }

    pub fn messages(&self) -> impl Iterator<Item = (&String, &Shown)> {
        self.messages.iter()
    }

    pub fn get(&self, message_id: &str) -> Option<&Shown> {
        self.messages.get(message_id)
    }

    /// An event as a connection gets it. Panics where something got a number that could not have: a change of what is not there, or
    /// is deleted.
    pub fn event(&mut self, event: &Value) {
        let (kind, at) = (text(event, "type"), || seq(event, "seq"));
        if kind == "message" {
            let shown = Shown {
                seq: at(),
                sender_id: text(event, "sender_id"),
                client_message_id: text(event, "client_message_id"),
                text: event["text"].as_str().map(str::to_owned),
                text_seq: at(),
                // What was deleted before this reader came has no text.
                deleted: event["text"].is_null(),
                ..Shown::default()
            };
            self.messages.entry(text(event, "message_id")).or_insert(shown);
            return;
        }
        if !["message_edited", "reaction", "message_pinned", "message_deleted"].contains(&kind.as_str()) {
            return;
        }
        let message = self.messages.get_mut(&text(event, "message_id"));
        let message = message.unwrap_or_else(|| panic!("a change of what is not there: {event}"));
        assert!(!message.words.ended, "a change got a number after the deletion: {event}");
        if kind == "message_deleted" {
            message.delete();
            message.words.ended = true;
            return;
        }
        if message.deleted {
            // A page, or a message without its text, has told of it before the event does.
            return;
        }
        match kind.as_str() {
            "message_edited" if at() > message.text_seq => {
                (message.text, message.text_seq) = (event["text"].as_str().map(str::to_owned), at());
            }
            "message_pinned" => message.pinned = event["pinned"] == true,
            "reaction" => message.word(&text(event, "emoji"), &text(event, "sender_id"), at(), event["added"] == true),
            _ => {}
        }
    }

    /// A message as the history shows it. `reactions`: what `GET /api/messages/{id}/reactions` says, if the history names any: only there
    /// each has a seq, by which the events that follow can be told from those that are in it.
    pub fn page(&mut self, message: &Value, reactions: &[Value]) {
        let own = seq(message, "seq");
        let mut shown = Shown {
            seq: own,
            sender_id: text(message, "sender_id"),
            client_message_id: text(message, "client_message_id"),
            text: message["text"].as_str().map(str::to_owned),
            text_seq: message["edited_seq"].as_u64().unwrap_or(own),
            pinned: message["pinned"] == true,
            ..Shown::default()
        };
        if message["deleted"] == true {
            shown.delete();
        }
        let reactions = if shown.deleted { &[] } else { reactions };
        for one in reactions {
            shown.word(&text(one, "emoji"), &text(one, "user_id"), seq(one, "seq"), true);
        }
        self.messages.insert(text(message, "id"), shown);
    }

    /// What differs between two readers, in words; empty if nothing does.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let ids: std::collections::BTreeSet<_> = self.messages.keys().chain(other.messages.keys()).collect();
        let differ = ids.into_iter().filter(|id| self.get(id) != other.get(id));
        differ.map(|id| format!("{id}: {:?} and {:?}", self.get(id), other.get(id))).collect()
    }
}

impl Shown {
    fn delete(&mut self) {
        (self.deleted, self.pinned, self.text) = (true, false, None);
        // The edits of a deleted message are gone, and so is when they were.
        self.text_seq = self.seq;
        self.reactions.clear();
        self.words.last.clear();
    }

    fn word(&mut self, emoji: &str, user: &str, seq: u64, added: bool) {
        let word = self.words.last.entry((emoji.to_owned(), user.to_owned())).or_default();
        if seq < word.0 {
            return;
        }
        *word = (seq, added);
        let users = self.reactions.entry(emoji.to_owned()).or_default();
        users.retain(|other| other != user);
        if added {
            users.push(user.to_owned());
            users.sort();
        }
        if users.is_empty() {
            self.reactions.remove(emoji);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn change(kind: &str, seq: u64, rest: &Value) -> Value {
        let mut event = json!({ "type": kind, "seq": seq, "message_id": "m", "sender_id": "ann" });
        event.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        event
    }

    fn events() -> Vec<Value> {
        vec![
            change("message", 1, &json!({ "client_message_id": "c", "text": "one" })),
            change("reaction", 2, &json!({ "emoji": "x", "added": true })),
            change("message_edited", 3, &json!({ "text": "two" })),
            change("reaction", 4, &json!({ "emoji": "x", "added": false })),
            change("reaction", 5, &json!({ "emoji": "y", "added": true })),
            change("message_pinned", 6, &json!({ "pinned": true })),
        ]
    }

    #[test]
    fn a_page_with_the_events_around_it_ends_as_the_events_alone() {
        let whole = State::of_events(&events());
        let page = json!({ "id": "m", "seq": 1, "sender_id": "ann", "client_message_id": "c", "text": "two", "edited_seq": 3, "pinned": true });
        let reactions = [json!({ "emoji": "y", "user_id": "ann", "seq": 5 })];
        for from in 1..=6 {
            let mut state = State::default();
            state.page(&page, &reactions);
            events()[from..].iter().for_each(|event| state.event(event));
            assert_eq!(state.differences(&whole), Vec::<String>::new(), "from {from}");
        }
    }

    #[test]
    fn a_difference_is_noticed() {
        let (whole, mut other) = (State::of_events(&events()), State::of_events(&events()));
        other.event(&change("reaction", 7, &json!({ "emoji": "y", "added": false })));
        assert_eq!(whole.differences(&other).len(), 1);
        other.event(&change("message_deleted", 8, &json!({})));
        assert!(other.get("m").unwrap().deleted && other.get("m").unwrap().reactions.is_empty());
    }

    #[test]
    #[should_panic(expected = "after the deletion")]
    fn a_change_after_the_deletion_is_noticed() {
        let mut state = State::of_events(&events());
        state.event(&change("message_deleted", 7, &json!({})));
        state.event(&change("message_edited", 8, &json!({ "text": "back" })));
    }
}
