//! What one reader has seen, and the promise that it is gap-free: every seq once, each the one after the last.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};

/// All events a reader got, by conversation. Goes on over reconnects.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The last seq that the reader knows of.
    cursor: BTreeMap<String, u64>,
    events: BTreeMap<String, Vec<Value>>,
    messages: HashSet<String>,
    /// By conversation and user: delivered and read, as far as frames have said.
    receipts: BTreeMap<(String, String), (u64, u64)>,
}

impl View {
    /// Live events of these conversations come after these heads. What is known already stays.
    pub fn start_at(&mut self, ready: &Value) {
        for head in ready["conversations"].as_array().unwrap() {
            let id = head["conversation_id"].as_str().unwrap().to_owned();
            self.cursor.entry(id).or_insert(head["head_seq"].as_u64().unwrap());
        }
    }

    /// Takes a frame in; panics if it is an event that is missing others, was there before, or comes too early.
    pub fn record(&mut self, frame: &Value) {
        let kind = frame["type"].as_str().unwrap_or_else(|| panic!("a frame without type: {frame}"));
        let Some(conversation) = frame["conversation_id"].as_str().map(str::to_owned) else { return };
        if kind == "receipt" {
            let mark = |name: &str| frame[name].as_u64().unwrap_or(0);
            let user = frame["user_id"].as_str().unwrap_or_default().to_owned();
            let known = self.receipts.entry((conversation.clone(), user)).or_default();
            *known = (known.0.max(mark("delivered_seq")), known.1.max(mark("read_seq")));
        }
        match kind {
            "message_ack" | "change_ack" | "draft" | "snapshot" | "stored" | "receipt" | "typing_start"
            | "typing_stop" | "presence_update" | "conversation_state" | "scheduled_message" => {}
            "gap" => {
                let seen = self.cursor.get(&conversation).copied().unwrap_or(0);
                assert_eq!(frame["from_seq"], seen + 1, "a gap frame that does not begin after {seen}: {frame}");
                self.cursor.insert(conversation, frame["to_seq"].as_u64().unwrap());
            }
            "rewound" => self.rewind(conversation, frame["after_seq"].as_u64().unwrap()),
            _ => self.record_event(conversation, frame),
        }
    }

    /// What came after this seq was not so, and comes anew.
    fn rewind(&mut self, conversation: String, after: u64) {
        let events = self.events.entry(conversation.clone()).or_default();
        for event in events.extract_if(.., |event| event["seq"].as_u64().unwrap() > after) {
            let name = format!("{conversation} {} {}", event["sender_id"], event["client_message_id"]);
            self.messages.remove(&name);
            self.messages.remove(&event["message_id"].to_string());
        }
        self.cursor.insert(conversation, after);
    }

    fn record_event(&mut self, conversation: String, frame: &Value) {
        let seq = frame["seq"].as_u64().unwrap_or_else(|| panic!("an event without seq: {frame}"));
        if let Some(seen) = self.cursor.get(&conversation) {
            assert_eq!(seq, seen + 1, "after seq {seen} comes {seq}: {frame}");
        }
        if frame["type"] == "message" {
            // By its sender's name for it: a repeat that was taken for new has another id.
            let name = format!("{conversation} {} {}", frame["sender_id"], frame["client_message_id"]);
            for name in [frame["message_id"].to_string(), name] {
                assert!(self.messages.insert(name), "a message came twice: {frame}");
            }
        }
        self.cursor.insert(conversation.clone(), seq);
        self.events.entry(conversation).or_default().push(frame.clone());
    }

    /// The last seq seen, also if it was only skipped by a gap frame or named by `ready`.
    pub fn seq(&self, conversation: &str) -> u64 {
        self.cursor.get(conversation).copied().unwrap_or(0)
    }

    /// The ids of the events that the cursor names, as a `resume` frame wants them.
    pub fn last_events(&self) -> Value {
        let id = |event: &Value| {
            event.get("message_id").filter(|_| event["type"] == "message").or(event.get("event_id")).cloned()
        };
        let last = |(conversation, seq): (&String, &u64)| {
            let event = self.events(conversation).last().filter(|event| event["seq"] == *seq)?;
            Some((conversation.clone(), id(event)?))
        };
        Value::Object(self.cursor.iter().filter_map(last).collect())
    }

    /// As a `resume` frame wants it.
    pub fn cursor(&self) -> Value {
        json!(self.cursor)
    }

    /// All events of a conversation, in order.
    pub fn events(&self, conversation: &str) -> &[Value] {
        self.events.get(conversation).map_or(&[], Vec::as_slice)
    }

    /// The messages among the events.
    pub fn messages(&self, conversation: &str) -> Vec<crate::Message> {
        let events = self.events(conversation).iter();
        events.filter(|event| event["type"] == "message").map(crate::Message::of).collect()
    }

    /// How far a user has got, as far as frames have said: delivered and read.
    pub fn receipt(&self, conversation: &str, user: &str) -> (u64, u64) {
        self.receipts.get(&(conversation.to_owned(), user.to_owned())).copied().unwrap_or_default()
    }

    /// Texts of the messages.
    pub fn texts(&self, conversation: &str) -> Vec<String> {
        self.messages(conversation).into_iter().filter_map(|message| message.text).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(seq: u64, id: &str) -> Value {
        json!({ "type": "message", "conversation_id": "c", "seq": seq, "message_id": id, "client_message_id": id, "text": "x" })
    }

    fn view_of(frames: &[Value]) -> View {
        let mut view = View::default();
        for frame in frames {
            view.record(frame);
        }
        view
    }

    #[test]
    fn events_in_order_are_kept_and_a_gap_moves_on() {
        let gap = json!({ "type": "gap", "conversation_id": "c", "from_seq": 6, "to_seq": 8 });
        let view = view_of(&[message(4, "a"), message(5, "b"), gap, message(9, "c")]);
        assert_eq!(view.seq("c"), 9);
        assert_eq!(view.messages("c").iter().map(|message| message.seq).collect::<Vec<_>>(), [4, 5, 9]);
    }

    #[test]
    fn what_is_taken_back_comes_anew() {
        let rewound = json!({ "type": "rewound", "conversation_id": "c", "after_seq": 4 });
        let view = view_of(&[message(4, "a"), message(5, "b"), message(6, "c"), rewound, message(5, "c")]);
        assert_eq!((view.seq("c"), view.texts("c").len()), (5, 2));
    }

    #[test]
    #[should_panic(expected = "after seq 4 comes 6")]
    fn a_missing_event_is_noticed() {
        view_of(&[message(4, "a"), message(6, "b")]);
    }

    #[test]
    #[should_panic(expected = "after seq 4 comes 4")]
    fn a_double_event_is_noticed() {
        view_of(&[message(4, "a"), message(4, "a")]);
    }

    #[test]
    #[should_panic(expected = "a message came twice")]
    fn one_message_under_two_seqs_is_noticed() {
        view_of(&[message(4, "a"), message(5, "a")]);
    }

    #[test]
    #[should_panic(expected = "a message came twice")]
    fn one_client_message_id_under_two_messages_is_noticed() {
        let mut again = message(5, "a");
        again["message_id"] = json!("b");
        view_of(&[message(4, "a"), again]);
    }
}
